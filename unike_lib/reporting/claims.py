"""Which of the paper's claims hold in our tables, and where our order of methods differs from the paper's, in words.

All functions read tables as `write_result_table` writes them: one row per backbone, task, `k` (edits per session) and
method, with rel .. m_loc in percent, their ends X_low and X_high, the paper's numbers paper_X, and `control_passed`:
whether the row says anything about its method. Rows that do not are left out of what is said of methods.

A claim is judged by intervals, never by comparing two numbers: it is held where the interval of a difference (edit by
edit, see `contrasts`) lies on its side of zero, not held where it lies on the other, and not decided where it includes
zero or there is none.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from unike_lib.reporting.markdown import Row, rows_of
from unike_lib.reporting.markdown import cell as number
from unike_lib.reporting.paper_numbers import short_title
from unike_lib.reporting.records import SETTING
from unike_lib.reporting.scores import PAIR, THREE_AIMS
from unike_lib.reporting.table_text import METRIC_TITLES, TASK_TITLES
from unike_lib.types import PROBE_KINDS

RELIABLE = 80.0  # percent. Reading: the paper's "desirable reliability" names no number; KE and T-Patcher have 80-92.
# What is known of one comparison or one cell: 1 held, -1 not held, 0 not decided.
WORDS = {1: "held", -1: "not held", 0: "not decided"}
HOLDS, FAILS, UNDECIDED, OPEN = "holds", "does not hold", "not decided", "not measured"
RANKED = {"t_loc": "T-Loc.", "m_loc": "M-Loc.", "mean": "mean of three aims"}


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, what our numbers say of it, and the evidence, a sentence each."""

    text: str
    verdict: str
    evidence: tuple[str, ...]


def paper_claims(
    tables: Sequence[pd.DataFrame], differences: Sequence[pd.DataFrame], kinds: Mapping[str, str]
) -> list[Claim]:
    """Return the paper's claims about one-step and sequential editing, judged by our numbers.

    Args:
        tables: the first tells about one-step editing; others may tell about longer sessions. All by one criterion.
        differences: of each table, UniKE (`first`) minus each other method (`second`), by the same criterion; may be
            empty.
        kinds: method variant -> its class in the paper (4.1), see `Method`; no claim is about those of class "other".
    """
    beside = [name for name, kind in kinds.items() if kind == "other"]
    tables = [table[~table["method"].isin(beside)] for table in tables]
    differences = [rows if rows.empty else rows[~rows["second"].isin(beside)] for rows in differences]
    first = tables[0][tables[0]["control_passed"] & (tables[0]["k"] == 1)]
    compared = [_control_passed(rows, table) for rows, table in zip(differences, tables, strict=True)]
    of_kind = {kind: [name for name in kinds if kinds[name] == kind] for kind in kinds.values()}
    edited = first[~first["method"].isin(of_kind.get("unedited", []))]
    return [
        claim_reliable(edited),
        claim_below(edited, of_kind.get("intrinsic", []), "intrinsic", ("generality", "locality")),
        claim_below(edited, of_kind.get("external", []), "external", ("locality", "generality")),
        claim_balanced(compared[0][compared[0]["k"] == 1]),
        claim_decline(pd.concat(compared)),
    ]


def _control_passed(differences: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Return the differences both of whose methods passed the control."""
    if differences.empty:
        return pd.DataFrame(columns=[*SETTING, *PAIR])
    rows = table.loc[table["control_passed"], [*SETTING, "method"]]
    for name in PAIR:
        differences = differences.merge(rows.rename(columns={"method": name}), on=[*SETTING, name])
    return differences


def not_counted(tables: Sequence[pd.DataFrame]) -> list[str]:
    """Say, a sentence a backbone and task, which methods are left out: it did not pass the control there."""
    doubted = pd.concat([table[~table["control_passed"]] for table in tables])
    cells = doubted.groupby(["backbone", "task"], sort=False)["method"]
    return [f"{_cell_title(cell)}: {', '.join(map(_title, dict.fromkeys(names)))}." for cell, names in cells]


def claim_reliable(table: pd.DataFrame) -> Claim:
    """Most methods are reliable: in a cell, more than half of the methods lie above `RELIABLE` percent.

    A method does where its interval does, and does not where its interval lies below.
    """
    held, evidence = [], []
    for name, rows in _cells(table):
        signs = [sign(row, "rel", RELIABLE) for row in rows_of(rows)]
        held.append(_most(signs))
        lists = [[row for row, sign in zip(rows_of(rows), signs, strict=True) if sign == wanted] for wanted in (-1, 0)]
        below, open_ = (", ".join(f"{_title(row['method'])} {number(row, 'rel')}" for row in part) for part in lists)
        text = f"{signs.count(1)} of {len(rows)} methods clearly reach {RELIABLE:g}%"
        text += (f"; clearly below: {below}" if below else "") + (f"; cannot be told: {open_}" if open_ else "")
        evidence.append(f"{name}: {text}: {WORDS[held[-1]]}.")
    return Claim("Most methods reach a desirable reliability (4.2, i).", verdict_of(held), tuple(evidence))


def claim_below(table: pd.DataFrame, methods: Sequence[str], name: str, order: tuple[str, str]) -> Claim:
    """Methods of a class have a weak side: its aim `order[0]` lies below `order[1]`, method by method and cell by cell.

    Judged by `gap`, generality minus locality edit by edit.
    """
    weak, strong = order
    held, evidence = [], []
    for cell, rows in _cells(table[table["method"].isin(methods)]):
        for row in rows_of(rows):
            held.append(sign(row, "gap") * (1 if weak == "locality" else -1))
            difference = f"generality minus locality {number(row, 'gap', signed=True)}"
            evidence.append(f"{cell}, {_title(row['method'])}: {difference}: {WORDS[held[-1]]}.")
    title = (
        f"{name.capitalize()} methods have good {strong} but weak {weak} (4.2, {'ii' if weak[0] == 'g' else 'iii'})."
    )
    return Claim(title, verdict_of(held), tuple(evidence))


def claim_balanced(differences: pd.DataFrame) -> Claim:
    """UniKE is balanced: the lowest of its three aims is higher than that of every other editing method in the cell.

    Held where it is so for all; not held where one is clearly higher.
    """
    held, evidence = [], []
    for cell, rows in _cells(differences):
        held.append(min(sign(row, "lowest") for row in rows_of(rows)))
        listed = ", ".join(f"{_title(row['second'])} {number(row, 'lowest', signed=True)}" for row in rows_of(rows))
        ours = f"lowest aim of {_title(rows['first'].iloc[0])} minus that of"
        evidence.append(f"{cell}: {ours} {listed}: {WORDS[held[-1]]}.")
    return Claim("UniKE balances all three aims (4.2, iv).", verdict_of(held), tuple(evidence))


def claim_decline(differences: pd.DataFrame) -> Claim:
    """UniKE loses less than most as sessions grow: its mean aim falls by less than that of more than half of others.

    Falls are taken from the smallest to the largest K at which all methods of a backbone and task that are edited in
    longer sessions were scored: UniKE's lead (`mean`) at the largest K minus that at the smallest. Its ends are those
    of both, added as if they were independent (square and add, Newcombe 1998; Zou and Donner 2008): the same edits, so
    if anything the leads rise and fall together, and the interval is too wide.
    """
    held, evidence = [], []
    for cell, rows in _cells(differences):
        rows = rows.drop_duplicates(["second", "k"])
        wide = rows.pivot(index="second", columns="k", values="mean")
        wide = wide[wide[wide.columns.max()].notna()].dropna(axis=1)
        if wide.shape[1] < 2:
            continue
        of_k = {k: rows[rows["k"] == k].set_index("second") for k in (wide.columns.min(), wide.columns.max())}
        leads = [_growth(*(of_k[k].loc[other] for k in of_k)) | {"second": other} for other in wide.index]
        held.append(_most([sign(lead, "growth") for lead in leads]))
        listed = ", ".join(f"{_title(lead['second'])} {number(lead, 'growth', signed=True)}" for lead in leads)
        ks = " to ".join(map(str, of_k))
        ours = f"the mean aim falls by more than that of {_title(rows['first'].iloc[0])}"
        evidence.append(f"{cell}, K = {ks}: {ours} (points): {listed}: {WORDS[held[-1]]}.")
    return Claim("UniKE declines less than others as sessions grow (4.3).", verdict_of(held), tuple(evidence))


def _growth(before: Any, after: Any) -> dict[str, float]:
    """Return how a lead grew, with its ends; none where one of the two has none."""
    value = after["mean"] - before["mean"]
    down = math.hypot(after["mean"] - after["mean_low"], before["mean_high"] - before["mean"])
    up = math.hypot(after["mean_high"] - after["mean"], before["mean"] - before["mean_low"])
    return {"growth": value, "growth_low": value - down, "growth_high": value + up}


def order_differences(table: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """Say, a sentence a backbone, task and K, how our order of methods compares with the paper's, metric by metric.

    A pair of methods counts where the paper's numbers differ. It is in the same or the other order only if that is
    clear: for UniKE and another method, the interval of their paired difference leaves out zero; for two others, their
    intervals lie apart, which asks for more.

    Args:
        table: by one criterion.
        differences: UniKE (`first`) minus each other method (`second`) of the table, by the same criterion.
    """
    paired = {(*_setting_of(row), row["first"], row["second"]): row for row in rows_of(differences)}
    sentences = []
    for setting, rows in table[table["control_passed"] & table["paper_rel"].notna()].groupby(SETTING, sort=False):
        counts = {"all": [0, 0, 0], "of UniKE": [0, 0, 0]}  # the paper's order, not told apart, the other order
        turned = []
        for kind, pair in itertools.product(PROBE_KINDS, itertools.combinations(rows_of(rows), 2)):
            low, high = sorted(pair, key=lambda row: row[f"paper_{kind}"])
            if high[f"paper_{kind}"] == low[f"paper_{kind}"]:
                continue
            difference = paired.get((*setting, high["method"], low["method"]))
            reverse = paired.get((*setting, low["method"], high["method"]))
            order = sign(difference, kind) - sign(reverse, kind)
            if difference is None and reverse is None:
                order = int(high[f"{kind}_low"] > low[f"{kind}_high"]) - int(high[f"{kind}_high"] < low[f"{kind}_low"])
            for group in ["all", "of UniKE"][: 1 + (difference is not None or reverse is not None)]:
                counts[group][1 - order] += 1
            if order < 0:
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


def sign(row: Row | None, name: str, against: float = 0) -> int:
    """Return 1 or -1 if an interval lies above or below a number; 0 if it includes it, or there is none."""
    if row is None:
        return 0
    return int(row[f"{name}_low"] > against) - int(row[f"{name}_high"] < against)


def _most(signs: Sequence[int]) -> int:
    """Return 1 if more than half are 1, -1 if no more than half can be, else 0."""
    half = len(signs) / 2
    return int(signs.count(1) > half) - int(len(signs) - signs.count(-1) <= half)


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
        for kind, pair in itertools.product(RANKED, itertools.combinations(rows_of(both), 2)):
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
    """Add the mean of the three aims with its ends: means of ends, as if all moved together, which are too wide."""
    means = {}
    for end in ("", "_low", "_high"):
        aims = [
            table[[f"{kind}{end}" for kind in metrics]].mean(axis=1, skipna=False) for metrics in THREE_AIMS.values()
        ]
        means[f"mean{end}"] = pd.concat(aims, axis=1).mean(axis=1, skipna=False)
    return table.assign(**means)


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


def verdict_of(held: Sequence[int]) -> str:
    """Return the verdict over all comparisons: a word where they agree, else how many say what."""
    if not held:
        return OPEN
    words = {1: HOLDS, -1: FAILS, 0: UNDECIDED}
    if len(set(held)) == 1:
        return words[held[0]]
    return ", ".join(f"{word} in {held.count(sign)}" for sign, word in words.items() if sign in held)


def _title(method: object) -> str:
    return short_title(str(method))
