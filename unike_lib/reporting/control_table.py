"""The positive control of the backbones: tables, and the verdict that every table about UniKE carries."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from unike_lib.config.evaluation import StatisticsConfig
from unike_lib.config.tables import tasks_of
from unike_lib.evaluation.control_parts import SCAN, VERDICT
from unike_lib.io import read_table, write_csv, write_text
from unike_lib.reporting.intervals import UNBOUNDED, count_clusters, mean_interval
from unike_lib.reporting.markdown import cell, markdown_table, rows_of
from unike_lib.reporting.readout_text import READOUT_TEXT, readout_table
from unike_lib.types import InputError

CONDITION = ["part", "test", "layers", "alpha", "memory"]
COLUMNS = ["backbone", "task", "case", "facts", *CONDITION, "token", "exact", "log_probability"]
# What a memory is compared with, besides none.
COMPARED_WITH = {"same fact": "other fact", "general pool + same fact": "general pool"}
ALL_TASKS = "all"
INTRODUCTION = """\
UniKE stores hidden states of facts and lets the edited layers attend to them. On development edits that the backbone \
was not taught, without neurons and without training, a backbone passes when the same fact (the rephrased question \
with the true answer) makes the answer likelier than nothing does and than another fact does, both as a context that \
only the edited layers see and as the one slot of a latent memory. "Likelier" means that the interval of the paired \
difference lies above zero (edits sharing a fact count together; {confidence} for the context, and for the slot the \
same after Bonferroni over its values of alpha). Differences are in nats an answer token. A backbone that \
does not pass has nothing for UniKE's latent half to read: its UniKE rows say nothing about UniKE.

Layers other than the paper's last four are chosen by a scan of windows, on development edits of its own: no fact and \
no picture of the scan is in the verdict (an edit with facts of both is in neither), so the choice does not help it."""


@dataclass(frozen=True)
class Verdict:
    """Whether a backbone can show UniKE: which of the two tests it passes, and the numbers behind that in words.

    `tasks` holds the verdicts on the items of one task alone, by its name.
    """

    context: bool
    slot: bool
    evidence: str
    tasks: Mapping[str, "Verdict"] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether both tests are passed."""
        return self.context and self.slot

    def passed_on(self, task: str) -> bool:
        """Whether both tests are passed, and on this task alone too."""
        return self.passed and task in self.tasks and self.tasks[task].passed


def tasks_not_passed(found: Mapping[str, Verdict], readers: Collection[str], cell: tuple[str, str, str]) -> list[str]:
    """Return the tasks of a cell on which its numbers say nothing about the method.

    They do where the method reads a latent memory and the backbone did not pass the positive control; where that was
    not run, nobody knows (`is_known`).

    Args:
        found: backbone -> verdict.
        readers: the method variants that read one.
        cell: backbone, task of a table, method variant.
    """
    backbone, task, method = cell
    if method not in readers or backbone not in found:
        return []
    return [single for single in tasks_of(task) if not found[backbone].passed_on(single)]


def write_positive_control(
    scores: Sequence[Path], readouts: Sequence[Path], outputs: Mapping[str, Any], statistics: StatisticsConfig
) -> None:
    """Write what the positive control of every backbone says.

    Args:
        scores: a file per backbone, one row per case and condition.
        readouts: a CSV per backbone, one row per layer.
        outputs: `csv`, `readout`, `markdown` -> path; `windows` -> a CSV path per backbone, in the order of `scores`.
        statistics: confidence.

    Raises:
        InputError: a file without one of the columns.
    """
    summaries = [summarise(_read_scores(path), statistics) for path in scores]
    for table, path in zip(summaries, outputs["windows"], strict=True):
        write_csv(path, table[table["test"] == "window"])
    summary, readout = pd.concat(summaries, ignore_index=True), pd.concat([pd.read_csv(path) for path in readouts])
    write_csv(outputs["csv"], summary)
    write_csv(outputs["readout"], readout)
    write_text(outputs["markdown"], control_text(summary, readout, statistics))


def _read_scores(path: Path) -> pd.DataFrame:
    table = read_table(path)
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise InputError(f"{path}: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}")
    return table


def summarise(scores: pd.DataFrame, statistics: StatisticsConfig) -> pd.DataFrame:
    """Return one row per task (and all of them together) and condition of one backbone.

    Columns: backbone, task, the condition; `items`, `clusters`; `token`, `exact` [percent], `log_probability` [nats per
    token]; `gain`, its mean paired difference from no memory; `reference`, and `difference` from it; both with
    intervals X_low, X_high at `confidence`; `above`: both intervals lie above zero.
    """
    rows = []
    for task in [*dict.fromkeys(scores["task"]), ALL_TASKS]:
        part = scores if task == ALL_TASKS else scores[scores["task"] == task]
        groups = {key: group.set_index("case") for key, group in part.groupby(CONDITION, sort=False)}
        alphas = {alpha for _, test, _, alpha, _ in groups if test == "latent"}
        for key, group in groups.items():
            labels = {"backbone": group["backbone"].iloc[0], "task": task, **dict(zip(CONDITION, key, strict=True))}
            # The slot is tested at several alphas and may pass at any of them: Bonferroni.
            tried = len(alphas) if labels["test"] == "latent" else 1
            level = statistics.model_copy(update={"confidence": 1 - (1 - statistics.confidence) / tried})
            reference = COMPARED_WITH.get(labels["memory"], "")
            nothing = groups[labels["part"], "none", "none", 0.0, "none"]
            against = {"gain": nothing, "difference": groups.get((*key[:-1], reference))}
            rows.append(labels | {"reference": reference} | _scores(group, against, level))
    return pd.DataFrame(rows)


def _scores(
    group: pd.DataFrame, against: Mapping[str, pd.DataFrame | None], statistics: StatisticsConfig
) -> dict[str, Any]:
    """Return the means of one condition, and its mean paired differences from others on the same cases."""
    facts = [tuple(names) for names in group["facts"]]
    row: dict[str, Any] = {"items": len(group), "clusters": count_clusters(facts)}
    row |= {"token": 100 * group["token"].mean(), "exact": 100 * group["exact"].mean()}
    row |= {"log_probability": group["log_probability"].mean(), "confidence": statistics.confidence}
    for name, other in against.items():
        values = np.full(3, np.nan)
        if other is not None:
            paired = group["log_probability"] - other["log_probability"].reindex(group.index)
            low, high = mean_interval([paired.to_numpy()[:, None]], facts, statistics.confidence, UNBOUNDED)
            values = np.array([paired.mean(), low[0], high[0]])
        row |= dict(zip([name, f"{name}_low", f"{name}_high"], values, strict=True))
    return row | {"above": bool(row["gain_low"] > 0 and row["difference_low"] > 0)}


def verdicts(summary: pd.DataFrame) -> dict[str, Verdict]:
    """Return each backbone's verdict, on all tasks together and on each alone: what `summarise` says of its part."""
    found = {}
    for backbone, rows in summary[summary["part"] == VERDICT].groupby("backbone", sort=False):
        tasks = {str(task): _verdict(part) for task, part in rows.groupby("task", sort=False)}
        whole = tasks.pop(ALL_TASKS)
        found[str(backbone)] = replace(whole, tasks=tasks)
    return found


def _verdict(rows: pd.DataFrame) -> Verdict:
    """Return the verdict from the rows of one task, or of all of them together."""
    tested = rows[(rows["layers"] == "edited") & (rows["memory"] == "same fact")]
    context, slot = (clearest(tested[tested["test"] == test]) for test in ("context", "latent"))
    none = rows.loc[rows["test"] == "none", "token"].iloc[0]
    evidence = (
        f"The same fact in a context that only the edited layers see: {_numbers(context)}; as the slot of a latent "
        f"memory (alpha {slot['alpha']:g}): {_numbers(slot)}; knowing nothing, {none:.1f}% are right."
    )
    return Verdict(bool(context["above"]), bool(slot["above"]), evidence)


def clearest(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the row with the highest log-probability among those that are clear of nothing and of their reference.

    If none is, the row whose weaker lower end is highest.
    """
    ends = rows[["gain_low", "difference_low"]].min(axis=1, skipna=False).fillna(-np.inf)
    order = rows["log_probability"].where(rows["above"]) if rows["above"].any() else ends
    return {str(name): value for name, value in rows.iloc[int(np.nanargmax(order))].items()}


def _numbers(row: Mapping[str, Any]) -> str:
    return (
        f"{cell(row, 'gain', True, 2)} over none, {cell(row, 'difference', True, 2)} over another fact, "
        f"{row['token']:.1f}% of answer tokens right"
    )


def read_verdicts(scores: Sequence[Path], statistics: StatisticsConfig) -> dict[str, Verdict]:
    """Return each backbone's verdict, as `write_positive_control` does, from the scores of the two tests alone.

    Args:
        scores: a file per backbone, as for `write_positive_control`.
        statistics: confidence.

    Raises:
        InputError: a file without one of the columns.
    """
    tables = [_read_scores(path) for path in scores]
    tested = [table[(table["part"] == VERDICT) & table["layers"].isin(["none", "edited"])] for table in tables]
    return verdicts(pd.concat([summarise(table, statistics) for table in tested], ignore_index=True)) if tested else {}


def control_text(summary: pd.DataFrame, readout: pd.DataFrame, statistics: StatisticsConfig) -> str:
    """Return Markdown: the verdicts, then every test of each backbone."""
    parts = [
        "# Positive control: can these backbones show UniKE at all?",
        INTRODUCTION.format(confidence=f"{100 * statistics.confidence:g}%"),
        verdict_lines(verdicts(summary)),
    ]
    for backbone, rows in summary.groupby("backbone", sort=False):
        whole, scan = (rows[(rows["task"] == ALL_TASKS) & (rows["part"] == name)] for name in (VERDICT, SCAN))
        parts.append(f"## {backbone}")
        parts += ["### Verdict: a demonstration in the context", _table(whole, ["none", "context"])]
        parts += ["### Verdict: the latent shift alone, in the edited layers", _table(whole, ["none", "latent"])]
        parts += ["### Scan, on other edits: a context from a layer on", _table(scan, ["none", "context"])]
        parts += ["### Scan, on other edits: the latent shift alone, in windows of layers", _window_text(scan)]
        parts += ["### What the states carry", READOUT_TEXT, readout_table(readout, str(backbone))]
    return "\n\n".join(parts) + "\n"


def is_known(found: Mapping[str, Verdict], readers: Collection[str], cell: tuple[str, str, str]) -> bool:
    """Say whether `tasks_not_passed` can be asked: the method reads no memory, or the backbone's control was run."""
    return cell[2] not in readers or cell[0] in found


def verdict_lines(found: Mapping[str, Verdict], missing: Iterable[str] = ()) -> str:
    """Return a line per backbone; `missing`: those whose control was not run."""
    lines = [f"- {name}: not run; `make results/positive_control.md` runs it." for name in missing]
    for name, verdict in found.items():
        alone = "; ".join(f"{task} alone {_word(part)}" for task, part in verdict.tasks.items())
        lines.append(f"- {name}: {_word(verdict)}. {verdict.evidence} {alone[:1].upper()}{alone[1:]}.")
    return "\n".join(lines)


def _word(verdict: Verdict) -> str:
    failed = [name for name, passed in (("context", verdict.context), ("slot", verdict.slot)) if not passed]
    return "passes" if verdict.passed else f"DOES NOT PASS ({' and '.join(failed)})"


def _table(rows: pd.DataFrame, tests: Sequence[str]) -> str:
    header = ["Known, in layers", "alpha", "items", "tokens right %", "exact %", "log-probability"]
    header += ["over none", "over the reference", "reference"]
    lines = [
        [
            f"{row['memory']}, {row['layers']}" if row["test"] != "none" else "nothing",
            f"{row['alpha']:g}" if row["alpha"] else "-",
            str(row["items"]),
            *(f"{row[name]:.1f}" for name in ("token", "exact")),
            f"{row['log_probability']:.2f}",
            *(cell(row, name, True, 2) if row["test"] != "none" else "-" for name in ("gain", "difference")),
            row["reference"] or "-",
        ]
        for row in rows_of(rows[rows["test"].isin(tests)])
    ]
    return markdown_table(header, lines)


def _window_text(rows: pd.DataFrame) -> str:
    windows = rows[rows["test"] == "window"]
    best = clearest(windows[windows["memory"] == "same fact"])
    word = "It is clear of both" if best["above"] else "It is not clear of both, nor is any other"
    return (
        f"Clearest window: {best['layers']} at alpha {best['alpha']:g}, {_numbers(best)}. {word}. (Chosen among "
        f"many on few items: set `layers` to it, and the verdict's own edits decide.)\n\n{_table(rows, ['window'])}"
    )
