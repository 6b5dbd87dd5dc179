"""Checksums: a bit flipped anywhere is noticed, in Parquet and safetensors, benchmark JSON and saved backbones.

Parquet and safetensors files hold their own. A writer puts `UNSEALED` behind the fingerprint in the metadata; `seal`
replaces its zeros by the SHA-256 of the file as it stands. (One entry with both: safetensors writes several in any
order.) For others, `LIST` beside them has a line a file, as `sha256sum` writes and checks it. Files of other makers
have neither, and are not refused for it.
"""

import hashlib
import mmap
import re
from pathlib import Path

from unike_lib.types import InputError

TAG, ZEROS = b"unike-sha256:", b"0" * 64
UNSEALED = (TAG + ZEROS).decode()
DAMAGED = "{}: damaged after it was written (its content does not fit its checksum); delete it"
LIST = "checksums.sha256"
BLOCK = 2**25  # bytes hashed at once
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


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
        raise InputError(DAMAGED.format(path))


def check_listed(path: Path) -> None:
    """Raise InputError, naming the file, if the list beside it has a checksum that its bytes do not fit.

    Raises:
        InputError: the file was damaged after it was written, or the list is broken.
        OSError: it cannot be read.
    """
    _check(path, _listed(path.parent).get(path.name))


def check_folder(folder: Path) -> None:
    """Raise InputError, naming the file, if a file of a folder's list is missing or does not fit its checksum."""
    for name, digest in _listed(folder).items():
        try:
            _check(folder / name, digest)
        except OSError as error:
            raise InputError(f"{folder / name}: cannot be read ({error.strerror})") from None


def _check(path: Path, digest: str | None) -> None:
    if digest is not None:
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != digest:
                raise InputError(DAMAGED.format(path))


def _listed(folder: Path) -> dict[str, str]:
    """Return file name -> SHA-256 of a folder's list; nothing if it has none."""
    path, listed = folder / LIST, {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            found = LINE.fullmatch(line)
            if found is None:
                raise InputError(f"{path}: not a list of checksums (found {line[:80]!r})")
            listed[found[2]] = found[1]
    return listed


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
        _hash_span(digest, content, 0, place)
        digest.update(ZEROS)
        _hash_span(digest, content, end, len(content))
    return place, digest.hexdigest()


def _hash_span(digest: "hashlib._Hash", content: mmap.mmap, start: int, end: int) -> None:
    """Hash bytes block by block, and let go of each: what is mapped counts as the process's memory."""
    for first in range(start, end, BLOCK):
        digest.update(content[first : min(first + BLOCK, end)])
        content.madvise(mmap.MADV_DONTNEED)


def without_checksum(entry: str) -> str:
    """Return what stands in front of the checksum in a metadata entry."""
    return entry.split(f" {TAG.decode()}")[0]
