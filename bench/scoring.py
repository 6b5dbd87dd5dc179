"""Seconds a case of the whole evaluation, edit and scores with generation: one session at a time against batched."""

from bench.edit_loop import MakeEditor
from bench.subjects import Subject
from bench.timing import Row, compare, in_turn
from unike_lib.config import EvaluationConfig
from unike_lib.evaluation.sessions import answer_before, run_edits


def measure(subject: Subject, make: MakeEditor, sessions: int, rounds: int, settings: EvaluationConfig) -> list[Row]:
    editor = make(subject.backbone)
    one, many = (settings.model_copy(update={"sessions": size}) for size in (1, sessions))
    before = answer_before(subject.backbone, subject.cases, one)
    ways = {
        "one at a time": lambda: run_edits(subject.backbone, editor, subject.cases, before, 1, one),
        f"{sessions} side by side": lambda: run_edits(subject.backbone, editor, subject.cases, before, 1, many),
    }
    return [compare(f"edit and score, {subject.name}", in_turn(ways, rounds), "", len(subject.cases))]
