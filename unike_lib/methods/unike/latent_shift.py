"""Latent in-context editing: shift the attention output towards retrieved hidden states (UniKE 3.2-3.3, Eq. 2, 7)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from unike_lib.backbones.decoder import DecoderLayer
from unike_lib.backbones.edit import PassContext, Rotation
from unike_lib.editing.patch import Part
from unike_lib.editing.standalone import Standalone
from unike_lib.knowledge.encoders import Encoder
from unike_lib.knowledge.memory import Memory, Searched

READINGS = (
    *("top_k", "alpha", "alpha_scale", "alpha_convention", "alpha_operands", "attention_kind"),
    *("rotate_memory", "retrieval_temperature"),
)


@dataclass(frozen=True)
class Slots:
    """A session's own entries of the memory at one layer: keys and values, [session, slot, d].

    live: bool [session, slot], by default all; other entries are as if they were not there.
    """

    keys: Tensor
    values: Tensor
    live: Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.live is None:
            everything = torch.ones(self.keys.shape[:2], dtype=torch.bool, device=self.keys.device)
            object.__setattr__(self, "live", everything)

    def joined(self, more: "Slots") -> "Slots":
        """Return these entries and more after them."""
        return Slots(**{name: torch.cat([part, getattr(more, name)], 1) for name, part in vars(self).items()})

    def killed(self, ok: Tensor, known: int) -> "Slots":
        """Return these entries; where `ok` [session] fails, those after the first `known` are dead, and zero.

        Zero, because the states of an edit that failed may be no numbers, and a weight of 0 does not silence these.
        """
        earlier = torch.arange(self.keys.shape[1], device=self.live.device) < known
        live = self.live & (ok.to(self.live.device)[:, None] | earlier)
        keys, values = (part.masked_fill(~live[..., None], 0.0) for part in (self.keys, self.values))
        return Slots(keys, values, live)


@dataclass(frozen=True)
class LatentShift(Part):
    """a' = (1 - alpha) a + alpha h_know, with h_know attended over the top-k states of a memory.

    Reading: alpha = max(0, cos(Enc_sem(m), s_last)), where m is the head-averaged attention-weighted mixture of the
    retrieved h_pos at the last prompt token (the space Enc_sem was trained on); one scalar per row and layer, for all
    tokens of the row. The other readings are the fields' other values; `UnikeMethod` says what each means.

    own: layer -> entries that each session has besides the memory's, which all share.
    """

    memory: Searched
    encoders: Mapping[int, Encoder]
    top_k: int
    alpha: Literal["dynamic"] | float
    alpha_scale: float
    alpha_convention: Literal["text", "printed"]
    alpha_operands: Literal["mixture", "attention_outputs"]
    attention_kind: Literal["projected", "raw"]
    rotate_memory: bool
    retrieval_temperature: float | None
    own: Mapping[int, Slots] = field(default_factory=dict)

    @property
    def first_layer(self) -> int | None:
        """The first layer of the memory."""
        return min(self.memory.layers)

    @property
    def empty(self) -> bool:
        """Never: the memory that sessions share is mixed in without any edit."""
        return False

    def tensors(self) -> dict[str, Tensor]:
        """Return the sessions' own entries as "layer.name"."""
        return {f"{layer}.{name}": part for layer, slots in self.own.items() for name, part in vars(slots).items()}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "LatentShift":
        """Return the shift with such entries of the sessions' own."""
        groups: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            layer, part = name.split(".")
            groups.setdefault(int(layer), {})[part] = value
        return replace(self, own={layer: Slots(**parts) for layer, parts in groups.items()})

    def append(self, more: "LatentShift") -> "LatentShift":
        """Return the shift with further entries of the sessions' own after those that they have."""
        merged = {layer: self.own[layer].joined(new) if layer in self.own else new for layer, new in more.own.items()}
        return replace(self, own={**self.own, **merged})

    def revert(self, ok: Tensor, previous: "LatentShift | None") -> "LatentShift":
        """Return the shift; where `ok` fails, entries that `previous` has not are dead."""
        old = {} if previous is None else previous.own
        known = {layer: old[layer].keys.shape[1] if layer in old else 0 for layer in self.own}
        return replace(self, own={layer: slots.killed(ok, known[layer]) for layer, slots in self.own.items()})

    def standalone(self) -> Standalone | None:
        """Return the memory, the encoders as far as alpha reads them, own entries and readings."""
        if not isinstance(self.memory, Memory):
            return None
        tensors = {f"{layer}.own.{name}": part[0] for layer, s in self.own.items() for name, part in vars(s).items()}
        for layer in self.memory.layers:
            tensors |= {f"{layer}.keys": self.memory.keys[layer], f"{layer}.values": self.memory.values[layer]}
            steps = [step for step in self.encoders[layer].net if isinstance(step, nn.Linear)]
            for number, step in enumerate(steps if self.alpha == "dynamic" else ()):
                tensors |= {f"{layer}.encoder.{number}.{name}": value for name, value in step.state_dict().items()}
        settings = {name: getattr(self, name) for name in READINGS}
        return Standalone((Path(__file__).with_name("beside_shift.py"),), "Shift", tensors, settings)

    def covers(self, layer: int) -> bool:
        """Whether this layer's attention is shifted."""
        return layer in self.memory.layers

    def attention(self, layer: DecoderLayer, inputs: Tensor, outputs: Tensor, context: PassContext) -> Tensor:
        """Return the shifted attention outputs [row, token, d]; layers without a memory keep theirs.

        What was retrieved at each row's last prompt token, and alpha, are kept and hold for tokens that come later.

        Args:
            layer: the layer under way.
            inputs: s = LN1(h), [row, token, d].
            outputs: a = Attn(s), [row, token, d].
            context: of the pass; receives alpha.
        """
        if not self.covers(layer.index):
            return outputs
        own = self.own.get(layer.index)
        last = torch.arange(inputs.shape[0], device=inputs.device), context.last_prompt
        kept = context.kept_by(self, layer.index)
        if not kept:
            kept |= self._retrieve(layer.index, inputs[last], own)
        slots, cosines = kept["slots"], kept["cosines"]
        bias = None if own is None else cosines.masked_fill(~cosines.isneginf(), 0.0)  # -inf: dead
        if self.retrieval_temperature is not None:
            bias = cosines / self.retrieval_temperature
        rotation = context.rotation if self.rotate_memory else None
        known, weights = self._attend_to(layer, inputs, slots, bias, rotation)
        if "alpha" not in kept:
            if self.alpha == "dynamic":
                mixture = (weights[last][:, None].to(slots.dtype) @ slots)[:, 0]
                kept["alpha"] = self._dynamic(layer.index, (mixture, inputs[last]), (known[last], outputs[last]))
            else:
                kept["alpha"] = torch.full(last[0].shape, float(self.alpha), device=inputs.device)
        alpha = kept["alpha"]
        context.note("alpha", layer.index, alpha)
        if self.alpha_convention == "printed":
            alpha = 1 - alpha
        share = alpha[:, None, None].to(outputs.dtype)
        return (1 - share) * outputs + share * known

    def _retrieve(self, layer: int, queries: Tensor, own: Slots | None) -> dict[str, Tensor]:
        """Return the values ("slots" [row, slot, d]) that queries [row, d] retrieve, and "cosines" [row, slot]."""
        found, cosines = self.memory.search(layer, queries.detach(), self.top_k)
        slots = self.memory.values[layer][found].to(queries.dtype)
        if own is None:
            return {"slots": slots, "cosines": cosines}
        width = len(queries) // len(own.keys)
        keys, values, live = (part.repeat_interleave(width, 0) for part in (own.keys, own.values, own.live))
        similarity = cosine_similarity(keys.float(), queries.detach().float()[:, None], dim=-1)
        similarity = similarity.masked_fill(~live, -torch.inf)
        return {"slots": torch.cat([slots, values.to(slots.dtype)], 1), "cosines": torch.cat([cosines, similarity], 1)}

    def _attend_to(
        self, layer: DecoderLayer, inputs: Tensor, slots: Tensor, bias: Tensor | None, rotation: Rotation | None
    ) -> tuple[Tensor, Tensor]:
        if self.attention_kind == "projected":
            return layer.attend(inputs, slots, rotation, bias)
        scores = inputs @ slots.transpose(1, 2) * inputs.shape[-1] ** -0.5
        weights = (scores if bias is None else scores + bias[:, None]).float().softmax(-1)
        return weights.to(slots.dtype) @ slots, weights

    def _dynamic(
        self, layer: int, mixture_and_input: tuple[Tensor, Tensor], known_and_output: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Return the similarity of Eq. 7 [row], in [0, 1]."""
        known, reference = mixture_and_input if self.alpha_operands == "mixture" else known_and_output
        similarity = cosine_similarity(self.encoders[layer](known.float()), reference.float(), dim=-1)
        return (similarity.clamp(min=0) * self.alpha_scale).clamp(max=1)
