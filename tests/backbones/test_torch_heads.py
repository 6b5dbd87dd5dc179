"""Shapes read from torch's own files against what torch itself reads there; nothing inside is run."""

import os
import pickle
from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_folder import refusal
from torch import nn

from unike_lib.backbones.torch_heads import torch_shapes
from unike_lib.types import InputError

FORMATS = {"today": {}, "before 2020": {"_use_new_zipfile_serialization": False}}
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.bool)


def entries():
    """Of every dtype; parameters, buffers, parts of one storage, a number, none at all, a module's own table."""
    base = torch.arange(24.0).reshape(4, 6)
    found = OrderedDict((str(dtype), torch.ones(2, 3, dtype=dtype)) for dtype in DTYPES)
    found |= {"turned": base.T, "row": base[1], "number": torch.tensor(3.0), "empty": torch.empty(0, 5)}
    found |= {"parameter": nn.Parameter(base), "epoch": 3, "name": "x", "size": base.shape}
    return found


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(
    "made", [entries, lambda: nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).state_dict(), dict]
)
def test_shapes_are_those_that_torch_reads(tmp_path, form, made):
    torch.save(made(), tmp_path / "x.bin", **form)
    theirs = torch.load(tmp_path / "x.bin", weights_only=True)
    tensors = {name: tuple(value.shape) for name, value in theirs.items() if isinstance(value, torch.Tensor)}
    assert torch_shapes(tmp_path / "x.bin") == tensors


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_what_is_inside_is_not_run(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.ones(2), "b": Harm()}, "x.bin", **form)
    assert torch_shapes(tmp_path / "x.bin") == {"a": (2,)} and not (tmp_path / "harm").exists()
    torch.save(Harm(), "x.bin", **form)
    assert "not a file of weights" in refusal(lambda: torch_shapes(tmp_path / "x.bin"))
    (tmp_path / "x.bin").write_bytes(pickle.dumps(Harm()))
    assert "half a file, no file of torch's" in refusal(lambda: torch_shapes(tmp_path / "x.bin"))
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_ends_in_a_line_or_in_shapes(tmp_path_factory, form, data):
    file = tmp_path_factory.mktemp("torch") / "x.bin"
    torch.save({"a": torch.ones(2, 3), "b": torch.ones(4)}, file, **form)
    content = bytearray(file.read_bytes())
    end = data.draw(st.integers(0, len(content)))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    file.write_bytes(content[:end])
    try:
        assert all(isinstance(name, str) for name in torch_shapes(file))
    except InputError as error:
        assert str(error).startswith(f"{file}: ") and "\n" not in str(error)


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_half_a_file_is_said_to_be_one(tmp_path, form):
    file = tmp_path / "x.bin"
    torch.save({"a": torch.ones(2, 3)}, file, **form)
    whole = file.stat().st_size
    os.truncate(file, whole - 1)
    expected = f"{whole - 1} of {whole} bytes" if form else "it starts as one of torch's, and its end is missing"
    assert refusal(lambda: torch_shapes(file)) == f"{file}: half a file: {expected}; download it again"
