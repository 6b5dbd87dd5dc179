"""MEND (Mitchell et al. 2022): a small network turns the factors of an edit's gradient into a better weight change."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import Prepared
from unike_lib.editing.building import EditorSources
from unike_lib.editing.editor import request_trunk
from unike_lib.editing.patch import Patch
from unike_lib.methods.mend.settings import MendMethod
from unike_lib.methods.shared.hypernetwork import (
    EditNetwork,
    Matrix,
    NetworkEditor,
    edit_gradients,
    last_matrices,
    load_network,
)
from unike_lib.methods.shared.low_rank import LowRank
from unike_lib.methods.shared.network_training import Recipe, Split, divergences, fit, probe_trunk, target_losses
from unike_lib.probe_kinds import LOCALITY
from unike_lib.types import EditCase, EditRequest, kinds_of_all

EPSILON = 1.0e-7


class IdentityLayer(nn.Module):
    """x + relu(s_m (U V x + b) + t_m), low-rank, the identity at the start (MEND Eq. 3).

    Matrix m has its own scale s and shift t. Reading: both layers have a bias b, as in MEND's code; the paper prints it
    in the first alone, but the second's shifts are biases too.
    """

    def __init__(self, width: int, rank: int, matrices: int) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.zeros(width, min(rank, width)))
        self.down = nn.Parameter(torch.randn(min(rank, width), width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale = nn.Parameter(torch.ones(matrices, width))
        self.shift = nn.Parameter(torch.zeros(matrices, width))

    def forward(self, values: Tensor, matrix: int) -> Tensor:
        """Return the layer's output, [..., width]."""
        added = values @ self.down.T @ self.up.T + self.bias
        added = added * self.scale[matrix] + self.shift[matrix]
        # Unlike relu, clamp has gradient 1 at 0, where all training starts (so does MEND's code).
        return values + added.clamp(min=0)


class Moments:
    """Mean and summed squared deviations of factors (u, delta), added up edit by edit (Chan et al. 1979): float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Tensor = torch.zeros(())
        self.squares: Tensor = torch.zeros(())

    def add(self, factors: LowRank) -> None:
        """Add the factors that are present, each a sample of [inputs + outputs]."""
        tokens = torch.cat([factors.inputs, factors.outputs], -1)[factors.present].double()
        before, self.count = self.count, self.count + len(tokens)
        if not len(tokens):
            return
        mean = tokens.mean(0)
        apart = mean - self.mean.to(mean)
        self.squares = self.squares.to(mean) + (tokens - mean).square().sum(0)
        self.squares += apart.square() * (before * len(tokens) / self.count)
        self.mean = self.mean.to(mean) + apart * (len(tokens) / self.count)


class FactorTransform(nn.Module):
    """Normalises factors (u, delta) and maps them through two layers shared by the matrices of one shape (MEND Eq. 3).

    Reading: means and deviations are those of the training edits on the unedited backbone, taken once before training
    (`measure`); MEND's code keeps running ones. Until then nothing is normalised.
    """

    means: Tensor
    deviations: Tensor

    def __init__(self, outputs: int, inputs: int, rank: int, matrices: int) -> None:
        super().__init__()
        self.inputs = inputs
        width = inputs + outputs
        self.layers = nn.ModuleList([IdentityLayer(width, rank, matrices) for _ in range(2)])
        self.register_buffer("means", torch.zeros(width))
        self.register_buffer("deviations", torch.ones(width))

    def measure(self, moments: "Moments") -> None:
        """Set means and deviations from those of the factors of many edits."""
        deviations = (moments.squares / (moments.count - 1)).sqrt()
        self.means.copy_(moments.mean)
        self.deviations.copy_(torch.where(deviations > 0, deviations, 1.0))  # dead neurons never vary

    def forward(self, factors: LowRank, matrix: int) -> LowRank:
        """Return the transformed factors; absent ones stay zero."""
        values = (torch.cat([factors.inputs, factors.outputs], -1) - self.means) / (self.deviations + EPSILON)
        for layer in self.layers:
            values = layer(values, matrix)
        values = values * factors.present[:, :, None]
        return LowRank(values[..., self.inputs :], values[..., : self.inputs])


class MendNetwork(EditNetwork):
    """The transforms of all shapes and a learned edit learning rate per matrix: dW = -rate sum_t delta'_t u'_t^T."""

    def __init__(self, matrices: tuple[Matrix, ...], rank: int, edit_rate: float) -> None:
        super().__init__()
        self.matrices = matrices
        shapes = [(matrix.outputs, matrix.inputs) for matrix in matrices]
        self.places = {matrix: shapes[:i].count(shapes[i]) for i, matrix in enumerate(matrices)}
        self.transforms = nn.ModuleDict(
            {_shape(*shape): FactorTransform(*shape, rank, shapes.count(shape)) for shape in dict.fromkeys(shapes)}
        )
        self.edit_rates = nn.Parameter(torch.full((len(matrices),), edit_rate))

    def measure(self, gradients: Iterable[Mapping[Matrix, LowRank]]) -> None:
        """Set the normalisation of every shape from the gradients of many edits, which are read one by one."""
        moments = {shape: Moments() for shape in self.transforms}
        for each in gradients:
            for matrix in self.matrices:
                moments[_shape(matrix.outputs, matrix.inputs)].add(each[matrix])
        for shape, transform in self.transforms.items():
            assert isinstance(transform, FactorTransform)
            transform.measure(moments[shape])

    def changes(
        self, backbone: Backbone, requests: Sequence[EditRequest], trunk: Prepared, gradients: dict[Matrix, LowRank]
    ) -> dict[Matrix, LowRank]:
        """Return the change of every matrix."""
        found = {}
        for matrix, rate in zip(self.matrices, self.edit_rates, strict=True):
            transform = self.transforms[_shape(matrix.outputs, matrix.inputs)]
            factors: LowRank = transform(gradients[matrix], self.places[matrix])
            found[matrix] = LowRank(-rate * factors.outputs, factors.inputs)
        return found


def _shape(outputs: int, inputs: int) -> str:
    return f"{outputs}x{inputs}"


def build_mend(backbone: Backbone, settings: MendMethod, seed: int) -> MendNetwork:
    """Return the untrained network for a backbone.

    Raises:
        InputError: the backbone's edited layers start after those of the method.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MendNetwork(last_matrices(backbone, settings.layers), settings.rank, settings.edit_rate)
    return network.to(backbone.device)


class MendRecipe(Recipe):
    """Adam on weighted NLL(edit), NLL(text rephrase), NLL(image rephrase) + KL(text locality) + KL(image locality).

    MMEdit's loss has weights 0, 0.1, 0.1 and 1: the edit itself is not in it.
    """

    def __init__(self, network: MendNetwork, backbone: Backbone, settings: MendMethod) -> None:
        self.network, self.backbone, self.settings = network, backbone, settings
        groups: list[dict[str, Any]] = [
            {"params": network.transforms.parameters()},
            {"params": [network.edit_rates], "lr": settings.edit_rate_step},
        ]
        self.optimiser = torch.optim.Adam(groups, settings.learning_rate)
        weights: dict[str, float] = {
            "rel": settings.edit_weight,
            "t_gen": settings.text_weight,
            "m_gen": settings.image_weight,
        }
        self.weights = {kind: weight for kind, weight in weights.items() if weight}
        self.waiting = 0

    def losses(self, patch: Patch, cases: Sequence[EditCase]) -> dict[str, Tensor]:
        """Return each probe's loss and their weighted sum, means over cases."""
        kinds, stay = (kinds_of_all(cases, each) for each in (self.weights, LOCALITY))
        first, ends = self.network.matrices[0].layer, self.settings.teach_end
        targets = target_losses(self.backbone, probe_trunk(self.backbone, cases, kinds, first, ends), patch)
        targets = targets.view(len(cases), -1).mean(0)
        local = divergences(self.backbone, probe_trunk(self.backbone, cases, stay, first, ends), patch)
        local = local.view(len(cases), -1).mean(0)
        weights = torch.tensor([self.weights[kind] for kind in kinds], device=targets.device)
        loss = (weights * targets).sum() + self.settings.locality_weight * local.sum()
        named = dict(zip([f"loss_{kind}" for kind in (*kinds, *stay)], torch.cat([targets, local]), strict=True))
        return {"loss": loss, **named}

    def step(self) -> None:
        """Clip and step once enough batches have been added up."""
        self.waiting += 1
        if self.waiting < self.settings.accumulation:
            return
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.waiting = 0

    def checked(self, scores: Mapping[str, float]) -> None:
        """Nothing changes at a check."""


def build(settings: MendMethod, backbone: Backbone, sources: EditorSources, seed: int) -> NetworkEditor:
    """Return the editor with its trained network."""
    return load_network(build_mend(backbone, settings, seed), sources, backbone, settings)


def train(
    settings: MendMethod, backbone: Backbone, cases: Sequence[EditCase], dev: Sequence[EditCase], seed: int
) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Return the trained weights and the course of the training.

    Raises:
        InputError: a loss is not finite, or the backbone's edited layers start after those of the method.
    """
    network, split = build_mend(backbone, settings, seed), Split(cases, dev)

    def gradients() -> Iterator[dict[Matrix, LowRank]]:
        for start in range(0, len(split.training), settings.batch_size):
            requests = [case.request for case in split.training[start : start + settings.batch_size]]
            trunk = request_trunk(backbone, requests, network.matrices[0].layer, teach_end=settings.teach_end)
            yield edit_gradients(backbone, trunk, network.matrices)[1]

    with backbone.cache.remembering(False):  # each edit is asked once
        network.measure(gradients())
    editor = NetworkEditor(backbone, network, 1.0, settings.teach_end)
    return fit(editor, MendRecipe(network, backbone, settings), split, settings, seed)
