"""Tables as Markdown, those of cells in the paper's layout, with the paper's numbers beside ours."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import pandas as pd

from unike_lib.config.evaluation import StatisticsConfig
from unike_lib.config.tables import CROSS
from unike_lib.criterion import Criterion, find_criteria
from unike_lib.probe_kinds import further_kinds, kind_title
from unike_lib.reporting.control_table import Verdict, tasks_not_passed, verdict_lines
from unike_lib.reporting.departures import POINTER, departure_note
from unike_lib.reporting.intervals import FEWEST
from unike_lib.reporting.markdown import cell, markdown_table, rows_of
from unike_lib.reporting.paper_numbers import paper_backbone
from unike_lib.reporting.records import MAIN, ROW
from unike_lib.table_parts import TableParts
from unike_lib.types import PROBE_KINDS

METRIC_TITLES = {kind: kind_title(kind) for kind in PROBE_KINDS}
TASK_TITLES = {"vqa": "VQA", "caption": "caption", CROSS: "cross-task"}
REFERENCE = "unike"
INTRODUCTION = """\
In percent, with {confidence} intervals over {intervals}. {paper}{levels}, only the pattern between methods is. A \
failed edit leaves the model unedited and is scored so; an answer whose logits are not finite has failed too, and \
scores 0."""
EMBEDDED_LEVELS = (
    "Embedded backbones are small and their benchmark is our own: **levels are not comparable with the paper's**"
)
USERS_LEVELS = (
    "The edits are those of `{benchmark}`: **levels are not comparable with the paper's** unless benchmark and "
    "backbone are the paper's"
)
PAPER_ROWS = "Rows in italics are the paper's, for the backbone that ours stands in for. "
EDIT_INTERVALS = "edits (those that share a fact count together; the choice of seed and backbone is not in them)"
SESSION_INTERVALS = (
    "sessions (each counts as a whole; facts that sessions share and the choice of seed and backbone are not in them)"
)
FEW = (
    f"No interval where fewer than {FEWEST} edits or sessions are independent (edits that share a fact, and a partial "
    "session, count in part), because no method that we tried covers there: {places}."
)
SESSIONS = (
    "A session is K edits made one after another, each on top of those before it; all its items are scored after the "
    "last one, and localities compare with the model before the first."
)
CROSS_SESSIONS = "Half of a session's edits are VQA and half are captions, in an order of its own; scores are over all."
CONTROL_TEXT = (
    "A backbone passes the positive control when its edited layers read the very fact asked for, from a context and "
    "from a slot of a latent memory, clearly better than nothing and than another fact: `results/positive_control.md`. "
    "Where a backbone does not pass, on all tasks together or on a task alone, UniKE's rows say nothing about UniKE."
)

NOT_RUN = (
    "**Positive control not run** ({backbones}): `make results/positive_control.md`, then this table again, says "
    "whether UniKE's rows can say anything about UniKE."
)


def confidence_text(statistics: StatisticsConfig) -> str:
    """Return the confidence of the intervals, "95%"."""
    return f"{100 * statistics.confidence:g}%"


def criterion_title(criterion: Criterion) -> str:
    """Return what a criterion says of itself, with its range where that is not printed in percent."""
    if criterion.percent and criterion.higher_is_better:
        return criterion.title
    better = "higher" if criterion.higher_is_better else "lower"
    unit = "in percent" if criterion.percent else f"not in percent: from {criterion.low:g} to {criterion.high:g}"
    return f"{criterion.title} ({unit}; {better} is better)"


def page_text(
    run: TableParts,
    head: Sequence[str],
    tables: Mapping[str, pd.DataFrame],
    block: Callable[[str, pd.DataFrame], Iterator[str]],
    end: Sequence[str] = (),
) -> str:
    """Return a table's page: heading, `head`, a block of parts for each criterion and its table, and `end`."""
    parts = [f"# {run.entry.title}", *head]
    titles = {each.name: criterion_title(each) for each in find_criteria(run.criteria)}
    for criterion, table in tables.items():
        parts.append(f"## Criterion `{criterion}`: {titles[criterion]}")
        numbers = [name for name in table if f"{name}_low" in table]
        parts += ["Not measured in this run."] if table[numbers].isna().all(axis=None) else block(criterion, table)
    return "\n\n".join([*parts, *end]) + "\n"


def cell_page(
    tables: Mapping[str, pd.DataFrame],
    differences: pd.DataFrame,
    verdicts: Mapping[str, Verdict],
    run: TableParts,
    notes: Sequence[str],
    sections: Sequence[str],
) -> str:
    """Return the Markdown of a table of cells.

    Args:
        tables: criterion -> cells.
        differences: by every criterion.
        verdicts: of the positive control, by backbone.
        run: what the table reads of the configuration.
        notes: sentences about the benchmark.
        sections: what stands before the criteria.
    """
    missing = [backbone for backbone in run.entry.backbones if run.readers and backbone not in verdicts]
    verdicts = {backbone: verdicts[backbone] for backbone in run.entry.backbones if backbone in verdicts}
    by_name = {each.name: each for each in find_criteria(run.criteria)}

    def blocks(criterion: str, table: pd.DataFrame) -> Iterator[str]:
        for _, block in table.groupby(["backbone", "k"], sort=False):
            yield _block(block, by_name[criterion], verdicts, run)

    head = [*_introduction(run), *notes, POINTER, _counts(tables["token"], run.seeds)]
    head += [NOT_RUN.format(backbones=", ".join(missing))] * bool(missing)
    end = [*_differences(differences, run), *departure_note(run)]
    if run.readers:
        end += ["## Can these backbones show UniKE at all?", CONTROL_TEXT, verdict_lines(verdicts, missing)]
    return page_text(run, [*head, *missing_intervals(tables["token"]), *sections], tables, blocks, end)


def _introduction(run: TableParts) -> list[str]:
    intervals = SESSION_INTERVALS if run.entry.several else EDIT_INTERVALS
    paper = PAPER_ROWS if run.entry.paper else ""
    levels = EMBEDDED_LEVELS if run.benchmark is None else USERS_LEVELS.format(benchmark=run.benchmark)
    confidence = confidence_text(run.statistics)
    parts = [INTRODUCTION.format(confidence=confidence, intervals=intervals, paper=paper, levels=levels)]
    if run.entry.several:
        parts.append(SESSIONS)
    if CROSS in run.entry.tasks:
        parts.append(CROSS_SESSIONS)
    return parts


def _block(table: pd.DataFrame, criterion: Criterion, verdicts: Mapping[str, Verdict], run: TableParts) -> str:
    """Return the block of a backbone and K, as in the paper: a row per method, tasks side by side.

    By the criteria `MAIN`, with the paper's rows; scores that are no percent have a digit more.
    """
    paper, digits = criterion.name in MAIN, 1 if criterion.percent else 2
    backbone, k = str(table["backbone"].iloc[0]), int(table["k"].iloc[0])
    tasks = list(dict.fromkeys(table["task"]))
    further = {str(name).removesuffix("_edits") for name in table if str(name).endswith("_edits")}
    kinds = (*PROBE_KINDS, *further_kinds(further, PROBE_KINDS))
    header = ["Method", *(f"{TASK_TITLES[task]} {kind_title(kind)}" for task in tasks for kind in kinds)]
    rows = dict(zip(table[ROW].itertuples(index=False, name=None), rows_of(table), strict=True))
    doubts = {
        method: _doubts([(backbone, task, method) for task in tasks], verdicts, run) for method in table["method"]
    }
    lines = []
    for method, doubt in doubts.items():
        of_task = [rows[backbone, task, k, method] for task in tasks]
        mark = f" *(control not passed: {doubt})*" if doubt else ""
        lines.append(
            [run.titles[method] + mark, *(cell(row, kind, digits=digits) for row in of_task for kind in kinds)]
        )
        if paper and all(pd.notna(row.get("paper_rel")) for row in of_task):
            printed = [row.get(f"paper_{kind}") for row in of_task for kind in kinds]
            numbers = ["-" if number is None else f"*{number:.1f}*" for number in printed]
            lines.append([f"*paper: {run.paper_rows[method]}*", *numbers])
    length = f", K = {k}" if k > 1 else ""
    stands = f" (the paper's: {paper_backbone(run.families[backbone])})" if run.entry.paper else ""
    failed = next(filter(None, doubts.values()), "")
    note = f", did not pass the positive control: {failed}" if failed else ""
    return f"### {backbone}{length}{stands}{note}\n\n{markdown_table(header, lines)}"


def _doubts(cells: Sequence[tuple[str, str, str]], verdicts: Mapping[str, Verdict], run: TableParts) -> str:
    """Return the tasks on which these cells of a method say nothing about it."""
    tasks = dict.fromkeys(task for cell in cells for task in tasks_not_passed(verdicts, run.readers, cell))
    return ", ".join(TASK_TITLES[task] for task in tasks)


def _differences(table: pd.DataFrame, run: TableParts) -> list[str]:
    if table.empty:
        return []
    title = run.titles[REFERENCE]
    header = [f"{title} minus", "edits", *METRIC_TITLES.values()]
    parts = [f"## {title} minus each other method on the same edits, in points"]
    for criterion, rows in table.groupby("criterion", sort=False):
        lines = [
            [
                f"{run.titles[row['second']]}: {row['backbone']}, {setting_text(row)}",
                str(row["edits"]),
                *(cell(row, kind, signed=True) for kind in PROBE_KINDS),
            ]
            for row in rows_of(rows)
        ]
        parts += [f"Criterion `{criterion}`:", markdown_table(header, lines)]
    return parts


def missing_intervals(table: pd.DataFrame) -> list[str]:
    """Say which numbers have no interval and why, in one sentence; nothing where all have one.

    Args:
        table: with `independent`.
    """
    places: dict[str, None] = {}
    columns = [str(name) for name in table]
    for row in rows_of(table):
        bare = [
            name for name in columns if f"{name}_low" in row and pd.notna(row[name]) and pd.isna(row[f"{name}_low"])
        ]
        place = str(row["setting"]) if "setting" in row else f"{row['backbone']}, {setting_text(row)}"
        further = [name for name in bare if f"{name}_edits" in row]
        if bare == further:
            places |= {f"{place}, {kind_title(name)} ({row[f'{name}_edits']:.0f} edits)": None for name in further}
        else:
            places[f"{place} ({row['independent']:.1f} independent)"] = None
    return [FEW.format(places="; ".join(places))] if places else []


def setting_text(row: Mapping[str, object]) -> str:
    """Return the task of a cell, and K where its sessions hold several edits."""
    k = int(str(row["k"]))
    return TASK_TITLES[str(row["task"])] + (f", K = {k}" if k > 1 else "")


def _counts(table: pd.DataFrame, seeds: Sequence[int]) -> str:
    over = f", means over seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else ""
    lines = []
    for (backbone, _, _), group in table.groupby(["backbone", "task", "k"], sort=False):
        first = rows_of(group)[0]
        failed = [f"{row['method']} {row['failed']}" for row in rows_of(group) if row["failed"]]
        if first["k"] == 1:
            basis = f"{first['edits']} edits resting on {first['clusters']} facts"
        else:
            last = f", the last one of {first['last_session']}" if first["last_session"] < first["k"] else ""
            basis = f"{first['edits']} edits in {first['clusters']} sessions of {first['k']}{last}"
        lines.append(f"- {backbone}, {setting_text(first)}: {basis}{over}; failed edits: {', '.join(failed) or 'none'}")
    return "\n".join(lines)
