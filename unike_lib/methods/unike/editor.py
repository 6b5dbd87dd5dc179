"""UniKE: neurons steered by zeta in the FFN, and retrieved hidden states shifting the attention (Eq. 2, 3, 6, 7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import Prepared
from unike_lib.backbones.edit import Trace
from unike_lib.editing.building import EditorSources
from unike_lib.editing.editor import EditResult, request_trunk
from unike_lib.editing.optimise import failures
from unike_lib.editing.patch import Patch
from unike_lib.knowledge.encoders import LayerEncoders
from unike_lib.knowledge.extraction import states_of_answers
from unike_lib.knowledge.states import VALUE_COLUMNS
from unike_lib.methods.ike.editor import Ike
from unike_lib.methods.shared.neuron_training import NeuronSource, NeuronTrainer
from unike_lib.methods.shared.neurons import Neurons
from unike_lib.methods.unike.latent_shift import LatentShift, Slots
from unike_lib.methods.unike.settings import UnikeMethod
from unike_lib.types import EditRequest, InputError

TOKENS_PER_STEP = 2048  # tokens of a training step behind contexts: its graph in memory


class SteeredNeurons(NeuronSource):
    """Neurons whose values are V + beta zeta' (Eq. 6).

    Reading: W_zeta is the fitted map of the layer and each session learns one scale on zeta' (start 1); with
    `zeta_map: per_edit` each session learns W_zeta itself, starting from the fitted one.
    """

    def __init__(
        self, fresh: Mapping[int, Neurons], zetas: Mapping[int, tuple[Tensor, Tensor]], beta: float, per_edit: bool
    ) -> None:
        super().__init__(fresh)
        sessions = len(next(iter(fresh.values())).keys)
        self.beta = beta
        self.zetas = {layer: zeta for layer, (zeta, _) in zetas.items()}
        self.maps = {layer: fitted for layer, (_, fitted) in zetas.items()}
        self.learned = {
            layer: _per_session(fitted if per_edit else fitted.new_ones(1, 1), sessions)
            for layer, fitted in self.maps.items()
        }
        self.per_edit = per_edit

    @property
    def parameters(self) -> list[Tensor]:
        """Neurons and, a layer, the scale or W_zeta."""
        return super().parameters + list(self.learned.values())

    def __call__(self) -> dict[int, Neurons]:
        """Return the neurons with zeta' added to their values."""
        return {
            layer: replace(group, values=group.values + self._step(layer)) if layer in self.zetas else group
            for layer, group in self.fresh.items()
        }

    def _step(self, layer: int) -> Tensor:
        learned = self.learned[layer]
        mapped = (
            self.zetas[layer] @ learned if self.per_edit else (self.zetas[layer] @ self.maps[layer]) * learned[:, 0]
        )
        return self.beta * mapped[:, None, :]


def _per_session(start: Tensor, sessions: int) -> Tensor:
    return start.expand(sessions, *start.shape).clone().requires_grad_(True)


@dataclass(frozen=True)
class Unike:
    """The intrinsic and the external half in the same four layers, trained with the shift active.

    ike: IKE, whose context then goes before every question (Intrin + IKE, the paper's Table 4). Reading: the neurons
    are trained behind the context, as they are trained with the shift active.

    Reading: the neurons act behind the shift, but the memory loss keeps them asleep on states that were taken without
    it (`extract_ffn_inputs`): one set of states serves T-Patcher and every setting of the shift.
    """

    trainer: NeuronTrainer
    settings: UnikeMethod
    shift: LatentShift | None
    zetas: Mapping[int, tuple[Tensor, Tensor]]
    ike: Ike | None = None

    def start(self, sessions: int) -> Patch:
        """Return the patch with the latent shift alone (Latent-IKE)."""
        return Patch(sessions, () if self.shift is None else (self.shift,))

    def edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        """Install one request per session; behind long contexts, a part of the sessions after the other."""
        size = self._at_once(requests, previous)
        spans = [range(start, min(start + size, len(requests))) for start in range(0, len(requests), size)]
        parts = [self._edit([requests[index] for index in span], previous.select(span)) for span in spans]
        failed = tuple(failure for part in parts for failure in part.failures)
        return EditResult(parts[0].patch.concat([part.patch for part in parts[1:]]), failed)

    def _at_once(self, requests: Sequence[EditRequest], previous: Patch) -> int:
        """Return how many sessions keep a step's graph at TOKENS_PER_STEP tokens; without a context all do."""
        if self.ike is None:
            return len(requests)
        told = self.ike.told(requests, previous).before([request.query for request in requests])
        return max(1, TOKENS_PER_STEP // int(self.trainer.backbone.encode(told).lengths.max()))

    def _edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        before, trunk = previous, request_trunk(self.trainer.backbone, requests)
        if self.shift is not None and self.settings.edit_slots:
            previous = previous.append(replace(self.shift, own=self._own_slots(self.shift, trunk)))
        if self.ike is not None:
            previous = self.ike.told(requests, previous)
            trunk = request_trunk(self.trainer.backbone, requests, previous=previous)
        if self.settings.teach_end and self.trainer.backbone.stop_tokens:
            trunk = trunk.with_end()
        if not self.settings.intrinsic:
            return EditResult(previous, (None,) * len(requests))
        seen = previous if self.settings.shift_in_training else previous.without(LatentShift)
        fresh = self.trainer.new_neurons(requests, trunk, seen)
        per_edit = self.settings.zeta_map == "per_edit"
        neurons = SteeredNeurons(fresh, self.zetas, self.settings.beta, per_edit)
        finite = self.trainer.train(neurons.parameters, trunk, seen, neurons)
        return EditResult(previous.append(neurons.detached()).revert(finite, before), failures(finite))

    @torch.no_grad()
    def unedited_states(self, trunk: Prepared) -> dict[int, dict[str, Tensor]]:
        """Return what the unedited backbone makes of edits, by layer and column [session, d], as the memory holds."""
        trace = Trace()
        self.trainer.backbone.forward(trunk, where=torch.zeros_like(trunk.batch.mask), trace=trace)
        return {
            layer: states_of_answers(trunk.batch, trace.attention_inputs[layer])
            for layer in self.trainer.backbone.layers
        }

    def _own_slots(self, shift: LatentShift, trunk: Prepared) -> dict[int, Slots]:
        """Return the edits as memory entries of their own."""
        slots, of_layers = {}, self.unedited_states(trunk)
        for layer in shift.memory.layers:
            states = of_layers[layer]
            keys, values = states["h_sem"], states[VALUE_COLUMNS[self.settings.h_pos]]
            if self.settings.memory_keys == "encoded":
                keys = shift.encoders[layer](values.float())
            slots[layer] = Slots(keys[:, None], values[:, None])
        return slots


def build(settings: UnikeMethod, backbone: Backbone, sources: EditorSources, seed: int) -> "Unike":
    """Read memory, encoders and FFN inputs, with in_context the edits to show, and return the editor."""
    device = backbone.device
    encoders = sources.encoders() if settings.latent or settings.zeta != "off" else {}
    trainer = NeuronTrainer(backbone, settings, sources.ffn_inputs(device) if settings.intrinsic else {}, seed)
    shift = build_shift(backbone, settings, sources) if settings.latent else None
    ike = Ike.from_cases(backbone, settings, sources.method_split()) if settings.in_context else None
    zetas = {
        layer: zeta_and_map(parts, settings.zeta, seed + layer)
        for layer, parts in encoders.items()
        if settings.zeta != "off"
    }
    placed = {layer: (zeta.to(device), fitted.to(device)) for layer, (zeta, fitted) in zetas.items()}
    return Unike(trainer, settings, shift, placed, ike)


def zeta_and_map(parts: LayerEncoders, kind: str, seed: int) -> tuple[Tensor, Tensor]:
    """Return zeta [width] and the fitted W_zeta [width, d] of one layer.

    `random` is a random zeta with the truthfulness map, scaled so that |zeta'| is the same: the control of Fig. 4c.
    """
    if kind != "random":
        return parts.zetas[kind], parts.maps[kind]
    zeta, fitted = parts.zetas["truthfulness"], parts.maps["truthfulness"]
    direction = torch.randn(zeta.shape, generator=torch.Generator().manual_seed(seed))
    return direction * (zeta @ fitted).norm() / (direction @ fitted).norm(), fitted


def build_shift(backbone: Backbone, settings: UnikeMethod, sources: EditorSources) -> LatentShift:
    """Return the latent shift over the memory.

    Raises:
        InputError: `rotate_memory` with a backbone whose visual tokens have places on a grid.
    """
    if settings.rotate_memory and backbone.on_grid:
        raise InputError("rotate_memory: expected false, because this backbone's positions lie on a grid (M-RoPE)")
    semantic = {layer: parts.semantic for layer, parts in sources.encoders().items()}
    keys = semantic if settings.memory_keys == "encoded" else None
    memory = sources.memory(settings.h_pos, keys).to(backbone.device)
    return LatentShift(
        memory,
        {layer: encoder.to(backbone.device) for layer, encoder in semantic.items()},
        top_k=settings.top_k,
        alpha=settings.alpha,
        alpha_scale=settings.alpha_scale,
        alpha_convention=settings.alpha_convention,
        alpha_operands=settings.alpha_operands,
        attention_kind=settings.attention,
        rotate_memory=settings.rotate_memory,
        retrieval_temperature=settings.retrieval_temperature,
    )
