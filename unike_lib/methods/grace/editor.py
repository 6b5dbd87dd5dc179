"""GRACE's editor: a place in the codebook for each edit, and its value trained on the answer."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import Prepared
from unike_lib.editing.building import EditorSources
from unike_lib.editing.editor import EditResult, edit_loss, request_trunk
from unike_lib.editing.optimise import descend, failures
from unike_lib.editing.patch import Patch
from unike_lib.methods.grace.balance import Balance, pool_balance
from unike_lib.methods.grace.codebook import Arrivals, Codebook
from unike_lib.methods.grace.keys import key_states
from unike_lib.methods.grace.settings import GraceMethod
from unike_lib.types import EditRequest


def build(settings: GraceMethod, backbone: Backbone, sources: EditorSources, seed: int) -> "Grace":
    """Return the editor; where radii are balanced, with the distances of the method-training edits.

    Raises:
        InputError: there are no such edits.
    """
    layer = backbone.layers[0] if settings.layer is None else len(backbone.decoder.layers) + settings.layer
    balance = None
    if settings.radius == "balanced":
        balance = pool_balance(backbone, layer, sources.method_split(), settings.balance)
    return Grace(backbone, settings, layer, balance, seed)


@dataclass(frozen=True)
class Grace:
    """Each edit is a key with a radius and a value; balance: what sets radii, None: they are fixed.

    Reading: an edit is trained with its own value in place, whichever keys there are: none is nearer to its question.
    """

    backbone: Backbone
    settings: GraceMethod
    layer: int
    balance: Balance | None
    seed: int

    def start(self, sessions: int) -> Patch:
        """Return the identity."""
        return Patch(sessions)

    def edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        """Install one request per session; values of other keys stay as they are."""
        trunk = request_trunk(self.backbone, requests, self.layer, teach_end=self.settings.teach_end)
        states = key_states(self.backbone, trunk, self.layer)
        new = Arrivals(states, self._answers(requests), self._radii(requests, states), self._fresh(requests))
        old = previous.part(Codebook) or self._nothing(states)
        book, places = old.with_edits(new, only_shrinks=self.balance is not None)
        sessions = torch.arange(len(requests), device=states.device)
        values = book.values[sessions, places].clone().requires_grad_(True)
        finite = self._train(values, trunk, states, previous)
        book.values[sessions, places] = values.detach()
        return EditResult(previous.append(book).revert(finite, previous), failures(finite))

    def _train(self, values: Tensor, trunk: Prepared, states: Tensor, previous: Patch) -> Tensor:
        """Train values [session, d] in place and return which sessions stayed finite, bool [session]."""
        everywhere, rest = torch.full((len(states), 1), torch.inf, device=states.device), previous.without(Codebook)
        none = torch.zeros_like(everywhere)
        own = {"keys": states.float()[:, None], "radii": everywhere, "slack": none, "answers": none.long()}
        own["live"], nothing = torch.ones_like(everywhere, dtype=torch.bool), self._nothing(states)

        def losses() -> Tensor:
            book = nothing.with_tensors({**own, "values": values[:, None]})
            return edit_loss(self.backbone, trunk, rest.append(book))

        optimiser = torch.optim.Adam([values], lr=self.settings.learning_rate)
        return descend([values], losses, optimiser, self.settings.steps)

    def _nothing(self, states: Tensor) -> Codebook:
        """Return the codebook of sessions without edits."""
        numbers = torch.zeros(len(states), 0, device=states.device)
        keys, values = (numbers[..., None].expand(-1, -1, width) for width in (states.shape[1], self.backbone.width))
        matrix = self.backbone.decoder.names.down
        rest = numbers.long(), numbers.bool()
        return Codebook(self.layer, matrix, self.settings.replaces, keys, values, numbers, numbers, *rest)

    def _radii(self, requests: Sequence[EditRequest], states: Tensor) -> Tensor:
        if self.balance is None:
            return torch.full((len(requests),), self.settings.initial_radius, device=states.device)
        return self.balance.radii(requests, states)

    def _answers(self, requests: Sequence[EditRequest]) -> Tensor:
        """Return a number for each answer [session], made of its token ids: the same for the same answers."""
        texts = [str(self.backbone.answer_ids(request.target)) for request in requests]
        return torch.tensor([_number(text) for text in texts], device=self.backbone.device)

    def _fresh(self, requests: Sequence[EditRequest]) -> Tensor:
        """Return values to start from [session, d], uniform in [0, 1), each request's own."""
        seeds = [_number(f"{request.id}:{self.layer}:{self.seed}") for request in requests]
        rows = [torch.rand(self.backbone.width, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return torch.stack(rows).to(self.backbone.device)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
