"""The note of a table about its rows: what departs from the originals, made from the settings, and readings."""

from collections.abc import Sequence

from unike_lib.reporting.paper import short_title
from unike_lib.table_parts import TableParts

TITLE = "What departs from the originals"
POINTER = f"Settings of a row that are not its original's stand below the numbers (*{TITLE}*)."
INTRODUCTION = (
    "Settings of each row whose value is not its original's, with the original's in brackets. Settings that change an "
    "equation come first. A row that is not named has its original's values, as far as those are known."
)


def table_departures(run: TableParts) -> list[str]:
    """Return a sentence per row of a table in which a setting departs from its original."""
    return [f"{short_title(method)} on {backbone}: {text}." for backbone, method, text in run.departures]


def table_readings(run: TableParts) -> list[str]:
    """Return how the numbers of a table are read where the originals leave it open or do otherwise."""
    sentences = [
        "`mmedit` ranks logits. MMEdit ranks probabilities, where a softmax may round several to the same number.",
    ]
    if run.cut is not None:
        sentences.append(f"`generated` cuts answers after {run.cut} tokens: a longer target cannot be reached.")
    return [*sentences, *run.readings]


def departure_note(run: TableParts) -> list[str]:
    """Return the note of a table as parts of a Markdown page."""
    rows, readings = table_departures(run), table_readings(run)
    listed = _bullets(rows) if rows else "None."
    return [f"## {TITLE}", INTRODUCTION, listed, "Readings behind these numbers:", _bullets(readings)]


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)
