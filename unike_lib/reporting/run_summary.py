"""What ran, how long, and how much memory it took: times of jobs from Snakemake's benchmark files, and run.json."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from unike_lib import __version__
from unike_lib.io import fingerprint_of, write_json
from unike_lib.reporting.provenance import versions

TIME_COLUMNS = ("rule", "jobs", "seconds", "longest", "memory")


@dataclass(frozen=True)
class JobTime:
    """The latest run of a job: `job` is its benchmark file below the folder of all, without the ending.

    seconds: wall time, start of Python included; cpu_seconds; peak_memory: MB of resident memory; the latter two are
    None where the job was too short to be sampled. ended: seconds since 1970.
    """

    job: str
    seconds: float
    cpu_seconds: float | None
    peak_memory: float | None
    ended: float

    @property
    def rule(self) -> str:
        """The rule's name."""
        return self.job.split("/")[0]


def job_times(folder: Path) -> list[JobTime]:
    """Return the latest run of every job below a folder {rule}.tsv or {rule}/.../{job}.tsv, in the order they ended.

    A file without a row (a job that was only touched) is left out.
    """
    found = []
    for path in sorted(folder.rglob("*.tsv")):
        if not path.read_text(encoding="utf-8").strip():
            continue
        table = pd.read_csv(path, sep="\t", na_values="-")
        name = path.relative_to(folder).with_suffix("").as_posix()
        cpu = _number(table["cpu_time"].sum()) if "cpu_time" in table else None
        memory = _number(table["max_rss"].max())
        found.append(JobTime(name, float(table["s"].sum()), cpu, memory, path.stat().st_mtime))
    return sorted(found, key=lambda job: (job.ended, job.job))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def run_times(folder: Path) -> pd.DataFrame:
    """Return time and memory by rule: the latest run of each job.

    Args:
        folder: of the benchmark files.

    Returns:
        One row per rule, longest first: `rule`, `jobs`, `seconds` (sum), `longest` (s), `memory` (most of a job, MB).
    """
    jobs = job_times(folder)
    if not jobs:
        return pd.DataFrame(columns=list(TIME_COLUMNS))
    rows = [{"rule": job.rule, "seconds": job.seconds, "memory": job.peak_memory} for job in jobs]
    times = (
        pd.DataFrame(rows)
        .astype({"memory": float})
        .groupby("rule")
        .agg(jobs=("seconds", "size"), seconds=("seconds", "sum"), longest=("seconds", "max"), memory=("memory", "max"))
    )
    return times.sort_values("seconds", ascending=False).reset_index()


@dataclass(frozen=True)
class Run:
    """A call of Snakemake: how it ended, when it began (seconds since 1970), its targets and configuration files."""

    status: str
    started: float
    targets: Sequence[str]
    config_files: Sequence[str]


def write_run(run: Run, config: Mapping[str, Any], benchmarks: Path, out: Path) -> None:
    """Write what a call of Snakemake ran, how long, with how much memory, with which versions and configuration.

    Args:
        run: the call.
        config: the validated configuration; its fingerprint is written.
        benchmarks: Snakemake's folder of times; jobs that ended after the start were part of the run, the others
            are what the results took over from earlier ones.
        out: the JSON file.
    """
    jobs = job_times(benchmarks)
    ran = [job for job in jobs if job.ended >= run.started]
    kept = [job for job in jobs if job.ended < run.started]
    now = datetime.now(UTC)
    memory = [job.peak_memory for job in ran if job.peak_memory is not None]
    write_json(
        out,
        {
            "status": run.status,
            "started": _time(run.started),
            "ended": now.isoformat(timespec="seconds"),
            "seconds": round(now.timestamp() - run.started, 2),
            "job_seconds": round(sum(job.seconds for job in ran), 2),
            "peak_memory_mb": max(memory, default=None),
            "targets": list(run.targets),
            "config_files": list(run.config_files),
            "config_hash": fingerprint_of(config),
            "cores": os.cpu_count(),
            "versions": {"unike": __version__, **versions()},
            "jobs": [_shown(job) for job in ran],
            "earlier_jobs": [_shown(job) for job in kept],
        },
    )


def _shown(job: JobTime) -> dict[str, Any]:
    values = asdict(job)
    values["peak_memory_mb"] = values.pop("peak_memory")
    return {**values, "ended": _time(job.ended)}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
