"""Visual tokens of several splits read as one store."""

import pytest
import torch

from unike_lib.backbones.visual import VisualStore
from unike_lib.io import write_tensors
from unike_lib.types import InputError


def test_images_are_found_in_every_file(tmp_path):
    tokens = {name: torch.randn(2, 3) for name in "abc"}
    write_tensors(tmp_path / "one.safetensors", {name: tokens[name] for name in "ab"}, "mark")
    write_tensors(tmp_path / "two.safetensors", {"c": tokens["c"]}, "mark")
    store = VisualStore(tmp_path / "one.safetensors", tmp_path / "two.safetensors")
    torch.testing.assert_close(store(["c", "a"]), torch.stack([tokens["c"], tokens["a"]]), atol=0, rtol=0)
    with pytest.raises(InputError, match=r"one\.safetensors, .*two\.safetensors: no visual features of image 'd'"):
        store(["d"])
    with pytest.raises(InputError, match=r"none\.safetensors: no readable visual features"):
        VisualStore(tmp_path / "one.safetensors", tmp_path / "none.safetensors")
