"""A checksum inside the file it is about: a bit flipped anywhere is noticed, in Parquet and in safetensors alike.

A writer puts `UNSEALED` behind the fingerprint in the metadata; `seal` replaces its zeros by the SHA-256 of the file
as it stands. (One entry with both: safetensors writes several in any order.) Neither format has a checksum of the whole
file of its own. Files of other makers have none, and are not refused for it.
"""

import hashlib
import mmap
import re
from pathlib import Path

from unike_lib.types import InputError

TAG, ZEROS = b"unike-sha256:", b"0" * 64
UNSEALED = (TAG + ZEROS).decode()


def seal(path: Path) -> None:
    """Write a file's checksum in the place that `UNSEALED` keeps for it."""
    place, digest = _digest(path)
    if place is None:
        raise ValueError(f"{path}: no place for a checksum")
    with path.open("r+b") as stream:
        stream.seek(place)
        stream.write(digest.encode())


def check_content(path: Path) -> None:
    """Raise InputError, naming the file, if it has a checksum that its bytes do not fit.

    Raises:
        InputError: the file was damaged after it was written.
        OSError: it cannot be read.
    """
    place, digest = _digest(path)
    if place is None:
        return
    with path.open("rb") as stream:
        stream.seek(place)
        found = stream.read(len(ZEROS))
    if found != digest.encode():
        raise InputError(f"{path}: damaged after it was written (its content does not fit its checksum); delete it")


def _digest(path: Path) -> tuple[int | None, str]:
    """Return where a file's checksum stands, None if nowhere, and the SHA-256 of the file with zeros in its place."""
    if not path.stat().st_size:
        return None, ""
    digest = hashlib.sha256()
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        found = re.search(re.escape(TAG) + b".{64}", content, re.DOTALL)
        if found is None:
            return None, ""
        place, end = found.start() + len(TAG), found.end()
        del found  # a match holds on to the map
        with memoryview(content) as view, view[:place] as before, view[end:] as behind:
            for part in (before, ZEROS, behind):
                digest.update(part)
    return place, digest.hexdigest()


def without_checksum(entry: str) -> str:
    """Return what stands in front of the checksum in a metadata entry."""
    return entry.split(f" {TAG.decode()}")[0]
