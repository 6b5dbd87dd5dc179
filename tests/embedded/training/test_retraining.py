"""The weights that come with the library are what their recipe gives (`make retrain-test`, some minutes)."""

from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from unike_lib.backbones.generate import generate
from unike_lib.backbones.load import load_backbone, load_processor
from unike_lib.backbones.visual import embed_images
from unike_lib.benchmark.cases import read_files
from unike_lib.config.run import load_config
from unike_lib.embedded.training.pretrain import pretrain
from unike_lib.embedded.training.recipe import Recipe
from unike_lib.embedded.world.benchmark import write_benchmark

ROOT = Path(__file__).parents[3]


def answers(folder, config, benchmark, queries):
    processor = load_processor(folder, config)

    def images(names):
        return embed_images(backbone.model, processor, [Image.open(benchmark / name).convert("RGB") for name in names])

    backbone = load_backbone(folder, config, images)
    return generate(backbone, queries, [[] for _ in queries], None, 16)


@pytest.mark.retrain
@torch.no_grad()
def test_blip2_nano_trained_anew_answers_as_the_shipped_one(tmp_path):
    config = load_config(yaml.safe_load((ROOT / "config.yaml").read_text()))
    benchmark = tmp_path / "benchmark"
    write_benchmark(benchmark, config.benchmark, config.seed)
    found = {}
    for name, shipped in (("shipped", True), ("trained", False)):
        settings = config.pretrain.model_copy(update={"shipped": shipped})
        backbone, vocabulary = config.backbones["blip2-nano"], benchmark / "vocabulary.json"
        recipe = Recipe(benchmark, None, vocabulary, backbone, settings, config.seed)
        with torch.enable_grad():
            pretrain(recipe, tmp_path / name)
        cases = read_files([benchmark / "eval_vqa.json"], "general")
        found[name] = answers(tmp_path / name, backbone, benchmark, [case.request.query for case in cases])
    assert len(set(map(tuple, found["shipped"]))) > 5
    assert found["trained"] == found["shipped"]
