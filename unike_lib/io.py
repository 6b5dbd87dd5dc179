"""Reading and writing artefacts: atomic, fingerprinted, with a checksum, never pickle.

A write goes to a temporary file in the same folder and is renamed into place, so a killed job or a full disk leaves the
old file or none. Every artefact carries a fingerprint of what made it, and a checksum of itself: a reader refuses a
file that was damaged later.
"""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from unike_lib import __version__
from unike_lib.characters import as_cell, is_strange, visible
from unike_lib.checksum import LIST, UNSEALED, check_content, check_listed, seal, whole_digest, without_checksum
from unike_lib.json_text import RepeatedKeyError, parse_json
from unike_lib.types import InputError

if TYPE_CHECKING:
    import pandas as pd
    import torch

FINGERPRINT = "fingerprint"
MARK = "/"  # between the fingerprint of a job and that of its backbone
DECIMALS = 4  # of numbers in CSV files
DISK_FULL = os.strerror(errno.ENOSPC)
WHOLE_BYTES, BLOCKS, BLOCK_BYTES = 256 * 2**20, 64, 2**20


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it into place when the block ends without an error.

    Raises:
        InputError: the folder cannot be written, or the disk is full; what `path` held before is still there.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        temporary = _beside(path)
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except Exception as error:
        # Parquet's and safetensors' writers wrap the system's error, each in a class of its own.
        if DISK_FULL in str(error):
            raise InputError(f"{path}: not written: the disk is full ({path.parent})") from None
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """Make an empty file beside a path, and the folders above it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise InputError(
            f"{path}: not written: no file can be made in {path.parent} ({error.strerror}); expected a folder that can "
            "be written"
        ) from None
    os.close(handle)
    return Path(name)


def can_be_made(folder: str | Path) -> bool:
    """Tell whether a folder is there, or can be made, and can be written; makes it."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def check_new(folder: Path) -> None:
    """Raise InputError unless a folder that is to be made is not there, or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: expected a folder that is not there or empty")


@contextmanager
def reading(path: str | Path, form: str) -> Iterator[None]:
    """Turn whatever a reader raises on a missing or damaged file into one error that names the file.

    Raises:
        InputError: the file is missing, its content does not fit its checksum, or it is no readable `form`.
    """
    try:
        check_content(Path(path))
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # Damaged bytes make a reader raise nearly anything.
        raise InputError(f"{path}: not a readable {form} ({first_line(error)})") from None


def first_line(error: Exception) -> str:
    """Return the first line of what a library says of an error, at most 200 characters; or its class."""
    said = str(error).strip().splitlines() or [type(error).__name__]
    return said[0].strip()[:200]


def fingerprint_of(*parts: Any) -> str:
    """Return 16 hex digits that change with any part: JSON-able values, or paths (whose bytes count)."""
    digest = hashlib.sha256(__version__.encode())
    for part in parts:
        if isinstance(part, Path):
            digest.update(file_digest(part).encode())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def marked(fingerprint: str, backbone: str) -> str:
    """Return the fingerprint of something that was made with a backbone, given that of the backbone; "": with none."""
    return f"{fingerprint}{MARK}{backbone}" if backbone else fingerprint


def backbone_mark(path: Path) -> str:
    """Return the fingerprint of the backbone that a file of tensors or a table was made with; "": of none."""
    if path.suffix not in (".parquet", ".safetensors"):
        return ""
    try:
        entry = _table_entry(path) if path.suffix == ".parquet" else _tensors_entry(path)
    except Exception:  # Missing, or damaged bytes that make a reader raise nearly anything: whoever reads it says so.
        return ""
    return without_checksum(entry).partition(MARK)[2]


def _table_entry(path: Path) -> str:
    return (pq.read_schema(path).metadata or {}).get(FINGERPRINT.encode(), b"").decode()


def _tensors_entry(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return str((file.metadata() or {}).get(FINGERPRINT, ""))


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files below a folder with their relative names.

    Of files above 256 MiB, which are weights or states, the size and 64 evenly spaced blocks count: every job reads
    its backbone's digest, and other weights differ everywhere.
    """
    if path.is_dir():
        whole = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")):
            whole.update(f"{file.relative_to(path).as_posix()}:{file_digest(file)}\n".encode())
        return whole.hexdigest()
    size = path.stat().st_size
    with path.open("rb") as stream:
        if size <= WHOLE_BYTES:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        digest = hashlib.sha256(f"{size}".encode())
        for block in range(BLOCKS):
            stream.seek((size - BLOCK_BYTES) * block // (BLOCKS - 1))
            digest.update(stream.read(BLOCK_BYTES))
    return digest.hexdigest()


def write_checksums(folder: Path, files: Iterable[Path]) -> None:
    """Write the checksums of files below a folder, which readers check them by (`sha256sum --check` can too)."""
    lines = [f"{whole_digest(file)}  {file.relative_to(folder).as_posix()}\n" for file in sorted(files)]
    with atomic_path(folder / LIST) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically, with a stable key order as given."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path, loads: Callable[[str], Any] = parse_json) -> Any:
    """Read a JSON file; `loads` gives the value of its text.

    Raises:
        InputError: the file is missing, is not JSON, has a key twice, or does not fit the list of checksums beside it;
            the message names the file, and the line or the key.
    """
    try:
        content = Path(path).read_bytes()
        check_listed(Path(path).parent, only=Path(path).name)
        return loads(content.decode("utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except RepeatedKeyError as error:
        raise InputError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:  # Also numbers too long, and lists nested too deep.
        raise InputError(f"{path}: not valid JSON; expected a whole file ({error})") from None


def write_table(path: str | Path, table: "pd.DataFrame", fingerprint: str, schema: pa.Schema | None = None) -> None:
    """Write a data frame to Parquet atomically, with its `fingerprint` in its metadata."""
    arrow = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    with table_writer(path, arrow.schema, fingerprint) as writer:
        writer.write_table(arrow)


def write_csv(path: str | Path, table: "pd.DataFrame", numbers: str | None = f"%.{DECIMALS}f") -> None:
    """Write a data frame to CSV atomically, numbers in the format `numbers`; None: with all their digits.

    Of texts, control characters are shown as U+FFFD and every end of a line is "\\n": readers take "\\r" for a row's.
    """
    texts = {str(name): table[name] for name in table.select_dtypes(["object", "string"])}
    shown = {name: column.map(as_cell) for name, column in texts.items() if column.map(is_strange).any()}
    with atomic_path(path) as temporary:
        table.assign(**shown).to_csv(temporary, index=False, float_format=numbers, lineterminator="\n")


def write_text(path: str | Path, text: str) -> None:
    """Write a page atomically, as UTF-8, control characters in it shown as U+FFFD."""
    with atomic_path(path) as temporary:
        temporary.write_text(visible(text), encoding="utf-8")


@contextmanager
def table_writer(path: str | Path, schema: pa.Schema, fingerprint: str) -> Iterator[pq.ParquetWriter]:
    """Yield a Parquet writer for streaming row groups; the file appears only when the block ends well."""
    marked = schema.with_metadata({FINGERPRINT: f"{fingerprint} {UNSEALED}"})
    with atomic_path(path) as temporary:
        with pq.ParquetWriter(temporary, marked) as writer:
            yield writer
        seal(temporary)


def read_table(path: str | Path, fingerprint: str | None = None) -> "pd.DataFrame":
    """Read a Parquet file into a data frame; with `fingerprint`, refuse a file with another one.

    Raises:
        InputError: the file is missing, damaged, or made from other inputs.
    """
    with reading(path, "Parquet file"):
        table = pq.read_table(path)
        _check_fingerprint(path, (table.schema.metadata or {}).get(FINGERPRINT.encode(), b"").decode(), fingerprint)
        return table.to_pandas()


def _check_fingerprint(path: str | Path, entry: str, wanted: str | None) -> None:
    """Raise InputError, naming the file, if a wanted fingerprint differs from the one in its metadata."""
    found = without_checksum(entry)
    if wanted is not None and found != wanted:
        raise InputError(
            f"{path}: made from other inputs; "
            f"delete it, so that it is made anew (fingerprint {found or 'missing'}, expected {wanted})"
        )


def check_fields(path: str | Path, found: Iterable[str], wanted: Iterable[str]) -> None:
    """Raise InputError, naming file and field, if a wanted field is not among those found."""
    there = set(found)
    for name in wanted:
        if name not in there:
            raise InputError(f"{path}: field '{name}' is missing")


def write_tensors(path: str | Path, tensors: "Mapping[str, torch.Tensor]", fingerprint: str) -> None:
    """Write tensors to safetensors atomically, with its `fingerprint` in the metadata."""
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(plain, temporary, metadata={FINGERPRINT: f"{fingerprint} {UNSEALED}"})
        seal(temporary)


def read_tensors(path: str | Path, fingerprint: str | None = None) -> "dict[str, torch.Tensor]":
    """Read tensors from safetensors; with `fingerprint`, refuse a file with another one.

    Raises:
        InputError: the file is missing, damaged, or made from other inputs.
    """
    from safetensors import safe_open

    with reading(path, "safetensors file"), safe_open(path, framework="pt") as file:
        _check_fingerprint(path, (file.metadata() or {}).get(FINGERPRINT, ""), fingerprint)
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a mapping)
