"""A Hugging Face data set: Parquet with the pictures inside (`{bytes, path}`); its columns are those of `plain`.

`benchmark.files` names a Parquet file, or a folder of them; of a folder those count whose names begin as the part does
(`train-00000-of-00002.parquet`; `eval-`, `test-` or `validation-`), or all where none does. Pictures are written out to
`benchmark.images`, each once, under a name that says its content.
"""

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from unike_lib.benchmark.dialect import Dialect, Source
from unike_lib.benchmark.rows import MAY_LACK, PICTURES, Row, cases_of
from unike_lib.io import first_line
from unike_lib.types import EditCase, InputError

BEGINNINGS = {"train": ("train",), "eval": ("eval", "test", "validation")}
ROWS = 64  # read at once: pictures are large
ENDING = 8  # letters of a file's ending, at most: others are none


def read(source: Source) -> Iterator[EditCase]:
    """Yield the rows of the part that is asked for; raise InputError as `plain` does."""
    yield from cases_of(source, _rows(source))


def shards(path: Path, part: str) -> list[Path]:
    """Return the Parquet files of a part, in the order of their names; raise InputError if there is none."""
    if not path.is_dir():
        return [path]
    files = sorted(each for each in path.iterdir() if each.suffix == ".parquet")
    names = {each: each.name.partition("-")[0] for each in files}
    known = {name for beginnings in BEGINNINGS.values() for name in beginnings}
    if any(name in known for name in names.values()):
        beginning = next((each for each in BEGINNINGS[part] if each in names.values()), None)
        files = [each for each in files if names[each] == beginning]
    if not files:
        raise InputError(f"{path}: expected Parquet files of the part {part}, found none")
    return files


def _rows(source: Source) -> Iterator[Row]:
    number = 0
    for path in shards(source.path, source.part):
        try:
            with pq.ParquetFile(path) as file:
                names = file.schema_arrow.names
                if twice := sorted({name for name in names if names.count(name) > 1}):
                    raise InputError(f"{path}: column {', '.join(map(repr, twice))} is there twice; expected it once")
                for batch in file.iter_batches(batch_size=ROWS):
                    for row in batch.to_pylist():
                        yield f"record {number}", {key: _named(value, source.images) for key, value in row.items()}
                        number += 1
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except InputError:  # of a column, or a picture that cannot be written
            raise
        except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: text that is not UTF-8
            raise InputError(
                f"{path}: cannot be read as Parquet; download the files again ({first_line(error)})"
            ) from None


def _named(value: Any, folder: Path | None) -> Any:
    """Return a value with the names of pictures in their place."""
    if isinstance(value, list):
        return [_named(each, folder) for each in value]
    if not isinstance(value, dict) or not {"bytes", "path"} >= value.keys():
        return value
    content, path = value.get("bytes"), value.get("path")
    if content is None:
        return path
    if not isinstance(content, bytes) or not isinstance(path, str | None):
        return value
    ending = PurePosixPath(path or "").suffix
    name = sha256(content).hexdigest()[:32] + (ending if len(ending) <= ENDING else "")
    if folder is not None:
        _write(folder / name, content)
    return name


def _write(path: Path, content: bytes) -> None:
    """Write a picture if it is not there; whole or not at all; raise InputError if it cannot be written."""
    if path.is_file() and path.stat().st_size == len(content):
        return
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(path)
    except OSError as error:
        raise InputError(f"{path}: a picture of the data set cannot be written ({error.strerror})") from None


DIALECT = Dialect("datasets", read, PICTURES, MAY_LACK, holds_pictures=True)
