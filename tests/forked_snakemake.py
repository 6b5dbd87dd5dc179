"""Snakemake in a process of its own, forked from one that has imported it: most of a dry run is imports."""

import gc
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONTEXT = multiprocessing.get_context("forkserver")
# The last is found where tests are run from the project's folder; elsewhere they only take longer.
CONTEXT.set_forkserver_preload(
    ["snakemake.cli", "snakemake.api", "pydantic", "pandas", "pytest", "tests.snakemake_preload"]
)
SECONDS = 300


def snakemake(folder, *arguments, root=ROOT, prepare=None):
    """Run the workflow of `root` in a folder of its own; return exit status and everything printed.

    `prepare` is called before, in the process of its own.
    """
    arguments = ["--snakefile", root / "Snakefile", "--directory", folder, "--cores", "1", *arguments]
    with tempfile.TemporaryDirectory() as name:
        printed = Path(name, "printed")
        process = CONTEXT.Process(
            target=_run, args=([str(each) for each in arguments], str(root), str(printed), prepare)
        )
        process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            raise TimeoutError(f"snakemake {arguments}: more than {SECONDS} s")
        return process.exitcode, printed.read_text()


def _run(arguments, root, printed, prepare):
    gc.disable()  # the process ends soon
    out = os.open(printed, os.O_WRONLY | os.O_CREAT)
    os.dup2(out, 1)
    os.dup2(out, 2)
    # As `python -m snakemake` has it in this folder; the library is imported from there.
    os.chdir(root)
    sys.path.insert(0, root)
    library = sys.modules.get("unike_lib")
    if library is not None and list(library.__path__) != [os.path.join(root, "unike_lib")]:
        for name in [name for name in sys.modules if name.split(".")[0] == "unike_lib"]:
            del sys.modules[name]
    sys.argv[0] = "snakemake"
    from snakemake import logging
    from snakemake.cli import main

    # A job's message would stand in place of its files, which the tests read.
    shown = logging.DefaultFormatter.format_job_info
    logging.DefaultFormatter.format_job_info = lambda self, job: shown(self, job | {"rule_msg": None})
    if prepare is not None:
        prepare()
    main(arguments)
