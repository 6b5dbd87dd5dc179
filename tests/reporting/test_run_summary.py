"""What ran and how long: Snakemake's benchmark files, by rule and as run.json."""

import json
import os

import numpy
import pandas as pd
import pytest

from unike_lib.reporting.run_summary import Run, job_times, run_times, write_run

HEADER = "s\th:m:s\tmax_rss\tcpu_time\n"


@pytest.fixture
def benchmarks(tmp_path):
    """Two jobs of a rule, one of another, one too short to be sampled, one that was touched; in this order."""
    jobs = {
        "states/left": "2.0\t0:00:02\t200.0\t1.5\n",
        "states/right": "3.5\t0:00:03\t350.0\t3.0\n",
        "table1": "1.0\t0:00:01\t100.0\t0.5\n",
        "quick": "0.1\t0:00:00\t-\t0.0\n",
        "touched": None,
    }
    folder = tmp_path / "benchmarks"
    for ended, (name, row) in enumerate(jobs.items(), start=1):
        path = folder / f"{name}.tsv"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("\n" if row is None else HEADER + row)
        os.utime(path, (1000 * ended, 1000 * ended))
    return folder


def test_run_times_are_sums_by_rule(benchmarks, tmp_path):
    table = run_times(benchmarks)
    assert table["rule"].tolist() == ["states", "table1", "quick"]
    assert table.loc[0, ["jobs", "seconds", "longest", "memory"]].tolist() == [2, 5.5, 3.5, 350.0]
    assert run_times(tmp_path / "nothing").empty and isinstance(table, pd.DataFrame)


def test_jobs_come_in_the_order_they_ended(benchmarks):
    jobs = job_times(benchmarks)
    assert [job.job for job in jobs] == ["states/left", "states/right", "table1", "quick"]
    assert [job.rule for job in jobs[:2]] == ["states", "states"]
    assert jobs[-1].peak_memory is None


def test_the_summary_tells_this_run_from_earlier_ones(benchmarks, tmp_path):
    out = tmp_path / "run.json"
    run = Run("failed", started=1500.0, targets=["results/table1.csv"], config_files=["config.yaml"])
    write_run(run, {"seed": 0}, benchmarks, out)
    found = json.loads(out.read_text())
    assert [job["job"] for job in found["jobs"]] == ["states/right", "table1", "quick"]
    assert [job["job"] for job in found["earlier_jobs"]] == ["states/left"]
    assert (found["status"], found["job_seconds"], found["peak_memory_mb"]) == ("failed", 4.6, 350.0)
    assert found["started"] == "1970-01-01T00:25:00+00:00" and found["jobs"][0]["ended"] == "1970-01-01T00:33:20+00:00"
    assert found["versions"]["numpy"] == numpy.__version__
    write_run(run, {"seed": 1}, benchmarks, out)
    assert json.loads(out.read_text())["config_hash"] != found["config_hash"]
