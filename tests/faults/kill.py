"""Kill the smoke run at random moments, let it go on each time, and compare its tables with those of a quiet run.

    python tests/faults/kill.py --kills 20 --seed 0 --cores 2

A kill is a SIGKILL for the driver alone (its jobs go on, and the next driver finds them at work), for one process of a
job alone, or for all of them. It comes some seconds after a number of finished steps; both are drawn, so that the kills
are spread over the whole run, on a busy machine too. After each, every Parquet, safetensors and JSON file that has its
final name must be whole. At the end, every CSV file of tables and figures must be that of the quiet run, byte for byte;
what a run measured of itself (time, memory) is left out.
A run that ends before all kills are spent is compared, and the next one starts in a new folder.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from unike_lib.checksum import check_content
from unike_lib.io import read_json
from unike_lib.reporting.protocol import MEASURED

ROOT = Path(__file__).parents[2]
MODES = ("driver", "job", "all")
OF_LONG_SESSIONS = ("seconds_per_edit", "bytes_per_edit", "peak_mb")  # measured in retention_cost.csv


class Pace(NamedTuple):
    """The quiet run's length, and the kills that are spread over as much."""

    seconds: float
    steps: int
    kills: int


class Run:
    """A smoke run in a folder: its drivers, one after the other, each the leader of a process group."""

    def __init__(self, folder: Path, cores: int, target: str) -> None:
        folder.mkdir()
        self.folder, self.log = folder, folder / "drivers.log"
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        command += ["--directory", str(folder), "--configfile", str(ROOT / "presets" / "smoke.yaml")]
        # Several parts per job; no lock: a killed driver leaves its lock behind, which `--unlock` would remove.
        command += ["--config", "evaluation={sessions: 2}", "--nolock", "--cores", str(cores)]
        self.command = [*command, "--keep-going", "--rerun-incomplete", "--", target]
        self.drivers: list[subprocess.Popen[bytes]] = []
        self.spoiled = False

    def start(self) -> None:
        """Start a driver."""
        with self.log.open("ab") as log:
            driver = subprocess.Popen(self.command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        self.drivers.append(driver)
        self.spoiled = False

    def ended(self, seconds: float | None) -> bool:
        """Wait so long for the driver; return whether all is made, or end the program if nobody killed what failed.

        A driver that ends because one of its jobs was killed is replaced.
        """
        try:
            failed = self.drivers[-1].wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        if failed and not self.spoiled:
            sys.exit(f"{self.log.read_text()[-6000:]}\na run failed by itself")
        if failed:
            self.start()
        return not failed

    def steps(self) -> int:
        """Return how many steps all drivers have finished."""
        return self.log.read_bytes().count(b" steps (")

    def advance(self, steps: int, seconds: float) -> bool:
        """Wait for so many more steps, then so many seconds; return whether all is made."""
        wanted = self.steps() + steps
        while self.steps() < wanted:
            if self.ended(0.2):
                return True
        return self.ended(seconds)

    def kill(self, mode: str, rng: random.Random) -> str:
        """Kill the driver, a process of a job (all, if no job is running), or all; return what was killed."""
        leader = self.drivers[-1].pid
        others = sorted(set(members(leader)) - {leader})
        if mode == "job" and others:
            self.spoiled = True
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(rng.choice(others), signal.SIGKILL)
            return f"one of {len(others)} processes of jobs"
        if mode == "driver":
            self.drivers[-1].kill()
        else:
            self.end()
        self.drivers[-1].wait()
        self.start()
        return f"the driver, {len(others)} processes of jobs {'live on' if mode == 'driver' else 'too'}"

    def end(self) -> None:
        """Kill whatever any driver started and is still running."""
        for driver in self.drivers:
            if members(driver.pid):
                os.killpg(driver.pid, signal.SIGKILL)

    def finish(self) -> float:
        """Let the run go on to its end; return the seconds it took."""
        begun = time.monotonic()
        while not self.ended(None):
            pass
        self.end()
        return time.monotonic() - begun

    def check_whole(self) -> None:
        """Read the files that have their final names: one that is not whole is an InputError."""
        readers = {".parquet": check_content, ".safetensors": check_content, ".json": read_json}
        for file in self.folder.glob("results/**/*"):
            final = not any(part.startswith(".") for part in file.relative_to(self.folder).parts)
            if final and file.suffix in readers and file.exists():  # a job that lives on may have removed it
                readers[file.suffix](file)

    def tables(self) -> dict[str, bytes]:
        """Return the tables, and the numbers behind the figures, by name; columns of measured costs are taken out."""
        files = [file for file in self.folder.glob("results/**/*.csv") if "stages" not in file.parts]
        return {file.name: repeatable(file) for file in sorted(files)}


def repeatable(file: Path) -> bytes:
    """Return a CSV file's bytes, without the columns that no two runs have the same."""
    content = file.read_bytes()
    table = pd.read_csv(BytesIO(content), dtype=str, keep_default_na=False)
    measured = [name for name in (*MEASURED, *OF_LONG_SESSIONS) if name in table]
    return table.drop(columns=measured).to_csv(index=False).encode() if measured else content


def members(group: int) -> list[int]:
    """Return the living processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(stat.parent.name))
    return found


def disturbed(run: Run, quiet: Pace, modes: list[str], rng: random.Random) -> int:
    """Start a run, kill something of it by each mode, and let it finish; return how many kills it took."""
    run.start()
    most = round(1.2 * quiet.steps / quiet.kills)
    for number, mode in enumerate(modes):
        if run.advance(rng.randint(0, most), rng.uniform(0, 2 * quiet.seconds / quiet.steps)):
            run.end()
            return number
        print(f"  after {run.steps()} steps: {run.kill(mode, rng)}", flush=True)
        run.check_whole()
    run.finish()
    return len(modes)


def compare(expected: dict[str, bytes], run: Run) -> None:
    """End the program if a table differs, or if parts of a job were left behind."""
    found = run.tables()
    differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    left = [str(path) for path in run.folder.glob("results/**/.*.chunks")]
    if differing or left:
        sys.exit(f"{run.folder}: tables that differ: {differing or 'none'}; parts left behind: {left or 'none'}")
    print(f"  {len(found)} tables are the same", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill the smoke run at random moments and compare its tables.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--target", default="all", help="what is made, for example results/table4.csv")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    rng, rounds = random.Random(given.seed), 0
    modes = [MODES[number % len(MODES)] for number in range(given.kills)]
    rng.shuffle(modes)
    with tempfile.TemporaryDirectory(prefix="unike-faults-") as temporary, ExitStack() as living:
        quiet = Run(Path(temporary, "quiet"), given.cores, given.target)
        living.callback(quiet.end)
        quiet.start()
        seconds, expected = quiet.finish(), quiet.tables()
        if not expected:
            sys.exit("the quiet run wrote no table")
        pace = Pace(seconds, quiet.steps(), given.kills)
        print(f"quiet run: {seconds:.0f} s, {pace.steps} steps, {len(expected)} tables", flush=True)
        while modes:
            rounds += 1
            run = Run(Path(temporary, f"disturbed{rounds}"), given.cores, given.target)
            living.callback(run.end)
            del modes[: disturbed(run, pace, modes, rng)]
            compare(expected, run)
    print(f"{given.kills} kills in {rounds} runs (seed {given.seed}): every table as in the quiet run")


if __name__ == "__main__":
    main()
