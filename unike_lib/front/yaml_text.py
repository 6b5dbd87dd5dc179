"""What a user's YAML text holds: a file of settings, a value of the command line, a model card's header."""

from typing import Any

import yaml

from unike_lib.io import first_line
from unike_lib.types import InputError


def parse_yaml(text: str, source: str, expected: str) -> Any:
    """Return what a YAML text holds.

    Args:
        text: the text.
        source: what it is of, for the message.
        expected: what it should hold, for the message.

    Raises:
        InputError: it is no YAML; names the source, and the line where the parser says it.
    """
    try:
        return yaml.safe_load(text)
    except Exception as error:  # its constructors raise nearly anything of a 13th month or a number without digits
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        said = f"line {mark.line + 1}: {problem}" if mark and problem else first_line(error)
        raise InputError(f"{source}: not valid YAML; expected {expected} ({said})") from None
