"""LiveEdit's editor: one pass up to a layer makes an edit's expert."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import Prepared
from unike_lib.editing.building import EditorSources
from unike_lib.editing.editor import EditResult, request_trunk
from unike_lib.editing.optimise import failures
from unike_lib.editing.patch import Patch
from unike_lib.methods.liveedit.experts import Experts
from unike_lib.methods.liveedit.network import LiveEditNetwork, Spans
from unike_lib.methods.liveedit.settings import LiveEditMethod
from unike_lib.types import EditRequest, InputError


@dataclass(frozen=True)
class LiveEdit:
    """Each edit adds an expert, made of what the unedited model has of it behind the layer."""

    backbone: Backbone
    network: LiveEditNetwork
    layer: int
    strength: float

    def start(self, sessions: int) -> Patch:
        """Return the identity."""
        return Patch(sessions)

    @torch.no_grad()
    def edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        """Install one request per session; experts of earlier edits stay as they are."""
        new = self.experts(*states_of(behind(self.backbone, request_trunk(self.backbone, requests, self.layer))))
        made = (new.vision, new.text, new.inputs, new.outputs)
        finite = torch.stack([each.isfinite().flatten(1).all(1) for each in made]).all(0)
        return EditResult(previous.append(new).revert(finite, previous), failures(finite))

    def experts(self, states: Tensor, spans: Spans) -> Experts:
        """Return one expert per row of states that left the layer [row, token, d], each row a session."""
        features = self.network.of_edits(states, spans)
        made = (features.vision, features.text, self.network.inputs(states, spans), self.network.outputs(states, spans))
        vision, text, inputs, outputs = (each[:, None] for each in made)
        live = spans.picture.any(1)[:, None]
        return Experts(self.layer, self.network, self.strength, vision, text, inputs, outputs, live)


def states_of(trunk: Prepared) -> tuple[Tensor, Spans]:
    """Return the states of rows in float32, and where rows have what."""
    states = trunk.hidden.float()
    return states, Spans.of(trunk.batch.context(), states.shape[1], trunk.batch.mask)


@torch.no_grad()
def behind(backbone: Backbone, trunk: Prepared) -> Prepared:
    """Return the rows behind the layer that they stand in front of."""
    batch = trunk.batch
    hidden = backbone.decoder.run(trunk.hidden, [trunk.first], sees=batch.sees, positions=batch.positions)
    return Prepared(hidden.to(backbone.device), trunk.batch, trunk.first + 1)


def edited_layer(backbone: Backbone, settings: LiveEditMethod) -> int:
    """Return the layer that experts stand behind."""
    depth = len(backbone.decoder.layers)
    return backbone.layers[0] if settings.layer is None else max(0, depth + settings.layer)


def untrained(backbone: Backbone, settings: LiveEditMethod, picture_tokens: int) -> LiveEditNetwork:
    """Return a network with random weights, from torch's generator.

    Raises:
        InputError: the backbone's width is no multiple of the heads.
    """
    if backbone.width % settings.heads:
        raise InputError(f"heads: expected a divisor of the backbone's width {backbone.width}, found {settings.heads}")
    sizes = settings.width, settings.heads, settings.rank, picture_tokens
    return LiveEditNetwork(backbone.width, *sizes).to(backbone.device)


def build(settings: LiveEditMethod, backbone: Backbone, sources: EditorSources, seed: int) -> LiveEdit:
    """Return the editor with its trained network.

    Raises:
        InputError: no file, a broken one, or one that was trained with other settings or for another backbone.
    """
    tensors, name = dict(sources.trained_tensors()), sources.trained_name
    if "prototype" not in tensors:
        raise InputError(f"{name}: expected a trained editor of LiveEdit, found no tensor 'prototype'")
    with torch.random.fork_rng(devices=[]):
        network = untrained(backbone, settings, len(tensors["prototype"]))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        problem = str(error).splitlines()[1].strip()
        raise InputError(
            f"{name}: trained with other settings or for another backbone; "
            f"delete it, so that it is trained anew ({problem})"
        ) from None
    network = network.eval().requires_grad_(False)
    return LiveEdit(backbone, network, edited_layer(backbone, settings), settings.strength)
