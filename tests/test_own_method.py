"""The example of a method in a user's file: planned beside the library's, built and asked as they are, re-run alone."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from forked_snakemake import snakemake
from tiny_models import QUERIES

from unike_lib.backbones.forward import answer_logits
from unike_lib.code_digest import entry_digest
from unike_lib.config.run import load_config
from unike_lib.editing.building import EditorSources, build_editor
from unike_lib.editing.editor import edit_loss, request_trunk
from unike_lib.method import method_of, resolve_method
from unike_lib.types import InputError

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_method"


@pytest.fixture
def folder(in_example):
    return in_example(EXAMPLE)


def test_the_file_is_short_and_the_configuration_knows_its_variants(folder):
    assert len((EXAMPLE / "steer.py").read_text().splitlines()) <= 80
    entries = load_config(yaml.safe_load((folder / "config.yaml").read_text())).methods
    assert method_of(entries, "steer-longer").title == "Steering"
    assert resolve_method(entries, "steer-longer").steps == 60 and resolve_method(entries, "steer").steps == 20
    with pytest.raises(InputError, match=r"methods\.steer: step"):
        load_config({"methods": {"steer": {"method": "steer.py:METHOD", "step": 3}}})


def test_its_edits_are_learned_session_by_session(folder, make_backbone, cases):
    backbone = make_backbone("minigpt4")
    settings = resolve_method({"steer": {"method": "steer.py:METHOD", "learning_rate": 0.2}}, "steer")
    editor = build_editor(settings, backbone, EditorSources(folder), 0)
    requests = [case.request for case in cases[:2]]
    outcome = editor.edit(requests, editor.start(2))
    before, after = (
        edit_loss(backbone, request_trunk(backbone, requests), patch) for patch in (editor.start(2), outcome.patch)
    )
    assert outcome.failures == (None, None) and bool((after < before - 0.1).all())
    alone = editor.edit(requests[1:], editor.start(1)).patch
    both, one = answer_logits(backbone, QUERIES, outcome.patch), answer_logits(backbone, QUERIES[2:], alone)
    torch.testing.assert_close(both.logits[-len(one.logits) :], one.logits, atol=1e-4, rtol=1e-4)
    again = editor.edit(requests, outcome.patch)
    kept = again.patch.revert(torch.tensor([False, True]), outcome.patch)
    torch.testing.assert_close(kept.select([0]).tensors(), outcome.patch.select([0]).tensors())


def test_the_readmes_command_is_planned_and_an_edit_of_the_file_changes_its_digest(folder):
    command = re.search(r"--directory (\S+) --configfile (\S+) (\S+) -- (\S+)", (EXAMPLE / "README.md").read_text())
    assert command[1] == "examples/own_method" and command[3] == "examples/own_method/config.yaml"
    preset = EXAMPLE.parents[1] / command[2]
    status, text = snakemake(folder, "-n", "--configfile", preset, folder / "config.yaml", "--", command[4])
    assert status == 0, text
    planned = set(re.findall(r"k1/([\w-]+)\.parquet", text))
    assert {"base", "fine-tune", "steer", "steer-longer"} <= planned
    first, file = entry_digest(folder / "steer.py"), folder / "steer.py"
    file.write_text("# explained\n" + file.read_text())
    assert entry_digest(file) == first
    file.write_text(file.read_text().replace('within("prompt"', 'within("all"'))
    assert entry_digest(file) != first
