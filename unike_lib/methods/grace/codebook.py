"""GRACE's codebook: keys with radii, and the values that replace a matrix's output near them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from unike_lib.backbones.decoder import DecoderLayer
from unike_lib.backbones.edit import PassContext
from unike_lib.editing.patch import Part, undone_where_failed
from unike_lib.editing.standalone import Standalone

GAP = 1.0e-5  # between two radii that share the room between their keys
# Relative differences of states of one question, which come of the batches it is run in.
ROUNDING = {torch.float16: 1.0e-3, torch.bfloat16: 8.0e-3}
EXACT = 2.0e-6


def rounding(states: Tensor) -> Tensor:
    """Return how far states [..., in] of one question may lie apart, [...]."""
    return ROUNDING.get(states.dtype, EXACT) * states.float().norm(dim=-1)


@dataclass(frozen=True)
class Arrivals:
    """One new edit per session: states [session, in] of its question, answers [session] as numbers, radii [session],
    values [session, d] to start from."""

    states: Tensor
    answers: Tensor
    radii: Tensor
    values: Tensor


@dataclass(frozen=True)
class Codebook(Part):
    """Values in place of the output of one layer's down-projection, which is the FFN's.

    keys [session, edit, in], values [session, edit, d], radii [session, edit]. slack [session, edit]: how far beyond
    its radius a key reaches that was widened to a question, whose states differ by batch in their last digits. answers
    [session, edit]: a number for each answer, the same for the same. live, bool [session, edit]: an edit that added no
    key, or whose key was replaced, has one that counts for nothing. replaces: at which tokens (`GraceMethod`).
    """

    layer: int
    matrix: str
    replaces: Literal["last", "prompt", "all"]
    keys: Tensor
    values: Tensor
    radii: Tensor
    slack: Tensor
    answers: Tensor
    live: Tensor

    @property
    def edits(self) -> int:
        """How many edits each session has."""
        return self.live.shape[1]

    @property
    def first_layer(self) -> int | None:
        """The layer of the codebook."""
        return self.layer

    def tensors(self) -> dict[str, Tensor]:
        """Return keys, values, radii, slack, answers, and which are live."""
        return {name: getattr(self, name) for name in ("keys", "values", "radii", "slack", "answers", "live")}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "Codebook":
        """Return the codebook that such tensors hold."""
        own: dict[str, Any] = dict(tensors)
        return replace(self, **own)

    def append(self, more: "Codebook") -> "Codebook":
        """Return the later codebook: it holds what the earlier one held."""
        return more

    def revert(self, ok: Tensor, previous: "Codebook | None") -> "Codebook":
        """Return the codebook; where `ok` fails, that of `previous`, with nothing in the place of this edit."""
        return self.with_tensors(undone_where_failed(ok, self, previous))

    def standalone(self) -> Standalone:
        """Return the keys that count, and where."""
        live = self.live[0]
        own = {name: getattr(self, name)[0] for name in ("keys", "values", "radii", "slack")}
        if live.any():
            own = {name: value[live] for name, value in own.items()}
        else:  # no state lies within such a radius
            own["radii"] = torch.full_like(own["radii"], -1.0) - own["slack"]
        settings = {"layer": self.layer, "matrix": self.matrix, "replaces": self.replaces}
        return Standalone((Path(__file__).with_name("beside_codebook.py"),), "Codebook", own, settings)

    def with_edits(self, new: Arrivals, only_shrinks: bool) -> tuple["Codebook", Tensor]:
        """Return the codebook after one edit per session, and in which place each has its value [session].

        No key within both radii: a new key. Near the key of the same answer: that one is widened to reach the question.
        Near that of another: a new key, and both radii end half way. The same question with another answer: a new key
        in place of the old one, with its radius.

        Reading: where GRACE's code leaves both keys of one question with a radius of 0, the later answer holds.

        Args:
            new: the edits.
            only_shrinks: a radius that is smaller than half way stays as it is.
        """
        book, sessions = self._with_places(new), torch.arange(len(self.live), device=self.live.device)
        distances, nearest = book.distances(new.states[:, None])[:, 0].min(1)
        theirs, half = book.radii[sessions, nearest], distances / 2
        near = distances <= new.radii + theirs
        same = near & (book.answers[sessions, nearest] == new.answers)
        again = near & ~same & (distances <= rounding(new.states))
        split = near & ~same & ~again
        mine = torch.where(again, theirs, new.radii)
        their_half, my_half = half - GAP, half
        if only_shrinks:
            their_half, my_half = torch.minimum(their_half, theirs), torch.minimum(my_half, mine)
        widened = same & (distances > theirs)
        book.radii[sessions, nearest] = torch.where(widened, distances, torch.where(split, their_half, theirs))
        slack = torch.where(split, 0.0, book.slack[sessions, nearest])
        book.slack[sessions, nearest] = torch.where(widened, rounding(new.states), slack)
        book.live[sessions, nearest] &= ~again
        book.radii[:, -1], book.live[:, -1] = torch.where(split, my_half, mine), ~same
        return book, torch.where(same, nearest, self.edits)

    def _with_places(self, new: Arrivals) -> "Codebook":
        """Return a copy with one more edit per session, not live yet."""
        last = {"keys": new.states.float(), "values": new.values, "radii": new.radii, "answers": new.answers}
        last["slack"] = torch.zeros_like(new.radii)
        last["live"] = torch.zeros_like(new.radii, dtype=torch.bool)
        return self.with_tensors(
            {name: torch.cat([own, last[name][:, None]], 1) for name, own in self.tensors().items()}
        )

    def distances(self, states: Tensor) -> Tensor:
        """Return the distance of states [session, row, in] to each key, [session, row, edit]; inf: not live."""
        # Not by products: these lose what near keys differ in.
        found = torch.cdist(states.float(), self.keys, compute_mode="donot_use_mm_for_euclid_dist")
        return found.masked_fill(~self.live[:, None], torch.inf)

    def chosen(self, states: Tensor) -> Tensor:
        """Return the place of the key within whose radius states [row, in] lie, the nearest one; -1: none. [row]."""
        asked = states.unflatten(0, (len(self.live), -1))
        distances, places = self.distances(asked).min(2)
        near = distances <= (self.radii + self.slack).gather(1, places)
        return torch.where(near, places, -1).flatten()

    def weight(self, layer: int, name: str, inputs: Tensor, context: PassContext) -> Tensor | None:
        """Choose the keys of rows where their last prompt token enters the matrix; tokens that follow go by it."""
        if (layer, name) != (self.layer, self.matrix):
            return None
        last = _order(inputs, context) == 0
        with torch.no_grad():
            places = self.chosen(inputs[torch.arange(len(inputs), device=inputs.device), last.int().argmax(1)])
            kept, here = context.kept_by(self, layer), last.any(1)
            kept["places"] = torch.where(here, places, kept.get("places", torch.full_like(places, -1)))
        return None

    def ffn(self, layer: DecoderLayer, inputs: Tensor, outputs: Tensor, context: PassContext) -> Tensor:
        """Return the FFN's outputs [row, token, d] with the values of the keys that rows chose."""
        if layer.index != self.layer:
            return outputs
        places, order = context.kept_by(self, layer.index)["places"], _order(outputs, context)
        where = {"last": order == 0, "prompt": order < 0, "all": torch.ones_like(order, dtype=torch.bool)}
        rows = torch.arange(len(places), device=places.device) // (len(places) // len(self.live))
        values = self.values[rows, places.clamp(min=0)].to(outputs.dtype)
        replaced = where[self.replaces] & (places >= 0)[:, None]
        return torch.where(replaced[..., None], values[:, None], outputs)


def _order(states: Tensor, context: PassContext) -> Tensor:
    """Return how far behind their row's last prompt token the tokens under way stand, [row, token]; 0: they are it."""
    tokens = (
        torch.arange(states.shape[1], device=states.device)[None] if context.positions is None else context.positions
    )
    return tokens.expand(len(states), -1) - context.last_prompt[:, None]
