"""What a backbone's weights were shows in all that is made with it, and what other weights made is not mixed."""

import os

import pandas as pd
import pytest
import torch
from declared_jobs import made_up_job
from reporting.made_up_records import make_records

from unike_lib.io import backbone_mark, read_table, write_table, write_tensors
from unike_lib.reporting.records import load_records
from unike_lib.runtime import Job
from unike_lib.types import InputError

FIELDS = {"family": "llava", "dtype": "float32", "image_size": None}


@pytest.fixture
def job_of(tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.safetensors").write_text("one")

    def job(*inputs, **changes):
        params = {"folder": str(folder), "backbone": FIELDS | changes, "files": str(os.stat(folder).st_mtime_ns)}
        named = {"visual": [str(each) for each in inputs], "backbone": [str(folder)]}
        return Job(made_up_job("records", input=named, params=params))

    return job


def test_what_other_weights_made_is_refused_by_file_and_folder(tmp_path, job_of):
    visual, base = tmp_path / "visual.safetensors", tmp_path / "base.parquet"
    write_tensors(visual, {"a.png": torch.ones(2)}, job_of().fingerprint)
    write_table(base, pd.DataFrame({"x": [1]}), job_of().fingerprint)
    assert backbone_mark(visual) == backbone_mark(base) == job_of().fingerprint.split("/")[1]
    assert job_of(visual, base).backbone.family == "llava"
    weights = tmp_path / "weights" / "model.safetensors"
    os.utime(weights, (0, 0))
    assert job_of(visual, base).backbone.dtype == "float32"  # the same weights at another time
    for path in (visual, base):
        with pytest.raises(InputError, match=rf"{path.name}: made with another backbone than .*weights holds"):
            _ = job_of(path, dtype="bfloat16").backbone
    weights.write_text("two")
    for path in (visual, base):
        with pytest.raises(InputError, match=rf"{path.name}: made with another backbone than .*weights holds"):
            _ = job_of(path).backbone


def test_a_file_without_a_mark_or_no_file_is_left_to_its_reader(tmp_path, job_of):
    plain, broken = tmp_path / "plain.parquet", tmp_path / "broken.safetensors"
    write_table(plain, pd.DataFrame({"x": [1]}), "fingerprint")
    broken.write_bytes(b"\xff" * 40)
    files = (plain, broken, tmp_path / "absent.safetensors", tmp_path / "cases.json")
    assert {backbone_mark(path) for path in files} == {""}
    assert job_of(*files).backbone.family == "llava"
    assert len(read_table(plain)) == 1


def test_records_of_other_weights_are_not_mixed_in_a_table(tmp_path):
    paths = {}
    for name, backbone, method, mark in (
        ("a", "one", "unike", "x"),
        ("b", "one", "mend", "x"),
        ("c", "two", "unike", "y"),
        ("d", "one", "ke", "y"),
    ):
        paths[name] = tmp_path / f"{name}.parquet"
        write_table(paths[name], make_records((backbone, "vqa", method)), f"job{name}/{mark}")
    assert len(load_records([paths[name] for name in "abc"]))
    with pytest.raises(InputError, match=r"d\.parquet: one had other weights .* than in .*a\.parquet"):
        load_records(list(paths.values()))
