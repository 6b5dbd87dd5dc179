"""Versions of a benchmark's files: their SHA-256, and the names of those that are known."""

import hashlib
import json
from pathlib import Path

import pytest
from mmedit_records import PIXEL, record, write

from unike_lib.benchmark.prepare import prepare_user_benchmark
from unike_lib.benchmark.versions import KNOWN, version_of, versions_notes, versions_of
from unike_lib.config.benchmark import BenchmarkConfig

REAL = Path(__file__).parents[2].parent / "shared"
# The files of MMEdit's release and their records, as the paper's data card counts them.
RELEASED = {
    "vqa_train.json": ("MMEdit's E-VQA, train", 6345),
    "vqa_eval.json": ("MMEdit's E-VQA, evaluation", 2093),
    "caption_train_edit.json": ("MMEdit's E-IC, train", 2849),
    "caption_eval_edit.json": ("MMEdit's E-IC, evaluation", 1000),
}


def test_what_is_prepared_says_the_hash_of_each_file(tmp_path):
    (tmp_path / "images").mkdir()
    write(tmp_path / "train.json", [record(number, loc=f"loc {number} ?") for number in range(20, 80)])
    write(tmp_path / "eval.json", [record(number, loc=f"own {number} ?") for number in range(3)])
    for name in ("near.png", *(f"{kind}{number}.png" for kind in "ab" for number in range(80))):
        (tmp_path / "images" / name).write_bytes(PIXEL)
    files = {"vqa": {"train": "train.json", "eval": "eval.json"}, "caption": None}
    config = BenchmarkConfig(annotations=str(tmp_path), images=str(tmp_path / "images"), files=files)
    prepare_user_benchmark(tmp_path / "out", config, seed=0)
    hashes = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("train.json", "eval.json")}
    assert versions_of(tmp_path / "out" / "counts.json") == {name: {"sha256": each} for name, each in hashes.items()}
    short = ", ".join(f"{name} {each[:12]}" for name, each in hashes.items())
    assert versions_notes(tmp_path / "out" / "counts.json") == [f"Files of the benchmark, by SHA-256: {short}."]


def test_a_folder_has_a_version_too_and_another_content_is_another(tmp_path):
    (tmp_path / "set").mkdir()
    seen = set()
    for content in ("a", "b"):
        (tmp_path / "set" / "part.parquet").write_text(content)
        seen.add(version_of(tmp_path / "set")["sha256"])
    assert len(seen) == 2 and all(len(each) == 64 for each in seen)


def test_the_released_files_are_known_by_name():
    if not REAL.is_dir():
        pytest.skip("the files of MMEdit are not here")
    for name, (known, records) in RELEASED.items():
        path = REAL / "mmedit" / name
        assert version_of(path)["name"] == known and len(json.loads(path.read_text())) == records
    assert sorted(KNOWN.values()) == sorted(known for known, _ in RELEASED.values())
    assert "name" not in version_of(REAL / "formats" / "mmedit-extended" / "vqa_eval.first40.json")
