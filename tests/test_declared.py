"""Declared is used: a script reads what its rule declares, and a rule declares what its script reads; nothing else."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from declared_jobs import fake_library, made_up_job, run_script
from pydantic import create_model

from unike_lib import runtime
from unike_lib.backbones import load
from unike_lib.code_digest import library_files
from unike_lib.config.backbones import BackboneConfig
from unike_lib.config.base import UndeclaredError
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.config.evaluation import EvaluationConfig, PositiveControlConfig, StatisticsConfig
from unike_lib.config.figures import FiguresConfig, SpacesConfig, SweepConfig
from unike_lib.config.judge import JudgeConfig
from unike_lib.config.knowledge import EncoderConfig
from unike_lib.config.retention import RetentionConfig
from unike_lib.config.run import PretrainConfig, SmolConfig
from unike_lib.methods.unike.settings import UnikeMethod
from unike_lib.runtime import Declared, Job, Stage
from unike_lib.table_parts import ReportParts, TableParts

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "workflow_scripts").glob("*.py"))
# Of code and of users' files: they run a job again, no script reads them.
DIGESTS = {"code", "room", "dialect", "layout", "criteria", "files", "picture_files"}
SECTIONS = {
    "positive_control": PositiveControlConfig,
    "backbone": BackboneConfig,
    "benchmark": BenchmarkConfig,
    "encoders": EncoderConfig,
    "evaluation": EvaluationConfig,
    "fig5a": SpacesConfig,
    "figures": FiguresConfig,
    "judge": JudgeConfig,
    "pretrain": PretrainConfig,
    "report": ReportParts,
    "retention": RetentionConfig,
    "smol": SmolConfig,
    "statistics": StatisticsConfig,
    "sweep": SweepConfig,
    "table": TableParts,
}


@cache
def attributes(file, of=r"[\w)\]]"):
    """Return the names of all attributes that a file reads, or of those of one name."""
    return set(re.findall(rf"(?<={of})\.(\w+)", file.read_text()))


def sections_of(job):
    """Return the sections that a job declares, by name; of methods, those that are parts of one."""
    declared = {*job.params.keys(), *job.resources.keys()}
    names = {name: kind for name, kind in SECTIONS.items() if name in declared}
    return names | ({"method": UnikeMethod} if job.rule == "positive_control" else {})


def test_every_script_is_planned(jobs):
    assert {job.script for job in jobs} - {None} == {file.stem for file in SCRIPTS}


def test_scripts_read_all_parameters_of_their_rules_and_nothing_undeclared(jobs, monkeypatch):
    """A job of every kind is run in a library where nothing is real, and what it reads is written down."""
    read, known = {}, Declared.__getitem__

    def remember(declared, name):
        value = known(declared, name)
        read.setdefault(declared._kind, set()).add(name)
        return value

    fake_library(monkeypatch)
    monkeypatch.setattr(Declared, "__getitem__", remember)
    for job in {(job.rule, *job.input.keys()): job for job in jobs if job.script}.values():
        read.clear()
        run_script(job.script, job)
        assert read.get("parameter", set()) == set(job.params.keys()) - DIGESTS, job.rule


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_sees_its_job_alone(script):
    tree = ast.parse(script.read_text())
    (frame,) = [node for node in tree.body if isinstance(node, ast.With)]
    assert ast.unparse(frame.items[0]) == "Stage(snakemake) as job"
    assert [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Name)].count("snakemake") == 1
    assert "load_config" not in script.read_text()


def test_fields_of_sections_are_read(jobs):
    """What a rule picks out of a section stands somewhere in the code behind its script."""
    for script in SCRIPTS:
        read = set().union(*map(attributes, [script, *library_files(script), ROOT / "unike_lib" / "config" / "run.py"]))
        for job in (job for job in jobs if job.script == script.stem):
            for name in sections_of(job).keys() - {"benchmark", "report", "sweep"}:
                assert job.params.get(name, {}).keys() <= read, (job.rule, name)


def test_captions_read_what_their_rules_declare(jobs):
    of_rule = {job.rule: job for job in jobs}
    found = 0
    for file in (ROOT / "rules" / "captions").glob("*.rst"):
        for path in re.findall(r"snakemake\.params\.([\w.]+)", file.read_text()):
            value = of_rule["sweep_figure" if file.stem == "sweep" else file.stem].params
            for name in path.removesuffix(".items").split("."):
                value = value.get(name)
                assert value is not None, (file.name, path)
            found += 1
    assert found >= 6


def test_a_rule_that_opens_a_backbone_declares_what_opening_reads(jobs):
    """Its pictures are seen with the image size, so that this runs nothing again that they do not."""
    read = attributes(Path(load.__file__), r"\bconfig") & BackboneConfig.model_fields.keys()
    assert {"family", "device", "layers"} < read
    opens = {file.stem for file in SCRIPTS if "open_backbone(" in file.read_text()}
    assert len(opens) == 14
    for job in (job for job in jobs if job.script in opens):
        backbone = Job(job).backbone
        assert all(hasattr(backbone, field) for field in read), job.rule


def test_nothing_reads_a_field_that_its_rule_does_not_declare(jobs, monkeypatch):
    """Settings that have one more field than when the rules were written."""
    for job in {job.rule: job for job in jobs if job.script}.values():
        for name, kind in sections_of(job).items():
            wider = create_model(f"Wider{kind.__name__}", __base__=kind, made_up=(int, 3))
            section = Job(job).section(name, wider)
            message = f"rule {job.rule} does not declare field 'made_up' of Wider{kind.__name__}"
            with pytest.raises(UndeclaredError, match=message):
                _ = section.made_up
            declared = [field for field in kind.model_fields if field in section.model_fields_set]
            assert declared and [getattr(section, field) for field in declared]


def test_a_method_has_the_settings_of_its_own_variant_and_no_defaults(jobs):
    """In training, too: settings that act in editing alone run no training again, and are there all the same."""
    of_methods = [job for job in jobs if "method" in job.params.get("method", {})]
    assert {job.rule for job in of_methods} == {
        "records",
        "retention_records",
        "sweep_records",
        "train_editor",
        "tuning_trials",
    }
    for job in of_methods:
        settings = Job(job).method()
        assert settings.model_fields_set == type(settings).model_fields.keys(), job.rule
    nano = [job for job in of_methods if (job.rule, job.wildcards.backbone) == ("train_editor", "minigpt4-nano")]
    trained = {job.wildcards.method: job for job in nano}
    assert "strength" not in trained["mend"].params.method and Job(trained["mend"]).method().strength == 0.5
    assert "scope_radius" not in trained["serac"].params.method


def test_a_script_that_reads_an_undeclared_field_fails_and_says_so(tmp_path, monkeypatch):
    for variable in runtime.THREAD_VARIABLES:
        monkeypatch.setenv(variable, "1")  # restored afterwards
    params = {"backbone": {"family": "blip2"}, "seed": 1}
    job = made_up_job(log=[str(tmp_path / "log")], params=params, resources={"backbone": '{"device": "cpu"}'})
    reads = {
        "field 'vqa_prompt' of BackboneConfig": lambda job: job.backbone.vqa_prompt,
        "input 'cases'": lambda job: job.inputs.cases,
        "parameter 'sed'": lambda job: job.params.sed,
        "parameter 'evaluation'": lambda job: job.evaluation,
    }
    for what, read in reads.items():
        with pytest.raises(SystemExit) as stop, Stage(job) as seen:
            assert (seen.backbone.device, seen.backbone.family, seen.params.seed) == ("cpu", "blip2", 1)
            read(seen)
        assert stop.value.code == 1
        assert f"UndeclaredError: rule states does not declare {what}" in (tmp_path / "log").read_text()
    with pytest.raises(UndeclaredError, match="rule states declares field 'familly' of BackboneConfig, which has no"):
        BackboneConfig.declared({"familly": "blip2"}, "states")


def test_a_section_checks_what_is_declared():
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        EvaluationConfig.declared({"sessions": 0}, "sweep_records")
    settings = EvaluationConfig.declared({"sessions": 2}, "sweep_records").without_generation()
    assert (settings.sessions, settings.generate) == (2, False)
    with pytest.raises(UndeclaredError, match="rule sweep_records does not declare field 'max_new_tokens'"):
        _ = settings.max_new_tokens


def test_a_search_draws_its_trials_by_the_seed_of_the_edits(jobs):
    (seed,) = {job.params.seed for job in jobs if job.rule == "tuning_trials"}
    assert seed == 5
