"""The result tables: from record files to CSV and Markdown."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from unike_lib.config import Config
from unike_lib.io import atomic_path, write_csv
from unike_lib.methods import resolve_method
from unike_lib.reporting.admission import Verdict, read_verdicts, verdict_lines
from unike_lib.reporting.markdown import cell, markdown_table
from unike_lib.reporting.paper import PAPER_BACKBONES, PAPER_METHODS, paper_table
from unike_lib.reporting.records import CELL, CRITERIA, load_records
from unike_lib.reporting.scores import paired_differences, score_table
from unike_lib.types import PROBE_KINDS, InputError

METRIC_TITLES = {"rel": "Rel.", "t_gen": "T-Gen.", "m_gen": "M-Gen.", "t_loc": "T-Loc.", "m_loc": "M-Loc."}
TASK_TITLES = {"vqa": "VQA", "caption": "caption"}
COMPARED = ("unike", "t-patcher")
CRITERION_TITLES = {
    "token": "share of answer tokens right under teacher forcing; locality: unchanged answer tokens",
    "mmedit": "MMEdit's rules: as `token`, but locality over every position (T-Loc. top-1, M-Loc. ordered top-10)",
    "exact": "all answer tokens right; locality: all answer tokens unchanged",
    "generated": "greedy answer equal to the target; locality: equal to the answer before the edit",
}
ADMISSION_TEXT = (
    "A backbone passes the admission tests when its edited layers read the very fact asked for, from a context and "
    "from a slot of a latent memory, clearly better than nothing and than another fact (`results/admission.md`). "
    "Where a backbone does not pass, on all tasks together or on a task alone, UniKE's rows say nothing about UniKE."
)
DIAGNOSTIC_COLUMNS = ["backbone", "task", "set", "items", "exact", "token", "consistency"]


def write_table1(records: Sequence[Path], admission: Path, outputs: Mapping[str, Path], config: Config) -> None:
    """Write Table 1 (one-step editing): one CSV a criterion with the paper's numbers beside ours, and Markdown.

    Args:
        records: record files that hold every backbone, task and method of `config.table1`, and no others.
        admission: results of the admission tests; UniKE's rows are marked with the tasks on which the
            backbone did not pass.
        outputs: criterion (`token`, `mmedit`, `exact`, `generated`) -> CSV path; `markdown` -> Markdown path.
        config: the run; `table1`, `statistics` and `seed` are used.

    Raises:
        InputError: a cell of the table without records, or an output that is no criterion; see also `load_records`.
    """
    unknown = sorted(set(outputs) - {*CRITERIA, "markdown"})
    if unknown:
        raise InputError(f"table 1: no output {unknown[0]!r}; known: {', '.join(CRITERIA)}, markdown")
    frame, verdicts = load_records(records), read_verdicts(admission)
    for name in config.table1.backbones:
        if name not in verdicts:
            raise InputError(f"{admission}: no admission tests of backbone {name}, which is in table 1")
    tables = {name: _table1(frame, name, config) for name in CRITERIA if name in {*outputs, "token", "mmedit"}}
    for name in tables.keys() & outputs.keys():
        admitted = [verdicts[backbone].admits(task) for backbone, task, _ in tables[name][CELL].to_numpy()]
        write_csv(outputs[name], tables[name].assign(admitted=admitted))
    if "markdown" in outputs:
        with atomic_path(outputs["markdown"]) as temporary:
            temporary.write_text(_table1_text(frame, tables, verdicts, config), encoding="utf-8")


def write_diagnostics(tables: Sequence[Path], outputs: Mapping[str, Path]) -> None:
    """Join the diagnostics of all backbones: what they know before any edit.

    Args:
        tables: CSV files with the columns backbone, task, set, items, exact, token, consistency (shares in [0, 1]).
        outputs: `csv` -> CSV path; `markdown` -> Markdown path, may be left out.

    Raises:
        InputError: no files, or a file without one of the columns.
    """
    if not tables:
        raise InputError("diagnostics: no files given, expected one CSV a backbone")
    parts = []
    for path in tables:
        part = pd.read_csv(path)
        missing = [column for column in DIAGNOSTIC_COLUMNS if column not in part]
        if missing:
            raise InputError(f"{path}: no column {', '.join(missing)}; expected {', '.join(DIAGNOSTIC_COLUMNS)}")
        parts.append(part)
    joined = pd.concat(parts, ignore_index=True)
    write_csv(outputs["csv"], joined)
    if "markdown" in outputs:
        with atomic_path(outputs["markdown"]) as temporary:
            temporary.write_text(_diagnostics_text(joined), encoding="utf-8")


def _table1(records: pd.DataFrame, criterion: str, config: Config) -> pd.DataFrame:
    table = score_table(records, criterion, config.statistics, config.seed)
    wanted = pd.DataFrame(
        [
            (backbone, task, method)
            for backbone in config.table1.backbones
            for task in config.table1.tasks
            for method in config.table1.methods
        ],
        columns=CELL,
    )
    found = set(table[CELL].itertuples(index=False, name=None))
    for key in wanted.itertuples(index=False, name=None):
        if key not in found:
            raise InputError(f"table 1: no records of backbone {key[0]}, task {key[1]}, method {key[2]}")
    table = wanted.merge(table, on=CELL)
    return table.merge(_paper_rows(table, config), on=CELL, how="left")


def _paper_rows(table: pd.DataFrame, config: Config) -> pd.DataFrame:
    """Return the paper's row for each of our cells that has one, in columns paper_rel .. paper_m_loc."""
    keys = table[CELL].assign(
        paper_backbone=[PAPER_BACKBONES[config.backbones[name].family] for name in table["backbone"]],
        paper_method=[PAPER_METHODS.get(name, "") for name in table["method"]],
    )
    paper = paper_table("table1").rename(columns={kind: f"paper_{kind}" for kind in PROBE_KINDS})
    paper = paper.rename(columns={"backbone": "paper_backbone", "method": "paper_method"})
    return keys.merge(paper, on=["paper_backbone", "task", "paper_method"]).drop(
        columns=["paper_backbone", "paper_method"]
    )


def _table1_text(
    records: pd.DataFrame, tables: Mapping[str, pd.DataFrame], verdicts: Mapping[str, Verdict], config: Config
) -> str:
    failed = {
        name: [TASK_TITLES[task] for task in config.table1.tasks if not verdict.admits(task)]
        for name, verdict in verdicts.items()
    }
    confidence = f"{100 * config.statistics.confidence:g}%"
    parts = [
        "# Table 1: one-step editing",
        f"In percent, with {confidence} bootstrap intervals over edits (edits sharing a fact are resampled together; "
        "the choice of seed and backbone is not in them). Rows in italics are the paper's, for the backbone that ours "
        "stands in for. Embedded backbones are small and their benchmark is our own: **levels are not comparable with "
        "the paper's**, only the pattern between methods is. A failed edit leaves the model unedited and is scored so.",
        _counts_text(tables["token"]),
    ]
    for criterion, table in tables.items():
        parts.append(f"## Criterion `{criterion}`: {CRITERION_TITLES[criterion]}")
        if table[list(PROBE_KINDS)].isna().all(axis=None):
            parts.append("Not measured in this run.")
            continue
        paper = criterion in {"token", "mmedit"}
        parts += [_block(name, table, config, paper, failed[name]) for name in config.table1.backbones]
    parts += _differences_text(records, config)
    parts += ["## Can these backbones show UniKE at all?", ADMISSION_TEXT]
    parts.append(verdict_lines({name: verdicts[name] for name in config.table1.backbones}))
    return "\n\n".join(parts) + "\n"


def _counts_text(table: pd.DataFrame) -> str:
    lines = []
    for (backbone, task), group in table.groupby(["backbone", "task"], sort=False):
        failed = [f"{row.method} {row.failed}" for row in group.itertuples() if int(str(row.failed)) > 0]
        first = group.iloc[0]
        lines.append(
            f"- {backbone}, {TASK_TITLES[str(task)]}: {first['edits']} edits resting on {first['clusters']} facts; "
            f"failed edits: {', '.join(failed) or 'none'}"
        )
    return "\n".join(lines)


def _block(backbone: str, table: pd.DataFrame, config: Config, paper: bool, failed: Sequence[str]) -> str:
    """Return one backbone's block: methods as rows, the tasks side by side, as in the paper.

    `paper` adds the paper's rows; `failed` names the tasks on which the backbone is not admitted, beside UniKE's rows.
    """
    tasks = config.table1.tasks
    header = ["Method", *(f"{TASK_TITLES[task]} {METRIC_TITLES[kind]}" for task in tasks for kind in PROBE_KINDS)]
    rows = dict(zip(table[CELL].itertuples(index=False, name=None), _dicts(table), strict=True))
    lines = []
    for method in config.table1.methods:
        of_task = [rows[backbone, task, method] for task in tasks]
        mark = (
            f" *(not admitted: {', '.join(failed)})*"
            if failed and resolve_method(config.methods, method).method == "unike"
            else ""
        )
        lines.append([_title(method) + mark, *(cell(row, kind) for row in of_task for kind in PROBE_KINDS)])
        if paper and pd.notna(of_task[0]["paper_rel"]):
            numbers = [f"*{row[f'paper_{kind}']:.1f}*" for row in of_task for kind in PROBE_KINDS]
            lines.append([f"*paper: {PAPER_METHODS[method]}*", *numbers])
    family = PAPER_BACKBONES[config.backbones[backbone].family]
    note = f", did not pass the admission tests: {', '.join(failed)}" if failed else ""
    return f"### {backbone} (the paper's: {family}){note}\n\n{markdown_table(header, lines)}"


def _differences_text(records: pd.DataFrame, config: Config) -> list[str]:
    if not set(COMPARED) <= set(config.table1.methods):
        return []
    header = ["Backbone, task", "edits", *METRIC_TITLES.values()]
    parts = [f"## {_title(COMPARED[0])} minus {_title(COMPARED[1])} on the same edits, in points"]
    for criterion in ("token", "mmedit"):
        differences = paired_differences(records, criterion, COMPARED, config.statistics, config.seed)
        rows = [
            [
                f"{row['backbone']}, {TASK_TITLES[row['task']]}",
                str(row["edits"]),
                *(cell(row, kind, signed=True) for kind in PROBE_KINDS),
            ]
            for row in _dicts(differences)
        ]
        parts += [f"Criterion `{criterion}`:", markdown_table(header, rows)]
    return parts


def _diagnostics_text(table: pd.DataFrame) -> str:
    rows = [
        [
            f"{row['backbone']}, {TASK_TITLES.get(row['task'], row['task'])}, {row['set'].replace('_', ' ')}",
            str(row["items"]),
            *("-" if pd.isna(row[name]) else f"{100 * row[name]:.1f}" for name in ("exact", "token", "consistency")),
        ]
        for row in _dicts(table)
    ]
    header = ["Backbone, task, set", "items", "exact %", "token %", "consistency %"]
    return f"# What the backbones know before any edit\n\n{markdown_table(header, rows)}\n"


def _title(method: str) -> str:
    title = PAPER_METHODS.get(method)
    known = title is not None and method != "unike-paper"
    return f"{title}" if known else f"{title or 'variant'} ({method})"


def _dicts(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
