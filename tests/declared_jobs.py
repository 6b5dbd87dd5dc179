"""Jobs as Snakemake gives them to scripts: made up, or of every rule as the workflow plans them."""

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

from forked_snakemake import ROOT, snakemake

from unike_lib import runtime
from unike_lib.config.benchmark import FORMATS
from unike_lib.criterion import CRITERIA
from unike_lib.family import FAMILIES
from unike_lib.method import METHODS
from unike_lib.registry import find_entries

LIBRARY = ROOT / "unike_lib"

DUMPED = "job: "


class Named(list):
    """A list with names, like Snakemake's `input` and `params`; a list within it is several of its items."""

    def __init__(self, /, **named):
        super().__init__(item for value in named.values() for item in (value if isinstance(value, list) else [value]))
        self._named = named
        self.get, self.items, self.keys = named.get, named.items, named.keys

    def __getattr__(self, name):
        try:
            return self._named[name]
        except KeyError:
            raise AttributeError(name) from None


def made_up_job(rule="states", log=(), threads=1, **kinds):
    """Return a job with the named inputs, outputs, wildcards, params and resources of `kinds`."""
    names = ("input", "output", "wildcards", "params", "resources")
    return SimpleNamespace(
        rule=rule, log=log, threads=threads, **{name: Named(**kinds.get(name, {})) for name in names}
    )


def planned_jobs(folder, *arguments):
    """Return every job of a dry run, ready for its script, with its script's name (None: a shell command)."""
    status, text = snakemake(folder, "--summary", *arguments, prepare=_dump_jobs)
    assert status == 0, text
    found = []
    for line in text.splitlines():
        if line.startswith(DUMPED):
            job = json.loads(line.removeprefix(DUMPED))
            found.append(made_up_job(job["rule"], threads=job["threads"], **job["kinds"]))
            found[-1].script = job["script"]
    return found


def _dump_jobs():
    from snakemake.dag import DAG

    async def summary(dag, detailed):
        for job in dag.jobs:
            yield DUMPED + json.dumps(_as_json(job))

    DAG.summary = summary


def _as_json(job):
    kinds = {name: _plain(getattr(job, name)) for name in ("input", "output", "params", "resources")}
    script = job.rule.script and Path(job.rule.script).stem
    wildcards = dict(job.wildcards_dict)
    return {"rule": job.rule.name, "script": script, "threads": job.threads, "kinds": kinds | {"wildcards": wildcards}}


def _plain(named):
    return {name: list(map(str, each)) if type(each).__name__ == "Namedlist" else each for name, each in named.items()}


class KnownByFile(str):
    """An edit case that is the name of its file."""

    probes = ()


def fake_library(monkeypatch):
    """Replace the library, but for settings and the frame of a script, by what takes any call; return it by module.

    Edit cases are known by their file.
    """
    for place in (FORMATS, FAMILIES, METHODS, CRITERIA):  # imported with the library that there is
        find_entries(*place)
    library = {name: MagicMock() for name in ("io", *(file.stem for file in LIBRARY.glob("*/__init__.py")))}
    rooms = (
        file for room in ("backbones/speed", "methods/*", "embedded/*") for file in LIBRARY.glob(f"{room}/[!_]*.py")
    )
    for file in (*LIBRARY.glob("*/*.py"), *rooms):
        if not file.stem.endswith("settings") and file.parent.name not in ("config", "criteria"):
            library[".".join(file.relative_to(LIBRARY).with_suffix("").parts)] = MagicMock()
    monkeypatch.setattr(runtime.Job, "fingerprint", "fingerprint")  # would read every input
    library["benchmark.cases"].read_files = lambda paths, *_, **__: list(map(KnownByFile, paths))
    library["editing.building"].editor_builder.side_effect = lambda settings_of, *_: settings_of({})
    library["editing.building"].train_editor.return_value = MagicMock(), MagicMock()
    library["evaluation.positive_control"].PositiveControl().run.return_value = MagicMock(), MagicMock()
    library["evaluation.session_layout"].shard_cases.return_value = {}, 0
    for module, fake in library.items():
        monkeypatch.setitem(sys.modules, f"unike_lib.{module}", fake)
    monkeypatch.setitem(sys.modules, "pandas", MagicMock())
    for variable in (*runtime.THREAD_VARIABLES, "TQDM_MININTERVAL", "TQDM_MAXINTERVAL", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(variable, "1")  # restored afterwards
    return library


def run_script(name, job):
    """Run a workflow script for a job, with whatever library there is."""
    runpy.run_path(str(ROOT / "workflow_scripts" / f"{name}.py"), {"snakemake": job})
