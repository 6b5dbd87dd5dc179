"""Checksums: a bit flipped anywhere is noticed, in Parquet and safetensors, benchmark JSON and saved backbones.

Parquet and safetensors files hold their own. A writer puts `UNSEALED` behind the fingerprint in the metadata; `seal`
replaces its zeros by the SHA-256 of the file as it stands. (One entry with both: safetensors writes several in any
order.) For others, `LIST` beside them has one line per file, as `sha256sum` writes and checks it. Files of other makers
have neither, and are not refused for it.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO

from unike_lib.types import InputError

TAG, ZEROS = b"unike-sha256:", b"0" * 64
UNSEALED = (TAG + ZEROS).decode()
DAMAGED = "{}: damaged after it was written (its content does not fit its checksum); delete it"
LIST = "checksums.sha256"
BLOCK, EDGE = 2**25, 2**20  # bytes hashed at once; bytes at either end of a file that have the checksum
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def seal(path: Path) -> None:
    """Write a file's checksum in the place that `UNSEALED` keeps for it."""
    with path.open("r+b") as stream:
        place = _place(stream)
        if place is None:
            raise ValueError(f"{path}: no place for a checksum")
        digest = _digest(stream, place)
        stream.seek(place)
        stream.write(digest)


def check_content(path: Path) -> None:
    """Raise InputError, naming the file, if it has a checksum that its bytes do not fit.

    Raises:
        InputError: the file was damaged after it was written.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        place = _place(stream)
        if place is not None:
            digest = _digest(stream, place)
            stream.seek(place)
            if stream.read(len(ZEROS)) != digest:
                raise InputError(DAMAGED.format(path))


def without_checksum(entry: str) -> str:
    """Return what stands in front of the checksum in a metadata entry."""
    return entry.split(f" {TAG.decode()}")[0]


def _place(stream: BinaryIO) -> int | None:
    """Return where the checksum stands: safetensors begin with their metadata, Parquet ends with it; None: nowhere."""
    for start in (0, max(0, stream.seek(0, os.SEEK_END) - EDGE)):
        stream.seek(start)
        found = stream.read(EDGE).find(TAG)
        if found >= 0:
            return start + found + len(TAG)
    return None


def _digest(stream: BinaryIO, place: int) -> bytes:
    """Return the SHA-256 of a file with zeros in the place of its checksum."""
    stream.seek(0)
    digest = hashlib.sha256(stream.read(place % BLOCK))
    while block := stream.read(BLOCK):  # one of them begins with the checksum
        sealed = stream.tell() - len(block) == place
        digest.update(ZEROS + block[len(ZEROS) :] if sealed else block)
    return digest.hexdigest().encode()


def whole_digest(path: Path) -> str:
    """Return the SHA-256 of all of a file, however large: what stays the same over versions of this library."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_listed(folder: Path, only: str | None = None) -> None:
    """Raise InputError, naming the file, if a file of a folder's list is missing or does not fit its checksum.

    Args:
        folder: without a list, nothing is checked.
        only: the name of the one file to check.
    """
    path = folder / LIST
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for line in lines:
        listed = LINE.fullmatch(line)
        if listed is None:
            raise InputError(f"{path}: not a list of checksums (found {line[:80]!r})")
        digest, name = listed.groups()
        try:
            if only in (None, name) and whole_digest(folder / name) != digest:
                raise InputError(DAMAGED.format(folder / name))
        except OSError as error:
            raise InputError(f"{folder / name}: cannot be read ({error.strerror})") from None
