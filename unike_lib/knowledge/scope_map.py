"""A linear map of states, trained to draw an edit's rephrasings to it and to hold off what only looks like them.

Beside the states as they are it shows what training adds where editing begins, and what of that is learnt templates.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from unike_lib.knowledge.scope import unit
from unike_lib.knowledge.scope_states import LOCALITIES, REPHRASINGS, ScopeStates
from unike_lib.types import InputError

WIDTH = 128
TEMPERATURE = 0.1
STEPS = 300
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Contrast:
    """Whom each edit is held against: keys [edit, d], others [question, d]; own, counted: bool [edit, question]."""

    keys: Tensor
    others: Tensor
    own: Tensor
    counted: Tensor


def contrast_of(states: ScopeStates, layer: int) -> Contrast:
    """Return the edits that have rephrasings, and whom they are held against.

    Its rephrasings are an edit's own; beside them count other edits' questions and rephrasings, and its localities.
    """
    rows = [states.of_kinds(kinds) for kinds in (("rel",), REPHRASINGS, LOCALITIES)]
    whose, questions = (torch.cat(part) for part in zip(*rows, strict=True))
    sizes = [len(keys) for keys, _ in rows]
    of_key, rephrases, local = (part.repeat_interleave(torch.tensor(sizes)) for part in torch.eye(3, dtype=torch.bool))
    edits = rows[1][0].unique()
    if not len(edits):
        raise InputError("semantic scope: too few pool edits with rephrasings to train a map; expected two or more")
    same = edits[:, None] == whose
    own = same & rephrases
    counted = own | (~same & (of_key | rephrases)) | (same & local)
    vectors = unit(states.states[:, layer])
    return Contrast(vectors[edits], vectors[questions], own, counted)


def contrastive_loss(keys: Tensor, others: Tensor, contrast: Contrast, temperature: float) -> Tensor:
    """Return Eq. 5 averaged over edits: an edit attracts its own questions among all that count.

    keys [edit, w], others [question, w]: of unit length. Reading: positives are a question's rephrasings here (Eq. 5:
    the two answers to it), and its localities stand beside the negatives.
    """
    scores, never = keys @ others.T / temperature, -torch.inf
    everything = scores.masked_fill(~contrast.counted, never).logsumexp(1)
    return (everything - scores.masked_fill(~contrast.own, never).logsumexp(1)).mean()


def train_map(states: ScopeStates, layer: int, seed: int) -> Tensor:
    """Return a map [d, width] trained on the edits that have rephrasings; the same seed, the same map."""
    contrast = contrast_of(states, layer)
    d = contrast.keys.shape[1]
    weights = torch.randn(d, WIDTH, generator=torch.Generator().manual_seed(seed)) / d**0.5
    weights.requires_grad_()
    optimiser = torch.optim.Adam([weights], lr=LEARNING_RATE)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = contrastive_loss(unit(contrast.keys, weights), unit(contrast.others, weights), contrast, TEMPERATURE)
        loss.backward()
        optimiser.step()
    return weights.detach()
