"""The note of a table about its rows: what departs from the originals, made from the settings, and readings."""

from collections.abc import Sequence

from unike_lib.config import Config
from unike_lib.method import find_method, resolve_method
from unike_lib.originals import departure_lines, rows_of_tables
from unike_lib.reporting.paper import short_title

TITLE = "What departs from the originals"
POINTER = f"Settings of a row that are not its original's stand below the numbers (*{TITLE}*)."
INTRODUCTION = (
    "Settings of each row whose value is not its original's, with the original's in brackets. Settings that change an "
    "equation come first. A row that is not named has its original's values, as far as those are known."
)


def table_departures(name: str, config: Config) -> list[str]:
    """Return a sentence a row of one of Tables 1 to 5 in which a setting departs from its original."""
    lines = departure_lines(config, _rows(name, config))
    return [f"{short_title(method)} on {backbone}: {text}." for backbone, method, text in lines]


def table_readings(name: str, config: Config) -> list[str]:
    """Return how the numbers of one of Tables 1 to 5 are read where the originals leave it open or do otherwise."""
    sentences = [
        "`mmedit` ranks logits. MMEdit ranks probabilities, where a softmax may round several to the same number.",
    ]
    if config.evaluation.generate:
        most = config.evaluation.max_new_tokens
        sentences.append(f"`generated` cuts answers after {most} tokens: a longer target cannot be reached.")
    rows = [resolve_method(config.methods, method, backbone) for backbone, method in _rows(name, config)]
    readings = [find_method(settings.method).reading(settings) for settings in rows]
    return sentences + [reading for reading in dict.fromkeys(readings) if reading]


def departure_note(name: str, config: Config) -> list[str]:
    """Return the note of one of Tables 1 to 5 as parts of a Markdown page."""
    rows, readings = table_departures(name, config), table_readings(name, config)
    listed = _bullets(rows) if rows else "None."
    return [f"## {TITLE}", INTRODUCTION, listed, "Readings behind these numbers:", _bullets(readings)]


def _rows(name: str, config: Config) -> list[tuple[str, str]]:
    """Return the rows (backbone, method) of a table; Table 5 averages those of Tables 1 and 2."""
    names = ("table1", "table2") if name == "table5" else (name,)
    return rows_of_tables(config.tables[each] for each in names)


def _bullets(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)
