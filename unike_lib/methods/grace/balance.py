"""Radii as in BalancEdit (Guo et al. 2025): between the distance of rephrasings and that of unrelated questions.

    r = (1 - a) |k - n| + a |k - p|

k is the key of the edit, a the balance. Reading: an editor sees no probe of its edit, and BalancEdit's black picture
is no question that anybody asks, so both come of the method-training split, the pool. n is the nearest to k of the
pool's questions, none of which is about the fact; one that the model cannot tell from the edit's own does not count.
p: the edit is taken to move as far as those of the pool's edits that are nearest to it do by their rephrased questions
and pictures; and where the pool rephrases the very words of the edit's question, the edit's own picture is asked in
these. |k - p| is the mean of all these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.methods.grace.codebook import rounding
from unike_lib.methods.grace.keys import question_states
from unike_lib.types import EditCase, EditRequest, Query

REPHRASINGS, UNRELATED = ("t_gen", "m_gen"), ("rel", "t_loc", "m_loc")
POOL = 64  # edits of a task that are looked at
NEIGHBOURS = 8  # of these, the nearest to an edit: how far their rephrasings lie is taken for its own
WORDINGS = 4  # rephrasings of an edit's own words that it is asked in


@dataclass(frozen=True)
class Balance:
    """What radii are set by.

    balance: a; keys [n, in]: of pool edits, moved [n]: mean distance of their rephrasings; unrelated [m, in]: states of
    the pool's questions; wordings: a question's text -> the texts by which the pool rephrases it.
    """

    backbone: Backbone
    layer: int
    balance: float
    keys: Tensor
    moved: Tensor
    unrelated: Tensor
    wordings: Mapping[str, Sequence[str]]

    def radii(self, requests: Sequence[EditRequest], states: Tensor) -> Tensor:
        """Return the radius of each request [session], given the states of its question [session, in]."""
        asked = states.float()
        near = _distances(asked, self.keys).topk(min(NEIGHBOURS, len(self.keys)), largest=False).indices
        apart = _distances(asked, self.unrelated)
        far = torch.where(apart > rounding(states)[:, None], apart, torch.inf).amin(1)
        rephrased = torch.stack(
            [self._rephrased(*each) for each in zip(requests, asked, self.moved[near], strict=True)]
        )
        return (1 - self.balance) * far + self.balance * rephrased

    def _rephrased(self, request: EditRequest, state: Tensor, moved: Tensor) -> Tensor:
        """Return how far rephrasings of a request lie from its state [in], as those of its neighbours did [n]."""
        queries = [replace(request.query, prompt=words) for words in self.wordings.get(request.prompt, ())]
        if not queries:
            return moved.mean()
        own = question_states(self.backbone, queries, self.layer).float()
        return torch.cat([(own - state).norm(dim=1), moved]).mean()


def pool_balance(backbone: Backbone, layer: int, cases: Sequence[EditCase], balance: float) -> Balance:
    """Return what radii are set by, measured on the pool's edits; a question is asked once.

    Raises:
        InputError: a case lacks a probe.
    """
    pool = [case for task in dict.fromkeys(c.request.task for c in cases) for case in _of_task(cases, task)]
    asked: dict[Query, int] = {}
    places = [
        [asked.setdefault(replace(case.query(kind), answer=None), len(asked)) for kind in (*REPHRASINGS, *UNRELATED)]
        for case in pool
    ]
    states = question_states(backbone, list(asked), layer).float()
    by_kind = states[torch.tensor(places, device=states.device)].unbind(1)
    rephrased, unrelated = by_kind[: len(REPHRASINGS)], by_kind[len(REPHRASINGS) :]
    moved = torch.stack([(each - unrelated[0]).norm(dim=1) for each in rephrased]).mean(0)
    wordings: dict[str, dict[str, None]] = {}
    for case in cases:
        wordings.setdefault(case.request.prompt, {})[case.query("t_gen").prompt] = None
    first = {own: tuple(words)[:WORDINGS] for own, words in wordings.items()}
    return Balance(backbone, layer, balance, unrelated[0], moved, torch.cat(unrelated), first)


def _of_task(cases: Sequence[EditCase], task: str) -> Sequence[EditCase]:
    return [case for case in cases if case.request.task == task][:POOL]


def _distances(states: Tensor, others: Tensor) -> Tensor:
    return torch.cdist(states, others, compute_mode="donot_use_mm_for_euclid_dist")
