"""A patch: what edits leave behind, next to a frozen model and for many independent sessions at once.

A patch is a value: edits return a new one, nothing is attached to the model, so dropping the patch restores the model.

Example:
    >>> patch = Patch.identity(sessions=2)
    >>> patch.sessions, patch.neurons, patch.deltas
    (2, {}, {})
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unike_lib.backbones.decoder import DecoderLayer, Place
from unike_lib.editing.latent import LatentShift, Slots
from unike_lib.editing.low_rank import Factors, LowRank, by_session
from unike_lib.editing.route import Route, Router
from unike_lib.io import read_tensors, write_tensors
from unike_lib.types import InputError, Query

ROUTED, CONTEXTS = "edits", "contexts"


@dataclass(frozen=True)
class Neurons:
    """Extra FFN neurons of one layer: exactly an FFN widened by n (UniKE Eq. 3).

    keys [session, d, n] and key_bias [session, n] feed the activation (OPT's fc1, Llama's gate); up and up_bias, of the
    same shapes, multiply it in gated FFNs and are None elsewhere; values [session, n, d].
    """

    keys: Tensor
    key_bias: Tensor
    values: Tensor
    up: Tensor | None = None
    up_bias: Tensor | None = None

    def before_activation(self, inputs: Tensor) -> Tensor:
        """Return q K + b, [row, token, n]."""
        return _affine(inputs, self.keys, self.key_bias)

    def output(self, layer: DecoderLayer, inputs: Tensor) -> Tensor:
        """Return what the neurons add to FFN(q), [row, token, d]."""
        activated = layer.activate(self.before_activation(inputs))
        if self.up is not None and self.up_bias is not None:
            activated = activated * _affine(inputs, self.up, self.up_bias)
        return by_session(activated, self.values)

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are there, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def widened(self, more: "Neurons") -> "Neurons":
        """Return these neurons and more beside them."""
        axis = {"keys": 2, "key_bias": 1, "values": 1, "up": 2, "up_bias": 1}
        mine, theirs = self.tensors(), more.tensors()
        return Neurons(**{name: torch.cat([mine[name], theirs[name]], axis[name]) for name in mine})


def _affine(inputs: Tensor, matrices: Tensor, bias: Tensor) -> Tensor:
    tokens = inputs.shape[1]
    per_row = bias.repeat_interleave(inputs.shape[0] // bias.shape[0], 0)
    return by_session(inputs, matrices) + per_row[:, None, :].to(inputs.dtype).expand(-1, tokens, -1)


@dataclass(frozen=True)
class Patch:
    """Edits of B sessions: extra neurons, weight changes and memory slots by layer; an attention shift shared by all.

    deltas: layer -> matrix name -> change of its weight [session, out, in]; low_rank: layer -> matrix name -> factors
    of a further change; slots: layer -> entries beside the shift's shared memory; contexts: a text a session that goes
    before every prompt (none at all: no context); plain: the prompt behind a context has no template; route: a second
    model that answers what is in the scope of a session's edits.
    """

    sessions: int
    neurons: Mapping[int, Neurons] = field(default_factory=dict)
    deltas: Mapping[int, Mapping[str, Tensor]] = field(default_factory=dict)
    shift: LatentShift | None = None
    slots: Mapping[int, Slots] = field(default_factory=dict)
    low_rank: Factors = field(default_factory=dict)
    contexts: tuple[str, ...] = ()
    route: Route | None = None
    plain: bool = False

    @classmethod
    def identity(cls, sessions: int) -> "Patch":
        """Return the patch that changes nothing."""
        return cls(sessions)

    @property
    def empty(self) -> bool:
        """Whether nothing was edited, so that the patch is the identity."""
        parts = (self.neurons, self.deltas, self.low_rank, self.slots, self.contexts)
        return self.shift is None and self.route is None and not any(parts)

    @property
    def first_layer(self) -> int | None:
        """The first layer that the patch acts in; None: it acts in none."""
        shifted = () if self.shift is None else self.shift.memory.layers
        return min([*self.neurons, *self.deltas, *self.low_rank, *shifted], default=None)

    def shift_attention(self, layer: DecoderLayer, inputs: Tensor, outputs: Tensor, place: Place) -> Tensor:
        """Return the attention output after the latent shift, if there is one at this layer."""
        if self.shift is None or not self.shift.covers(layer.index):
            return outputs
        return self.shift.apply(layer, inputs, outputs, place, self.slots.get(layer.index))

    def ffn(self, layer: DecoderLayer, inputs: Tensor, place: Place | None = None) -> Tensor:
        """Return the FFN output with weight changes and extra neurons (the latter as far as rows are in scope)."""
        outputs = layer.ffn(inputs, partial(self.change, layer.index))
        if layer.index in self.neurons:
            more = self.neurons[layer.index].output(layer, inputs)
            share = None if place is None else place.shares.get(layer.index)
            outputs = outputs + (more if share is None else more * share[:, None, None].to(more.dtype))
        return outputs

    def change(self, layer: int, name: str, inputs: Tensor) -> Tensor | None:
        """Return what the weight changes add to the output of a matrix, [row, token, out]; None: nothing."""
        dense = self.deltas.get(layer, {}).get(name)
        factors = self.low_rank.get(layer, {}).get(name)
        parts = [] if dense is None else [by_session(inputs, dense.transpose(1, 2))]
        parts += [] if factors is None else [factors.apply(inputs)]
        return sum(parts[1:], parts[0]) if parts else None

    def in_context(self, queries: Sequence[Query]) -> Sequence[Query]:
        """Return the queries, rows in session order, with their sessions' contexts in front."""
        if not self.contexts:
            return queries
        width = len(queries) // self.sessions
        told = [replace(query, context=self.contexts[row // width]) for row, query in enumerate(queries)]
        return [replace(query, style="plain") if self.plain and query.context else query for query in told]

    def routed(
        self, queries: Sequence[Query], answers: Sequence[Sequence[int]], read: Sequence[int], logits: Tensor
    ) -> Tensor:
        """Return the logits [position read, vocabulary] after the second model, if there is one (`Route.mixed`)."""
        return logits if self.route is None else self.route.mixed(queries, answers, read, logits)

    def with_neurons(self, more: Mapping[int, Neurons]) -> "Patch":
        """Return this patch with more neurons beside those it has."""
        old = self.neurons
        merged = {layer: old[layer].widened(new) if layer in old else new for layer, new in more.items()}
        return replace(self, neurons={**old, **merged})

    def with_slots(self, more: Mapping[int, Slots]) -> "Patch":
        """Return this patch with more memory entries after those it has."""
        old = self.slots
        merged = {layer: old[layer].joined(new) if layer in old else new for layer, new in more.items()}
        return replace(self, slots={**old, **merged})

    def with_deltas(self, more: Mapping[int, Mapping[str, Tensor]]) -> "Patch":
        """Return this patch with weight changes added to those it has."""
        layers = {layer: dict(changes) for layer, changes in self.deltas.items()}
        for layer, changes in more.items():
            mine = layers.setdefault(layer, {})
            for name, change in changes.items():
                mine[name] = mine[name] + change if name in mine else change
        return replace(self, deltas=layers)

    def with_low_rank(self, more: Factors) -> "Patch":
        """Return this patch with further weight changes beside those it has: ranks add up."""
        layers = {layer: dict(changes) for layer, changes in self.low_rank.items()}
        for layer, changes in more.items():
            mine = layers.setdefault(layer, {})
            for name, factors in changes.items():
                mine[name] = mine[name].joined(factors) if name in mine else factors
        return replace(self, low_rank=layers)

    def select(self, sessions: Sequence[int]) -> "Patch":
        """Return the patch of some of the sessions, in the order given."""
        if list(sessions) == list(range(self.sessions)):
            return self
        neurons = {
            layer: Neurons(**{name: value[list(sessions)] for name, value in group.tensors().items()})
            for layer, group in self.neurons.items()
        }
        deltas = {
            layer: {name: value[list(sessions)] for name, value in changes.items()}
            for layer, changes in self.deltas.items()
        }
        low_rank = {
            layer: {name: factors.select(sessions) for name, factors in changes.items()}
            for layer, changes in self.low_rank.items()
        }
        return replace(
            self,
            sessions=len(sessions),
            neurons=neurons,
            deltas=deltas,
            slots={layer: group.select(sessions) for layer, group in self.slots.items()},
            low_rank=low_rank,
            contexts=tuple(self.contexts[session] for session in sessions) if self.contexts else (),
            route=None if self.route is None else self.route.select(sessions),
        )

    def kept(self, keep: Tensor, otherwise: "Patch") -> "Patch":
        """Return this patch where `keep` [session] holds and, elsewhere, what `otherwise` was before this edit.

        Sessions that are not kept get the earlier weight changes, contexts and routed edits, silent neurons (zero
        values), dead memory entries and zero factors.
        """
        neurons = {}
        for layer, new in self.neurons.items():
            old = otherwise.neurons.get(layer)
            old_count = 0 if old is None else old.keys.shape[2]
            known = torch.arange(new.keys.shape[2], device=keep.device) < old_count
            mask = keep[:, None] | known
            clean = {name: torch.nan_to_num(value) for name, value in new.tensors().items()}
            values = torch.where(mask[:, :, None], clean["values"], torch.zeros_like(clean["values"]))
            neurons[layer] = Neurons(**{**clean, "values": values})
        deltas: dict[int, dict[str, Tensor]] = {}
        for layer, changes in self.deltas.items():
            before = otherwise.deltas.get(layer, {})
            deltas[layer] = {
                name: torch.where(keep[:, None, None], change, before.get(name, torch.zeros_like(change)))
                for name, change in changes.items()
            }
        low_rank = {
            layer: {
                name: factors.kept(keep, otherwise.low_rank.get(layer, {}).get(name)) for name, factors in new.items()
            }
            for layer, new in self.low_rank.items()
        }
        sure = keep.tolist()
        earlier = otherwise.contexts or ("",) * self.sessions
        contexts = tuple(new if ok else old for ok, new, old in zip(sure, self.contexts, earlier, strict=False))
        route = None if self.route is None else self.route.kept(sure, otherwise.route)
        slots = {layer: new.kept(keep, otherwise.slots.get(layer)) for layer, new in self.slots.items()}
        edits = replace(self, neurons=neurons, deltas=deltas, low_rank=low_rank, slots=slots)
        return replace(edits, contexts=contexts, route=route)

    def save(self, path: str | Path, mark: str) -> None:
        """Write all but what sessions share (the shift, the route's models) to safetensors; load takes those anew."""
        tensors = {
            f"neurons.{layer}.{name}": value
            for layer, group in self.neurons.items()
            for name, value in group.tensors().items()
        }
        for layer, changes in self.deltas.items():
            tensors |= {f"deltas.{layer}.{name}": value for name, value in changes.items()}
        for layer, factored in self.low_rank.items():
            tensors |= {f"low_rank_outputs.{layer}.{name}": factors.outputs for name, factors in factored.items()}
            tensors |= {f"low_rank_inputs.{layer}.{name}": factors.inputs for name, factors in factored.items()}
        for layer, group in self.slots.items():
            tensors |= {f"slots.{layer}.{name}": part for name, part in vars(group).items()}
        tensors[CONTEXTS] = _packed([self.contexts, self.plain])
        if self.route is not None:
            edits = [[vars(edit) for edit in edits] for edits in self.route.edits]
            tensors[ROUTED] = _packed([edits, self.route.mixture, self.route.positions])
        write_tensors(path, {"sessions": torch.tensor(self.sessions), **tensors}, mark)

    @classmethod
    def load(
        cls, path: str | Path, shift: LatentShift | None = None, mark: str | None = None, router: Router | None = None
    ) -> "Patch":
        """Read a patch; raise InputError if the file is broken or from other inputs, or if it needs a router."""
        tensors = read_tensors(path, mark)
        if "sessions" not in tensors:
            raise InputError(f"{path}: not a patch (no entry 'sessions')")
        contexts, plain = _unpacked(tensors.pop(CONTEXTS))
        route = None
        if ROUTED in tensors:
            if router is None:
                raise InputError(f"{path}: holds edits that a second model answers: expected that model (router)")
            edits, *say = _unpacked(tensors.pop(ROUTED))
            route = Route(router, tuple(tuple(Query(**edit) for edit in session) for session in edits), *say)
        read: defaultdict[str, dict[int, dict[str, Tensor]]] = defaultdict(dict)
        sessions = int(tensors.pop("sessions"))
        for name, value in tensors.items():
            kind, layer, part = name.split(".", 2)
            read[kind].setdefault(int(layer), {})[part] = value
        neurons = {layer: Neurons(**parts) for layer, parts in read["neurons"].items()}
        slots = {layer: Slots(**parts) for layer, parts in read["slots"].items()}
        low_rank = {
            layer: {name: LowRank(outputs, read["low_rank_inputs"][layer][name]) for name, outputs in parts.items()}
            for layer, parts in read["low_rank_outputs"].items()
        }
        return cls(sessions, neurons, read["deltas"], shift, slots, low_rank, tuple(contexts), route, plain)


def _packed(value: Any) -> Tensor:
    """Return JSON text as bytes [byte], because safetensors keep tensors only."""
    return torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8)


def _unpacked(text: Tensor) -> Any:
    return json.loads(bytes(text.tolist()))
