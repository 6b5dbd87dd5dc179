"""The contract between evaluation, which writes records, and reporting, which reads them; without torch.

A record is one row per session, position, case and probe kind, with the scores by all criteria side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from unike_lib.criterion import Criterion

TEXT, REAL, WHOLE = pa.string(), pa.float64(), pa.int32()
CELL = ["backbone", "task", "method"]
EDIT = ["session", "position", "case"]
MEASURED = ("edit_seconds", "edit_bytes", "peak_mb")  # of the run and its batches: no two runs need have the same
# What a point of a sweep changes: a field of the method and its value; both empty for the method as it is.
SWEPT = pa.schema([("field", TEXT), ("value", TEXT)])


@dataclass
class Score:
    """One probe of one case after a session's edits, scored by each criterion (NaN: not measured).

    k: edits of a session; the last one may have fewer. right_after: the scores right after the case's own edit, before
    the later ones of its session; only of kind `rel` in sessions of several edits.
    aliases: accepted answers beside the target; cut: whether the greedy answer is as long as answers may be.
    edit_seconds, edit_bytes: per edit of the session, its making and what is kept of it, with the padding of sessions
    that were edited beside it; peak_mb: most memory that the process held so far (on a GPU: of the GPU's), in MiB.
    """

    case: str
    facts: list[str]
    kind: str
    scores: dict[str, float]
    answer_tokens: int
    target: str
    text_before: str
    text_after: str
    alpha: float
    k: int = 1
    session: int = 0
    position: int = 0
    edit_seconds: float = 0.0
    edit_bytes: float = 0.0
    peak_mb: float = 0.0
    aliases: list[str] = field(default_factory=list)
    cut: bool = False
    status: str = "ok"
    right_after: dict[str, float] = field(default_factory=dict)

    def row(self, criteria: Sequence[Criterion]) -> dict[str, object]:
        """Return the score as a row of `score_schema`."""
        plain = {name: value for name, value in vars(self).items() if name not in ("scores", "right_after")}
        later = {right_after(each): self.right_after.get(each.name, float("nan")) for each in scored_early(criteria)}
        return plain | self.scores | later

    @classmethod
    def of_row(cls, row: dict[str, object], criteria: Sequence[Criterion]) -> "Score":
        """Return the score of a row."""
        scores = {each.name: row.pop(each.name) for each in criteria}
        early = {each.name: row.pop(right_after(each)) for each in scored_early(criteria)}
        return cls(**row, scores=scores, right_after=early)  # type: ignore[arg-type]


def scored_early(criteria: Sequence[Criterion]) -> list[Criterion]:
    """Return the criteria of scores right after an item's own edit: those that read no greedy answer."""
    return [each for each in criteria if not each.reads_text]


def right_after(criterion: Criterion | str) -> str:
    """Return the column of scores right after an item's own edit."""
    return f"{criterion if isinstance(criterion, str) else criterion.name}_right_after"


def score_schema(criteria: Sequence[Criterion]) -> pa.Schema:
    """Return the columns of a score, without those that say which run it is from."""
    return pa.schema([each for each in record_schema(criteria) if each.name not in (*CELL, "seed", "fingerprint")])


def record_schema(criteria: Sequence[Criterion]) -> pa.Schema:
    """Return the columns of records."""
    return pa.schema(
        [
            *((name, TEXT) for name in CELL),
            *((name, WHOLE) for name in ("k", "seed", "session", "position")),
            ("case", TEXT),
            ("facts", pa.list_(TEXT)),
            ("kind", TEXT),
            ("status", TEXT),
            *((each.name, REAL) for each in criteria),
            *((right_after(each), REAL) for each in scored_early(criteria)),
            ("answer_tokens", WHOLE),
            ("target", TEXT),
            ("aliases", pa.list_(TEXT)),
            *((name, TEXT) for name in ("text_before", "text_after")),
            ("cut", pa.bool_()),
            *((name, REAL) for name in (*MEASURED, "alpha")),
            ("fingerprint", TEXT),
        ]
    )
