"""Where the time of a run goes: compute, imports, files, start of Python, and Snakemake around the jobs."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from bench.subjects import ROOT


def measure(target: str, *settings: str) -> pd.DataFrame:
    """Make a target of the workflow from nothing in a folder of its own, one job after the other.

    Returns:
        One row per part: `part`, `seconds`, `share`. "start of Python" is what is left of the jobs' times as Snakemake
        measures them; "Snakemake" what is left of the whole run.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "clock").mkdir()
        shutil.copy(ROOT / "bench" / "job_clock.py", folder / "sitecustomize.py")
        path = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONPATH": path, "JOB_CLOCK": str(folder / "clock")}
        command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
        started = time.perf_counter()
        subprocess.run([*command, "--cores", "1", *settings, "--", target], check=True, env=environment, cwd=ROOT)
        whole = time.perf_counter() - started
        jobs = pd.DataFrame([json.loads(path.read_text()) for path in (folder / "clock").glob("*.json")])
        times = [pd.read_csv(path, sep="\t")["s"].sum() for path in (folder / "results").rglob("benchmarks/**/*.tsv")]
    inside = jobs[["imports", "files", "all"]].sum()
    parts = {
        "compute": inside["all"] - inside["imports"] - inside["files"],
        "imports": inside["imports"],
        "files": inside["files"],
        "start of Python": sum(times) - inside["all"],
        f"Snakemake, {len(jobs)} jobs": whole - sum(times),
    }
    return pd.DataFrame([{"part": part, "seconds": value, "share": value / whole} for part, value in parts.items()])


def shown(table: pd.DataFrame, target: str) -> str:
    lines = [f"Where the time of `{target}` goes:", "", "| Part | Seconds | Share |", "|---|---|---|"]
    lines += [f"| {row.part} | {row.seconds:.1f} | {row.share:.0%} |" for row in table.itertuples()]
    return "\n".join(lines)
