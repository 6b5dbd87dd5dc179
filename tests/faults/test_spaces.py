"""Paths that have spaces, and a home folder that cannot be written: a real rule runs there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


NOWHERE = {"HOME": "/dev/null/home", "TMPDIR": "/dev/null/temporary", "XDG_CACHE_HOME": "/dev/null/cache"}


@pytest.mark.fuzz
@pytest.mark.parametrize("variables", [{}, NOWHERE], ids=["spaces", "nothing of the user's can be written"])
def test_a_rule_runs_where_paths_have_spaces(tmp_path, variables):
    checkout = tmp_path / "my first project"
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for name in ("rules", "workflow_scripts", "presets", "profiles", "unike_lib"):
        shutil.copytree(ROOT / name, checkout / name, ignore=ignored)
    for name in ("Snakefile", "config.yaml", "environment.yml"):
        shutil.copy(ROOT / name, checkout)
    (checkout / ".venv").symlink_to(sys.prefix)
    command = [str(checkout / ".venv/bin/python"), "-m", "snakemake", "--workflow-profile", "profiles/local"]
    command += ["--cores", "1", "--configfile", "presets/smoke.yaml", "--directory", "working folder"]
    environment = os.environ | {"PYTHONPATH": str(checkout)} | variables
    for more in (["-n"], ["--", "results/stages/benchmark/eval_vqa.json"]):
        done = subprocess.run([*command, *more], cwd=checkout, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (checkout / "working folder/results/stages/benchmark/eval_vqa.json").is_file()
