"""A folder's image processor: what it saved, what it cannot do, and what the tower makes of its pictures."""

import json
import shutil

import pytest
from test_folder import LLAVA, refusal, save
from tiny_families import picture
from tiny_models import tiny_model as tiny_blip2
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from unike_lib.backbones.load import load_model, load_processor
from unike_lib.backbones.visual import embed_images
from unike_lib.config.backbones import BackboneConfig


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return save("llava", tmp_path_factory.mktemp("good"))


@pytest.fixture
def folder(good, tmp_path):
    return shutil.copytree(good, tmp_path / "model")


def test_limits_that_a_processor_saved_do_not_change_the_size(tmp_path):
    folder = save("qwen2-vl", tmp_path / "qwen")
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"min_pixels": 64, "max_pixels": 256}))
    processor = load_processor(folder, BackboneConfig(family="qwen2-vl", folder="x", image_size=48))
    assert processor(images=[picture("one")], return_tensors="pt")["image_grid_thw"].tolist() == [[1, 12, 12]]
    tiny_blip2("blip2").save_pretrained(tmp_path / "blip2")
    BlipImageProcessorPil(size={"height": 8, "width": 8}, do_resize=False).save_pretrained(tmp_path / "blip2")
    config = BackboneConfig(family="blip2", folder="x", image_size=16)
    found = refusal(lambda: load_processor(tmp_path / "blip2", config))
    assert "image_size is 16, but pictures become 16 x 32" in found and "do_resize False" in found


def test_a_processor_that_cannot_work_is_named(folder):
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"image_mean": [0.5, 0.5]}))
    found = refusal(lambda: load_processor(folder, LLAVA))
    assert found.startswith(f"{folder}: no readable image processor; expected one that save_pretrained wrote, whole (")
    file.unlink()
    assert f"{file}: no such file; expected" in refusal(lambda: load_processor(folder, LLAVA))


def test_visual_tokens_that_are_no_numbers_are_named(good):
    model = load_model(good, LLAVA)
    model.model.multi_modal_projector.linear_1.weight.data.fill_(float("nan"))
    found = refusal(lambda: embed_images(model, load_processor(good, LLAVA), [picture("one")]))
    assert str(good) in found and "visual tokens are not numbers" in found and "float32" in found
