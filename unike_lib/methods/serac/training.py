"""Training of SERAC's two models on the method-training split, with early stopping on development edits."""

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeVar

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from unike_lib.backbones.backbone import Backbone
from unike_lib.methods.serac.editor import COUNTERFACTUAL, SCOPE, Reads, SeracModels
from unike_lib.methods.serac.settings import SeracMethod
from unike_lib.probe_kinds import LOCALITY
from unike_lib.types import EditCase, InputError

IN_SCOPE: tuple[str, ...] = ("rel", "t_gen")
ROWS = 64
LEAST_DISTANCE = 1.0e-4  # keeps log(1 - exp(-d)) finite where two texts have one vector
CLIP = 1.0

Loss = Callable[[Sequence[EditCase]], Tensor]
Models = TypeVar("Models", bound=SeracModels)


def train_serac(
    settings: SeracMethod, backbone: Backbone, cases: Sequence[EditCase], dev: Sequence[EditCase], seed: int
) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Train scope classifier and counterfactual model.

    Args:
        settings: of the method.
        backbone: its tokenizer, template and vocabulary are used; the model is not run.
        cases: edits of the method-training split, all tasks.
        dev: development edits, all tasks; training stops when their loss no longer falls, and its best weights stay.
        seed: of weights and order.

    Returns:
        The weights (`SeracModels.tensors`), and the losses: part, step, train (mean since the last row), dev.

    Raises:
        InputError: fewer than two training edits, or no development edit.
    """
    models = seeded_models(SeracModels, settings, backbone, seed)
    return train_models(models, ScopeLoss, settings, cases, dev, seed)


def seeded_models(kind: type[Models], settings: SeracMethod, backbone: Backbone, seed: int) -> Models:
    """Return models whose random weights are those of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind.untrained(backbone, settings)


def train_models(
    models: SeracModels,
    loss_of: Callable[[Any, Sequence[EditCase]], Loss],
    settings: SeracMethod,
    cases: Sequence[EditCase],
    dev: Sequence[EditCase],
    seed: int,
) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Train models of a kind; `loss_of`: the scope's loss, given them and all edits; the rest as of `train_serac`."""
    if len(cases) < 2 or not dev:
        found = f"{len(cases)} and {len(dev)}"
        raise InputError(f"{settings.method}: expected training and development edits, found {found}")
    losses: dict[str, tuple[Loss, Loss]] = {  # in training, and of the development edits
        SCOPE: (loss_of(models, cases), loss_of(models, [*cases, *dev])),
        COUNTERFACTUAL: (
            CounterfactualLoss(models, settings.random_targets, seed),
            CounterfactualLoss(models, 0.0, seed),
        ),
    }
    curves = []
    for part, (loss, judge) in losses.items():
        trainer = Trainer(part, models.parts[part], settings)
        curves.append(trainer.train(_batches(cases, settings, seed), loss, partial(_mean, judge, dev)))
    return models.tensors(), pd.concat(curves, ignore_index=True)


def _batches(cases: Sequence[EditCase], settings: SeracMethod, seed: int) -> Callable[[], Sequence[EditCase]]:
    """Return a source of batches: a seeded sample of the cases, without repeats within a batch."""
    rng = random.Random(seed)
    return lambda: rng.sample(list(cases), min(settings.batch_size, len(cases)))


@torch.no_grad()
def _mean(loss: Loss, cases: Sequence[EditCase]) -> float:
    parts = [cases[start : start + ROWS] for start in range(0, len(cases), ROWS)]
    return sum(float(loss(part)) * len(part) for part in parts) / len(cases)


class ScopeLoss:
    """-log s over questions in scope, -log(1 - s) over others; each averaged, then added.

    In scope are an edit's own question and its rephrasing; out of scope its locality questions and the question of the
    edit beside it in the batch. Reading: texts that are linked by rephrasings mean the same, for a classifier of text;
    pairs of them are never negatives (a locality question may be the edit's own, about another picture).
    """

    near: ClassVar[tuple[str, ...]] = IN_SCOPE

    def __init__(self, models: SeracModels, cases: Sequence[EditCase]) -> None:
        self.models = models
        self._same: dict[Reads, Reads] = {}
        for case in cases:
            self._link(case)

    def __call__(self, cases: Sequence[EditCase]) -> Tensor:
        """Return the loss of a batch of edits, in nats."""
        near = [(self._own(case), each) for case in cases for each in self._reads(case, self.near)]
        far = [(one, other) for one, other in self._far(cases) if self._meaning(one) != self._meaning(other)]
        first, second = zip(*near, *far, strict=True)
        distances = self.models.distances(first, second)
        apart = distances[len(near) :].clamp(min=LEAST_DISTANCE)
        loss = distances[: len(near)].mean()
        return loss - torch.log(-torch.expm1(-apart)).mean() if far else loss

    def _far(self, cases: Sequence[EditCase]) -> list[tuple[Reads, Reads]]:
        """Return pairs of an edit's question and one that is out of its scope, if it means something else."""
        edits = [self._own(case) for case in cases]
        beside = [*edits[1:], edits[0]]
        far = [(self._own(case), each) for case in cases for each in self._reads(case, LOCALITY)]
        return [*far, *zip(edits, beside, strict=True)]

    def _link(self, case: EditCase) -> None:
        """Note what a case says means the same."""
        self._unite(self._reads(case, self.near))

    def _meaning(self, read: Reads) -> Reads:
        """Return what stands for all that mean the same."""
        return self._root(read)

    def _own(self, case: EditCase) -> Reads:
        return self._reads(case, ("rel",))[0]

    def _reads(self, case: EditCase, kinds: Sequence[str]) -> list[Reads]:
        return [self.models.reads(query) for query in case.queries(kinds)]

    def _unite(self, names: Iterable[Reads]) -> None:
        same = sorted({self._root(name) for name in names})
        self._same |= dict.fromkeys(same[1:], same[0]) if same else {}

    def _root(self, name: Reads) -> Reads:
        while (other := self._same.get(name, name)) != name:
            name = other
        return name


class CounterfactualLoss:
    """Cross-entropy of the target and the end symbol for the edit's question and its rephrasing, given the edit.

    A share of the targets is replaced by random tokens, in edit and answer alike: the few targets of the training split
    could be learned by heart, random ones only by copying.
    """

    def __init__(self, models: SeracModels, random_share: float, seed: int) -> None:
        self.models = models
        self.random_share = random_share
        self.rng = random.Random(f"targets {seed}")

    def __call__(self, cases: Sequence[EditCase]) -> Tensor:
        """Return the loss of a batch of edits, in nats per token."""
        backbone, heads, answers = self.models.backbone, [], []
        for case in cases:
            target = self._target(backbone.answer_ids(case.request.target))
            for kind in IN_SCOPE:
                heads.append(self.models.head(case.request.query, target, case.query(kind)))
                answers.append(target)
        logits = self.models.counterfactual(heads, answers)
        wanted = [token for target in answers for token in (*target, backbone.tokenizer.eos_token_id)]
        return cross_entropy(logits, torch.tensor(wanted, device=logits.device))

    def _target(self, own: list[int]) -> list[int]:
        if self.rng.random() >= self.random_share:
            return own
        return [self.rng.randrange(self.models.counterfactual.mark) for _ in own]


@dataclass(frozen=True)
class Trainer:
    """AdamW with early stopping; the model ends with the weights of the best look at the development edits."""

    part: str
    model: nn.Module
    settings: SeracMethod

    def train(self, batch: Callable[[], Sequence[EditCase]], loss: Loss, judge: Callable[[], float]) -> pd.DataFrame:
        """Return the losses: part, step, train, dev."""
        rate, check = self.settings.learning_rate, self.settings.eval_every
        optimiser = torch.optim.AdamW(self.model.parameters(), lr=rate, fused=True)
        rows: list[dict[str, object]] = []
        best, weights, total, since = float("inf"), self._weights(), 0.0, 0
        self.model.train()
        for step in tqdm(range(1, self.settings.steps + 1), desc=f"{self.settings.method} {self.part}", unit="step"):
            value = loss(batch())
            if not math.isfinite(float(value.detach())):
                place = f"{self.settings.method} {self.part}"
                raise InputError(f"{place}: the loss is not finite at step {step}; lower its learning rate")
            optimiser.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            optimiser.step()
            total += float(value.detach())
            if step % check and step < self.settings.steps:
                continue
            judged = judge()
            rows.append({"part": self.part, "step": step, "train": total / ((step - 1) % check + 1), "dev": judged})
            total = 0.0
            if judged < best:
                best, weights, since = judged, self._weights(), 0
            else:
                since += 1
            if since == self.settings.patience:
                break
        self.model.load_state_dict(weights)
        self.model.eval()
        return pd.DataFrame(rows)

    def _weights(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}
