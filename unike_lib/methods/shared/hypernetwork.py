"""Editors whose weight changes a trained network writes from an edit's gradient (MEND, KE): one pass, no descent."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import IGNORED, Prepared
from unike_lib.backbones.edit import PassContext
from unike_lib.editing.building import EditorSources
from unike_lib.editing.editor import EditResult, edit_loss, request_trunk
from unike_lib.editing.optimise import failures
from unike_lib.editing.patch import Part, Patch
from unike_lib.methods.shared.low_rank import LowRank, LowRankChanges
from unike_lib.methods.shared.network_settings import NetworkMethod
from unike_lib.types import EditRequest, InputError


class Matrix(NamedTuple):
    """A weight matrix [out, in] that is edited."""

    layer: int
    name: str
    outputs: int
    inputs: int


def last_matrices(backbone: Backbone, layers: int) -> tuple[Matrix, ...]:
    """Return the FFN matrices (OPT fc1, fc2; Llama up, down) of the last layers, as far as they can be edited.

    Raises:
        InputError: the backbone's own edited layers start later, so that part of the edit would never run.
    """
    chosen = backbone.editable[-layers:]
    if backbone.layers[0] > chosen[0].index:
        raise InputError(
            f"layers: the edit changes layers {chosen[0].index} to {chosen[-1].index}, but this backbone's edited "
            f"layers start at {backbone.layers[0]}; expected a start at {chosen[0].index} or before"
        )
    return tuple(
        Matrix(layer.index, name, *layer.part(name).weight.shape)
        for layer in chosen
        for name in layer.names.ffn_matrices
    )


@dataclass(frozen=True)
class WatchedMatrices(Part):
    """Shows, of some matrices, the inputs u, and zeros added to the outputs whose gradient is delta."""

    matrices: tuple[Matrix, ...]
    inputs: dict[Matrix, Tensor] = field(default_factory=dict)
    zeros: dict[Matrix, Tensor] = field(default_factory=dict)

    def weight(self, layer: int, name: str, inputs: Tensor, context: PassContext) -> Tensor | None:
        """Return the zeros that are added to a watched matrix's output, [row, token, out]."""
        for matrix in self.matrices:
            if matrix[:2] == (layer, name):
                self.inputs[matrix] = inputs.detach()
                zeros = self.zeros[matrix] = inputs.new_zeros(*inputs.shape[:2], matrix.outputs).requires_grad_(True)
                return zeros
        return None


def edit_gradients(
    backbone: Backbone, trunk: Prepared, matrices: Sequence[Matrix]
) -> tuple[Tensor, dict[Matrix, LowRank]]:
    """Return each row's edit loss [row] and its gradient by the weight of each matrix of the backbone, as factors.

    The factors of a matrix are the gradients delta at its output and its inputs u, one per token: the gradient is
    sum_t delta_t u_t^T (MEND, section 2). Tokens without a gradient, padding among them, are left out.

    Reading: the gradient is that of the target's cross-entropy summed over its tokens. MMEdit takes the mean, but
    trains an editor per task; here one serves short answers and captions, and must write each token as firmly.
    """
    watched = WatchedMatrices(tuple(matrices))
    with torch.enable_grad():
        losses = edit_loss(backbone, trunk, Patch(len(trunk.hidden), (watched,)))
        tokens = (trunk.batch.targets != IGNORED).sum(1)
        deltas = torch.autograd.grad((losses * tokens).sum(), [watched.zeros[matrix] for matrix in matrices])
    factors = {
        matrix: LowRank(delta.float(), watched.inputs[matrix].float()).compacted()
        for matrix, delta in zip(matrices, deltas, strict=True)
    }
    return losses.detach(), factors


class EditNetwork(nn.Module, ABC):
    """What is trained: from an edit's gradient to its weight changes."""

    matrices: tuple[Matrix, ...]

    @abstractmethod
    def changes(
        self, backbone: Backbone, requests: Sequence[EditRequest], trunk: Prepared, gradients: dict[Matrix, LowRank]
    ) -> dict[Matrix, LowRank]:
        """Return the change of every matrix; row b of everything belongs to request b alone.

        Args:
            backbone: the frozen model.
            requests: the edits.
            trunk: their rows, up to the first edited layer.
            gradients: of their edit losses, by the matrices' weights.
        """


@dataclass(frozen=True)
class NetworkEditor:
    """The editor of a trained network.

    Reading: the gradient of every edit is taken at the unedited backbone, as in training, and changes add up (so does
    MEND for several edits at once). Taken at the edited one, it leaves what the network was trained on: on blip2-nano
    nothing was left after ten edits. `strength`, a factor on every change, trades reliability for locality.
    """

    backbone: Backbone
    network: EditNetwork
    strength: float
    teach_end: bool = False

    def start(self, sessions: int) -> Patch:
        """Return the identity."""
        return Patch(sessions)

    @torch.no_grad()
    def edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        """Install one request per session; weight changes add to those of earlier edits."""
        patch, finite = self.edited(requests, previous)
        return EditResult(patch.revert(finite, previous), failures(finite))

    def edited(self, requests: Sequence[EditRequest], previous: Patch) -> tuple[Patch, Tensor]:
        """Return the patch, differentiable by the network's weights, and which sessions are finite, bool [session]."""
        matrices = self.network.matrices
        trunk = request_trunk(self.backbone, requests, matrices[0].layer, teach_end=self.teach_end)
        losses, gradients = edit_gradients(self.backbone, trunk, matrices)
        finite = torch.isfinite(losses)
        changes = {}
        for matrix, factors in self.network.changes(self.backbone, requests, trunk, gradients).items():
            changes[matrix.layer, matrix.name] = factors.scaled(self.strength)
            for part in (factors.outputs, factors.inputs):
                finite = finite & torch.isfinite(part).flatten(1).all(1)
        return previous.append(LowRankChanges.of(changes)), finite


def load_network(
    network: EditNetwork, sources: EditorSources, backbone: Backbone, settings: NetworkMethod
) -> NetworkEditor:
    """Return the editor with trained weights.

    Raises:
        InputError: no file, a broken one, or one that was trained with other settings or for another backbone.
    """
    try:
        network.load_state_dict(dict(sources.trained_tensors()))
    except RuntimeError as error:
        problem, name = str(error).splitlines()[1].strip(), sources.trained_name
        raise InputError(
            f"{name}: trained with other settings or for another backbone; "
            f"delete it, so that it is trained anew ({problem})"
        ) from None
    network = network.to(backbone.device).eval().requires_grad_(False)
    return NetworkEditor(backbone, network, settings.strength, settings.teach_end)
