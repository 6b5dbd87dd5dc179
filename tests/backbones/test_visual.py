"""Visual tokens: computed picture by picture, kept by name, and several splits read as one store."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from unike_lib.backbones import visual
from unike_lib.backbones.positions import check_pixels, resize_positions
from unike_lib.backbones.visual import VisualStore, extract_visual
from unike_lib.io import read_tensors, write_tensors
from unike_lib.types import InputError


def test_images_are_found_in_every_file(tmp_path):
    tokens = {name: torch.randn(2, 3) for name in "abc"}
    write_tensors(tmp_path / "one.safetensors", {name: tokens[name] for name in "ab"}, "fingerprint")
    write_tensors(tmp_path / "two.safetensors", {"c": tokens["c"]}, "fingerprint")
    store = VisualStore(tmp_path / "one.safetensors", tmp_path / "two.safetensors")
    torch.testing.assert_close(store(["c", "a"]), torch.stack([tokens["c"], tokens["a"]]), atol=0, rtol=0)
    with pytest.raises(InputError, match=r"one\.safetensors, .*two\.safetensors: no visual features of image 'd'"):
        store(["d"])
    with pytest.raises(InputError, match=r"none\.safetensors: no readable visual features"):
        VisualStore(tmp_path / "one.safetensors", tmp_path / "none.safetensors")


class Brightness:
    """A model and its image processor: a picture has one visual token, its brightness twice."""

    config = SimpleNamespace(model_type="bright")

    def parameters(self):
        return iter([torch.zeros(1)])

    def get_image_features(self, pixels):
        return SimpleNamespace(pooler_output=pixels.mean((1, 2, 3))[:, None, None].expand(-1, 1, 2))

    @staticmethod
    def prepare(images, return_tensors):
        return {
            "pixel_values": torch.stack([torch.tensor(np.array(image)).permute(2, 0, 1).float() for image in images])
        }


def test_every_picture_has_its_own_tokens_whatever_the_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(visual, "ROWS", 2)
    levels = {"e": 10, "a": 200, "d": 30, "b": 40, "c": 50}
    load = lambda name: Image.new("RGB", (4, 4), (levels[name],) * 3)  # noqa: E731
    extract_visual(
        Brightness(), Brightness.prepare, [*levels, "a", "e"], load, tmp_path / "v.safetensors", "fingerprint"
    )
    found = read_tensors(tmp_path / "v.safetensors", "fingerprint")
    assert {name: tokens.tolist() for name, tokens in found.items()} == {
        name: [[level, level]] for name, level in levels.items()
    }


def test_positions_are_resized_as_a_picture_whose_rows_and_columns_stay():
    """d = 1: the positions are a picture; bicubic by pixel areas, as LAVIS resizes them."""
    grid = torch.arange(9.0).view(1, 1, 3, 3).square()
    positions = torch.cat([torch.tensor([[[100.0]]]), grid.view(1, 9, 1)], 1)
    found = resize_positions(positions, 5)
    assert float(found[0, 0, 0]) == 100
    torch.testing.assert_close(found[0, 1:, 0].view(5, 5), interpolate(grid, (5, 5), mode="bicubic")[0, 0])
    assert resize_positions(positions, 3) is positions


@pytest.mark.parametrize("found", [(28, 20), (20, 28), (20, 20)])
def test_a_picture_that_is_not_the_towers_square_is_refused(found):
    model = SimpleNamespace(config=SimpleNamespace(model_type="blip-2", vision_config=SimpleNamespace(image_size=28)))
    check_pixels(model, torch.zeros(1, 3, 28, 28))
    with pytest.raises(InputError, match=f"{found[0]} x {found[1]} pixels, but the model takes 28 x 28"):
        check_pixels(model, torch.zeros(1, 3, *found))
