"""What users' files look like: names, sizes and times, as a digest that rules take as a parameter.

Snakemake looks at the time of a file, and of a folder as such: it misses what changes below a folder, and a file that
an older one replaces.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator


def state_of(paths: Iterable[str]) -> str:
    """Return 16 hex digits that change with any of some files, or any file below a folder; hidden ones do not count.

    Nothing is read but names, sizes and times of change; what is not there counts as such.
    """
    digest = hashlib.sha256()
    for path in paths:
        for line in _lines(path) if os.path.isdir(path) else [_line(path)]:
            digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _lines(folder: str) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (_line(os.path.join(place, name)) for name in sorted(files) if not name.startswith("."))


def _line(path: str) -> str:
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return f"{path}:absent\n"
    return f"{path}:{status.st_size}:{status.st_mtime_ns}\n"
