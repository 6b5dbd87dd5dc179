"""KE (De Cao et al. 2021): a recurrent network reads the edit as text and writes masks for its gradient."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.rnn import pack_padded_sequence

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import Prepared
from unike_lib.editing.building import EditorSources
from unike_lib.editing.patch import Patch
from unike_lib.methods.ke.settings import KeMethod
from unike_lib.methods.shared.hypernetwork import EditNetwork, Matrix, NetworkEditor, last_matrices, load_network
from unike_lib.methods.shared.low_rank import LowRank
from unike_lib.methods.shared.network_training import Recipe, Split, divergences, fit, probe_trunk, target_losses
from unike_lib.probe_kinds import LOCALITY, REACHED
from unike_lib.types import EditCase, EditRequest, Query, kinds_of_all


class ConditionReader(nn.Module):
    """A bidirectional LSTM over token embeddings: its two last states, through a linear layer and tanh."""

    def __init__(self, width: int, hidden: int, condition: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * hidden, condition)

    def forward(self, embeddings: Tensor, lengths: Tensor) -> Tensor:
        """Return the condition [row, condition] of rows padded on the right, [row, token, d]."""
        packed = pack_padded_sequence(embeddings, lengths.cpu(), batch_first=True, enforce_sorted=False)
        last: Tensor = self.lstm(packed)[1][0]
        condition: Tensor = torch.tanh(self.linear(torch.cat([last[0], last[1]], -1)))
        return condition


class MatrixConditioner(nn.Module):
    """dW = scale sigma(eta) (grad o A + B), with A, B = softmax(row) column^T of rank 1 (De Cao et al., Eq. 6).

    Reading: the column of A starts around -1, so that training starts from a step down the gradient; De Cao et al.
    start around 0 and train longer.
    """

    def __init__(self, matrix: Matrix, condition: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.sizes = [matrix.inputs, matrix.outputs, matrix.inputs, matrix.outputs, 1]
        self.scale = scale
        output = nn.Linear(hidden, sum(self.sizes))
        with torch.no_grad():
            output.bias[: matrix.inputs] -= 1
        self.layers = nn.Sequential(weight_norm(nn.Linear(condition, hidden)), nn.Tanh(), weight_norm(output))

    def forward(self, condition: Tensor, gradient: LowRank) -> LowRank:
        """Return the change of one matrix in every session; its rank is the gradient's and one more.

        grad o (a b^T) = sum_t (delta_t o a) (u_t o b)^T, so the masked gradient keeps its factors.
        """
        column_a, row_a, column_b, row_b, eta = self.layers(condition).split(self.sizes, -1)
        share = self.scale * eta.sigmoid()[:, None]
        outputs = torch.cat([gradient.outputs * row_a.softmax(-1)[:, None], row_b.softmax(-1)[:, None]], 1)
        inputs = torch.cat([gradient.inputs * column_a[:, None], column_b[:, None]], 1)
        return LowRank(share * outputs, inputs)


class KeNetwork(EditNetwork):
    """One reader, and a conditioner per matrix."""

    def __init__(self, matrices: tuple[Matrix, ...], width: int, settings: KeMethod) -> None:
        super().__init__()
        self.matrices = matrices
        self.reader = ConditionReader(width, settings.hidden, settings.condition)
        self.conditioners = nn.ModuleList(
            [MatrixConditioner(matrix, settings.condition, settings.hidden, settings.scale) for matrix in matrices]
        )

    def changes(
        self, backbone: Backbone, requests: Sequence[EditRequest], trunk: Prepared, gradients: dict[Matrix, LowRank]
    ) -> dict[Matrix, LowRank]:
        """Return the change of every matrix."""
        texts = condition_texts(backbone, requests, trunk)
        batch = backbone.encode([Query(None, text, style="plain") for text in texts])
        condition = self.reader(batch.embeddings[..., : backbone.width].float(), batch.lengths)
        return {
            matrix: conditioner(condition, gradients[matrix])
            for matrix, conditioner in zip(self.matrices, self.conditioners, strict=True)
        }


@torch.no_grad()
def condition_texts(backbone: Backbone, requests: Sequence[EditRequest], trunk: Prepared) -> list[str]:
    """Return "pred >> target || prompt" of every request; `trunk` holds the requests' rows.

    Reading: pred is what the unedited backbone would say at each place of the target (teacher-forced): one pass, no
    decoding.
    """
    where = trunk.batch.targets >= 0
    best = backbone.forward(trunk, where=where).argmax(-1).split(where.sum(1).tolist())
    return [
        f"{backbone.text(ids.tolist())} >> {request.target} || {request.prompt}"
        for ids, request in zip(best, requests, strict=True)
    ]


def build_ke(backbone: Backbone, settings: KeMethod, seed: int) -> KeNetwork:
    """Return the untrained network for a backbone.

    Raises:
        InputError: the backbone's edited layers start after those of the method.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = KeNetwork(last_matrices(backbone, settings.layers), backbone.width, settings)
    return network.to(backbone.device)


class KeRecipe(Recipe):
    """RMSprop on CE + alpha (D - margin), alpha >= 0 rising while the divergence D on unrelated questions exceeds it.

    Reading: CE is the mean over the edit, its rephrased text and its rephrased image; D is the mean KL(unedited ||
    edited) over the text and the image locality question (the default divergence of De Cao et al.'s code; its other
    choice, the p-norm of the weight change, is left out). The margin shrinks at a check on development edits.
    """

    def __init__(self, network: KeNetwork, backbone: Backbone, settings: KeMethod) -> None:
        self.network, self.backbone, self.settings = network, backbone, settings
        self.multiplier = torch.ones((), device=backbone.device, requires_grad=True)
        self.margin = settings.margin
        groups: list[dict[str, Any]] = [
            {"params": network.parameters()},
            {"params": [self.multiplier], "lr": settings.multiplier_rate},
        ]
        self.optimiser = torch.optim.RMSprop(groups, settings.learning_rate, centered=True)

    def losses(self, patch: Patch, cases: Sequence[EditCase]) -> dict[str, Tensor]:
        """Return cross-entropy, divergence, multiplier, margin, and the loss."""
        first, ends = self.network.matrices[0].layer, self.settings.teach_end
        edited = target_losses(
            self.backbone, probe_trunk(self.backbone, cases, kinds_of_all(cases, REACHED), first, ends), patch
        ).mean()
        local = probe_trunk(self.backbone, cases, kinds_of_all(cases, LOCALITY), first, ends)
        divergence = divergences(self.backbone, local, patch).mean()
        loss = edited + self.multiplier * (divergence - self.margin)
        shown = {"multiplier": self.multiplier.detach().clone(), "margin": torch.tensor(self.margin)}
        return {"loss": loss, "loss_edit": edited, "divergence": divergence, **shown}

    def step(self) -> None:
        """Descend by the network's weights, ascend by the multiplier."""
        assert self.multiplier.grad is not None
        self.multiplier.grad.neg_()
        self.optimiser.step()
        self.optimiser.zero_grad()
        with torch.no_grad():
            self.multiplier.clamp_(min=0)

    def checked(self, scores: Mapping[str, float]) -> None:
        """Shrink the margin while edits are accurate."""
        reached = [scores[kind] for kind in REACHED if kind in scores]
        if sum(reached) / len(reached) > self.settings.margin_accuracy:
            self.margin = max(self.margin * self.settings.margin_factor, self.settings.margin_floor)


def build(settings: KeMethod, backbone: Backbone, sources: EditorSources, seed: int) -> NetworkEditor:
    """Return the editor with its trained network."""
    return load_network(build_ke(backbone, settings, seed), sources, backbone, settings)


def train(
    settings: KeMethod, backbone: Backbone, cases: Sequence[EditCase], dev: Sequence[EditCase], seed: int
) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Return the trained weights and the course of the training.

    Raises:
        InputError: a loss is not finite, or the backbone's edited layers start after those of the method.
    """
    network, split = build_ke(backbone, settings, seed), Split(cases, dev)
    editor = NetworkEditor(backbone, network, 1.0, settings.teach_end)
    return fit(editor, KeRecipe(network, backbone, settings), split, settings, seed)
