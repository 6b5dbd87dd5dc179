"""Positive control of a backbone: can it show UniKE at all?

UniKE stores hidden states of facts and lets the edited layers attend to them. A backbone can show it only where those
layers read a demonstration of the very fact from a context, and read it from a memory slot that holds its state. Both
are tested on facts that the backbone was not taught, without neurons and without training. Which layers are edited is
chosen by a scan over windows of them, on other edits than those of the tests.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor
from tqdm import tqdm

from unike_lib.backbones.backbone import Backbone
from unike_lib.config.evaluation import PositiveControlConfig
from unike_lib.evaluation.context_visibility import AnswerScores, answer_scores, behind, run_visible
from unike_lib.evaluation.control_parts import SCAN, VERDICT, parts_of
from unike_lib.evaluation.oracle_memory import OwnSlots, demonstration_states, run_shifted, states_entering
from unike_lib.evaluation.readout import readout_table
from unike_lib.knowledge.memory import Searched
from unike_lib.methods.unike.latent_shift import LatentShift
from unike_lib.types import EditCase, InputError, Query

ROWS = 16
WINDOW = 4  # layers that UniKE edits (paper: four)
CONTROL_SCHEMA = pa.schema(
    [
        ("backbone", pa.string()),
        ("task", pa.string()),
        ("case", pa.string()),
        ("facts", pa.list_(pa.string())),
        ("part", pa.string()),
        ("test", pa.string()),
        ("memory", pa.string()),
        ("layers", pa.string()),
        ("alpha", pa.float64()),
        ("token", pa.float64()),
        ("exact", pa.float64()),
        ("log_probability", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Condition:
    """What is known where: test "none", "context", "latent" or "window"; memory; layers; alpha (0: none mixed in)."""

    test: str = "none"
    memory: str = "none"
    layers: str = "none"
    alpha: float = 0.0


Item = TypeVar("Item")
Scored = Iterator[tuple[Condition, list[AnswerScores]]]


@dataclass(frozen=True)
class Known:
    """What a batch may be told: the chosen ones [row] of all demonstrations and of their states, layer -> [case, d]."""

    demonstrations: Sequence[Query]
    states: Mapping[int, Tensor]
    chosen: Sequence[int]

    def chosen_demonstrations(self) -> list[Query]:
        """Return a demonstration per row."""
        return [self.demonstrations[index] for index in self.chosen]

    def slots(self, layers: Sequence[int]) -> dict[int, Tensor]:
        """Return layer -> h_pos [row, d]."""
        return {layer: self.states[layer][list(self.chosen)] for layer in layers}


@dataclass(frozen=True)
class PositiveControl:
    """The tests of one backbone.

    Reading: the demonstration of a case's fact is its rephrased question (probe `t_gen`: same image, other words) with
    the true answer, in the context and as a memory slot alike; "other fact" is that of the next case of its part and
    task that shares neither fact nor answer. A share of h_know is fixed at each alpha in turn, whatever the method's
    own alpha, alpha_scale and alpha_convention are.

    Args:
        backbone: the unedited model.
        shift: UniKE's latent shift over the backbone's general memory.
        h_pos: which state the memory stores, "last" or "answer_mean".
        settings: alphas and the scans.
    """

    backbone: Backbone
    shift: LatentShift
    h_pos: str
    settings: PositiveControlConfig

    @torch.no_grad()
    def run(self, cases: Sequence[EditCase], answers: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return scores, one row per case and condition, and `readout_table` over the cases of both parts.

        Args:
            cases: cases that the backbone was not taught, of all tasks; `parts_of` says which are used for what.
            answers: the true answer of each entry of the general memory.

        Raises:
            InputError: too few cases, or a case that shares a fact with every other of its part.
        """
        parts = parts_of(cases, {VERDICT: self.settings.items, SCAN: self.settings.window_items})
        rows: list[dict[str, object]] = []
        states = []
        for name, part in parts.items():
            demonstrations = [case.query("t_gen") for case in part]
            stored = self._states(demonstrations)
            states.append(stored)
            rows += [{"part": name, **row} for row in self._part(part, demonstrations, stored, name == SCAN)]
        questions = _in_parts([case.request.query for part in parts.values() for case in part])
        joined = {layer: torch.cat([stored[layer] for stored in states]) for layer in states[0]}
        return pd.DataFrame(rows), readout_table(self.backbone, questions, joined, self.shift, answers)

    def _states(self, demonstrations: Sequence[Query]) -> dict[int, Tensor]:
        parts = [demonstration_states(self.backbone, part, self.h_pos) for part in _in_parts(demonstrations)]
        return {layer: torch.cat([part[layer] for part in parts]) for layer in parts[0]}

    def _part(
        self, cases: Sequence[EditCase], demonstrations: Sequence[Query], stored: dict[int, Tensor], scan: bool
    ) -> Iterator[dict[str, object]]:
        others = other_facts(cases)
        for part in tqdm(_in_parts(range(len(cases))), desc="positive control", unit="batch"):
            pair = (Known(demonstrations, stored, part), Known(demonstrations, stored, [others[row] for row in part]))
            scored = self._score([cases[row].request.query for row in part], pair, scan)
            yield from _rows([cases[row] for row in part], scored)

    def _score(self, queries: Sequence[Query], pair: tuple[Known, Known], scan: bool) -> Scored:
        yield from self._in_context(queries, pair, scan)
        batch, depth = self.backbone.encode(queries), len(self.backbone.decoder.layers)
        conditions = list(self._windows(pair) if scan else self._latent_conditions(pair))
        starts = {depth, *(memory.layers[0] for _, memory in conditions)}
        entering = states_entering(self.backbone, batch, starts)
        yield Condition(), answer_scores(self.backbone, entering[depth], batch)
        for condition, memory in conditions:
            shift = replace(self.shift, memory=memory, alpha=condition.alpha, alpha_convention="text")
            yield condition, answer_scores(self.backbone, run_shifted(self.backbone, entering, batch, shift), batch)

    def _in_context(self, queries: Sequence[Query], pair: tuple[Known, Known], scan: bool) -> Scored:
        depth, edited = len(self.backbone.decoder.layers), self.shift.memory.layers
        visible: dict[str, Collection[int]] = {"all": range(depth), "edited": edited}
        if scan:
            visible = {f"from {v}": range(v, depth) for v in scan_starts(depth, self.settings.visible_points)}
        for name, known in zip(("same fact", "other fact"), pair, strict=True):
            batch, context = behind(self.backbone, known.chosen_demonstrations(), queries)
            for layers, hidden in run_visible(self.backbone.decoder, batch, context, visible):
                yield Condition("context", name, layers), answer_scores(self.backbone, hidden, batch)

    def _latent_conditions(self, pair: tuple[Known, Known]) -> Iterator[tuple[Condition, Searched]]:
        pool, (same, other) = self.shift.memory, pair
        memories = {
            "same fact": OwnSlots(same.slots(pool.layers)),
            "other fact": OwnSlots(other.slots(pool.layers)),
            "general pool": pool,
            "general pool + same fact": OwnSlots(same.slots(pool.layers), pool),
        }
        for name, memory in memories.items():
            for alpha in self.settings.alphas:
                yield Condition("latent", name, "edited", alpha), memory

    def _windows(self, pair: tuple[Known, Known]) -> Iterator[tuple[Condition, Searched]]:
        windows = window_layers(len(self.backbone.decoder.layers), self.settings.window_step)
        for window, layers in windows.items():
            for name, known in zip(("same fact", "other fact"), pair, strict=True):
                for alpha in self.settings.window_alphas:
                    yield Condition("window", name, window, alpha), OwnSlots(known.slots(layers))


def other_facts(cases: Sequence[EditCase]) -> list[int]:
    """Return, for each case, the number of the next that shares no fact and no answer with it, of its own task if any.

    Raises:
        InputError: there is none.
    """
    found = []
    for index, case in enumerate(cases):
        later = [*range(index + 1, len(cases)), *range(index)]
        apart = [number for number in later if _apart(case, cases[number])]
        if not apart:
            raise InputError(
                f"case {case.request.id}: field 'facts': every other of the {len(cases)} cases of its part of the "
                "positive control shares its fact or answer, expected one that does not"
            )
        found.append(min(apart, key=lambda number: cases[number].request.task != case.request.task))
    return found


def _apart(case: EditCase, other: EditCase) -> bool:
    return not set(case.facts) & set(other.facts) and case.request.target != other.request.target


def window_layers(depth: int, step: int) -> dict[str, range]:
    """Return "first-last" -> WINDOW consecutive layers: the last ones and, in steps, those above the lowest third."""
    width = min(WINDOW, depth)
    starts = range(depth - width, min(depth // 3, depth - width) - 1, -step)
    return {f"{start}-{start + width - 1}": range(start, start + width) for start in sorted(starts)}


def scan_starts(depth: int, points: int) -> list[int]:
    """Return up to `points` layers from which on a context becomes visible, even over the upper two thirds."""
    return sorted({round(float(layer)) for layer in np.linspace(depth // 3, depth - 1, points)})


def _in_parts(items: Sequence[Item]) -> list[Sequence[Item]]:
    return [items[start : start + ROWS] for start in range(0, len(items), ROWS)]


def _rows(cases: Sequence[EditCase], scored: Scored) -> Iterator[dict[str, object]]:
    for condition, scores in scored:
        for case, score in zip(cases, scores, strict=True):
            request = case.request
            labels = {"task": request.task, "case": request.id, "facts": list(case.facts)}
            yield labels | vars(condition) | score
