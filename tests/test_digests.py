"""Fingerprints of what made a file; digests of files, whole ones and those too large to be read for every job."""

import hashlib

import pytest

from unike_lib import io
from unike_lib.checksum import whole_digest


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(io, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(io, "BLOCKS", 4)
    monkeypatch.setattr(io, "BLOCK_BYTES", 10)


def test_a_file_within_the_limit_counts_byte_by_byte(tmp_path, small_limits):
    path = tmp_path / "x"
    path.write_bytes(bytes(1000))
    assert io.file_digest(path) == hashlib.sha256(bytes(1000)).hexdigest()


def test_of_a_large_file_size_ends_and_blocks_between_count(tmp_path, small_limits):
    path, content = tmp_path / "x", bytearray(2000)
    path.write_bytes(content)
    first = io.file_digest(path)
    seen = set()
    for place in (0, 9, 663, 672, 1326, 1335, 1990, 1999):
        changed = bytearray(content)
        changed[place] = 1
        path.write_bytes(changed)
        seen.add(io.file_digest(path))
    path.write_bytes(bytes(2001))
    seen.add(io.file_digest(path))
    assert len(seen) == 9 and first not in seen
    path.write_bytes(content)
    assert io.file_digest(path) == first


def test_a_fingerprint_goes_by_every_part_and_by_no_order_of_settings(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    file, same_name = tmp_path / "x", tmp_path / "a" / "x"
    file.write_text("one"), same_name.write_text("two")
    first = io.fingerprint_of("rule", {"b": 1, "a": [2]}, file)
    assert first == io.fingerprint_of("rule", {"a": [2], "b": 1}, file) and len(first) == 16
    others = [
        io.fingerprint_of("rule", {"b": 1, "a": [2]}, same_name),
        io.fingerprint_of("rule", {"b": 1, "a": [3]}, file),
        io.fingerprint_of("rules", {"b": 1, "a": [2]}, file),
        io.fingerprint_of("rule", {"b": 1, "a": [2]}),
    ]
    file.write_text("three")
    others.append(io.fingerprint_of("rule", {"b": 1, "a": [2]}, file))
    file.write_text("one")
    monkeypatch.setattr(io, "__version__", "99")
    others.append(io.fingerprint_of("rule", {"b": 1, "a": [2]}, file))
    assert first not in others and len(set(others)) == len(others)


def test_a_folder_counts_by_the_places_of_its_files_and_without_hidden_ones(tmp_path):
    def digest(files):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return io.file_digest(folder)

    first = digest({"a": "1", "sub/b": "2"})
    assert first == digest({"sub/b": "2", "a": "1", ".a.half": "3", "sub/.b": "4"})
    assert first not in [digest({"a": "2", "sub/b": "1"}), digest({"a": "1", "b": "2"}), digest({"a": "1"})]


def test_of_a_large_file_the_size_itself_counts(tmp_path, small_limits):
    """Two files of zeros have the same blocks."""
    digests = set()
    for size in (1001, 2000, 2001):
        (tmp_path / "x").write_bytes(bytes(size))
        digests.add(io.file_digest(tmp_path / "x"))
    assert len(digests) == 3
    (tmp_path / "x").write_bytes(bytes(1000))
    assert io.file_digest(tmp_path / "x") == whole_digest(tmp_path / "x")
