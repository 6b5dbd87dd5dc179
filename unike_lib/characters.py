"""Characters that no text of a question, an answer or a page may hold: controls, and halves of surrogate pairs.

A terminal obeys them, CSV readers, TeX and browsers stumble over them, and nobody sees them. Tabs and ends of lines,
Unicode's U+0085 too, are none of these. In a user's files they are refused; in what a model writes they are shown as
U+FFFD.
"""

import re
from typing import Any

REPLACEMENT = "\ufffd"
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
LINE_END = re.compile("\r\n?")


def control_in(value: Any) -> str | None:
    """Return the first such character of a text, or of the texts of a list, as U+001B; None: there is none."""
    texts = value if isinstance(value, list | tuple) else [value]
    found = next(filter(None, (CONTROL.search(text) for text in texts if isinstance(text, str))), None)
    return None if found is None else f"U+{ord(found[0]):04X}"


def without_controls(value: Any, expected: str = "non-empty text") -> str:
    """Return what is expected in the place of a value that is no text: where it has such a character, none of it."""
    found = control_in(value)
    if found is None:
        return expected
    kind = "half of a surrogate pair" if found.startswith("U+D") else "a control character"
    return f"text without {found}, {kind}"


def visible(text: str) -> str:
    """Return a text with U+FFFD in the place of each such character."""
    return CONTROL.sub(REPLACEMENT, text)


def as_cell(value: Any) -> Any:
    """Return what a CSV file shows of a value: of a text visible characters, and every end of a line as "\\n"."""
    return visible(LINE_END.sub("\n", value)) if isinstance(value, str) else value


def is_strange(value: Any) -> bool:
    """Tell whether a CSV file shows something else than a value."""
    return isinstance(value, str) and as_cell(value) != value
