"""What a backbone knows before any edit: taught items, rephrased in text and in image, and untaught items."""

from collections.abc import Sequence

import pandas as pd
from tqdm import tqdm

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import IGNORED
from unike_lib.benchmark.answers import normalise_answer
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.evaluation.probes import Row, ask
from unike_lib.types import EditCase

SETS: dict[str, str] = {"": "rel", "_rephrased_text": "t_gen", "_rephrased_image": "m_gen"}
ROWS = 64


def diagnose(backbone: Backbone, cases: dict[str, Sequence[EditCase]], settings: EvaluationConfig) -> pd.DataFrame:
    """Return one row a (task, set) with the number of items and, as shares in [0, 1]:

    `exact`: greedy answer equal to the truth after normalisation; `token`: answer tokens right under teacher forcing;
    `consistency`: greedy answer equal to the one given to the original question (1 for the original itself).

    Args:
        backbone: the unedited model.
        cases: set name ("taught", "untaught") -> cases of one task.
        settings: length of generation; generation is always on here.
    """
    settings = settings.model_copy(update={"generate": True})
    rows = []
    for name, items in cases.items():
        original: list[str] = []
        for suffix, kind in SETS.items():
            if not all(case.asks(kind) for case in items):
                continue
            answers, tokens = _answers(backbone, items, kind, settings)
            original = original or answers
            truth = [normalise_answer(case.request.target) for case in items]
            rows.append(
                {
                    "task": items[0].request.task,
                    "set": name + suffix,
                    "items": len(items),
                    "exact": _share(answers, truth),
                    "token": sum(tokens) / len(tokens),
                    "consistency": _share(answers, original),
                }
            )
    return pd.DataFrame(rows)


def _answers(
    backbone: Backbone, cases: Sequence[EditCase], kind: str, settings: EvaluationConfig
) -> tuple[list[str], list[float]]:
    texts: list[str] = []
    tokens: list[float] = []
    for start in tqdm(range(0, len(cases), ROWS), desc=f"answers to {kind}", unit="batch"):
        queries = [case.query(kind) for case in cases[start : start + ROWS]]
        answers = ask(backbone, [Row(query) for query in queries], None, settings)
        texts += [normalise_answer(backbone.text(ids)) for ids in answers.generated]
        for best, targets in zip(answers.best, answers.targets, strict=True):
            asked = targets != IGNORED
            tokens.append(int((best == targets)[asked].sum()) / int(asked.sum()))
    return texts, tokens


def _share(left: Sequence[str], right: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(left, right, strict=True)) / len(left)
