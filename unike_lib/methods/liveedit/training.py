"""Training of LiveEdit's network: answers under experts, and features that find their edits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import IGNORED, Prepared
from unike_lib.editing.patch import Patch
from unike_lib.methods.liveedit.editor import LiveEdit, behind, edited_layer, states_of, untrained
from unike_lib.methods.liveedit.experts import Experts
from unike_lib.methods.liveedit.network import Features, Spans, similarity, soft_weights
from unike_lib.methods.liveedit.settings import LiveEditMethod
from unike_lib.methods.shared.network_training import (
    Recipe,
    Split,
    divergences_of,
    fit,
    probe_trunk,
    target_losses,
)
from unike_lib.types import EditCase

TAUGHT = ("rel", "t_gen", "m_gen")  # the first is the edit itself
NEAR, FAR = len(TAUGHT), 1  # probes that mean the edit, and unrelated ones with a picture
UNRELATED = "m_loc"
EPSILON = 1.0e-8
CUT = 0.1  # of the learning rate, after `cut_after` steps


def soft_routing(text: Tensor) -> Tensor:
    """Return the loss of text features: of each question the own edit's is near, that of the edit before is not.

    -mean log softmax_ii - mean [log sigmoid_ii + log(1 - sigmoid_i,i-1)]; before the first edit comes the last.

    Args:
        text: similarity of question i and edit j, [question, edit].
    """
    own = (text.softmax(1).diagonal() + EPSILON).log()
    near = (text.sigmoid().diagonal() + EPSILON).log()
    apart = (1 - text.roll(1, 1).sigmoid().diagonal() + EPSILON).log()
    return -(own + near + apart).mean()


def hard_routing(vision: Tensor, prototype: Tensor, related: bool) -> Tensor:
    """Return the loss of visual features: of edits and prototype the own edit is nearest, or (unrelated) the prototype.

    Args:
        vision: similarity of question i and edit j, [question, edit].
        prototype: that of question i and the prototype, [question].
        related: whether question i is about edit i; else about none.
    """
    shares = torch.cat([vision, prototype[:, None]], 1).softmax(1)
    return -((shares.diagonal() if related else shares[:, -1]) + EPSILON).log().mean()


def drawn_experts(edits: int, own: bool, generator: torch.Generator) -> Tensor:
    """Return which experts of a batch are on for each edit's question, [row, edit]: some first ones, and its own."""
    counts = torch.randint(edits + 1, (edits,), generator=generator)
    first = torch.arange(edits) < counts[:, None]
    return first | torch.eye(edits, dtype=torch.bool) if own else first


@dataclass(frozen=True)
class Asked:
    """Questions behind the layer: their rows and states [row, token, d], where they have what, and their features."""

    trunk: Prepared
    states: Tensor
    spans: Spans
    features: Features


class LiveEditRecipe(Recipe):
    """Adam on cross-entropy of the edit and both rephrasings, KL(edited || unedited) on image locality, and routing.

    All terms have weight 1, as in the original. Which questions are paired, and which experts are on, is drawn.
    """

    def __init__(self, editor: LiveEdit, settings: LiveEditMethod, seed: int) -> None:
        self.editor, self.settings = editor, settings
        self.backbone, self.network = editor.backbone, editor.network
        self.optimiser = torch.optim.Adam(self.network.parameters(), settings.learning_rate)
        self.generator, self.steps = torch.Generator().manual_seed(seed), 0

    def patch(self, editor: LiveEdit, cases: Sequence[EditCase], step: int) -> Patch:
        """Return no edits: which experts are on differs by row, so that `losses` makes them."""
        return editor.start(len(cases))

    def losses(self, patch: Patch, cases: Sequence[EditCase]) -> dict[str, Tensor]:
        """Return each term and their sum, means over cases."""
        layer, ends, edits = self.editor.layer, self.settings.teach_end, len(cases)
        taught = self._asked(probe_trunk(self.backbone, cases, TAUGHT, layer, ends))
        local = self._asked(probe_trunk(self.backbone, cases, (UNRELATED,), layer, False))
        experts = self.editor.experts(taught.states[::NEAR], taught.spans.select(slice(None, None, NEAR)))
        on = torch.stack([drawn_experts(edits, True, self.generator) for _ in range(2)])
        on = on[[0, 1, 1]].transpose(0, 1).flatten(0, 1)  # both rephrasings of an edit have the same experts on
        targets = target_losses(self.backbone, self._under(taught, experts, on), Patch(len(on)))
        apart = self._divergences(local, experts, drawn_experts(edits, False, self.generator))
        terms = dict(zip([f"loss_{kind}" for kind in TAUGHT], targets.view(edits, NEAR).mean(0), strict=True))
        terms |= {f"loss_{UNRELATED}": apart.mean()} | self._routing(taught, local)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}

    def _asked(self, trunk: Prepared) -> Asked:
        """Return the rows behind the layer, given those in front of it."""
        trunk = behind(self.backbone, trunk)
        states, spans = states_of(trunk)
        return Asked(trunk, states, spans, self.network.of_questions(states, spans))

    def _under(self, asked: Asked, experts: Experts, on: Tensor) -> Prepared:
        """Return the rows with what the experts add that are on for each, bool [row, edit]."""
        weights = soft_weights(similarity(asked.features.text, experts.text[:, 0]), on.to(asked.states.device))
        inputs, outputs = (each.transpose(0, 1) for each in (experts.inputs, experts.outputs))
        added = self.network.residual(asked.states[None], inputs, outputs, weights[None])[0]
        return replace(asked.trunk, hidden=asked.trunk.hidden + added.to(asked.trunk.hidden))

    def _divergences(self, asked: Asked, experts: Experts, on: Tensor) -> Tensor:
        """Return KL(edited || unedited), averaged over the answer tokens of each row, [row]."""
        where = asked.trunk.batch.targets != IGNORED
        with torch.no_grad():
            before = self.backbone.forward(asked.trunk, where=where).log_softmax(-1)
        after = self.backbone.forward(self._under(asked, experts, on), where=where).log_softmax(-1)
        return divergences_of(after, before, where)

    def _routing(self, taught: Asked, local: Asked) -> dict[str, Tensor]:
        """Return the losses of features, of pairs that are drawn."""
        found = []
        for each, probes in ((taught, NEAR), (local, FAR)):
            edits = self.network.of_edits(each.states, each.spans)
            prototypes = self.network.prototype_feature(each.states, each.spans)
            made = each.features.vision, each.features.text, edits.vision, edits.text, prototypes
            found.append([feature.unflatten(0, (-1, probes)) for feature in made])
        vision, text, edit_vision, edit_text, prototypes = (torch.cat(pair, 1) for pair in zip(*found, strict=True))
        near, far = self._pairs(len(text))
        return routing(Features(vision, text), Features(edit_vision, edit_text), prototypes, near, far)

    def _pairs(self, edits: int) -> tuple[Tensor, Tensor]:
        """Return probes by number, as question and as edit, [2, edit]: of one fact, and of different ones."""
        draw = lambda most: torch.randint(most, (edits,), generator=self.generator)  # noqa: E731
        related = torch.tensor([0, 0, 1, 2])  # the edit itself as often as both of its rephrasings together
        unrelated = torch.full((edits,), NEAR)
        near = torch.where(draw(3) < 2, torch.stack([related[draw(4)], related[draw(4)]]), unrelated)
        far = torch.stack([related[draw(4)], unrelated])
        return near, torch.where(draw(2).bool(), far, far.flip(0))

    def step(self) -> None:
        """Step, clear the gradients and set the learning rate of the next step."""
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.steps += 1
        if self.steps == self.settings.cut_after:
            self.optimiser.param_groups[0]["lr"] *= CUT

    def checked(self, scores: Mapping[str, float]) -> None:
        """Nothing changes at a check."""


def routing(asked: Features, edits: Features, prototypes: Tensor, near: Tensor, far: Tensor) -> dict[str, Tensor]:
    """Return the losses of features.

    Args:
        asked: features of probes as questions, [edit, probe, query, width].
        edits: features of the same as edits.
        prototypes: those of the questions with the prototype as their picture.
        near: probes of one fact by number, as question and as edit, [2, edit].
        far: probes of different facts.
    """
    rows = torch.arange(near.shape[1])
    vision = [similarity(asked.vision[rows, a], edits.vision[rows, b]) for a, b in (near, far)]
    own = [similarity(asked.vision[rows, a], prototypes[rows, a]).diagonal() for a, _ in (near, far)]
    return {
        "soft_routing": soft_routing(similarity(asked.text[rows, near[0]], edits.text[rows, near[1]])),
        "hard_routing": hard_routing(vision[0], own[0], related=True),
        "hard_routing_unrelated": hard_routing(vision[1], own[1], related=False),
    }


def train(
    settings: LiveEditMethod, backbone: Backbone, cases: Sequence[EditCase], dev: Sequence[EditCase], seed: int
) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Return the trained weights and the course of the training; edits without a picture are not trained on.

    Raises:
        InputError: no training edit has a picture, or a loss is not finite.
    """
    layer, seen = edited_layer(backbone, settings), [case for case in cases if case.request.image is not None]
    split = Split(seen, dev)
    picture: Any = backbone.encode([seen[0].request.query]).picture
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = untrained(backbone, settings, int(picture[0, 1]))
    editor = LiveEdit(backbone, network, layer, 1.0)
    return fit(editor, LiveEditRecipe(editor, settings, seed), split, settings, seed)
