"""What settings and trained editors are chosen by: one number from the scores on development edits."""

from collections.abc import Mapping, Sequence

import torch

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.forward import answer_logits
from unike_lib.editing.editor import Editor
from unike_lib.probe_kinds import AIMS, LOCALITY
from unike_lib.types import EditCase, kinds_of_all


def objective(means: Mapping[str, float]) -> float:
    """Return the mean of reliability, generality (mean of its kinds) and locality: the search maximises it.

    Kinds that the edits do not ask are left out, and so is an aim without any.
    """
    aims = [[means[kind] for kind in kinds if kind in means] for kinds in AIMS.values()]
    found = [sum(each) / len(each) for each in aims if each]
    return sum(found) / len(found)


@torch.no_grad()
def token_scores(backbone: Backbone, editor: Editor, cases: Sequence[EditCase], sessions: int) -> dict[str, float]:
    """Return the mean share of right answer tokens (locality: unchanged ones) after one edit per case, by probe kind.

    sessions: edits made side by side; does not change the result beyond rounding.
    """
    kinds = kinds_of_all(cases)
    sums: dict[str, float] = dict.fromkeys(kinds, 0.0)
    for start in range(0, len(cases), sessions):
        part = cases[start : start + sessions]
        patch = editor.edit([case.request for case in part], editor.start(len(part))).patch
        for kind in kinds:
            queries = [case.query(kind) for case in part]
            asked = answer_logits(backbone, queries, patch, keep=False)
            wanted = answer_logits(backbone, queries, keep=False).greedy if kind in LOCALITY else asked.answer_ids
            rows = zip(asked.greedy, wanted, asked.answer_ids, strict=True)
            hits = [[one == other for one, other in zip(*row, strict=False)][: len(ids)] for *row, ids in rows]
            sums[kind] += float(torch.stack([torch.tensor(each).float().mean() for each in hits]).sum())
    return {kind: total / len(cases) for kind, total in sums.items()}
