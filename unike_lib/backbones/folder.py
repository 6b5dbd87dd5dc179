"""A folder that somebody else made, before and while it is opened: whatever is wrong with it is said in one line.

`check_folder` looks at what kind of files it holds; `opening` is the one place that turns what a library raises on a
folder into an `InputError`. Neither imports torch or transformers, which takes longer than what they look at.
"""

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unike_lib.config.paths import HUB_ID
from unike_lib.io import read_json
from unike_lib.types import InputError

CPU_MESSAGE = "DefaultCPUAllocator"  # torch has no error class of its own for main memory
LIBRARIES = ("safetensors", "tokenizers", "_pickle", "pickle", "zipfile", "huggingface_hub", "transformers", "torch")
NO_CODE = {"trust_remote_code": False}  # a folder's own code is never run, and nobody is asked whether it may
HEAD = 512  # bytes of a file that tell what it is
METADATA = "__metadata__"  # of such a head
HEAD_BYTES = 100_000_000  # the longest head that the safetensors library reads
SAID = 240  # letters of what a library says
FIELD = re.compile(r"[Ff]ield '([\w.]+)'")
NO_TENSORS = "half a file, no file of torch's, or one with more inside than tensors; download it again"
# What a folder may have a tokenizer in.
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json", "vocab.txt")
PARTS = ("config.json: ", "decoder: ", "layers: ")  # how messages of a folder's parts begin
# Settings that transformers reads beside those that are read here; of half a generation_config.json it takes none.
FURTHER = ("generation_config.json", "special_tokens_map.json", "added_tokens.json", "video_preprocessor_config.json")
PROCESSORS = ("preprocessor_config.json", "processor_config.json")


@contextmanager
def opening(folder: str | Path, what: str) -> Iterator[None]:
    """Say in one line what a library raises while something is read from a folder.

    Raises:
        InputError: the folder, what was being read, and the library's first line.
        Exception: no memory was left, or the fault is our own code's: those stay what they are.
    """
    try:
        yield
    except InputError as error:
        if str(error).startswith(PARTS):  # which do not know where they lie
            raise InputError(f"{folder}: {error}") from None
        raise
    except MemoryError as error:
        if type(error) is not MemoryError:  # numpy's own, which says what size was asked for
            raise InputError(_said(folder, what, error)) from None
        raise
    except Exception as error:  # of any kind: a config's values reach every line of a library
        if type(error).__name__ == "OutOfMemoryError" or CPU_MESSAGE in str(error):  # torch's own
            raise InputError(f"{folder}: out of memory at its {what}: take a dtype of half the size") from None
        if _is_ours(error):
            raise
        raise InputError(_said(folder, what, error)) from None


def _is_ours(error: Exception) -> bool:
    """Tell whether an error was raised by a line of this library, and not by what another library's class means."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    raised = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__"))
    known = isinstance(error, OSError) or type(error).__module__.split(".")[0] in LIBRARIES
    return raised.split(".")[0] == "unike_lib" and not known


def _said(folder: str | Path, what: str, error: Exception) -> str:
    """Return one line: the folder, the field of config.json where the library names one, its first line at the end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    field = FIELD.search(str(error))
    if field is not None and "Validation" in type(error).__name__ + lines[0]:
        return f"{folder}: config.json: field '{field[1]}': another kind of value is expected there ({lines[-1]})"
    if type(error).__name__ == "UnpicklingError":  # torch's own message advises to run the code that may be inside
        return f"{folder}: no readable {what} ({NO_TENSORS})"
    plain = isinstance(error, OSError | ValueError | RuntimeError)
    first = " ".join(lines[: 1 + lines[0].endswith(":")])[:SAID]
    said = first if plain else f"{type(error).__name__}: {first}"
    return f"{folder}: no readable {what}; expected one that save_pretrained wrote, whole ({said})"


def find_file(folder: str | Path, name: str) -> Path | None:
    """Return a file of a folder, or of a hub id (then it is downloaded); None: there is none."""
    if Path(folder).is_dir():
        path = Path(folder) / name
        return path if path.is_file() else None
    from transformers.utils.hub import cached_file

    settings: dict[str, Any] = {"_raise_exceptions_for_missing_entries": False}
    found = cached_file(str(folder), name, **settings)
    return None if found is None else Path(found)


def check_folder(folder: str | Path) -> None:
    """Refuse what is no folder of a model, by the kind of the files that it holds; a hub id is not looked into.

    Raises:
        InputError: names the folder or file, and what was expected.
    """
    path = Path(folder)
    if path.is_file():
        raise InputError(f"{folder}: a file; expected a folder made by save_pretrained")
    if not path.is_dir():
        if not HUB_ID.fullmatch(str(folder)):
            raise InputError(f"{folder}: no such folder, and no hub id (owner/name)")
        return
    if not (path / "config.json").is_file():
        raise InputError(f"{path / 'config.json'}: no such file; expected a folder made by save_pretrained")
    if (path / "adapter_config.json").exists():
        raise InputError(
            f"{path / 'adapter_config.json'}: an adapter beside the model, which would be left out; expected a folder "
            "with the adapter merged into the weights (merge_and_unload), or without this file"
        )
    for file in sorted(path.iterdir()):
        if file.suffix in {".json", ".safetensors", ".bin", ".model", ".txt", ".jinja"}:
            check_kind(file)
            if file.name in FURTHER:
                _check_object(file)


def check_kind(file: Path) -> None:
    """Refuse a file that stands in another's place: a Git LFS pointer, a web page, nothing at all.

    Raises:
        InputError: names the file and what it is.
    """
    if not file.is_file():
        return
    with opening(file, "file"), file.open("rb") as stream:
        head = stream.read(HEAD).lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        raise InputError(f"{file}: a Git LFS pointer, not the file itself; get it with `git lfs pull`")
    if head.startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise InputError(f"{file}: a web page, not the file itself; download the file again")
    if head.startswith(codecs.BOM_UTF8) and file.suffix == ".json":
        raise InputError(f"{file}: starts with a byte order mark, which transformers cannot read; save it without one")
    if not head and file.suffix in {".json", ".safetensors", ".bin", ".pth", ".model"}:
        raise InputError(f"{file}: an empty file; download it again")
    if file.suffix == ".safetensors":
        _check_length(file)


def _check_length(file: Path) -> None:
    """Refuse a safetensors file that ends before the last of the tensors that its head lists.

    The form: 8 bytes with the length of the head, the head as JSON, then the tensors
    (https://huggingface.co/docs/safetensors, "Format"). A head that cannot be read is left to the library.
    """
    found = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        wanted = 8 + length
        if length > HEAD_BYTES:
            return
        if found >= wanted:
            try:
                entries = json.loads(stream.read(length))
                wanted += max(
                    (each["data_offsets"][1] for name, each in entries.items() if name != METADATA), default=0
                )
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                return
    if found < wanted:
        raise InputError(f"{file}: half a file: {found} of {wanted} bytes; download it again")


def check_processor_files(folder: str | Path) -> None:
    """Refuse a folder without the settings of an image processor.

    Raises:
        InputError: names the file that is expected.
    """
    path = Path(folder)
    if path.is_dir() and not any((path / name).is_file() for name in PROCESSORS):
        raise InputError(
            f"{path / PROCESSORS[0]}: no such file; expected the image processor's settings beside the model"
        )
    for name in PROCESSORS:
        _check_object(path / name)


def _check_object(file: Path) -> None:
    """Raise InputError if a file is there and holds no JSON object."""
    if file.is_file():
        check_kind(file)
        if not isinstance(found := read_json(file), dict):
            raise InputError(f"{file}: expected a JSON object, found {type(found).__name__}")


def check_tokenizer_files(folder: str | Path) -> None:
    """Refuse a folder that has no tokenizer, or a sentencepiece model alone.

    Raises:
        InputError: names the file that is expected.
    """
    path = Path(folder)
    if path.is_dir() and not any((path / name).is_file() for name in TOKENIZERS):
        raise InputError(f"{path / TOKENIZERS[0]}: no such file; expected the tokenizer's files beside the model")
    _check_object(path / "tokenizer_config.json")
    if (path / "tokenizer.model").is_file() and not (path / "tokenizer.json").is_file():
        raise InputError(
            f"{path / 'tokenizer.json'}: no such file, only tokenizer.model; expected a fast tokenizer: convert it "
            "once (AutoTokenizer.from_pretrained(...).save_pretrained(...), with sentencepiece installed)"
        )
