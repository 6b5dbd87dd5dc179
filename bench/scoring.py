"""Seconds per case of the whole evaluation, edit and scores with generation.

One session at a time against batched; every pass from the embeddings against states of the frozen layers from disk.
"""

import tempfile
from pathlib import Path

from bench.edit_loop import MakeEditor
from bench.subjects import Subject
from bench.timing import Row, compare, in_turn
from unike_lib.backbones.no_cache import NoCache
from unike_lib.backbones.speed.state_cache import StateCache, cache_states, cached_depths
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import run_edits
from unike_lib.evaluation_config import EvaluationConfig


def measure(subject: Subject, make: MakeEditor, sessions: int, rounds: int, settings: EvaluationConfig) -> list[Row]:
    editor = make(subject.backbone)
    one, many = (settings.model_copy(update={"sessions": size}) for size in (1, sessions))
    before = answer_before(subject.backbone, subject.cases, one)
    ways = {
        "one at a time": lambda: run_edits(subject.backbone, editor, {1: subject.cases}, before, one),
        f"{sessions} side by side": lambda: run_edits(subject.backbone, editor, {1: subject.cases}, before, many),
    }
    return [compare(f"edit and score, {subject.name}", in_turn(ways, rounds), "", len(subject.cases))]


def measure_kept(
    subject: Subject, make: MakeEditor, name: str, sessions: int, rounds: int, settings: EvaluationConfig
) -> list[Row]:
    """Return the ratio per case; ways whose scores differ are not compared."""
    backbone, editor = subject.backbone, make(subject.backbone)
    batched = settings.model_copy(update={"sessions": sessions})
    before = answer_before(backbone, subject.cases, batched)

    def scores(cache):
        backbone.cache = cache
        return run_edits(backbone, editor, {1: subject.cases}, before, batched)

    depths = cached_depths(backbone, (None, -1, 0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kept.safetensors"
        cache_states(backbone, [probe.query for case in subject.cases for probe in case.probes], depths, path, "bench")
        kept = StateCache(backbone, [path])
        one, other = ([(s.case, s.kind, s.scores["token"], s.text_after) for s in scores(f)] for f in (NoCache(), kept))
        if one != other:
            raise RuntimeError(f"{subject.name}, {name}: scores differ with states from disk")
        ways = {"all layers run": lambda: scores(NoCache()), "frozen layers from disk": lambda: scores(kept)}
        row = compare(f"edit and score, {name}, {subject.name}", in_turn(ways, rounds), "", len(subject.cases))
    backbone.cache = NoCache()
    return [row]
