"""JSON that somebody else wrote: as Python reads it, but no key of an object may be there twice.

Of a key that is there twice, Python and most others take the last value in silence, and the file does not say which of
the two was meant.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

SHOWN, SAID = 20, 80  # places, and letters of one


class RepeatedKeyError(ValueError):
    """Objects of a text have keys twice; says the places of the first twenty: record and field."""

    def __init__(self, places: list[str]) -> None:
        more = f" (and {len(places) - SHOWN} more)" if len(places) > SHOWN else ""
        super().__init__("; ".join(f"{place}: there twice; expected each key once" for place in places[:SHOWN]) + more)


class _Twice(dict[str, Any]):
    """An object, and its keys that are there more than once."""

    repeated: tuple[str, ...] = ()


def parse_json(text: str) -> Any:
    """Return the value of JSON.

    Raises:
        RepeatedKeyError: an object has a key twice.
        ValueError: it is no JSON, or has a number that is too long.
        RecursionError: it is nested too deep.
    """
    return _parsed(ONCE, text)


def floats_as_text(text: str) -> Any:
    """Return the value of JSON, other numbers than whole ones as their texts; raises as `parse_json`."""
    return _parsed(ONCE_WITH_TEXTS, text)


def _parsed(decoder: json.JSONDecoder, text: str) -> Any:
    try:
        return decoder.decode(text)
    except KeyError:  # of `_once`: read it again, to say where
        raise RepeatedKeyError(list(_places(MARKED.decode(text), ()))) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise KeyError
    return found


def _marked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = _Twice(pairs)
    found.repeated = tuple(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
    return found


ONCE = json.JSONDecoder(object_pairs_hook=_once)
ONCE_WITH_TEXTS = json.JSONDecoder(object_pairs_hook=_once, parse_float=str)
MARKED = json.JSONDecoder(object_pairs_hook=_marked)


def _places(value: Any, path: tuple[str | int, ...]) -> Iterator[str]:
    """Yield the place of each repeated key: an entry of a list that is the whole text is a record."""
    for key in value.repeated if isinstance(value, _Twice) else ():
        record, inner = (f"record {path[0]}: ", path[1:]) if path and isinstance(path[0], int) else ("", path)
        yield f"{record}field {'.'.join(map(str, (*inner, key)))[:SAID]!r}"
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for place, each in items:
        yield from _places(each, (*path, place))
