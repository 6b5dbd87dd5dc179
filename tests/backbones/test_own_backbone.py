"""The example of a family in a user's file: rows are laid out as it says, and a table with it is planned."""

import re
from pathlib import Path

import pytest
import torch
from forked_snakemake import snakemake
from tiny_models import QUERIES, tiny_images, tiny_model, tiny_tokenizer

from unike_lib.backbones.backbone import Backbone
from unike_lib.config.backbones import BackboneConfig
from unike_lib.family import find_family

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_backbone"


@pytest.fixture
def folder(in_example):
    return in_example(EXAMPLE)


def test_rows_have_the_layout_that_the_file_says(folder):
    config = BackboneConfig(family="family.py:FAMILY", folder="x", vqa_prompt="{}")
    backbone = Backbone(tiny_model("minigpt4"), tiny_tokenizer(), find_family(config.family), tiny_images, None, "{}")
    row = backbone.encode([QUERIES[1]]).embeddings[0]
    ids = [1, *tiny_tokenizer()("Q: what is a cat ? A: red")["input_ids"]]
    torch.testing.assert_close(row, backbone.model.get_input_embeddings()(torch.tensor(ids)))
    with pytest.raises(ValueError, match=r"no family\.py:FAMILY backbone is trained here"):
        BackboneConfig(family="family.py:FAMILY")
    with pytest.raises(ValueError, match=r"none\.py:FAMILY: no such file"):
        BackboneConfig(family="none.py:FAMILY", folder="x")


def test_the_readmes_command_is_planned(folder):
    command = re.search(r"--directory (\S+) --configfile (\S+) (\S+) -- (\S+)", (EXAMPLE / "README.md").read_text())
    assert command[1] == "examples/own_backbone" and command[3] == "examples/own_backbone/config.yaml"
    preset = EXAMPLE.parents[1] / command[2]
    status, text = snakemake(folder, "-n", "--configfile", preset, folder / "config.yaml", "--", command[4])
    assert status == 0, text
    assert {"minigpt4-nano", "mine"} <= set(re.findall(r"records/([\w-]+)/eval_vqa", text))
