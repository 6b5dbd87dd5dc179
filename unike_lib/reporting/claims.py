"""Which of the paper's claims hold in our tables, and where our order of methods differs from the paper's, in words.

All functions read tables as `write_table` writes them: one row a backbone, task, `k` (edits a session) and method,
with rel .. m_loc in percent, their ends X_low and X_high, the paper's numbers paper_X, and `admitted`: whether the row
says anything about its method. Rows that do not are left out of what is said of methods.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from unike_lib.reporting.markdown import Row, rows_of
from unike_lib.reporting.paper import short_title
from unike_lib.reporting.records import SETTING
from unike_lib.reporting.scores import THREE_AIMS
from unike_lib.reporting.table_text import METRIC_TITLES, TASK_TITLES
from unike_lib.types import PROBE_KINDS

# The paper's classes of methods (4.1); fine-tuning is a class of its own.
CLASSES = {"t-patcher": "intrinsic", "ke": "intrinsic", "mend": "intrinsic", "ike": "external", "serac": "external"}
RELIABLE = 80.0  # percent. Reading: the paper's "desirable reliability" names no number; KE and T-Patcher have 80-92.
UNEDITED = "base"
HOLDS, PARTLY, FAILS, OPEN = "holds", "holds in part", "does not hold", "not measured"
RANKED = {"t_loc": "T-Loc.", "m_loc": "M-Loc.", "mean": "mean of three aims"}


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, what our numbers say of it, and the evidence, a sentence each."""

    text: str
    verdict: str
    evidence: tuple[str, ...]


def paper_claims(tables: Sequence[pd.DataFrame], kinds: Mapping[str, str]) -> list[Claim]:
    """Return the paper's claims about one-step and sequential editing, judged by our numbers.

    Args:
        tables: Table 1 first; others may tell about longer sessions. All by one criterion.
        kinds: method variant -> the method that it is a variant of.
    """
    counted = [table[table["admitted"]] for table in tables]
    aims = with_aims(counted[0])
    classes = {name: CLASSES.get(kind, "") for name, kind in kinds.items()}
    return [
        claim_reliable(aims),
        claim_below(aims, [n for n in kinds if classes[n] == "intrinsic"], "intrinsic", ("generality", "locality")),
        claim_below(aims, [n for n in kinds if classes[n] == "external"], "external", ("locality", "generality")),
        claim_balanced(aims),
        claim_decline(pd.concat(counted)),
    ]


def not_counted(tables: Sequence[pd.DataFrame]) -> list[str]:
    """Say, a sentence a backbone and task, which methods are left out, because it was not admitted for them."""
    doubted = pd.concat([table[~table["admitted"]] for table in tables])
    cells = doubted.groupby(["backbone", "task"], sort=False)["method"]
    return [f"{_cell_title(cell)}: {', '.join(map(_title, dict.fromkeys(names)))}." for cell, names in cells]


def with_aims(table: pd.DataFrame) -> pd.DataFrame:
    """Add reliability, generality and locality with their ends.

    The ends of a mean of two are the means of the two ends: as if both moved together, which errs on the wide side.
    """
    columns = {
        f"{aim}{end}": table[[f"{kind}{end}" for kind in metrics]].mean(axis=1, skipna=False)
        for aim, metrics in THREE_AIMS.items()
        for end in ("", "_low", "_high")
    }
    return table.assign(**columns)


def claim_reliable(aims: pd.DataFrame) -> Claim:
    """Most methods are reliable: in a cell, more than half of the editing methods reach `RELIABLE` percent."""
    held, evidence = [], []
    for name, rows in _cells(aims[aims["method"] != UNEDITED]):
        reached = rows["reliability"] >= RELIABLE
        held.append(bool(reached.mean() > 0.5))
        below = [f"{_title(row['method'])} {row['reliability']:.1f}%" for row in rows_of(rows[~reached])]
        rest = f"; below: {', '.join(below)}" if below else ""
        evidence.append(f"{name}: {reached.sum()} of {len(rows)} methods reach {RELIABLE:g}%{rest}: {_word(held)}.")
    return Claim("Most methods reach a desirable reliability (4.2, i).", _verdict(held), tuple(evidence))


def claim_below(aims: pd.DataFrame, methods: Sequence[str], name: str, order: tuple[str, str]) -> Claim:
    """Methods of a class have a weak side: its aim `order[0]` lies below `order[1]`, method by method and cell by cell.

    It counts as held where the intervals lie apart, and as not held where the means are in the other order or close.
    """
    weak, strong = order
    held, evidence = [], []
    for cell, rows in _cells(aims[aims["method"].isin(methods)]):
        for row in rows_of(rows):
            clear = row[f"{weak}_high"] < row[f"{strong}_low"]
            held.append(bool(clear))
            means = f"{weak} {row[weak]:.1f}, {strong} {row[strong]:.1f}"
            turned = "the other way round" if row[weak] >= row[strong] else "the intervals overlap"
            word = "clearly below" if clear else turned
            evidence.append(f"{cell}, {_title(row['method'])}: {means}; {word}: {_word(held)}.")
    title = (
        f"{name.capitalize()} methods have good {strong} but weak {weak} (4.2, {'ii' if weak[0] == 'g' else 'iii'})."
    )
    return Claim(title, _verdict(held), tuple(evidence))


def claim_balanced(aims: pd.DataFrame, method: str = "unike") -> Claim:
    """UniKE is balanced: the lowest of its three aims is higher than that of any other editing method in the cell."""
    held, evidence = [], []
    for cell, rows in _cells(aims[aims["method"] != UNEDITED]):
        lowest = rows.set_index("method")[list(THREE_AIMS)].min(axis=1)
        if method not in lowest or len(lowest) < 2:
            continue
        others = lowest.drop(method)
        held.append(bool(lowest[method] > others.max()))
        best = f"{_title(others.idxmax())} {others.max():.1f}"
        ours = f"lowest aim {_title(method)} {lowest[method]:.1f}"
        evidence.append(f"{cell}: {ours}, the best other {best}: {_word(held)}.")
    return Claim("UniKE balances all three aims (4.2, iv).", _verdict(held), tuple(evidence))


def claim_decline(table: pd.DataFrame, method: str = "unike") -> Claim:
    """UniKE loses less than most as sessions grow: its fall of the mean aim is smaller than the median of the others'.

    Falls are taken from the smallest to the largest K at which all methods of a backbone and task that are edited in
    longer sessions were scored.
    """
    held, evidence = [], []
    for cell, rows in _cells(_with_mean(table[table["method"] != UNEDITED])):
        rows = rows.drop_duplicates(["method", "k"])
        wide = rows.pivot(index="method", columns="k", values="mean")
        wide = wide[wide[wide.columns.max()].notna()].dropna(axis=1)
        if wide.shape[1] < 2 or method not in wide.index or len(wide) < 2:
            continue
        falls = wide[wide.columns.min()] - wide[wide.columns.max()]
        others = falls.drop(method)
        held.append(bool(falls[method] < others.median()))
        listed = ", ".join(f"{_title(name)} {fall:.1f}" for name, fall in others.items())
        ks = f"K = {wide.columns.min()} to {wide.columns.max()}"
        ours = f"the mean aim of {_title(method)} falls by {falls[method]:.1f}"
        theirs = f"the others' by {others.median():.1f} in the median ({listed})"
        evidence.append(f"{cell}, {ks}: {ours}, {theirs}: {_word(held)}.")
    return Claim("UniKE declines less than others as sessions grow (4.3).", _verdict(held), tuple(evidence))


def order_differences(table: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """Say, a sentence a backbone, task and K, how our order of methods compares with the paper's, metric by metric.

    A pair of methods counts where the paper's numbers differ. It is in the same or the other order only if that is
    clear: for UniKE and another method, the interval of their paired difference leaves out zero; for two others, their
    intervals lie apart.

    Args:
        table: by one criterion.
        differences: UniKE (`first`) minus each other method (`second`) of the table, by the same criterion.
    """
    paired = {(*_setting_of(row), row["first"], row["second"]): row for row in rows_of(differences)}
    sentences = []
    for setting, rows in table[table["admitted"] & table["paper_rel"].notna()].groupby(SETTING, sort=False):
        counts = {"all": [0, 0, 0], "of UniKE": [0, 0, 0]}  # the paper's order, not told apart, the other order
        turned = []
        for kind, pair in itertools.product(PROBE_KINDS, itertools.combinations(rows_of(rows), 2)):
            low, high = sorted(pair, key=lambda row: row[f"paper_{kind}"])
            if high[f"paper_{kind}"] == low[f"paper_{kind}"]:
                continue
            difference = paired.get((*setting, high["method"], low["method"]))
            reverse = paired.get((*setting, low["method"], high["method"]))
            sign = _sign(difference, kind) - _sign(reverse, kind)
            if difference is None and reverse is None:
                sign = int(high[f"{kind}_low"] > low[f"{kind}_high"]) - int(high[f"{kind}_high"] < low[f"{kind}_low"])
            for group in ["all", "of UniKE"][: 1 + (difference is not None or reverse is not None)]:
                counts[group][1 - sign] += 1
            if sign < 0:
                turned.append(_turned(kind, high, low))
        if sum(counts["all"]):
            same, unclear, other = counts["all"]
            text = f"of {sum(counts['all'])} pairs (two methods, one metric), {same} are clearly in the paper's order, "
            text += f"{unclear} cannot be told apart, {other} are clearly in the other order"
            if sum(counts["of UniKE"]):
                same, unclear, other = counts["of UniKE"]
                text += (
                    f" (UniKE minus another: {same} with the paper's sign, {unclear} unclear, {other} with the other)"
                )
            sentences.append(f"{_setting_title(setting)}: {text}{': ' if turned else ''}{'; '.join(turned)}.")
    return sentences


def _sign(difference: Row | None, kind: str) -> int:
    """Return 1 or -1 if the interval of a difference lies above or below zero, else 0; 0 also of none."""
    if difference is None:
        return 0
    return int(difference[f"{kind}_low"] > 0) - int(difference[f"{kind}_high"] < 0)


def _turned(kind: str, high: Row, low: Row) -> str:
    ours = f"{high[kind]:.1f} against {low[kind]:.1f}"
    paper = f"{high[f'paper_{kind}']:.1f} against {low[f'paper_{kind}']:.1f}"
    return f"{METRIC_TITLES[kind]}, {_title(high['method'])} below {_title(low['method'])} ({ours}; paper {paper})"


def ranking_changes(token: pd.DataFrame, mmedit: pd.DataFrame) -> list[str]:
    """Say, a sentence a backbone, task and K, which methods change places between the `token` and `mmedit` criteria.

    T-Loc., M-Loc. and the mean of the three aims are compared (the other metrics are the same by both). Pairs are named
    where the intervals lie apart by both criteria; the others are counted.
    """
    sentences, others = [], dict(iter(_with_mean(mmedit).groupby(SETTING)))
    for setting, rows in _with_mean(token).groupby(SETTING, sort=False):
        both = rows.merge(others[setting], on="method", suffixes=("", "_mmedit"))
        clear, close = [], 0
        for kind, pair in itertools.product(
            RANKED, itertools.combinations(rows_of(both[both["method"] != UNEDITED]), 2)
        ):
            high, low = sorted(pair, key=lambda row: -row[kind])
            if high[kind] == low[kind] or high[f"{kind}_mmedit"] >= low[f"{kind}_mmedit"]:
                continue
            apart = high[f"{kind}_low"] > low[f"{kind}_high"], high[f"{kind}_high_mmedit"] < low[f"{kind}_low_mmedit"]
            close += not all(apart)
            if all(apart):
                here, there = (f"{high[name]:.1f} against {low[name]:.1f}" for name in (kind, f"{kind}_mmedit"))
                names = f"{_title(high['method'])} above {_title(low['method'])}"
                clear.append(f"{RANKED[kind]}, {names} by token ({here}), below by mmedit ({there})")
        if clear or close:
            count = f"{len(clear)} pairs clearly change places, {close} within their intervals"
            sentences.append(f"{_setting_title(setting)}: {count}{': ' if clear else ''}{'; '.join(clear)}.")
    return sentences


def _with_mean(table: pd.DataFrame) -> pd.DataFrame:
    aims = with_aims(table)
    ends = {end: aims[[f"{aim}{end}" for aim in THREE_AIMS]].mean(axis=1) for end in ("", "_low", "_high")}
    return aims.assign(**{f"mean{end}": values for end, values in ends.items()})


def _cells(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    groups = table.groupby(["backbone", "task"], sort=False)
    return [(_cell_title(cell), rows) for cell, rows in groups]


def _cell_title(cell: Any) -> str:
    backbone, task = map(str, cell)
    return f"{backbone}, {TASK_TITLES[task]}"


def _setting_of(row: Row) -> tuple[str, str, int]:
    return str(row["backbone"]), str(row["task"]), int(row["k"])


def _setting_title(setting: Any) -> str:
    return _cell_title(setting[:2]) + (f", K = {setting[2]}" if setting[2] > 1 else "")


def _word(held: Sequence[bool]) -> str:
    return "held" if held[-1] else "not held"


def _verdict(held: Sequence[bool]) -> str:
    if not held:
        return OPEN
    share = float(np.mean(held))
    return HOLDS if share == 1 else PARTLY if share > 0 else FAILS


def _title(method: object) -> str:
    return short_title(str(method))
