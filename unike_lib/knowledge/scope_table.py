"""What each layer of the unedited model knows again: a row a reading, layer, task and set of questions.

auc: of a set of rephrasings, that against all localities; of a set of localities, that of all rephrasings against it;
so 1 is perfect and 0.5 chance in every row. `own_...` are cosines of the set's questions with the key of their own
edit, `other_...` with the keys of all other edits of the split and of the pool (quantiles: 5%, 50%, 95%);
`nearest_is_own` is the share that no other key is as near to, `let_in` the share whose own cosine lies above the task's
threshold. `unseen_relation` is the AUC of edits of one relation,
averaged over relations, under a map trained without the pool's edits of that relation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from unike_lib.io import write_csv
from unike_lib.knowledge.scope import Scope, ScopeSpace, load_scope
from unike_lib.knowledge.scope_choice import Numbers, auc, maps_without, of_task, rounded, unseen_relations
from unike_lib.knowledge.scope_states import LOCALITIES, NEAR_MISSES, REPHRASINGS, ScopeStates

SETS: Mapping[str, tuple[str, ...]] = {
    "rephrasings": REPHRASINGS,
    **{kind: (kind,) for kind in (*REPHRASINGS, "t_gen_far")},
    "localities": LOCALITIES,
    "near_misses": NEAR_MISSES,
    **{kind: (kind,) for kind in LOCALITIES},
}
UNSEEN = "unseen_relation"


@dataclass(frozen=True)
class Likeness:
    """Cosines of questions: own [question] with their own edit's key; others [question, key] with all other keys."""

    own: Numbers
    others: Numbers


def likeness(states: ScopeStates, kinds: Sequence[str], task: str, space: ScopeSpace) -> Likeness:
    """Return the cosines of a task's questions of some kinds; of others, nan stands where the key is their own."""
    edits, _ = states.of_kinds(["rel"])
    keys, questions = of_task(states, task).of_kinds(kinds)
    vectors = space.project(states.states[:, space.layer])
    own = rounded((vectors[keys] * vectors[questions]).sum(-1))
    of_split = rounded(vectors[questions] @ vectors[edits].T)
    of_split[(keys[:, None] == edits).numpy()] = np.nan
    return Likeness(own, np.concatenate([of_split, rounded(vectors[questions] @ space.keys.T)], 1))


def space_rows(states: ScopeStates, space: ScopeSpace, task: str) -> list[dict[str, Any]]:
    """Return a row for each set of questions that a split's edits of a task have."""
    found = {name: likeness(states, kinds, task, space) for name, kinds in SETS.items()}
    threshold, temperature = space.by_task[task]
    rows = []
    for name, cosines in found.items():
        if not len(cosines.own):
            continue
        local = name in ("localities", "near_misses", *LOCALITIES)
        pair = (found["rephrasings"], cosines) if local else (cosines, found["localities"])
        nearest = cosines.own > np.nanmax(cosines.others, 1, initial=-np.inf)
        values = {"questions": len(cosines.own), "auc": auc(pair[0].own, pair[1].own)}
        values |= {"nearest_is_own": nearest.mean(), **_spread("own", cosines.own), **_spread("other", cosines.others)}
        cut = {"threshold": threshold, "temperature": temperature, "let_in": (cosines.own > threshold).mean()}
        rows.append({"set": name, **values, **cut})
    return rows


def _spread(name: str, cosines: Numbers) -> dict[str, float]:
    low, median, high = np.nanquantile(cosines, [0.05, 0.5, 0.95])
    return {f"{name}_mean": np.nanmean(cosines), f"{name}_low": low, f"{name}_median": median, f"{name}_high": high}


def scope_rows(states: ScopeStates, scope: Scope) -> pd.DataFrame:
    """Return the rows of all spaces of a scope, for the edits of one split."""
    (split,) = {each.split for each in states.asked}
    rows = []
    for reading, layer in scope.spaces:
        space = scope.space(reading, layer)
        place = _place(scope, reading, layer)
        for task in states.tasks:
            if task in space.by_task:
                rows += [{**place, "task": task, "split": split, **row} for row in space_rows(states, space, task)]
    return pd.DataFrame(rows)


def _place(scope: Scope, reading: str, layer: int) -> dict[str, Any]:
    chosen = reading == "raw" and layer == scope.chosen
    return {"state": reading, "layer": layer, "chosen": chosen, "edited": layer in scope.edited}


def unseen_rows(pool: ScopeStates, dev: ScopeStates, scope: Scope, seed: int) -> pd.DataFrame:
    """Return the rows of unseen relations, of development edits; none where no relations are known."""
    rows = []
    for reading, layer in scope.spaces:
        maps = maps_without(pool, layer, seed) if reading == "trained" else lambda relation: None
        found = unseen_relations(dev, layer, maps)
        place = {**_place(scope, reading, layer), "split": "dev", "set": UNSEEN}
        rows += [{**place, "task": task, "auc": value} for task, value in found.items()]
    return pd.DataFrame(rows)


def write_development_rows(pool: ScopeStates, dev: ScopeStates, scope: Path, seed: int, out: Path) -> None:
    """Write the rows of development edits, unseen relations among them; `seed`: of the maps."""
    read = load_scope(scope)
    write_csv(out, pd.concat([scope_rows(dev, read), unseen_rows(pool, dev, read, seed)], ignore_index=True))


def write_scope_table(tables: Mapping[str, Sequence[Path]], out: Path) -> None:
    """Write the rows of all backbones: name -> CSV files of their rows."""
    parts = [pd.read_csv(path).assign(backbone=name) for name, paths in tables.items() for path in paths]
    table = pd.concat(parts, ignore_index=True)
    write_csv(out, table[["backbone", *table.columns.drop("backbone")]])
