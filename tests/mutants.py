"""Mistakes of one line that a test must notice: apply each, run the tests of its own code, report those that survive.

    python tests/mutants.py                                   # all of them, two at a time
    python tests/mutants.py --jobs 1 --only backbones/past     # of one area; of those, what names "past"

tests/mutants/AREA.yaml is a list of mutants:

    - file: unike_lib/backbones/past.py      # what is changed: library, rules or settings
      was: "self.mask.sum(1) - self.saved"   # text that occurs once in the file
      now: "self.mask.sum(1) + self.saved"
      tests: [tests/backbones/test_past.py]  # files, folders, or single tests (file::name)
      why: "visual tokens on a grid count twice"
      equivalent: "..."                      # only where nothing can notice it: why not

A mutant is killed if its tests fail, crash or take ten times as long as without it. Exit status 1 if one survives that
is not argued to be equivalent, if one that is argued so is killed, if `was` does not occur exactly once, or if tests
fail without any mutant. Run it with the environment that runs the tests, on a machine that is idle.
"""

import argparse
import ast
import compileall
import fnmatch
import functools
import gc
import itertools
import math
import multiprocessing
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, dataclass, fields
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue

import yaml

ROOT = Path(__file__).parents[1]
LISTS = Path(__file__).parent / "mutants"
# Imported once: half of a run of tests is imports. Nothing of the library, which is what changes.
PRELOADED = [
    *("torch", "transformers", "transformers.models.blip_2.modeling_blip_2", "transformers.models.opt.modeling_opt"),
    *("transformers.models.llama.modeling_llama", "transformers.models.auto.tokenization_auto", "faiss", "pandas"),
    *("pyarrow.parquet", "scipy.stats", "sklearn.metrics", "matplotlib.pyplot", "pydantic", "hypothesis.strategies"),
    *("pytest", "snakemake.cli", "snakemake.api"),
]
PASSED, FAILED, INTERRUPTED = 0, 1, 2  # pytest's exit status; interrupted: also where a test file cannot be imported
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast
LEAST_SECONDS, PATIENCE = 60, 10


@dataclass(frozen=True)
class Mutant:
    """One mistake: its fields are those of the lists."""

    area: str
    file: str
    was: str
    now: str
    tests: tuple[str, ...]
    why: str
    equivalent: str = ""

    def __str__(self) -> str:
        return f"{self.area}: {self.file}: {self.why}\n    - {self.was}\n    + {self.now}"

    def problem(self, root: Path) -> str:
        """Return what is wrong with the entry for the code as it is, "" if nothing."""
        path = root / self.file
        if not path.is_file():
            return "file: no such file"
        text = path.read_text(encoding="utf-8")
        if not self.was or self.was == self.now:
            return "was, now: expected two different texts"
        if text.count(self.was) != 1:
            return f"was: expected once in the file, found {text.count(self.was)} times"
        if not self.tests or not self.why:
            return "tests, why: expected at least one test, and what the mistake is"
        for test in self.tests:
            if not (root / test.split("::")[0]).exists():
                return f"tests: no such file or folder {test}"
        try:
            if path.suffix == ".py":
                start = text.index(self.was)
                first, last = whole_statements(path, text, start, start + len(self.was))
                compile(text[first:last].replace(self.was, self.now), self.file, "exec")
        except SyntaxError as error:
            return f"now: not Python ({error.msg})"
        return ""


@functools.cache
def statement_starts(path: Path, text: str) -> list[int]:
    """Return where the statements of a file begin that stand in no other: their first characters, and the end."""
    lines = [0, *itertools.accumulate(len(line) + 1 for line in text.split("\n"))]
    starts = [
        lines[min(each.lineno for each in (node, *getattr(node, "decorator_list", ()))) - 1]
        for node in ast.parse(text, path).body
    ]
    return [0, *starts, len(text)]


def whole_statements(path: Path, text: str, start: int, end: int) -> tuple[int, int]:
    """Return the range of a file's outermost statements around a range of it: much less to compile than all."""
    starts = statement_starts(path, text)
    return max(each for each in starts[:-1] if each <= start), min(each for each in starts[1:] if each >= end)


def read_mutants(folder: Path = LISTS) -> list[Mutant]:
    """Read the lists; raise ValueError, naming list and entry, if one has other fields than a mutant's."""
    own = fields(Mutant)[1:]
    known, needed = {each.name for each in own}, {each.name for each in own if each.default is MISSING}
    mutants = []
    for path in sorted(folder.glob("*.yaml")):
        for number, entry in enumerate(yaml.load(path.read_text(encoding="utf-8"), LOADER) or []):
            if not isinstance(entry, dict) or not needed <= set(entry) <= known:
                raise ValueError(f"{path.name}: entry {number}: expected the fields {sorted(needed)}, found {entry}")
            texts = [*entry["tests"], *(value for name, value in entry.items() if name != "tests")]
            if not isinstance(entry["tests"], list) or not all(isinstance(text, str) for text in texts):
                raise ValueError(f"{path.name}: entry {number}: expected texts and a list of tests, found {entry}")
            mutants.append(Mutant(path.stem, **entry | {"tests": tuple(entry["tests"])}))
    return mutants


def copy_checkout(out: Path) -> None:
    """Copy the files of this checkout that git does not ignore."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, out / name)
    # Bytecode that goes by content: mutants may have the size and the second of each other.
    compileall.compile_dir(out / "unike_lib", quiet=1, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)


def run_tests(folder: str, tests: Sequence[str], printed: str) -> None:
    """Run tests in a copy of the checkout, in a process of its own; the exit status is pytest's."""
    os.setsid()
    out = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.chdir(folder)
    # What was preloaded is no garbage: without this, looking through it again and again is half of a short run.
    gc.freeze()
    # The tests start processes, too.
    os.environ |= {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    sys.dont_write_bytecode = True
    sys.path[:] = [folder, *(path for path in sys.path if path not in ("", str(ROOT), str(ROOT / "tests")))]
    import hypothesis
    import pytest

    # A failure is enough, its smallest example is not looked for.
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", phases=phases, database=None)
    hypothesis.settings.load_profile("mutants")
    sys.exit(pytest.main(["-x", "-q", "--no-header", "-p", "no:cacheprovider", f"--basetemp={folder}.tmp", *tests]))


class Copies:
    """Copies of the checkout, one for each run that goes on at the same time."""

    def __init__(self, folder: Path, jobs: int) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._free: SimpleQueue[Path] = SimpleQueue()
        # A process that starts looks after all others: two threads would read one exit status, and one of them 255.
        self._alone = threading.Lock()
        for number in range(jobs):
            copy_checkout(folder / f"copy{number}")
            self._free.put(folder / f"copy{number}")

    def run(self, tests: Sequence[str], limit: float, mutant: Mutant | None = None) -> tuple[int | None, str, float]:
        """Run tests with a mutant; return exit status (None: more than `limit` seconds), what was printed, seconds."""
        copy, start = self._free.get(), time.monotonic()
        changed, printed = copy / mutant.file if mutant else None, Path(f"{copy}.printed")
        text = changed.read_text(encoding="utf-8") if changed else ""
        try:
            if mutant and changed:
                changed.write_text(text.replace(mutant.was, mutant.now), encoding="utf-8")
            process = self._context.Process(target=run_tests, args=(str(copy), list(tests), str(printed)))
            with self._alone:
                process.start()
            in_time = self._ends(process, limit)
            if not in_time and process.pid:
                os.killpg(process.pid, signal.SIGKILL)
                self._ends(process, math.inf)
            status = process.exitcode if in_time else None
            return status, printed.read_text(errors="replace"), time.monotonic() - start
        finally:
            if changed:
                changed.write_text(text, encoding="utf-8")
            self._free.put(copy)

    def _ends(self, process: BaseProcess, limit: float) -> bool:
        """Wait for the end of a process, at most so many seconds; return whether it has ended."""
        latest = time.monotonic() + limit
        while time.monotonic() < latest:
            with self._alone:
                if not process.is_alive():
                    return True
            time.sleep(0.02)
        return False


def check_tests(copies: Copies, mutants: Iterable[Mutant], pool: ThreadPoolExecutor) -> dict[str, float]:
    """Run all tests without any mutant; return how many seconds each takes, and end if one fails."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    seconds = {}
    for test, (status, printed, took) in zip(tests, pool.map(lambda test: copies.run([test], 900), tests), strict=True):
        if status != PASSED:
            sys.exit(f"{printed[-3000:]}\n{test}: fails without any mutant (status {status})")
        seconds[test] = took
    return seconds


def survives(copies: Copies, mutant: Mutant, seconds: dict[str, float]) -> bool:
    """Run the tests of a mutant, print what became of it, and return whether they all passed."""
    limit = max(LEAST_SECONDS, PATIENCE * sum(seconds[test] for test in mutant.tests))
    status, printed, took = copies.run(mutant.tests, limit, mutant)
    if status not in (PASSED, FAILED, INTERRUPTED, None) and status > 0:
        raise RuntimeError(f"{printed[-3000:]}\n{mutant}\npytest's status {status}")
    outcome = "killed" if status != PASSED else "equivalent" if mutant.equivalent else "SURVIVED"
    print(f"{outcome:10} {took:5.1f} s  {mutant.area}: {mutant.why}", flush=True)
    return status == PASSED


def report(mutants: Sequence[Mutant], survived: Sequence[bool]) -> int:
    """Print those that should have been killed, and counts by area; return the exit status."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    wrong = 0
    for mutant, alive in zip(mutants, survived, strict=True):
        outcome = (2 if alive else 0) + bool(mutant.equivalent)  # killed, killed but argued, survived, equivalent
        counts[mutant.area][outcome] += 1
        if outcome in (1, 2):
            wrong += 1
            print(f"\n{'SURVIVED' if alive else 'KILLED, though argued to be equivalent'}: {mutant}")
            print(f"    tests: {', '.join(mutant.tests)}" if alive else f"    argument: {mutant.equivalent}")
    print(f"\n{'area':16} mutants  killed  survivors  equivalent")
    for area, (killed, refuted, alive, equivalent) in sorted(counts.items()):
        print(f"{area:16} {killed + refuted + alive + equivalent:7} {killed + refuted:7} {alive:10} {equivalent:11}")
    sums = [sum(column) for column in zip(*counts.values(), strict=True)]
    print(f"{'total':16} {sum(sums):7} {sums[0] + sums[1]:7} {sums[2]:10} {sums[3]:11}")
    return int(wrong > 0)


def chosen(mutants: Iterable[Mutant], only: Sequence[str]) -> list[Mutant]:
    """Return the mutants of some areas; behind a slash stands what their file, text or mistake must contain."""
    found = []
    for mutant in mutants:
        for each in only or ["*"]:
            area, _, text = each.partition("/")
            if fnmatch.fnmatch(mutant.area, area or "*") and text in f"{mutant.file} {mutant.was} {mutant.why}":
                found.append(mutant)
                break
    return found


def main() -> int:
    """Read the lists, run the mutants, report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="mutants at a time (2)")
    parser.add_argument("--only", action="append", default=[], metavar="AREA[/TEXT]", help="may be given several times")
    arguments = parser.parse_args()
    mutants, start = chosen(read_mutants(), arguments.only), time.monotonic()
    stale = [f"{mutant}\n    {problem}" for mutant in mutants if (problem := mutant.problem(ROOT))]
    if stale or not mutants:
        sys.exit("\n".join(stale) or f"no mutants of {arguments.only}")
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        copies = Copies(Path(folder), arguments.jobs)
        seconds = check_tests(copies, mutants, pool)
        survived = list(pool.map(lambda mutant: survives(copies, mutant, seconds), mutants))
    status = report(mutants, survived)
    print(f"{(time.monotonic() - start) / 60:.1f} minutes, {arguments.jobs} at a time")
    return status


if __name__ == "__main__":
    sys.exit(main())
