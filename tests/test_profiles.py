"""The profiles: what a job asks for on a cluster, and how many jobs may use GPUs on one machine."""

import os
import re
from functools import partial
from pathlib import Path

import pytest
import yaml
from forked_snakemake import snakemake
from snakemake.settings.types import SharedFSUsage

ROOT = Path(__file__).parents[1]
RULES = "".join(file.read_text() for file in sorted((ROOT / "rules").glob("*.smk")))
SLURM = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())


def test_the_cluster_profile_names_every_rule_that_is_submitted():
    rules = set(re.findall(r"^ *rule (\w+):$", RULES, re.MULTILINE))
    parts = re.split(r"^ *rule ", RULES, flags=re.MULTILINE)
    local = {part.split(":")[0] for part in parts if "localrule: True" in part}
    assert local == {"smollm_wheel", "lavis_environment"}  # what needs a network
    assert set(SLURM["set-resources"]) == rules - local


@pytest.mark.parametrize("resource", ["mem_mb", "runtime"])
def test_every_retry_asks_for_more(resource):
    assert SLURM["retries"] >= 1
    for rule, resources in {"default": SLURM["default-resources"], **SLURM["set-resources"]}.items():
        asked = [eval(resources[resource], {"attempt": attempt}) for attempt in range(1, SLURM["retries"] + 2)]
        assert asked == sorted(set(asked)), rule


def test_the_cluster_profile_asks_for_more_memory_than_the_rule_says(jobs):
    said = {job.rule: job.resources.get("mem_mb") for job in jobs if job.script}
    assert len(said) > 25
    for rule, megabytes in said.items():
        if rule != "smollm_wheel":  # where Snakemake runs
            assert eval(SLURM["set-resources"][rule]["mem_mb"], {"attempt": 1}) >= megabytes + 300, rule


@pytest.mark.parametrize(("device", "gpus"), [("cuda", {"1"}), ("cpu", {"0"})])
def test_a_job_asks_for_one_gpu_if_its_backbone_is_on_one(tmp_path, device, gpus):
    overlay = tmp_path / "mine.yaml"
    overlay.write_text(
        yaml.safe_dump(
            {
                "backbones": {"blip2-nano": {"device": device}},
                "tables": {"table1": {"backbones": ["blip2-nano"]}},
            }
        )
    )
    profile = ["--workflow-profile", ROOT / "profiles" / "local", "--resources", "gpu=4"]
    status, text = snakemake(tmp_path, "-n", *profile, "--configfile", overlay, "--", "results/table1.csv")
    assert status == 0, text
    for job in re.split(r"\n(?=(?:local)?rule )", text):
        rule = re.match(r"(?:local)?rule (\w+):", job)
        if rule and rule[1] in ("visual", "records", "positive_control"):
            assert set(re.findall(r"\bgpu=(\d)", job)) == gpus, job
        elif rule and rule[1] in ("benchmark", "encoders", "table"):
            assert "gpu=" not in job


def test_no_profile_keeps_anything_below_the_home_folder():
    """Snakemake makes its cache of sources there, before it reads a Snakefile, unless that is not shared."""
    local = yaml.safe_load((ROOT / "profiles" / "local" / "config.yaml").read_text())
    everything = {each.name.lower().replace("_", "-") for each in SharedFSUsage}
    assert (
        set(SLURM["shared-fs-usage"])
        == set(local["shared-fs-usage"])
        == everything - {"source-cache", "software-deployment-cache"}
    )


def _show_caches(home):
    from snakemake.dag import DAG

    async def summary(dag, detailed):
        yield f"cache: {os.environ.get('XDG_CACHE_HOME')}"

    DAG.summary = summary
    os.environ.pop("XDG_CACHE_HOME", None)
    os.environ["HOME"] = home


@pytest.mark.parametrize("nowhere", [True, False])
def test_jobs_take_over_caches_that_can_be_written(tmp_path, nowhere):
    """Where those below the home folder cannot be, they lie in the working folder."""
    home, work = "/dev/null/home" if nowhere else str(tmp_path), tmp_path / "work"
    profile = ("--workflow-profile", ROOT / "profiles" / "local")
    status, text = snakemake(work, "--summary", *profile, prepare=partial(_show_caches, home))
    assert status == 0, text
    assert f"cache: {work / '.snakemake' / 'cache' if nowhere else None}\n" in text
