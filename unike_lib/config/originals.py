"""Which settings of a table's row depart from what the originals of the methods use, as the settings themselves say.

A setting without an original has no known one: the paper is silent, or the setting is ours alone and off by default.

Reading: a row's layers are compared as they are written: numbers depart from `last_four` whatever the model's depth.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from unike_lib.config.base import Given, MethodSection, Original, Section, about, shown
from unike_lib.config.run import Config
from unike_lib.config.tables import TableConfig
from unike_lib.method import default_entries, resolve_method


@dataclass(frozen=True)
class Departure:
    """A setting of a row that is not its original's; both values as text."""

    field: str
    value: str
    original: str
    source: str
    equation: bool

    @property
    def text(self) -> str:
        """For example "alpha_scale 0.1 (UniKE Eq. 7: 1)"."""
        return f"{self.field} {self.value} ({self.source}: {self.original})"


def departures(config: Config, method: str, backbone: str) -> list[Departure]:
    """Return the settings of a row that depart from its original: first those that change an equation.

    Settings that do nothing in the row, such as the memory loss's margins without a memory loss, are left out.
    """
    settings = resolve_method(config.methods, method, backbone)
    found = [
        Departure(name, shown(value), original.text, original.source, original.equation)
        for name, value, original in _compared(config, settings, method, backbone)
        if not original.has(value) and settings.acts(name, original.needs)
    ]
    return sorted(found, key=lambda departure: not departure.equation)


def departure_lines(config: Config, rows: Iterable[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Return backbone, method and what departs, in words, of each of some rows (backbone, method) that departs."""
    lines = []
    for backbone, method in dict.fromkeys(rows):
        found = departures(config, method, backbone)
        if found:
            lines.append((backbone, method, ", ".join(departure.text for departure in found)))
    return lines


def rows_of_tables(tables: Iterable[TableConfig]) -> list[tuple[str, str]]:
    """Return the rows (backbone, method) of some tables, backbone by backbone."""
    rows = [(backbone, method) for table in tables for backbone in table.backbones for method in table.methods]
    backbones = list(dict.fromkeys(backbone for backbone, _ in rows))
    return sorted(dict.fromkeys(rows), key=lambda row: backbones.index(row[0]))


def _compared(
    config: Config, settings: MethodSection, method: str, backbone: str
) -> Iterator[tuple[str, Any, Original]]:
    """Yield the name, value and original of every setting behind a row that has a known original."""
    yield from _outside(settings, "backbone", config.backbones[backbone])
    own = _own_originals(method)
    for name in type(settings).model_fields:
        original = about(type(settings), name).original
        if original is not None:
            yield name, getattr(settings, name), replace(original, **own.get(name, {}))
    yield from _outside(settings, "knowledge", config.knowledge)


def _outside(settings: MethodSection, place: str, section: Section) -> Iterator[tuple[str, Any, Original]]:
    """Yield the same of settings outside of a method that its rows rest on."""
    for name, needs in settings.rests_on.get(place, {}).items():
        holder, *_, last = section, *name.split(".")
        for part in name.split(".")[:-1]:
            holder = getattr(holder, part)
        original = about(type(holder), last).original
        if original is not None:
            yield name, getattr(holder, last), replace(original, needs=needs)


def _own_originals(method: str) -> dict[str, dict[str, Any]]:
    """Return value and source of the settings for which the paper has a row like a variant of the default run."""
    entry = default_entries().get(method)
    if entry is None:
        return {}
    paper = {name: each for name, each in entry.values.items() if isinstance(each, Given) and each.source == "paper"}
    found = {name: {"value": each.value, "source": f"UniKE {each.note}"} for name, each in paper.items()}
    return found | {name: {"value": each.value, "source": each.source} for name, each in entry.originals.items()}
