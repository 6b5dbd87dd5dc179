"""What settings and trained editors are chosen by: one number from the scores on development edits."""

from collections.abc import Mapping, Sequence

import torch

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.forward import answer_logits
from unike_lib.editing.editor import Editor
from unike_lib.probe_kinds import LOCALITY
from unike_lib.types import PROBE_KINDS, EditCase


def objective(means: Mapping[str, float]) -> float:
    """Return the mean of reliability, generality (mean of two) and locality (mean of two): the search maximises it."""
    generality = (means["t_gen"] + means["m_gen"]) / 2
    locality = (means["t_loc"] + means["m_loc"]) / 2
    return (means["rel"] + generality + locality) / 3


@torch.no_grad()
def token_scores(backbone: Backbone, editor: Editor, cases: Sequence[EditCase], sessions: int) -> dict[str, float]:
    """Return the mean share of right answer tokens (locality: unchanged ones) after one edit per case, by probe kind.

    sessions: edits made side by side; does not change the result beyond rounding.
    """
    sums: dict[str, float] = dict.fromkeys(PROBE_KINDS, 0.0)
    for start in range(0, len(cases), sessions):
        part = cases[start : start + sessions]
        patch = editor.edit([case.request for case in part], editor.start(len(part))).patch
        for kind in PROBE_KINDS:
            queries = [case.query(kind) for case in part]
            asked = answer_logits(backbone, queries, patch, keep=False)
            wanted = answer_logits(backbone, queries, keep=False).greedy if kind in LOCALITY else asked.answer_ids
            rows = zip(asked.greedy, wanted, asked.answer_ids, strict=True)
            hits = [[one == other for one, other in zip(*row, strict=False)][: len(ids)] for *row, ids in rows]
            sums[kind] += float(torch.stack([torch.tensor(each).float().mean() for each in hits]).sum())
    return {kind: total / len(cases) for kind, total in sums.items()}
