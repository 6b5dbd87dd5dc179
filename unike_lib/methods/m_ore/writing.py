"""What a step of M-ORE reads of a pass, and how it writes: which layers, through which projector, behind which gate."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unike_lib.backbones.edit import PassContext
from unike_lib.editing.patch import Part
from unike_lib.methods.m_ore.pairs import Pairs, Place
from unike_lib.methods.m_ore.settings import MoreMethod

EPSILON = 1.0e-6


@dataclass(frozen=True)
class Codes(Part):
    """Shows mean codes A x [row, rank] by matrix: of the target's tokens, and of the picture (0 without one).

    bases: A [rank, in]; lengths [row]: of the rows, in tokens; predicting: of the tokens before the target's instead.
    """

    bases: Mapping[Place, Tensor]
    lengths: Tensor
    predicting: bool
    target: dict[Place, Tensor] = field(default_factory=dict)
    picture: dict[Place, Tensor] = field(default_factory=dict)

    def weight(self, layer: int, name: str, inputs: Tensor, context: PassContext) -> Tensor | None:
        """Note the codes of a matrix; add nothing."""
        basis, tokens = self.bases.get((layer, name)), inputs.shape[1]
        if basis is not None:
            codes = inputs.detach().float() @ basis.T
            self.target[layer, name] = _mean(codes, self._of_target(context, tokens))
            self.picture[layer, name] = _mean(codes, context.within("picture", tokens))
        return None

    def _of_target(self, context: PassContext, tokens: int) -> Tensor:
        """Return which tokens are the target's, bool [row, token]; rows end with them."""
        places = torch.arange(tokens, device=self.lengths.device)[None]
        places = (places if context.positions is None else context.positions) + int(self.predicting)
        return (places > context.last_prompt[:, None]) & (places < self.lengths[:, None])


def _mean(codes: Tensor, where: Tensor) -> Tensor:
    """Return each row's mean [row, rank] of codes [row, token, rank] where `where` holds; 0 where it nowhere does."""
    return (codes * where[:, :, None]).sum(1) / where.sum(1, keepdim=True).clamp(min=1)


def gate(text: Tensor, picture: Tensor, threshold: float, slope: float) -> tuple[Tensor, Tensor]:
    """Return how far the shared ranks are written, g [session], and the code that this claims, q [session, rank].

    text, picture: mean shared codes u_t and u_v [session, rank]. g = sigmoid(slope (cos - threshold)) min / max of both
    lengths, times the picture's part |u_v| / (|u_t| + |u_v|) (ScopeEdit). Without one of both, g = 0.
    """
    a, b = text.norm(dim=1), picture.norm(dim=1)
    cosine = (text * picture).sum(1) / (a * b + EPSILON)
    support = torch.minimum(a, b) / (torch.maximum(a, b) + EPSILON)
    of_text, of_picture = b / (a + b + EPSILON), a / (a + b + EPSILON)
    both = (a > EPSILON) & (b > EPSILON)
    opened = torch.sigmoid(slope * (cosine - threshold)) * support * both
    mixed = of_picture[:, None] * text + of_text[:, None] * picture
    return opened * of_text, torch.nn.functional.normalize(mixed, dim=1)


def claimed(used: Tensor, code: Tensor, damping: float) -> Tensor:
    """Return I - P [session, rank, rank] after P <- P - (P z)(P z)^T / (damping + z^T P z) for codes z [session, rank].

    By Sherman-Morrison, P is damping times the inverse of damping I + the sum of all z z^T.
    """
    projected = code - (used @ code[:, :, None])[:, :, 0]
    return used + projected[:, :, None] * projected[:, None] / (damping + (code * projected).sum(1))[:, None, None]


def ranked(gradients: Mapping[Place, Tensor], private: int) -> dict[int, Tensor]:
    """Return the place of every layer [session], 0 the first, by the summed norms of its matrices' gradients.

    private: how many of the ranks, the first ones, are counted.
    """
    scores: dict[int, Tensor] = {}
    for (layer, _), gradient in gradients.items():
        scores[layer] = scores.get(layer, 0) + gradient[:, :, :private].flatten(1).norm(dim=1)
    order = torch.stack(list(scores.values()), 1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return dict(zip(scores, order.T, strict=True))


@torch.no_grad()
def written(pairs: Pairs, gradients: Mapping[Place, Tensor], codes: Codes, settings: MoreMethod) -> Pairs:
    """Return the pairs after one step along gradients [session, out, rank], through the projectors of before it."""
    shared = settings.shared_rank
    own = slice(0, settings.rank - shared)
    places = ranked(gradients, own.stop)
    outputs, used = {}, {}
    for place, gradient in gradients.items():
        old, chosen = pairs.used[place], (places[place[0]] < settings.top_k).float()
        new, room = pairs.outputs[place].clone(), old.clone()
        new[:, :, own] -= settings.learning_rate * _weighted(_through(gradient, old, own), chosen)
        grown = claimed(old[:, own, own], codes.target[place][:, own], settings.damping)
        room[:, own, own] = torch.where(chosen[:, None, None] > 0, grown, old[:, own, own])
        if shared:
            common = slice(own.stop, settings.rank)
            text, picture = codes.target[place][:, common], codes.picture[place][:, common]
            opened, code = gate(text, picture, settings.gate_threshold, settings.gate_slope)
            opened = opened * chosen * (places[place[0]] < settings.shared_layers)
            new[:, :, common] -= settings.shared_learning_rate * _weighted(_through(gradient, old, common), opened)
            grown = claimed(old[:, common, common], code, settings.shared_damping)
            room[:, common, common] = torch.where(opened[:, None, None] > 0, grown, old[:, common, common])
        outputs[place], used[place] = new, room
    return Pairs(pairs.bases, pairs.scale, outputs, used)


def _through(gradient: Tensor, used: Tensor, ranks: slice) -> Tensor:
    """Return g P [session, out, rank] of some ranks."""
    part = gradient[:, :, ranks]
    return part - part @ used[:, ranks, ranks]


def _weighted(change: Tensor, weights: Tensor) -> Tensor:
    """Return changes times each session's weight; a weight of 0 takes even what is not finite."""
    return torch.where(weights[:, None, None] > 0, change * weights[:, None, None], 0.0)
