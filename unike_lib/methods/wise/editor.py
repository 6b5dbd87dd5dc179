"""WISE: masked gradient descent on a copy of one FFN matrix, for many sessions at once."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import Prepared
from unike_lib.backbones.decoder import DecoderLayer
from unike_lib.backbones.oom import oom_as_input_error
from unike_lib.editing.building import EditorSources
from unike_lib.editing.editor import EditResult, edit_loss, request_trunk
from unike_lib.editing.optimise import failures
from unike_lib.editing.patch import Patch, by_session
from unike_lib.methods.wise.formulas import dense, distances, margin_loss
from unike_lib.methods.wise.memories import OpenMemory, SideMemories
from unike_lib.methods.wise.settings import WiseMethod
from unike_lib.types import EditCase, EditRequest, InputError, Query

UNRELATED = {"text": ("t_loc",), "both": ("t_loc", "m_loc")}
BYTES_A_NUMBER = 16  # of a matrix in training: the change, its gradient, and what is between them, in float32
TRAINING_BYTES = 4 * 10**9
ON_CPU = 6  # jobs on CPUs share the memory of a machine: each takes a sixth of that
SETTLED, LOW = 1.0e-4, 0.02  # an edit ends when its loss moves and is no more than that


def build(settings: WiseMethod, backbone: Backbone, sources: EditorSources, seed: int) -> "Wise":
    """Return the editor, with the locality questions of the method-training split as unrelated ones.

    Raises:
        InputError: the layer is the last one, or there is none of that number.
    """
    depth = len(backbone.decoder.layers)
    place = backbone.layers[0] if settings.layer is None else depth + settings.layer
    if not 0 <= place < depth - 1:
        raise InputError(f"wise: layer: expected one before the last of {depth}, found {settings.layer or place}")
    unrelated = unrelated_questions(sources.method_split(), settings)
    return Wise(backbone, settings, backbone.decoder.layers[place], unrelated, seed)


def unrelated_questions(cases: Sequence[EditCase], settings: WiseMethod) -> tuple[tuple[Query, ...], ...]:
    """Return the questions to draw from, without answers: by kind, each once, in order of their texts."""
    kinds = UNRELATED[settings.unrelated]
    found = [{replace(case.query(kind), answer=None) for case in cases if case.asks(kind)} for kind in kinds]
    if not all(found):
        raise InputError(f"wise: expected method-training edits with probes {', '.join(kinds)}")
    return tuple(tuple(sorted(each, key=lambda query: (query.prompt, query.image or ""))) for each in found)


class Inputs(NamedTuple):
    """What enters the matrix in some rows, [row, token, in], its output there, and which tokens are a prompt's."""

    entering: Tensor
    original: Tensor
    prompt: Tensor

    def distances(self, change: Tensor, layer: DecoderLayer) -> Tensor:
        """Return d of the rows under a change of the matrix [session, out, in], [session, row]."""
        side = self.original + by_session(self.entering, change.transpose(1, 2))
        return distances(side, self.original, self.prompt, layer.activate).unflatten(0, (len(change), -1))


@dataclass(frozen=True)
class Wise:
    """Edits of a session go to the same side memory, on top of each other; earlier memories do not act meanwhile.

    layer: the layer whose down-projection has memories; unrelated: by kind, the questions of which each edit draws one.
    """

    backbone: Backbone
    settings: WiseMethod
    layer: DecoderLayer
    unrelated: tuple[tuple[Query, ...], ...]
    seed: int

    def start(self, sessions: int) -> Patch:
        """Return the identity."""
        return Patch(sessions)

    def edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        """Install one request per session; as many are trained at once as there is room for whole matrices."""
        earlier = previous.part(SideMemories)
        memories = self._untouched(len(requests)) if earlier is None else earlier
        sides = memories.side.tolist()
        while len(memories.places) <= max(sides):
            memories = memories.with_memory(self.places(len(memories.places)))
        tensors = {name: value.clone() for name, value in memories.tensors().items()}
        finite = torch.ones(len(requests), dtype=torch.bool, device=self.backbone.device)
        for number in sorted(set(sides)):
            own = [session for session, side in enumerate(sides) if side == number]
            for start in range(0, len(own), self._at_once):
                some = own[start : start + self._at_once]
                known, places = memories.values[number][some], memories.places[number]
                values, far, finite[some] = self.train([requests[each] for each in some], known, places)
                tensors[str(number)][some] = values
                tensors["smallest"][some, number] = torch.minimum(memories.smallest[some, number], far)
        tensors["counts"] += 1
        after = memories.with_tensors(tensors).revert(finite, earlier)
        return EditResult(previous.append(after), failures(finite))

    def _untouched(self, sessions: int) -> SideMemories:
        device = self.backbone.device
        counts = torch.zeros(sessions, dtype=torch.long, device=device)
        return SideMemories(self.layer, self.settings, (), torch.zeros(sessions, 0, device=device), counts)

    @property
    def _weight(self) -> Tensor:
        weight: Tensor = self.layer.part(self.layer.names.down).weight
        return weight

    @property
    def _at_once(self) -> int:
        room = TRAINING_BYTES // (ON_CPU if self.backbone.device.type == "cpu" else 1)
        return max(1, room // (BYTES_A_NUMBER * self._weight.numel()))

    def places(self, number: int) -> Tensor:
        """Return which numbers of the matrix a memory may change, [entry]: the same in all sessions.

        Reading: each is drawn with probability `mask_ratio`, anew for every memory of a session.
        """
        digest = hashlib.sha256(f"wise {self.seed} {number}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8]) >> 1)
        drawn = torch.rand(self._weight.numel(), generator=generator) < self.settings.mask_ratio
        return drawn.nonzero()[:, 0].to(self.backbone.device)

    def draw(self, request: EditRequest) -> list[Query]:
        """Return the unrelated questions of an edit, one of each kind."""
        drawn = random.Random(f"wise {self.seed} {request.id}")
        return [drawn.choice(questions) for questions in self.unrelated]

    def train(self, requests: Sequence[EditRequest], known: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the memory after one edit, what its question's distance is, and whether all stayed finite.

        Args:
            requests: one per session.
            known: what the memory added to W before, [session, entry].
            places: where, [entry].
        """
        unrelated = [query for request in requests for query in self.draw(request)]
        others = self.inputs(self.backbone.prepare(unrelated, self.layer.index))
        trunk = request_trunk(self.backbone, requests, self.layer.index, teach_end=self.settings.teach_end)
        return self.descend(trunk, self.inputs(trunk), others, known, places)

    @torch.no_grad()
    def inputs(self, trunk: Prepared) -> Inputs:
        """Return what enters the matrix in rows that stand before its layer."""
        entering: list[Tensor] = []
        decoder, batch = self.backbone.decoder, trunk.batch
        masks = decoder.masks(trunk.hidden, batch.sees, batch.positions)
        states = self.layer.through_attention(trunk.hidden, masks, None, None)
        names = self.layer.names
        self.layer.ffn(
            self.layer.part(names.ffn_norm)(states),
            lambda name, each: entering.append(each) if name == names.down else None,
        )
        original = self.layer.part(names.down)(entering[0])
        prompt = batch.context().within("prompt", trunk.hidden.shape[1])
        return Inputs(entering[0].float(), original.float(), prompt)

    def descend(
        self, trunk: Prepared, own: Inputs, others: Inputs, known: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Minimise the edit's loss and the margins from `known` on; return as `train` does.

        A session's steps end where its loss is low and settled.
        """
        chosen, (shape, weight) = self.settings, (self._weight.shape, self._weight.flatten()[places].float())
        values, going = known.clone(), torch.ones(len(known), dtype=torch.bool, device=known.device)
        finite, last, far = going, torch.full_like(known[:, 0], torch.inf), torch.zeros_like(known[:, 0])
        for _ in range(chosen.steps):
            values.requires_grad_(True)
            change = dense(values, places, shape)
            inside = Patch(len(known), (OpenMemory(self.layer, change),))
            d_in, d_out = own.distances(change, self.layer), others.distances(change, self.layer)
            losses = edit_loss(self.backbone, trunk, inside)
            losses = losses + margin_loss(d_in, d_out, chosen.alpha, chosen.beta, chosen.gamma)
            with oom_as_input_error(losses):
                (gradient,) = torch.autograd.grad(losses.sum(), values)
            values, losses = values.detach(), losses.detach()
            finite = finite & losses.isfinite()
            far = torch.where(going, d_in.detach().amin(1), far)
            going = going & ~(((losses - last).abs() <= SETTLED) & (losses <= LOW))
            step = values - chosen.learning_rate * (gradient + chosen.weight_decay * (weight + values))
            values = torch.where(going[:, None], step.clamp(-chosen.clamp, chosen.clamp), values)
            last = losses
        if chosen.distances == "last":
            far = own.distances(dense(values, places, shape), self.layer).amin(1)
        finite = finite & values.isfinite().all(1) & far.isfinite()
        return torch.nan_to_num(values), torch.nan_to_num(far), finite
