"""What may be asked after an edit: each kind of probe says what its answer must do.

A dialect may ask kinds of its own beside these (`Ask(..., must="differ")`): they are recorded, and columns of tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Must = Literal["become", "stay", "differ"]
Aim = Literal["reliability", "generality", "locality"]


@dataclass(frozen=True)
class ProbeKind:
    """A kind of probe: its name in files and columns, its title in tables, and what is asked.

    must: `become` the probe's answer; `stay` what the unedited model says; or `differ` from it.
    aim: of the three, whose mean it is part of: all edits of a benchmark's file have such a probe, or none has; all
        have `rel`. None: asked where a case has it.
    """

    name: str
    title: str
    asked: str
    must: Must = "become"
    aim: Aim | None = None


# Portability is VLKEB's: a question that takes the edited fact as a step. Tiers of locality: `evaluation.tiers`.
KINDS: Mapping[str, ProbeKind] = {
    kind.name: kind
    for kind in (
        ProbeKind("rel", "Rel.", "the edit itself", aim="reliability"),
        ProbeKind("t_gen", "T-Gen.", "rephrased text", aim="generality"),
        ProbeKind("m_gen", "M-Gen.", "rephrased image", aim="generality"),
        ProbeKind("t_loc", "T-Loc.", "unrelated text", "stay", "locality"),
        ProbeKind("m_loc", "M-Loc.", "unrelated image", "stay", "locality"),
        ProbeKind("t_gen_far", "T-Gen. far", "text rephrased in another style"),
        ProbeKind("portability", "Port.", "a consequence of the edited fact"),
        ProbeKind("portability_2", "Port. 2-hop", "a consequence two steps away"),
        ProbeKind("portability_3", "Port. 3-hop", "a consequence three steps away"),
        ProbeKind("portability_4", "Port. 4-hop", "a consequence four steps away"),
        ProbeKind("comp", "Comp.", "what takes both edits of a case, of a picture and of text"),
        ProbeKind("text_rel", "Text-Rel.", "what the edit says, without its picture; or a case's own text edit"),
        ProbeKind("text_rel_2", "Text-Rel. 2", "a second such question"),
        ProbeKind("text_gen", "Text-Gen.", "a case's text edit, rephrased"),
        ProbeKind("text_loc", "Text-Loc.", "unrelated text of a case's text edit", "stay"),
        ProbeKind("text_port", "Text-Port.", "a consequence of a case's text edit"),
        ProbeKind("m_rel", "M-Rel.", "what the edit says, in a short answer, about its picture"),
        ProbeKind("m_rel_2", "M-Rel. 2", "a second such question"),
        ProbeKind("m_rel_gen", "M-Rel. gen.", "the same about the rephrased picture"),
        ProbeKind("m_rel_gen_2", "M-Rel. gen. 2", "a second such question"),
        ProbeKind("near_picture", "Near-Pic.", "the edit's question with the most similar other picture", "stay"),
        ProbeKind("near_question", "Near-Q.", "another question about the same or the most similar picture", "stay"),
        ProbeKind("no_picture", "No-Pic.", "the edit's question alone", "stay"),
        ProbeKind("identity", "Identity", "a text-only question about what the picture shows", "stay"),
    )
}
AIMS: Mapping[str, tuple[str, ...]] = {
    aim: tuple(name for name, kind in KINDS.items() if kind.aim == aim) for aim in get_args(Aim)
}
LOCALITY = AIMS["locality"]
REACHED = (*AIMS["reliability"], *AIMS["generality"])  # what an edit must reach
# Columns that tables have beside those of kinds.
TAKEN = frozenset(["backbone", "task", "k", "method", "edits", "failed", "clusters", "independent", "gap"]).union(
    ["last_session", "control_passed"]
)


def can_name_kind(name: str) -> bool:
    """Tell whether a dialect's own kind may have this name: it becomes a column of tables, with others beside it."""
    beside = name.startswith("paper_") or name.endswith(("_low", "_high", "_edits"))
    return name.isidentifier() and name not in TAKEN and not beside


def kind_title(name: str) -> str:
    """Return a kind's title in tables; a dialect's own kind is called by its name."""
    return KINDS[name].title if name in KINDS else name


def further_kinds(found: set[str], every: tuple[str, ...]) -> tuple[str, ...]:
    """Return the kinds found beside those of every edit, in a fixed order: the library's, then others by name."""
    return (*(name for name in KINDS if name in found and name not in every), *sorted(found - {*KINDS}))
