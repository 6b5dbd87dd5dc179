"""LoRA (Hu et al. 2022): train low-rank factors beside frozen matrices on the edit alone."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.decoder import DecoderLayer
from unike_lib.editing.building import EditorSources
from unike_lib.editing.editor import Editor, EditResult, edit_loss, request_trunk
from unike_lib.editing.optimise import descend, failures
from unike_lib.editing.patch import Patch
from unike_lib.methods.lora.dropout import Dropout
from unike_lib.methods.lora.factors import LoraFactors, LoraFactorsPerEdit
from unike_lib.methods.lora.settings import LoraMethod
from unike_lib.methods.shared.low_rank import LowRank
from unike_lib.methods.shared.semantic_scope import behind_scope
from unike_lib.types import EditRequest, InputError

# A matrix: layer, and name in it. Its factors: A [session, rank, in], and B transposed, [session, rank, out].
Place = tuple[int, str]
Factors = Mapping[Place, tuple[Tensor, Tensor]]


def build(settings: LoraMethod, backbone: Backbone, sources: EditorSources, seed: int) -> Editor:
    """Return the editor.

    Raises:
        InputError: the backbone has no such matrices, or has them on several cards.
    """
    chosen_matrices(settings, backbone)
    return behind_scope(settings, Lora(backbone, settings, seed), backbone, sources)


def chosen_matrices(settings: LoraMethod, backbone: Backbone) -> dict[Place, tuple[int, int]]:
    """Return the size (out, in) of every matrix that gets factors."""
    names, every, can = backbone.decoder.names, backbone.decoder.layers, backbone.editable
    known = names.attention_matrices | {"up": names.up, "down": names.down}
    known |= {} if names.gate is None else {"gate": names.gate}
    if missing := set(settings.matrices) - set(known):
        raise InputError(f"matrices: this backbone has no {sorted(missing)}; expected some of {list(known)}")
    chosen = {"edited": [every[layer] for layer in backbone.layers], "last": every[-1:], "all": can}[settings.layers]
    if cards := {str(layer.device) for layer in chosen} - {str(backbone.device)}:
        raise InputError(f"layers: some lie on {', '.join(sorted(cards))}; expected all on {backbone.device}")
    wanted = [known[kind] for kind in settings.matrices]
    return {(layer.index, name): _size(layer, name) for layer in chosen for name in wanted}


def _size(layer: DecoderLayer, name: str) -> tuple[int, int]:
    outputs, inputs = layer.part(name).weight.shape
    return outputs, inputs


@dataclass(frozen=True)
class Lora:
    """Factors beside the chosen matrices, trained by the cross-entropy of the answer.

    Reading: every edit starts its optimiser anew, as the originals do; factors go on from what they are.
    """

    backbone: Backbone
    settings: LoraMethod
    seed: int

    def start(self, sessions: int) -> Patch:
        """Return the identity."""
        return Patch(sessions)

    def edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        """Install one request per session; all sessions are trained in the same backward passes."""
        factors = self.first_factors(requests, previous)
        first, rest = min(layer for layer, _ in factors), previous.without(LoraFactors)
        trunk = request_trunk(self.backbone, requests, first, teach_end=self.settings.teach_end)
        seeds = [_drawn_seed(f"dropout:{request.id}:{self.seed}") for request in requests]
        dropout = Dropout(self.settings.dropout, torch.tensor(seeds, device=self.backbone.device), 0)

        def losses() -> Tensor:
            nonlocal dropout
            part, dropout = self.part(factors, dropout), replace(dropout, step=dropout.step + 1)
            return edit_loss(self.backbone, trunk, rest.append(part))

        finite = train(factors, losses, self.settings)
        patch = rest.append(self.kept(self.part(factors)))
        return EditResult(patch.revert(finite, previous), failures(finite))

    def first_factors(self, requests: Sequence[EditRequest], previous: Patch) -> dict[Place, tuple[Tensor, Tensor]]:
        """Return what the edit starts from, to be trained: a session's factors so far; without: A random, B zero."""
        known = previous.part(LoraFactors)
        old = {} if known is None else known.matrices
        found = {}
        for place, (outputs, inputs) in chosen_matrices(self.settings, self.backbone).items():
            a = torch.stack([self._random(request, place, inputs) for request in requests]).to(self.backbone.device)
            b = a.new_zeros(len(requests), self.settings.rank, outputs)
            if place in old:
                edited = old[place].inputs.any(-1).any(-1)[:, None, None]
                a, b = torch.where(edited, old[place].inputs, a), old[place].outputs / self.scale
            found[place] = a.clone().requires_grad_(True), b.clone().requires_grad_(True)
        return found

    @property
    def scale(self) -> float:
        """The factor on B A."""
        return self.settings.alpha / self.settings.rank

    def part(self, factors: Factors, dropout: Dropout | None = None) -> LoraFactors:
        """Return factors as they act."""
        acting = LoraFactors.of({place: LowRank(b * self.scale, a) for place, (a, b) in factors.items()})
        return replace(acting, dropout=dropout if dropout is not None and dropout.share else None)

    def kept(self, part: LoraFactors) -> LoraFactors | LoraFactorsPerEdit:
        """Return what the edit leaves behind; behind a scope, edits stay apart."""
        values = {name: value.detach().clone() for name, value in part.tensors().items()}
        if self.settings.scope == "none":
            return part.with_tensors(values)
        return LoraFactorsPerEdit().with_tensors({name: value[:, None] for name, value in values.items()})

    def _random(self, request: EditRequest, place: Place, inputs: int) -> Tensor:
        """Return a session's first A [rank, in], as peft draws it: Kaiming-uniform with a = sqrt 5."""
        generator = torch.Generator().manual_seed(_drawn_seed(f"{request.id}:{place}:{self.seed}"))
        return (2 * torch.rand(self.settings.rank, inputs, generator=generator) - 1) / inputs**0.5


def train(factors: Factors, losses: Callable[[], Tensor], settings: LoraMethod) -> Tensor:
    """Train factors on the sessions' losses; return which sessions stayed finite, bool [session]."""
    parameters = [each for pair in factors.values() for each in pair]
    kinds = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    optimiser = kinds[settings.optimiser](parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, settings.decay)
    optimiser.register_step_post_hook(lambda *_: schedule.step())
    return descend(parameters, losses, optimiser, settings.steps)


def _drawn_seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
