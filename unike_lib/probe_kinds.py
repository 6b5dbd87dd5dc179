"""What may be asked after an edit: each kind of probe says what its answer must do.

A dialect may ask kinds of its own beside these (`Ask(..., must="differ")`): they are recorded, and columns of tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Must = Literal["become", "stay", "differ"]


@dataclass(frozen=True)
class ProbeKind:
    """A kind of probe: its name in files and columns, its title in tables, and what is asked.

    must: `become` the probe's answer; `stay` what the unedited model says; or `differ` from it.
    """

    name: str
    title: str
    asked: str
    must: Must = "become"


# Every edit has the first five; portability is VLKEB's: a question that takes the edited fact as a step.
KINDS: Mapping[str, ProbeKind] = {
    kind.name: kind
    for kind in (
        ProbeKind("rel", "Rel.", "the edit itself"),
        ProbeKind("t_gen", "T-Gen.", "rephrased text"),
        ProbeKind("m_gen", "M-Gen.", "rephrased image"),
        ProbeKind("t_loc", "T-Loc.", "unrelated text", "stay"),
        ProbeKind("m_loc", "M-Loc.", "unrelated image", "stay"),
        ProbeKind("portability", "Port.", "a consequence of the edited fact"),
    )
}


def kind_title(name: str) -> str:
    """Return a kind's title in tables; a dialect's own kind is called by its name."""
    return KINDS[name].title if name in KINDS else name


def further_kinds(found: set[str], every: tuple[str, ...]) -> tuple[str, ...]:
    """Return the kinds found beside those of every edit, in a fixed order: the library's, then others by name."""
    return (*(name for name in KINDS if name in found and name not in every), *sorted(found - {*KINDS}))
