"""UniKE behind the semantic scope: neurons and memory entries of an edit, each opened by the share of that edit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.decoder import DecoderLayer
from unike_lib.backbones.edit import PassContext
from unike_lib.editing.building import EditorSources
from unike_lib.editing.editor import Editor, EditResult, request_trunk
from unike_lib.editing.patch import Patch
from unike_lib.editing.standalone import Standalone
from unike_lib.knowledge.states import VALUE_COLUMNS
from unike_lib.methods.shared.per_edit import PerEdit, meant
from unike_lib.methods.shared.semantic_scope import behind_scope
from unike_lib.methods.unike.editor import Unike
from unike_lib.methods.unike.editor import build as build_unike
from unike_lib.methods.unike_scope.settings import UnikeScopeMethod
from unike_lib.types import EditRequest


def build(settings: UnikeScopeMethod, backbone: Backbone, sources: EditorSources, seed: int) -> Editor:
    """Return UniKE's editor, with edits as memory entries where they are asked for, behind the scope."""
    unike = build_unike(settings.model_copy(update={"latent": settings.reads_pool}), backbone, sources, seed)
    stores = settings.latent and settings.memory_of != "pool"
    editor = StoringUnike(unike, settings.edit_alpha, settings.h_pos) if stores else unike
    return behind_scope(settings, editor, backbone, sources)


@dataclass(frozen=True)
class EditEntries(PerEdit):
    """Memory entries of the edits themselves: a' = (1 - w) a + w Attn(s, entry), w = alpha times the share of its edit.

    A question is shifted to the entry of the edit that it means; without a scope, or with one gate for all edits, to
    what the layer's own attention makes of all entries. layers: layer -> h_pos [session, edit, d]; live, bool
    [session, edit].
    """

    alpha: float
    layers: Mapping[int, Tensor] = field(default_factory=dict)
    live: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.bool))

    @property
    def edits(self) -> int:
        """How many edits each session has."""
        return self.live.shape[1]

    @property
    def first_layer(self) -> int | None:
        """The first layer with entries."""
        return min(self.layers, default=None)

    def tensors(self) -> dict[str, Tensor]:
        """Return the entries by layer, and which are live."""
        return {**{str(layer): values for layer, values in self.layers.items()}, "live": self.live}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "EditEntries":
        """Return the entries that such tensors hold."""
        layers = {int(name): value for name, value in tensors.items() if name != "live"}
        return replace(self, layers=layers, live=tensors["live"])

    def append(self, more: "EditEntries") -> "EditEntries":
        """Return the entries of all these edits."""
        theirs = more.tensors()
        return self.with_tensors({name: torch.cat([own, theirs[name]], 1) for name, own in self.tensors().items()})

    def revert(self, ok: Tensor, previous: "EditEntries | None") -> "EditEntries":
        """Return the entries; where `ok` fails, those that `previous` has not are dead, and zero."""
        known = torch.arange(self.edits, device=ok.device) < (0 if previous is None else previous.edits)
        live = self.live & (ok[:, None] | known)
        layers = {layer: values.masked_fill(~live[..., None], 0.0) for layer, values in self.layers.items()}
        return replace(self, layers=layers, live=live)

    def standalone(self) -> Standalone:
        """Return the entries and alpha."""
        own = {name: value[0] for name, value in self.tensors().items()}
        return Standalone((Path(__file__).with_name("beside_entries.py"),), "Entries", own, {"alpha": self.alpha})

    def attention(self, layer: DecoderLayer, inputs: Tensor, outputs: Tensor, context: PassContext) -> Tensor:
        """Return the attention outputs [row, token, d], shifted in rows that an edit means."""
        if layer.index not in self.layers:
            return outputs
        width, shares = len(inputs) // len(self.live), context.shares_at(layer.index)
        if shares is None or shares.shape[1] == 1:
            live, entries = (each.repeat_interleave(width, 0) for each in (self.live, self.layers[layer.index]))
            far = live.any(1).float() if shares is None else shares[:, 0] * live.any(1)
            known, _ = layer.attend(inputs, entries.to(inputs.dtype), None, (live | ~live.any(1, True)).float().log())
            return outputs + self._weight(far, outputs) * (known - outputs)
        rows, edits, far = meant(shares)
        entries = self.layers[layer.index][rows // width, edits][:, None]
        known, _ = layer.attend(inputs[rows], entries.to(inputs.dtype))
        return outputs.index_add(0, rows, self._weight(far, outputs) * (known - outputs[rows]))

    def _weight(self, shares: Tensor, outputs: Tensor) -> Tensor:
        return (self.alpha * shares)[:, None, None].to(outputs.dtype)


@dataclass(frozen=True)
class StoringUnike:
    """UniKE whose edits become memory entries before their neurons are trained."""

    unike: Unike
    alpha: float
    h_pos: str

    def start(self, sessions: int) -> Patch:
        """Return the patch of unedited sessions."""
        return self.unike.start(sessions)

    def edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        """Install one request per session."""
        outcome = self.unike.edit(requests, previous.append(self._entries(requests)))
        device = self.unike.trainer.backbone.device
        ok = torch.tensor([failure is None for failure in outcome.failures], device=device)
        return EditResult(outcome.patch.revert(ok, previous), outcome.failures)

    def _entries(self, requests: Sequence[EditRequest]) -> EditEntries:
        """Return the states of requests with their targets, as the pool's memory holds them."""
        backbone, column = self.unike.trainer.backbone, VALUE_COLUMNS[self.h_pos]
        states = self.unike.unedited_states(request_trunk(backbone, requests))
        live = torch.ones(len(requests), 1, dtype=torch.bool, device=backbone.device)
        return EditEntries(self.alpha, {layer: each[column][:, None] for layer, each in states.items()}, live)
