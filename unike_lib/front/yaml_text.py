"""What a user's YAML text holds: a file of settings, a value of the command line, a model card's header.

No key of a mapping may be there twice: YAML forbids it, but PyYAML takes the last value in silence.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from unike_lib.io import first_line
from unike_lib.json_text import RepeatedKeyError, parse_json
from unike_lib.types import InputError

FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, with other words for what is no YAML


def parse_yaml(text: str, source: str, expected: str) -> Any:
    """Return what a YAML text holds.

    Args:
        text: the text.
        source: what it is of, for the message.
        expected: what it should hold, for the message.

    Raises:
        InputError: it is no YAML, or has a key twice; names the source, and the line where the parser says it.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _check_keys(node, source)
        return None if node is None else loader.construct_document(node)
    except InputError:
        raise
    except Exception as error:  # its constructors raise nearly anything of a 13th month or a number without digits
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        said = f"line {mark.line + 1}: {problem}" if mark and problem else first_line(error)
        raise InputError(f"{source}: not valid YAML; expected {expected} ({said})") from None


def check_keys(path: Path, source: str) -> None:
    """Raise InputError if a file of settings, JSON or YAML, that Snakemake has read has a key twice.

    Args:
        path: of the file.
        source: what messages call it.
    """
    text = path.read_text(encoding="utf-8")
    try:
        parse_json(text)
    except RepeatedKeyError as error:
        raise InputError(f"{source}: {error}") from None
    except (ValueError, RecursionError):
        _check_keys(yaml.compose(text, FAST), source)


def _check_keys(node: yaml.Node | None, source: str) -> None:
    """Raise InputError with the first key of a text that its mapping has already, and the lines of both."""
    for key, first in _repeated(node, set()):
        lines = f"line {key.start_mark.line + 1}: key {key.value!r}: there already in line {first.start_mark.line + 1}"
        raise InputError(f"{source}: {lines}; expected each key once")


def _repeated(node: yaml.Node | None, seen: set[int]) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Yield each key that its mapping has already, with that one; `seen`: nodes that were met, as anchors are twice."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: dict[tuple[str, str], yaml.Node] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                name = key.tag, key.value
                if name in keys:
                    yield key, keys[name]
                keys[name] = key
            yield from _repeated(value, seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated(value, seen)
