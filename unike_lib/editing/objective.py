"""What settings and trained editors are chosen by: one number from the scores on development edits."""

from collections.abc import Mapping, Sequence

import torch

from unike_lib.backbones.base import IGNORED, Backbone
from unike_lib.editing.editor import Editor, row_means
from unike_lib.types import PROBE_KINDS, EditCase, ProbeKind

LOCALITY: tuple[ProbeKind, ...] = ("t_loc", "m_loc")


def objective(means: Mapping[str, float]) -> float:
    """Return the mean of reliability, generality (mean of two) and locality (mean of two): the search maximises it."""
    generality = (means["t_gen"] + means["m_gen"]) / 2
    locality = (means["t_loc"] + means["m_loc"]) / 2
    return (means["rel"] + generality + locality) / 3


@torch.no_grad()
def token_scores(
    backbone: Backbone, editor: Editor, cases: Sequence[EditCase], sessions: int, first: int | None = None
) -> dict[str, float]:
    """Return the mean share of right answer tokens (locality: unchanged ones) after one edit a case, by probe kind.

    sessions: edits made side by side; does not change the result beyond rounding. first: the first layer that an edit
    changes; None is the backbone's first edited one.
    """
    sums: dict[str, float] = dict.fromkeys(PROBE_KINDS, 0.0)
    for start in range(0, len(cases), sessions):
        part = cases[start : start + sessions]
        patch = editor.edit([case.request for case in part], editor.start(len(part))).patch
        for kind in PROBE_KINDS:
            trunk = backbone.trunk_of([case.query(kind) for case in part], first)
            where = trunk.batch.targets != IGNORED
            best = backbone.head(trunk, patch, where).argmax(-1)
            local = kind in LOCALITY
            wanted = backbone.head(trunk, where=where).argmax(-1) if local else trunk.batch.targets[where]
            sums[kind] += float(row_means((best == wanted).float(), where).sum())
    return {kind: total / len(cases) for kind, total in sums.items()}
