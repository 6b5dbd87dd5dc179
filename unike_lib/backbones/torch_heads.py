"""Shapes of the tensors in a file of torch's, without torch and without running what may be inside.

A file of today is a zip archive whose `data.pkl` lists the tensors; one of before 2020 is a row of pickles (a number,
a version, the machine, the tensors, the names of their storages), then the storages, each behind its length
(torch/serialization.py, `_save` and `_legacy_save`). Here a pickle can make nothing but plain values and stand-ins:
every name in it gives a stand-in, and nothing is imported.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from unike_lib.backbones.folder import HEAD_BYTES, NO_TENSORS
from unike_lib.types import InputError

MAGIC = 0x1950A86A20F9469CFC6C
ZIP = b"PK\x03\x04"  # at the head of a file of today
LENGTH = 8  # bytes of a number in front of a storage
# Bytes of an element of a storage, by its class (torch/storage.py); of others, the length is not checked.
BYTES = {
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    **dict.fromkeys(("FloatStorage", "IntStorage"), 4),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage"), 1),
}
REBUILT = (
    "_rebuild_tensor",
    "_rebuild_tensor_v2",
    "_rebuild_tensor_v3",
)  # torch/_utils.py: storage, offset, shape, stride ...


class _StandIn:
    """What a name in a pickle gives, and what it makes when it is called; it takes whatever is put into it."""

    def __init__(self, name: str = "", arguments: tuple[Any, ...] = ()) -> None:
        self.name, self.arguments = name, arguments

    def __call__(self, *arguments: Any) -> Any:
        if self.name == "OrderedDict":
            return OrderedDict(*arguments)
        if self.name == "_rebuild_parameter":
            return arguments[0]
        return _StandIn(self.name, arguments)

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass


class _Reader(pickle.Unpickler):
    """Reads a pickle of tensors into plain values and stand-ins."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream)
        self.storages: dict[str, int | None] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in; nothing is looked up."""
        return _StandIn(name)

    def persistent_load(self, entry: Any) -> Any:
        """Note a storage: ("storage", class, key, device, elements, ...)."""
        _, kind, key, _, elements = entry[:5]
        size = BYTES.get(kind.name)
        self.storages[str(key)] = None if size is None else size * elements
        return _StandIn("storage")


def torch_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a file's tensors by name.

    Raises:
        InputError: it is half a file, or none of torch's, or holds no table of tensors.
    """
    with file.open("rb") as stream:
        if stream.read(len(ZIP)) == ZIP and not zipfile.is_zipfile(file):  # whose list of contents is at its end
            raise InputError(
                f"{file}: half a file: it starts as one of torch's, and its end is missing; download it again"
            )
        stream.seek(0)
        try:
            entries = _of_today(file) if zipfile.is_zipfile(file) else _of_before(file, stream)
        except InputError:
            raise
        except Exception:  # of any kind: what is in a pickle reaches every line of it
            raise InputError(f"{file}: {NO_TENSORS}") from None
    if not isinstance(entries, Mapping):
        found = entries.name if isinstance(entries, _StandIn) else type(entries).__name__
        raise InputError(f"{file}: not a file of weights (found a {found})")
    shapes = {str(name): _shape(value) for name, value in entries.items()}
    return {name: shape for name, shape in shapes.items() if shape is not None}


def _shape(value: Any) -> tuple[int, ...] | None:
    """Return the shape of what stands for a tensor; None: it is none."""
    if not isinstance(value, _StandIn) or value.name not in REBUILT or len(value.arguments) < 3:
        return None
    shape = value.arguments[2]
    shape = shape.arguments[0] if isinstance(shape, _StandIn) else shape  # torch.Size
    return tuple(int(size) for size in shape)


def _of_today(file: Path) -> Any:
    with zipfile.ZipFile(file) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith("/data.pkl") or each == "data.pkl"]
        if archive.getinfo(name).file_size > HEAD_BYTES:
            raise InputError(f"{file}: {NO_TENSORS}")
        with archive.open(name) as stream:
            return _Reader(stream).load()


def _of_before(file: Path, stream: IO[bytes]) -> Any:
    """Read the pickles of an old file, and compare its length with that of its storages."""
    if _Reader(stream).load() != MAGIC:
        raise InputError(f"{file}: {NO_TENSORS}")
    for _ in range(2):
        _Reader(stream).load()
    tensors = _Reader(stream)
    entries = tensors.load()
    keys = _Reader(stream).load()
    sizes = [tensors.storages.get(str(key)) for key in keys]
    if None not in sizes:
        wanted = stream.tell() + sum(LENGTH + (size or 0) for size in sizes)
        if (found := file.stat().st_size) < wanted:
            raise InputError(f"{file}: half a file: {found} of {wanted} bytes; download it again")
    return entries
