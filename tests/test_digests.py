"""Digests of files: whole ones, and those of files too large to be read for every job."""

import hashlib

import pytest

from unike_lib import io


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
