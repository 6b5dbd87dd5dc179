"""How entries are found: by a walk over a package, in an installed package's entry points, or in a user's own file.

An entry is a value with a `name`, such as `DIALECT = Dialect(name="mmedit", ...)`: a module that has one is all that it
takes to add it. No list of them is written anywhere.
"""

import hashlib
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from unike_lib.types import InputError


def find_entry(name: str, package: str, attribute: str, group: str = "", kind: type[Any] = object) -> Any:
    """Return one entry: by its name as in `find_entries`, or by its address as in `load_entry`.

    Raises:
        InputError: there is no such entry, or it is not of the kind.
    """
    if ".py:" in name:
        return load_entry(name, kind)
    entries = find_entries(package, attribute, group, kind)
    if name not in entries:
        raise InputError(f"{name!r}: expected one of {', '.join(entries)}, or path/to/file.py:{attribute}")
    return entries[name]


def find_entries(package: str, attribute: str, group: str = "", kind: type[Any] = object) -> Mapping[str, Any]:
    """Return name -> entry of all that are installed, sorted by module, those of other packages last.

    Args:
        package: dotted name; each module directly in it that has the attribute brings an entry.
        attribute: the entry's name in its module, such as "DIALECT".
        group: entry points of other installed packages, such as "unike.formats"; empty: none.
        kind: the class of an entry.

    Raises:
        InputError: an entry is not of the kind, has no name, has another's name, or cannot be imported.
    """
    found: dict[str, Any] = {}
    for place, entry in [*_of_package(package, attribute), *_of_group(group)]:
        name = _checked(entry, place, kind).name
        if name in found:
            raise InputError(f"{place}: the name {name!r} is taken by another entry")
        found[name] = entry
    return found


def load_entry(address: str, kind: type[Any] = object) -> Any:
    """Return an entry of a user's file by its address, "path/to/file.py:NAME".

    Raises:
        InputError: no such file, it cannot be imported, it has no such name, or what has it is not of the kind.
    """
    path, _, attribute = address.rpartition(":")
    module = _module_of(Path(path).expanduser().resolve(), address)
    if not hasattr(module, attribute):
        raise InputError(f"{address}: {path} has no {attribute!r}")
    return _checked(getattr(module, attribute), address, kind)


def entry_file(name: str, package: str, attribute: str, group: str = "") -> Path:
    """Return the file that brings an entry, named as in `find_entry`; raise InputError if there is no such entry."""
    if ".py:" in name:
        return Path(name.rpartition(":")[0]).expanduser()
    find_entry(name, package, attribute, group)
    found = {entry.name: place for place, entry in [*_of_package(package, attribute), *_of_group(group)]}
    return Path(str(sys.modules[found[name].partition(":")[0]].__file__))


@dataclass(frozen=True)
class EntryName:
    """Annotates a setting that names an entry: the name is checked, and completed in editors (`find_entries`)."""

    package: str
    attribute: str
    group: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        names = list(find_entries(self.package, self.attribute, self.group))
        own = {"type": "string", "pattern": rf"\.py:{self.attribute}$"}
        return {"anyOf": [{"type": "string", "enum": names}, own]}

    def _checked(self, name: str) -> str:
        try:
            find_entry(name, self.package, self.attribute, self.group)
        except InputError as error:
            raise ValueError(str(error)) from None
        return name


def _of_package(package: str, attribute: str) -> Iterator[tuple[str, Any]]:
    for info in sorted(pkgutil.iter_modules(import_module(package).__path__), key=lambda info: info.name):
        module = import_module(f"{package}.{info.name}")
        if hasattr(module, attribute):
            yield f"{module.__name__}:{attribute}", getattr(module, attribute)


@cache  # Looking through all installed packages takes a while.
def _of_group(group: str) -> tuple[tuple[str, Any], ...]:
    return tuple(map(_loaded, sorted(entry_points(group=group)))) if group else ()


def _loaded(point: EntryPoint) -> tuple[str, Any]:
    place = f"{point.value} (entry point {point.name!r} of {point.group})"
    try:
        return place, point.load()
    except Exception as error:  # Other people's code may fail in any way.
        raise InputError(f"{place}: cannot be loaded ({_line(error)})") from error


def _module_of(path: Path, address: str) -> ModuleType:
    """Import a file once, however often it is asked for."""
    if not path.is_file():
        raise InputError(f"{address}: no such file")
    name = f"_entry_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{address}: expected a Python file")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise InputError(f"{address}: cannot be imported ({_line(error)})") from error
    return module


def _checked(entry: Any, place: str, kind: type[Any]) -> Any:
    if not isinstance(entry, kind):
        raise InputError(f"{place}: expected a {kind.__name__}, found {type(entry).__name__}")
    if not isinstance(getattr(entry, "name", None), str) or not entry.name.strip():
        raise InputError(f"{place}: expected an entry with a name, found {entry!r}")
    return entry


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
