"""Training of edit networks: edit a batch of cases, ask their probes, step; keep what is best on development edits."""

import copy
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import IGNORED, Prepared
from unike_lib.editing.editor import Editor, edit_loss, row_means
from unike_lib.editing.objective import objective, token_scores
from unike_lib.editing.patch import Patch
from unike_lib.methods.shared.low_rank import LowRankChanges
from unike_lib.probe_kinds import AIMS, LOCALITY
from unike_lib.types import PROBE_KINDS, EditCase, InputError, kinds_of_all


@dataclass(frozen=True)
class Split:
    """Edits to train on, and development edits to stop by.

    Raises:
        InputError: one of them is empty, or a record lacks a probe.
    """

    training: Sequence[EditCase]
    development: Sequence[EditCase]

    def __post_init__(self) -> None:
        for name, cases in (("method-training", self.training), ("development", self.development)):
            if not cases:
                raise InputError(f"{name} edits: expected at least one to train an editor, found none")
            asked = {(each.request.task, probe.kind) for each in self.training for probe in each.probes}
            for case, kind in itertools.product(cases, PROBE_KINDS):
                if (case.request.task, kind) in asked:
                    case.query(kind)
            for aim in ("generality", "locality"):
                if not kinds_of_all(cases, AIMS[aim]):
                    raise InputError(f"{name} edits: expected a probe of {aim} in each to train an editor, found none")


class Trained(Editor, Protocol):
    """An editor with a network that is trained."""

    @property
    def backbone(self) -> Backbone:
        """The frozen model."""

    @property
    def network(self) -> torch.nn.Module:
        """What is trained."""


class Course(Protocol):
    """The settings of any training of a network (`NetworkMethod`)."""

    @property
    def steps(self) -> int:
        """Most steps."""

    @property
    def batch_size(self) -> int:
        """Training edits per step."""

    @property
    def eval_every(self) -> int:
        """Steps between two checks."""

    @property
    def patience(self) -> int:
        """Checks in a row without a better objective that end it."""

    @property
    def counterfactual_targets(self) -> float:
        """Share of training edits with another answer as their target."""


class Recipe(ABC):
    """How a network is trained: its loss and what a step does."""

    settings: Any

    def patch(self, editor: Any, cases: Sequence[EditCase], step: int) -> Patch:
        """Return the edits of a batch whose loss is taken: in every second step, so many share a session."""
        patch, _ = editor.edited([case.request for case in cases], editor.start(len(cases)))
        if step % 2 == 0:
            patch = made_together(patch, self.settings.edits_per_session)
        return patch

    @abstractmethod
    def losses(self, patch: Patch, cases: Sequence[EditCase]) -> dict[str, Tensor]:
        """Return the terms of a batch's loss by name, for the log, and the loss itself as "loss": means over cases."""

    @abstractmethod
    def step(self) -> None:
        """Step along the gradients of the last losses, and clear them."""

    @abstractmethod
    def checked(self, scores: Mapping[str, float]) -> None:
        """Take note of the scores on development edits."""


def probe_trunk(
    backbone: Backbone, cases: Sequence[EditCase], kinds: Sequence[str], first: int, teach_end: bool
) -> Prepared:
    """Run the frozen part of some probes up to layer `first`; rows are ordered by case, then by kind.

    teach_end: where their answers end is read too.
    """
    trunk = backbone.prepare([case.query(kind) for case in cases for kind in kinds], first)
    return trunk.with_end() if teach_end and backbone.stop_tokens else trunk


def target_losses(backbone: Backbone, trunk: Prepared, patch: Patch) -> Tensor:
    """Return the edited model's cross-entropy of the target, averaged over its tokens, [row]."""
    return edit_loss(backbone, trunk, patch)


def divergences(backbone: Backbone, trunk: Prepared, patch: Patch) -> Tensor:
    """Return KL(unedited || edited), averaged over the answer tokens of each row, [row], in nats.

    Reading: at the places of the answer; MMEdit takes every place of the row, of the prompt too.
    """
    where = trunk.batch.targets != IGNORED
    with torch.no_grad():
        before = backbone.forward(trunk, where=where).log_softmax(-1)
    after = backbone.forward(trunk, patch, where).log_softmax(-1)
    return divergences_of(before, after, where)


def divergences_of(before: Tensor, after: Tensor, where: Tensor) -> Tensor:
    """Return KL(before || after), averaged over the positions of each row that are read, [row], in nats.

    Args:
        before: log-probabilities at the positions read, row after row, [position, vocabulary].
        after: the same of another model.
        where: the positions read, bool [row, token].
    """
    return row_means((before.exp() * (before - after)).sum(-1), where)


def fit(
    editor: Trained, recipe: Recipe, split: Split, settings: Course, seed: int
) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Train a network; return the weights that were best on the development edits, and the course of the training.

    The course has one row a check: the step, mean loss terms since the last check, scores and their objective.

    Raises:
        InputError: a loss is not finite.
    """
    batches = _batches(split.training, settings, seed)
    terms: list[dict[str, float]] = []
    rows: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    with (
        tqdm(range(1, settings.steps + 1), desc="training of the editor", unit="step") as bar,
        editor.backbone.cache.remembering(),  # every check asks the same questions
    ):
        for step in bar:
            with editor.backbone.cache.remembering(False):  # every batch is another
                terms.append(_step(editor, recipe, next(batches), step))
            if step % settings.eval_every and step < settings.steps:
                continue
            scores = token_scores(editor.backbone, editor, split.development, settings.batch_size)
            recipe.checked(scores)
            rows.append({"step": step, **_means(terms), **scores, "objective": objective(scores)})
            terms = []
            bar.set_postfix({name: f"{rows[-1][name]:.3f}" for name in ("loss", "objective")})
            objectives = [row["objective"] for row in rows]
            worse = len(rows) - 1 - objectives.index(max(objectives))
            if worse == 0:
                best = copy.deepcopy(editor.network.state_dict())
            if worse == settings.patience:
                break
    return best, pd.DataFrame(rows)


def _step(editor: Trained, recipe: Recipe, cases: Sequence[EditCase], step: int) -> dict[str, float]:
    """Train on one batch and return its loss terms."""
    losses = recipe.losses(recipe.patch(editor, cases, step), cases)
    values = {name: float(value.detach()) for name, value in losses.items()}
    if not math.isfinite(values["loss"]):
        raise InputError(f"training of the editor: the loss is not finite at step {step}; lower its learning rates")
    losses["loss"].backward()
    recipe.step()
    return values


def made_together(patch: Patch, edits: int) -> Patch:
    """Return a patch of fewer sessions: the weight changes, factors alone, of so many of them added up."""
    changes = patch.part(LowRankChanges) or LowRankChanges()
    return Patch(patch.sessions // edits, (changes.grouped(edits),))


def _means(terms: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(each[name] for each in terms) / len(terms) for name in terms[0]}


def _batches(cases: Sequence[EditCase], settings: Course, seed: int) -> Iterator[list[EditCase]]:
    """Yield batches without end: every case once in each shuffled round; a round's rest joins the next round."""
    generator = torch.Generator().manual_seed(seed)
    answers = sorted({probe.query.answer for case in cases for probe in case.probes if probe.query.answer})
    waiting: list[EditCase] = []
    while True:
        while len(waiting) < settings.batch_size:
            for i in torch.randperm(len(cases), generator=generator).tolist():
                swaps = float(torch.rand((), generator=generator)) < settings.counterfactual_targets
                answer = answers[int(torch.randint(len(answers), (), generator=generator))]
                waiting.append(with_target(cases[i], answer) if swaps else cases[i])
        yield waiting[: settings.batch_size]
        waiting = waiting[settings.batch_size :]


def with_target(case: EditCase, target: str) -> EditCase:
    """Return the same edit towards another target; its locality probes stay."""
    probes = tuple(
        probe if probe.kind in LOCALITY else replace(probe, query=replace(probe.query, answer=target))
        for probe in case.probes
    )
    return replace(case, request=replace(case.request, target=target), probes=probes)
