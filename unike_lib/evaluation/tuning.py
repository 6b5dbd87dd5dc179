"""Search of hyper-parameters on development edits, every method with the same budget; sweeps of one field."""

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from tqdm import tqdm

from unike_lib.backbones.backbone import Backbone
from unike_lib.config.base import setting_text
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.editing.editor import Editor
from unike_lib.editing.objective import objective
from unike_lib.evaluation.sessions import run_edits
from unike_lib.evaluation.unedited_answers import UneditedAnswers
from unike_lib.records import Score
from unike_lib.types import EditCase, kinds_of_all

EditorOf = Callable[[dict[str, Any]], Editor]


def grid_trials(grid: Mapping[str, Sequence[Any]], trials: int, seed: int) -> list[dict[str, Any]]:
    """Return at most `trials` settings: the whole grid in its order, or a seeded sample of it without repeats."""
    names = list(grid)
    combinations = [dict(zip(names, values, strict=True)) for values in itertools.product(*grid.values())]
    if len(combinations) <= trials:
        return combinations
    return random.Random(seed).sample(combinations, trials)


def search(
    backbone: Backbone,
    editor_of: EditorOf,
    cases: Mapping[str, Sequence[EditCase]],
    before: UneditedAnswers,
    trials: Sequence[dict[str, Any]],
    settings: EvaluationConfig,
) -> pd.DataFrame:
    """Try settings on each task's development edits, with one editor per trial.

    Returns:
        One row per task and trial: its settings, the mean token scores, failed edits, the objective, seconds per edit.
    """
    rows = []
    with backbone.cache.remembering():  # every trial asks the same questions
        for number, trial in enumerate(tqdm(trials, desc="settings tried", unit="trial")):
            editor = editor_of(trial)
            for task, edits in cases.items():
                scores = run_edits(backbone, editor, {1: edits}, before, settings)
                means: dict[str, float] = {kind: _mean(scores, kind) for kind in kinds_of_all(edits)}
                failed = sum(score.status != "ok" for score in scores if score.kind == "rel")
                seconds = sum(score.edit_seconds for score in scores if score.kind == "rel") / len(edits)
                row: dict[str, Any] = {"task": task, "trial": number, **trial, "edits": len(edits), "failed": failed}
                rows.append(row | means | {"objective": objective(means), "edit_seconds": seconds})
    return pd.DataFrame(rows)


def sweep(
    backbone: Backbone,
    editor_of: EditorOf,
    cases: Sequence[EditCase],
    before: UneditedAnswers,
    points: Sequence[Mapping[str, Any]],
    settings: EvaluationConfig,
) -> list[tuple[dict[str, str], list[Score]]]:
    """Return each point's labels, `field` and `value` as text, and its scores of one-step editing.

    A point changes one field of the method; an empty one, labelled with empty text, is the method as it is.
    """
    swept = []
    with backbone.cache.remembering():  # every point asks the same questions
        for point in points:
            ((field, value),) = point.items() or {("", "")}
            labels = {"field": field, "value": setting_text(value)}
            swept.append((labels, run_edits(backbone, editor_of(dict(point)), {1: cases}, before, settings)))
    return swept


def _mean(scores: Sequence[Score], kind: str) -> float:
    chosen = [score.scores["token"] for score in scores if score.kind == kind]
    return sum(chosen) / len(chosen)
