"""Take the numbers that docs/science.md shows out of a run's folder of results.

Beside what tables have, leads: paired differences of the methods that the page compares, from the records, as the
tables' own differences are made.
"""

import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from unike_lib import __version__
from unike_lib.config.evaluation import StatisticsConfig
from unike_lib.io import DECIMALS, write_csv
from unike_lib.reporting.contrasts import paired_differences
from unike_lib.reporting.records import SETTING, load_records
from unike_lib.reporting.scores import PAIR, EditScores, aims_of, scores_by_cell, summarise_scores
from unike_lib.types import InputError

# Criterion -> how its files end.
CRITERIA = {"token": "", "mmedit": "_mmedit", "generated": "_generated"}
# Tables of presets/{science,hundred,ablations,trained,parts}.yaml; the page says which were not run.
TABLES = ("rivals", "cross", "hundred", "ablations", "trained", "in-context", "parts", "mixed")
# Tables whose methods are compared with UniKE's rows of another.
JOINED = {"trained": "rivals", "in-context": "rivals"}
FIRSTS = ("unike", "unike-scope")  # minus each other method
FAR = "t_gen_far"
METRICS = ("rel", "t_gen", "m_gen", "t_loc", "m_loc", FAR, "gap", "mean", "lowest")
ENDS = ("", "_low", "_high")
LABELS = ("table", "criterion", *SETTING, "method", *PAIR, "edits", "failed", "control_passed")
SEEDS = ("seeds", "seed_lowest", "seed_highest")
OF_EDITS = (
    *("table", *SETTING, "method", "edits", "joint", "joint_low", "joint_high"),
    *("under_generalised", "over_generalised", "both", "not_reliable"),
)
SCOPE = ("backbone", "task", "split", "set", "layer", "chosen", "edited", "auc", "nearest_is_own", "threshold")
# How much of each set of questions a long session leaves: of an edit's own, those right at the session's end.
RETENTION = {"taught": "retained", "general": "retained", "edits": "right"}
SCOPE_SETS = ("rephrasings", "t_gen", FAR, "m_gen", "near_misses")


def collect(results: Path, out: Path, commit: str, wanted: Sequence[str] = TABLES) -> None:
    """Take tables of a run into scores.csv, edits.csv, leads.csv, scope.csv, retention.csv and run.json of a folder.

    What the folder has of tables that this run has not, or that are not wanted, stays as it is.

    Args:
        results: the run's folder of results.
        out: the folder of numbers.
        commit: what made the run.
        wanted: the tables to take, where they are there.

    Raises:
        InputError: none of them is there, or one without its other files, its records, or the table whose methods it is
            compared with.
    """
    scores = {name: _read(results / f"{name}.csv") for name in TABLES if (results / f"{name}.csv").exists()}
    tables = [name for name in scores if name in wanted]
    if not tables:
        names = ", ".join(f"{name}.csv" for name in wanted)
        raise InputError(f"{results}: no {names}; expected a run of `make science`")
    for name in tables:
        if JOINED.get(name, name) not in scores:
            path = results / f"{JOINED[name]}.csv"
            raise InputError(f"{path}: no such file; expected the table that {name} is compared with")
    out.mkdir(parents=True, exist_ok=True)
    every = [
        _read(results / f"{name}{ending}.csv").assign(table=name, criterion=criterion)
        for name in tables
        for criterion, ending in CRITERIA.items()
    ]
    whole = [_read(results / f"{name}_edits.csv").assign(table=name) for name in tables]
    leads = pd.concat([leads_of(results, name, scores) for name in tables], ignore_index=True)
    _take(out / "scores.csv", pd.concat(every), [*LABELS, *_ended(METRICS)])
    _take(out / "edits.csv", pd.concat(whole), OF_EDITS)
    _take(out / "leads.csv", leads, [*LABELS, *SEEDS, *_ended(METRICS)])
    if TABLES[0] in tables:
        scope = _read(results / "scope.csv")
        _write(out / "scope.csv", scope[(scope["state"] == "raw") & scope["set"].isin(SCOPE_SETS)], SCOPE)
    if (results / "retention.csv").exists():
        collect_retention(results, out, commit)
    _note_run(out / "run.json", commit, {name: seeds_of(results, scores[name]) for name in tables})


def _note_run(path: Path, commit: str, seeds: Mapping[str, int]) -> None:
    """Write what made each table, and with how many seeds, beside what the file says of others."""
    said = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"tables": {}}
    tables = said["tables"] | {name: {"commit": commit, "seeds": number} for name, number in seeds.items()}
    run = {
        "version": __version__,
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "tables": {name: tables[name] for name in TABLES if name in tables},
    }
    path.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")


def collect_retention(results: Path, out: Path, commit: str) -> None:
    """Write retention.csv: what long sessions of each method leave, and what made the run."""
    columns = [
        "backbone",
        "method",
        "k",
        "set",
        "questions",
        *_ended(dict.fromkeys([*RETENTION.values(), "right_after"])),
    ]
    _write(out / "retention.csv", _read(results / "retention.csv").assign(commit=commit), [*columns, "commit"])


def _ended(names: Iterable[str]) -> list[str]:
    return [f"{name}{end}" for name, end in product(names, ENDS)]


def _read(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise InputError(f"{path}: no such file; expected one beside {path.parent / 'rivals.csv'}")
    return pd.read_csv(path)


def _write(path: Path, rows: pd.DataFrame, columns: Sequence[str]) -> None:
    write_csv(path, rows[[name for name in columns if name in rows]].round(DECIMALS))


def _take(path: Path, rows: pd.DataFrame, columns: Sequence[str]) -> None:
    """Write the rows of some tables, in the place of those that the file has of them."""
    if path.exists():
        before = pd.read_csv(path)
        rows = pd.concat([before[~before["table"].isin(rows["table"])], rows])
    _write(path, rows.sort_values("table", key=lambda names: names.map(TABLES.index), kind="stable"), columns)


def leads_of(results: Path, name: str, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the leads of a table's pairs, a row per criterion, backbone, task, K and pair, see `lead_rows`.

    Pairs: each of `FIRSTS` minus each other editing method, and a method behind the scope minus the method.
    """
    rows = tables[name]
    if name in JOINED:
        others = tables[JOINED[name]]
        rows = pd.concat([rows, others[others["method"].isin(FIRSTS)]])
    found = []
    for _, part in rows.groupby(["backbone", "task"], sort=False):
        if not {*part["method"]} & {*tables[name]["method"]}:
            continue
        files = {method: files_of(results, of_method) for method, of_method in part.groupby("method", sort=False)}
        shared = set.intersection(*({*tags} for tags in files.values()))
        records = {
            method: load_records([path for tag in shared for path in tags[tag]], ["k"], tuple(CRITERIA))
            for method, tags in files.items()
        }
        records = {method: found[found["task"] == part["task"].iloc[0]] for method, found in records.items()}
        for pair in pairs_of([*records]):
            if {*pair} & {*tables[name]["method"]}:
                found += [row | {"table": name} for row in lead_rows(*(records[each] for each in pair))]
    return pd.DataFrame(found)


def files_of(results: Path, rows: pd.DataFrame) -> dict[str, list[Path]]:
    """Return the record files of one backbone, task and method, by what their names say of the seed.

    A file may have the records of other tasks, too.

    Raises:
        InputError: there are none.
    """
    backbone, task, method = rows[["backbone", "task", "method"]].iloc[0]
    ks = "-".join(map(str, sorted({*rows["k"]})))
    folder = results / "stages" / "records" / backbone
    folders = [each for each in folder.glob("eval_*") if task in each.name.removeprefix("eval_").split("-")]
    files: dict[str, list[Path]] = {}
    for path in sorted(path for each in folders for path in each.glob(f"k{ks}/{method}.*parquet")):
        seed = next((part for part in path.name.split(".") if part.startswith("seed")), "")
        files.setdefault(seed, []).append(path)
    if not files:
        raise InputError(f"{folder}/eval_*{task}*/k{ks}: no records of {method}; expected those of the table's run")
    return files


def pairs_of(methods: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs that the page compares, of the methods of one backbone and task."""
    leads = [pair for pair in product(FIRSTS, methods) if pair[0] in methods and pair[1] not in (pair[0], "base")]
    behind = [(f"{name}-scope", name) for name in methods if f"{name}-scope" in methods]
    return list(dict.fromkeys([*leads, *behind]))


def lead_rows(first: pd.DataFrame, second: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Return what one method's records lead another's by, per criterion and K that both have, in points.

    Returns:
        the columns of `paired_differences`; those of `t_gen_far` where it is asked; `seeds`, and the lowest and highest
        difference of `mean` with one seed.

    Raises:
        InputError: other edits.
    """
    ks = sorted({*first["k"]} & {*second["k"]})
    statistics = StatisticsConfig()
    for criterion, k in product(CRITERIA, ks):
        records = [each[each["k"] == k] for each in (first, second)]
        if any(each[criterion].isna().all() for each in records):
            continue  # generation was off
        cells = _scores(records, criterion)
        pair = tuple(str(each["method"].iloc[0]) for each in records)
        mine, theirs = cells.values()
        if mine.cases != theirs.cases:
            raise InputError(f"{' minus '.join(pair)}, K = {k}: expected records of the same edits")
        (row,) = paired_differences(cells, pair, statistics).to_dict("records")
        if all((each["kind"] == FAR).any() for each in records):
            far = [*_scores(records, criterion, {FAR: (FAR,)}).values()]
            row |= {
                key: value
                for key, value in summarise_scores(far[0].minus(far[1]), [FAR], statistics).items()
                if key.startswith(FAR)
            }
        yield {"criterion": criterion, **row, **_by_seed(records, criterion)}


def _scores(records: Sequence[pd.DataFrame], criterion: str, *columns: Any) -> dict[Any, EditScores]:
    keys = [*SETTING, "method"]
    return {key: cell for each in records for key, cell in scores_by_cell(each, criterion, *columns, keys=keys).items()}


def _by_seed(records: Sequence[pd.DataFrame], criterion: str) -> dict[str, float]:
    means = []
    for seed in sorted({*records[0]["seed"]}):
        cells = _scores([each[each["seed"] == seed] for each in records], criterion)
        mine, theirs = cells.values()
        means.append(100 * float(np.mean(aims_of(mine.minus(theirs).values))))
    return dict(zip(SEEDS, (len(means), min(means), max(means)), strict=True))


def seeds_of(results: Path, rows: pd.DataFrame) -> int:
    """Return with how many seeds all cells of a table were run."""
    groups = rows.groupby(["backbone", "task", "method"], sort=False)
    return min(len(files_of(results, part)) for _, part in groups)
