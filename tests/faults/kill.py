"""Kill the smoke run at random moments, let it go on each time, and compare its tables with those of a quiet run.

    python tests/faults/kill.py --kills 20 --seed 0 --cores 2

Driver and jobs die together by SIGKILL. The tables are those of `results/`: every CSV file there, byte for byte. A run
that ends before all kills are spent is compared, and the next one starts in a new folder.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[2]


@contextmanager
def started(folder: Path, cores: int, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the smoke run as a process group of its own, and SIGKILL the whole group at the end of the block."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--configfile", str(ROOT / "presets" / "smoke.yaml"), "--cores", str(cores), "--rerun-incomplete"]
    with (folder / "driver.log").open("ab") as log:
        driver = subprocess.Popen([*command, *more], cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    try:
        yield driver
    finally:
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()


def finish(folder: Path, cores: int, *more: str) -> float:
    """Run to the end without a disturbance; return the seconds it took."""
    begun = time.monotonic()
    with started(folder, cores, *more) as driver:
        if driver.wait():
            fail(folder)
    return time.monotonic() - begun


def killed(folder: Path, cores: int, targets: list[str], after: float) -> bool:
    """Start a run and kill all of it after some seconds; return whether it was still running."""
    with started(folder, cores, "--", *targets) as driver:
        try:
            if driver.wait(timeout=after):
                fail(folder)
            return False
        except subprocess.TimeoutExpired:
            pass
    finish(folder, cores, "--unlock")
    return True


def fail(folder: Path) -> NoReturn:
    """End the program: a run that nobody killed came to a bad end."""
    sys.exit(f"{(folder / 'driver.log').read_text()[-3000:]}\na run failed by itself")


def tables(folder: Path) -> dict[str, bytes]:
    """Return the tables of a finished run by name."""
    return {file.name: file.read_bytes() for file in sorted((folder / "results").glob("*.csv"))}


def compare(expected: dict[str, bytes], folder: Path) -> None:
    """End the program if a table differs, or if something unfinished was left behind."""
    found = tables(folder)
    differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    left = [str(path) for path in (folder / "results").rglob(".*.chunks")]
    if differing or left:
        sys.exit(f"{folder}: tables that differ: {differing or 'none'}; parts left behind: {left or 'none'}")
    print(f"  {len(found)} tables are the same", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill the smoke run at random moments and compare its tables.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--targets", nargs="+", default=["all"], help="what is made, for example results/table1.csv")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    rng, spent, rounds = random.Random(given.seed), 0, 0
    with tempfile.TemporaryDirectory(prefix="unike-faults-") as temporary:
        quiet = Path(temporary, "quiet")
        quiet.mkdir()
        seconds = finish(quiet, given.cores, "--", *given.targets)
        expected = tables(quiet)
        if not expected:
            sys.exit("the quiet run wrote no table")
        print(f"quiet run: {seconds:.0f} s, {len(expected)} tables", flush=True)
        while spent < given.kills:
            rounds += 1
            folder = Path(temporary, f"killed{rounds}")
            folder.mkdir()
            running = True
            while running and spent < given.kills:
                after = rng.uniform(1.0, max(2.0, 0.5 * seconds))
                running = killed(folder, given.cores, given.targets, after)
                spent += running
                print(f"  kill {spent}: after {after:.1f} s" if running else "  finished before the kill", flush=True)
            finish(folder, given.cores, "--", *given.targets)
            compare(expected, folder)
    print(f"{spent} kills in {rounds} runs (seed {given.seed}): every table as in the quiet run")


if __name__ == "__main__":
    main()
