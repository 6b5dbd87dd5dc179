"""Which layer of the unedited model knows a question again (chosen on development edits), and above which cosine.

Keys, thresholds and temperatures come from pool edits alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

from unike_lib.io import write_tensors
from unike_lib.knowledge.scope import unit
from unike_lib.knowledge.scope_map import train_map
from unike_lib.knowledge.scope_states import LOCALITIES, REPHRASINGS, Edit, ScopeStates

Numbers = NDArray[np.float64]

DIGITS = 6  # of a cosine: what differs less is a tie
TIE = 0.001  # of an AUC: lower layers this near the best are as good
SHARPNESS, LEAST_TEMPERATURE = 6, 0.001
FOLDS = 2


def auc(positives: Numbers, negatives: Numbers) -> float:
    """Return the share of (positive, negative) pairs in the right order, ties half (Mann-Whitney); nan: no pairs."""
    n, m = len(positives), len(negatives)
    if not n * m:
        return float("nan")
    ranks = rankdata(np.concatenate([positives, negatives]))
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def own_cosines(states: ScopeStates, kinds: Sequence[str], layer: int, map: Tensor | None = None) -> Numbers:
    """Return the cosine of each question of some kinds with the key of its own edit, [question]."""
    keys, questions = states.of_kinds(kinds)
    vectors = states.states[:, layer]
    return rounded((unit(vectors[keys], map) * unit(vectors[questions], map)).sum(-1))


def rounded(cosines: Tensor) -> Numbers:
    """Return cosines without the digits that the order of a sum may change."""
    return cosines.double().numpy().round(DIGITS)


def other_edits(states: ScopeStates, layer: int) -> Numbers:
    """Return the cosine of each edit's key with the nearest question of another edit, [edit]."""
    edits, _ = states.of_kinds(["rel"])
    vectors = unit(states.states[edits, layer])
    cosines = (vectors @ vectors.T).masked_fill(edits[:, None] == edits, -1.0)
    return rounded(cosines.amax(1)) if len(edits) > 1 else np.empty(0)


def scope_auc(states: ScopeStates, layer: int, map: Tensor | None = None) -> float:
    """Return the AUC of an edit's own rephrasings against its own localities, by their cosine with its key."""
    return auc(own_cosines(states, REPHRASINGS, layer, map), own_cosines(states, LOCALITIES, layer, map))


def session_auc(states: ScopeStates, layer: int) -> float:
    """Return the same against localities and, of other edits' questions, the nearest: a session may hold that edit."""
    outside = np.concatenate([own_cosines(states, LOCALITIES, layer), other_edits(states, layer)])
    return auc(own_cosines(states, REPHRASINGS, layer), outside)


def of_task(states: ScopeStates, task: str) -> ScopeStates:
    """Return the questions of one task."""
    return states.divided({each.edit for each in states.asked if each.task == task})[0]


def edits_of(states: ScopeStates, relation: str) -> set[Edit]:
    """Return the edits of a relation."""
    return {each.edit for each in states.asked if each.relation == relation}


def choose_layer(by_task: Mapping[str, Sequence[float]]) -> int:
    """Return the layer that is read: the lowest whose AUC, averaged over tasks, is within 0.001 of the best.

    by_task: the AUC of each layer (`session_auc`) on development edits.
    """
    means = np.mean(list(by_task.values()), axis=0)
    return int(np.flatnonzero(means >= means.max() - TIE)[0])


@dataclass(frozen=True)
class Cut:
    """From which cosine on a question is taken for the edit's, and how sharply."""

    threshold: float
    temperature: float


def cut_of(rephrasings: Numbers, localities: Numbers) -> Cut:
    """Return where the scope ends, from cosines of pool edits with their own rephrasings and localities.

    The threshold is Youden's: above it lie as many more of the rephrasings than of the localities, in shares, as can
    be; half way between two cosines, and of several such places the widest. Six temperatures lead from it to the 5%
    quantile of the rephrasings above or to the 95% quantile of the localities below, whichever is nearer, so that all
    but the doubtful are let in or shut out wholly; a temperature is at least 0.001.
    """
    values = np.unique(np.concatenate([rephrasings, localities]))
    if len(values) == 1:
        return Cut(float(values[0]), LEAST_TEMPERATURE)
    between, gaps = (values[1:] + values[:-1]) / 2, np.diff(values)
    told_apart = (rephrasings[:, None] > between).mean(0) - (localities[:, None] > between).mean(0)
    best = told_apart >= told_apart.max() - TIE
    threshold = between[best][gaps[best].argmax()]
    sides = (rephrasings[rephrasings > threshold], 0.05), (localities[localities < threshold], 0.95)
    margins = [abs(np.quantile(side, share) - threshold) for side, share in sides if len(side)]
    return Cut(float(threshold), float(max(min(margins, default=0) / SHARPNESS, LEAST_TEMPERATURE)))


def write_scope(pool: ScopeStates, dev: ScopeStates, seed: int, out: Path, fingerprint: str) -> None:
    """Choose the layer, set thresholds, train the map of the first edited layer; write all for `scope.load_scope`.

    Args:
        pool: states of pool edits: keys, thresholds, the map.
        dev: states of development edits: the layer.
        seed: of the map.
        out: safetensors file.
        fingerprint: of what made it.
    """
    layers = range(pool.states.shape[1])
    chosen = choose_layer({task: [session_auc(of_task(dev, task), layer) for layer in layers] for task in dev.tasks})
    tensors = {"chosen": torch.tensor(chosen), "edited": torch.tensor(pool.edited)}
    for layer in layers:
        cosines = {task: _cosines(of_task(pool, task), layer) for task in pool.tasks}
        tensors |= _space(f"raw.{layer}", pool, layer, cosines)
    first = pool.edited[0]
    map = train_map(pool, first, seed)
    tensors |= {f"trained.{first}.map": map}
    tensors |= _space(f"trained.{first}", pool, first, _held_out(pool, first, seed), map)
    write_tensors(out, tensors, fingerprint)


def _cosines(states: ScopeStates, layer: int, map: Tensor | None = None) -> tuple[Numbers, Numbers]:
    return own_cosines(states, REPHRASINGS, layer, map), own_cosines(states, LOCALITIES, layer, map)


def _space(
    name: str, pool: ScopeStates, layer: int, cosines: Mapping[str, tuple[Numbers, Numbers]], map: Tensor | None = None
) -> dict[str, Tensor]:
    """Return keys and, by cosines of rephrasings and localities, what `cut_of` says of every task, by name."""
    tensors = {}
    for task in pool.tasks:
        keys, _ = of_task(pool, task).of_kinds(["rel"])
        cut = cut_of(*cosines[task])
        tensors[f"{name}.{task}.keys"] = unit(pool.states[keys, layer], map)
        tensors |= {f"{name}.{task}.{part}": torch.tensor(value) for part, value in asdict(cut).items()}
    return tensors


def _held_out(pool: ScopeStates, layer: int, seed: int) -> dict[str, tuple[Numbers, Numbers]]:
    """Return, by task, cosines of pool edits under a map trained without them: on its own edits a map is too sure.

    Each half of the edits is measured by the map of the other.
    """
    edits = sorted({each.edit for each in pool.asked if each.kind in REPHRASINGS})
    found: dict[str, tuple[list[Numbers], list[Numbers]]] = {task: ([], []) for task in pool.tasks}
    for fold in range(FOLDS):
        held, others = pool.divided(set(edits[fold::FOLDS]))
        map = train_map(others, layer, seed)
        for task in pool.tasks:
            for parts, cosines in zip(found[task], _cosines(of_task(held, task), layer, map), strict=True):
                parts.append(cosines)
    return {task: (np.concatenate(near), np.concatenate(far)) for task, (near, far) in found.items()}


def unseen_relations(dev: ScopeStates, layer: int, map_without: Callable[[str], Tensor | None]) -> dict[str, float]:
    """Return, by task, the AUC of development edits of one relation, averaged over relations; {} where none are known.

    map_without: relation -> the map [d, w] that was trained without pool edits of that relation; None: no map.
    """
    found: dict[str, list[float]] = {}
    for relation in dev.relations if len(dev.relations) > 1 else ():
        (own, _), map = dev.divided(edits_of(dev, relation)), map_without(relation)
        for task in own.tasks:
            found.setdefault(task, []).append(scope_auc(of_task(own, task), layer, map))
    return {task: float(np.mean(aucs)) for task, aucs in found.items()}


def maps_without(pool: ScopeStates, layer: int, seed: int) -> Callable[[str], Tensor]:
    """Return a function: a relation -> the map trained without the pool's edits of that relation."""

    @cache
    def train(relation: str) -> Tensor:
        _, others = pool.divided(edits_of(pool, relation))
        return train_map(others, layer, seed)

    return train
