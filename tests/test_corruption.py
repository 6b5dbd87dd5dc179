"""Damaged files: whatever was cut off or flipped is refused by one error that names the file, or changes nothing."""

import hashlib
import os
import random
import subprocess
from contextlib import contextmanager

import mmedit_records
import numpy as np
import pandas as pd
import pytest
import torch
from mmedit_records import record, write, write_stage
from PIL import Image
from tiny_models import tiny_model

from unike_lib.backbones.load import load_model
from unike_lib.backbones.visual import VisualStore
from unike_lib.benchmark.cases import read_cases
from unike_lib.benchmark.images import load_image
from unike_lib.checksum import LIST
from unike_lib.config.backbones import BackboneConfig
from unike_lib.editing.building import EditorSources
from unike_lib.evaluation.unedited_answers import UneditedAnswers
from unike_lib.io import (
    atomic_path,
    read_json,
    read_table,
    read_tensors,
    write_checksums,
    write_json,
    write_table,
    write_tensors,
)
from unike_lib.knowledge.encoders import ENCODED, Encoder, load_encoders
from unike_lib.knowledge.memory import load_memory
from unike_lib.knowledge.states import STATE_COLUMNS, read_ffn_inputs, read_states, states_schema
from unike_lib.knowledge.triplets import read_triplets
from unike_lib.methods.mend.network import build_mend
from unike_lib.methods.mend.settings import MendMethod
from unike_lib.methods.shared.hypernetwork import load_network
from unike_lib.types import InputError

FLIPS, CUTS = 60, 12


def read_memory(path):
    return load_memory(path, "last")


def made(path, kind):
    """Write a small file of a kind and return its reader."""
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    states = {"id": ["a", "b"], "layer": [3, 3], **{name: list(draw(2, 4).numpy()) for name in STATE_COLUMNS}}
    rows = {"case": ["a"], "kind": ["rel"], "answer": [[1]], "tops": [[1, 2]], "ranks": [1], "generated": [[4]]}
    triplet = {"id": "a", "image": "a.png", "prompt": "what ?", "style": "question", "positive": "x", "negative": "y"}
    if kind == "memory":
        write_tensors(path, {f"3.{name}": draw(5, 4) for name in ("h_sem", "h_pos", "h_pos_mean")}, "fingerprint")
        return read_memory
    if kind == "encoders":
        tensors = {f"3.{part}.{name}": draw(2, 2) for part in ("zeta", "map") for name in ENCODED}
        for name in ENCODED:
            tensors |= {f"3.{name}.{key}": value for key, value in Encoder(4, 3, 2, 2).state_dict().items()}
        write_tensors(path, tensors, "fingerprint")
        return load_encoders
    if kind == "visual":
        write_tensors(path, {"a.png": draw(2, 4)}, "fingerprint")
        return lambda file: VisualStore(file)(["a.png"])
    if kind == "tensors":
        write_tensors(path, {"a": draw(30)}, "fingerprint")
        return lambda file: read_tensors(file, "fingerprint")
    if kind == "before":
        write_table(path, pd.DataFrame(rows | {"text": ["cat"]}), "fingerprint")
        return UneditedAnswers.load
    if kind == "states":
        write_table(path, pd.DataFrame(states), "fingerprint", states_schema(4))
        return read_states
    if kind == "ffn inputs":
        write_table(path, pd.DataFrame({"layer": [3, 3], "ffn_input": list(draw(2, 4).numpy())}), "fingerprint")
        return read_ffn_inputs
    if kind == "triplets":
        write_table(path, pd.DataFrame([triplet]), "fingerprint")
        return read_triplets
    write_table(path, pd.DataFrame({"x": np.arange(50), "y": ["text"] * 50}), "fingerprint")
    return lambda file: read_table(file, "fingerprint")


KINDS_OF_FILES = [
    *("table", "tensors", "visual", "memory", "encoders", "before", "states", "ffn inputs", "triplets"),
]


def refused_or_same(read, path, whole):
    """Say whether a damaged file is refused; a reader that accepts it must have been given the same content."""
    try:
        found = read(path)
    except InputError as error:
        assert path.name in str(error) and "\n" not in str(error)
        return True
    assert repr(found) == whole, "damage went unnoticed"
    return False


def bits_flipped(content, rng):
    for _ in range(FLIPS):
        place = rng.randrange(len(content))
        yield content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


@pytest.mark.parametrize("kind", KINDS_OF_FILES)
def test_flipped_bits_and_missing_ends_are_refused(tmp_path, kind):
    path, rng = tmp_path / f"{kind}.file", random.Random(kind)
    read = made(path, kind)
    content = path.read_bytes()
    read(path)
    for damaged in bits_flipped(content, rng):
        path.write_bytes(damaged)
        if b"unike-sha256:" in damaged:  # else the bit was in this word: the content is whole
            with pytest.raises(InputError, match="damaged after it was written"):
                read(path)
    for cut in (0, 1, len(content) - 1, *(rng.randrange(len(content)) for _ in range(CUTS))):
        path.write_bytes(content[:cut])
        with pytest.raises(InputError, match=path.name):
            read(path)
    path.unlink()
    with pytest.raises(InputError, match=path.name):
        read(path)
    path.mkdir()
    with pytest.raises(InputError, match=path.name):
        read(path)


@pytest.mark.parametrize("kind", KINDS_OF_FILES)
def test_bytes_that_are_no_such_file_are_refused(tmp_path, kind):
    path, rng = tmp_path / f"{kind}.file", random.Random(kind)
    read = made(path, kind)
    for content in (b"x", b"PAR1" + rng.randbytes(40) + b"PAR1", rng.randbytes(200), (8).to_bytes(8, "little") + b"{}"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=path.name):
            read(path)


def test_files_of_another_kind_are_refused(tmp_path):
    """Files that are whole, but hold something else."""
    tensors, table = tmp_path / "x.safetensors", tmp_path / "x.parquet"
    write_tensors(tensors, {"a": torch.ones(2)}, "fingerprint")
    write_table(table, pd.DataFrame({"a": [1]}), "fingerprint")
    for read, path in (
        *((read, tensors) for read in (read_memory, load_encoders)),
        *((read, table) for read in (read_triplets, read_states, read_ffn_inputs, UneditedAnswers.load)),
    ):
        with pytest.raises(InputError, match=path.name):
            read(path)
    write_tensors(tensors, {}, "fingerprint")
    for read in (read_memory, load_encoders):
        with pytest.raises(InputError, match="no entries"):
            read(tensors)


def test_a_triplet_without_its_answer_is_named(tmp_path):
    made(tmp_path / "t.parquet", "triplets")
    table = read_table(tmp_path / "t.parquet")
    write_table(tmp_path / "t.parquet", table.assign(negative=None), "fingerprint")
    with pytest.raises(InputError, match=r"t\.parquet: record 0: field 'negative'"):
        read_triplets(tmp_path / "t.parquet")
    write_table(tmp_path / "t.parquet", table.assign(style="loud"), "fingerprint")
    with pytest.raises(InputError, match=r"t\.parquet: record 0: field 'style'"):
        read_triplets(tmp_path / "t.parquet")


def test_a_damaged_editor_is_refused(tmp_path, backbone):
    settings = MendMethod(method="mend")
    network = build_mend(backbone, settings, 0)
    path, rng = tmp_path / "mend.safetensors", random.Random(0)
    write_tensors(path, network.state_dict(), "fingerprint")
    content, sources = path.read_bytes(), EditorSources(tmp_path, trained=path)
    load_network(network, sources, backbone, settings)
    for damaged in list(bits_flipped(content, rng))[:10]:
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"mend\.safetensors: damaged"):
            load_network(network, sources, backbone, settings)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"mend\.safetensors"):
        load_network(network, sources, backbone, settings)


def test_checksums_do_not_hide_the_fingerprint_and_change_with_nothing_else(tmp_path):
    for name in ("a", "b"):
        write_table(tmp_path / name, pd.DataFrame({"x": [1, 2]}), "a fingerprint")
        write_tensors(tmp_path / f"{name}.t", {"x": torch.ones(3)}, "a fingerprint")
    assert read_table(tmp_path / "a", "a fingerprint")["x"].tolist() == [1, 2]
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a.t").read_bytes() == (tmp_path / "b.t").read_bytes()
    with pytest.raises(InputError, match="made from other inputs"):
        read_tensors(tmp_path / "a.t", "another")


def test_files_of_other_makers_have_no_checksum_and_are_read(tmp_path):
    from safetensors.torch import save_file

    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "t.parquet")
    save_file({"x": torch.ones(1)}, tmp_path / "t.safetensors", metadata={"fingerprint": "old"})
    assert read_table(tmp_path / "t.parquet")["x"].tolist() == [1]
    assert read_tensors(tmp_path / "t.safetensors", "old")["x"].item() == 1


def test_a_damaged_picture_is_refused_or_the_same(tmp_path):
    rng = random.Random(0)
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(path)
    content, whole = path.read_bytes(), load_image([tmp_path], "a.png").tobytes()
    read = lambda file: load_image([file.parent], file.name).tobytes()  # noqa: E731
    refused = 0
    for damaged in bits_flipped(content, rng):
        path.write_bytes(damaged)
        refused += refused_or_same(read, path, repr(whole))
    assert refused > FLIPS * 0.9
    for cut in (0, 1, 20, len(content) // 2):
        path.write_bytes(content[:cut])
        with pytest.raises(InputError, match=r"a\.png: not a readable image"):
            read(path)


def test_damaged_json_is_named_wherever_it_is_no_longer_a_benchmark(tmp_path):
    path, rng = tmp_path / "eval_vqa.json", random.Random(0)
    write_stage(path, [record(i) for i in range(3)])
    content = path.read_bytes()
    read_cases(path)
    for cut in range(0, len(content) - 2, 29):
        path.write_bytes(content[:cut])
        with pytest.raises(InputError, match=r"eval_vqa\.json"):
            read_cases(path)
    for damaged in bits_flipped(content, rng):
        path.write_bytes(damaged)
        try:
            read_cases(path)  # a letter of a question may have changed: JSON has no checksum
        except InputError as error:
            assert "eval_vqa.json" in str(error)


def listed(folder):
    """What sha256sum would write, of every file but the list."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name != LIST]
    return "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)


def test_damaged_json_is_refused_everywhere_if_its_folder_lists_checksums(tmp_path):
    path, rng = tmp_path / "eval_vqa.json", random.Random(0)
    write_stage(path, [record(i) for i in range(3)])
    content = path.read_bytes()
    write_checksums(tmp_path, [path])
    assert (tmp_path / LIST).read_text() == listed(tmp_path)
    read_cases(path)
    for damaged in (*bits_flipped(content, rng), content[:-1], b""):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"eval_vqa\.json: damaged after it was written"):
            read_cases(path)
    path.unlink()
    with pytest.raises(InputError, match=r"eval_vqa\.json: no such file"):
        read_cases(path)


def test_a_damaged_saved_model_is_refused(tmp_path):
    tiny_model("blip2").save_pretrained(tmp_path)
    write_checksums(tmp_path, tmp_path.iterdir())
    config = BackboneConfig(family="blip2", vqa_prompt="{}")
    load_model(tmp_path, config)
    for file in sorted(file for file in tmp_path.iterdir() if file.name != LIST):
        content = file.read_bytes()
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(InputError, match=rf"{file.name}: damaged after it was written"):
            load_model(tmp_path, config)
        file.unlink()
        gone = "no such file" if file.name == "config.json" else "cannot be read"
        with pytest.raises(InputError, match=f"{file.name}: {gone}"):
            load_model(tmp_path, config)
        file.write_bytes(content)
    text = (tmp_path / LIST).read_text()
    for damaged in (text[:10], text.replace("\n", " \n", 1), "\0" + text, text.replace("  ", "__", 1)):
        (tmp_path / LIST).write_text(damaged)
        with pytest.raises(InputError):
            load_model(tmp_path, config)


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 10_000, "\x00", '{"a": 1'], ids=["deep", "long", "nul", "cut"])
def test_json_that_breaks_the_parser_is_named(tmp_path, text):
    (tmp_path / "f.json").write_text(text)
    with pytest.raises(InputError, match=r"f\.json: not valid JSON"):
        read_json(tmp_path / "f.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)


def test_half_a_surrogate_pair_is_not_text(tmp_path):
    with pytest.raises(InputError, match="record 0: field 'src'"):
        mmedit_records.read(write(tmp_path / "f.json", [record(src="what \ud800 ?")]))


@contextmanager
def small_disk(folder):
    """A file system of 256 KiB; skips the test where none can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("a full disk needs the command mount")
    if done.returncode:
        pytest.skip(f"a full disk needs a file system of its own: {done.stderr.strip()} (user {os.getuid()})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def write_long_text(path, size):
    with atomic_path(path) as temporary:
        temporary.write_text("x" * size)


@pytest.mark.parametrize(
    "write",
    [
        lambda path, size: write_table(
            path, pd.DataFrame({"x": np.random.default_rng(0).random(size // 8)}), "fingerprint"
        ),
        lambda path, size: write_tensors(path, {"x": torch.rand(size // 4)}, "fingerprint"),
        lambda path, size: write_json(path, ["x" * size]),
        write_long_text,
    ],
    ids=["table", "tensors", "json", "text"],
)
def test_a_full_disk_is_one_clear_error_and_leaves_the_old_file(tmp_path, write):
    with small_disk(tmp_path / "disk") as disk:
        write(disk / "a.file", 4000)
        before = (disk / "a.file").read_bytes()
        with pytest.raises(InputError, match=r"a\.file: not written: the disk is full"):
            write(disk / "a.file", 4_000_000)
        assert (disk / "a.file").read_bytes() == before
        assert [file.name for file in disk.iterdir()] == ["a.file"]
