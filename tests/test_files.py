"""Files are replaced whole, carry the fingerprint of what made them, and a checksum that anybody can compute."""

import hashlib
import os
import re

import numpy as np
import pandas as pd
import pytest
import torch

from unike_lib import checksum
from unike_lib.io import atomic_path, read_table, read_tensors, write_csv, write_json, write_table, write_tensors
from unike_lib.types import InputError


def test_a_file_is_replaced_and_what_was_opened_before_stays_whole(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, ["old"])
    with path.open() as opened:
        write_json(path, ["new"])
        assert "old" in opened.read() and "new" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half of the new")
        assert temporary.parent == tmp_path and temporary.suffix == ".txt"
        1 / 0  # noqa: B018
    assert os.listdir(tmp_path) == ["a.txt"] and path.read_text() == "old"


def test_marks_are_compared_where_one_is_wanted(tmp_path):
    from safetensors.torch import save_file

    table, tensors = tmp_path / "t.parquet", tmp_path / "t.safetensors"
    write_table(table, pd.DataFrame({"x": [1]}), "a fingerprint")
    write_tensors(tensors, {"x": torch.ones(1)}, "a fingerprint")
    for read, path in ((read_table, table), (read_tensors, tensors)):
        assert read(path, "a fingerprint")["x"][0] == read(path)["x"][0] == 1
        with pytest.raises(
            InputError,
            match=f"{path.name}: made from other inputs; delete it, .* .fingerprint a fingerprint, expected b",
        ):
            read(path, "b")
    pd.DataFrame({"x": [1]}).to_parquet(table)
    save_file({"x": torch.ones(1)}, tensors)
    for read, path in ((read_table, table), (read_tensors, tensors)):
        with pytest.raises(InputError, match="fingerprint missing, expected a fingerprint"):
            read(path, "a fingerprint")


def test_numbers_in_csv_files_have_four_decimals(tmp_path):
    write_csv(tmp_path / "t.csv", pd.DataFrame({"name": ["x", "y"], "value": [1234.56789, 2 / 3], "k": [10, 200]}))
    assert (tmp_path / "t.csv").read_text() == "name,value,k\nx,1234.5679,10\ny,0.6667,200\n"


@pytest.mark.parametrize("block", [70, 2**25])
@pytest.mark.parametrize("kind", ["table", "tensors"])
def test_a_checksum_is_the_sha256_of_the_file_with_zeros_in_its_place(tmp_path, kind, block, monkeypatch):
    """In one block or several, no byte is left out."""
    monkeypatch.setattr(checksum, "BLOCK", block)
    path = tmp_path / "file"
    if kind == "table":
        write_table(path, pd.DataFrame({"x": range(9)}), "fingerprint")
    else:
        write_tensors(path, {"x": torch.arange(9.0)}, "fingerprint")
    content = path.read_bytes()
    found = re.search(rb"unike-sha256:([0-9a-f]{64})", content)
    blank = content[: found.start(1)] + b"0" * 64 + content[found.end(1) :]
    assert hashlib.sha256(blank).hexdigest().encode() == found[1]


@pytest.mark.parametrize("kind", ["table", "tensors"])
def test_a_checksum_is_found_at_either_end_of_a_long_file(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(checksum, "EDGE", 3000)
    path, values = tmp_path / "file", np.random.default_rng(0).random(5000)
    if kind == "table":
        write_table(path, pd.DataFrame({"x": values}), "fingerprint")
    else:
        write_tensors(path, {"x": torch.from_numpy(values)}, "fingerprint")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged after it was written"):
        (read_table if kind == "table" else read_tensors)(path)
