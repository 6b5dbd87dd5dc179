"""Tables 1 to 4 as Markdown, in the paper's layout, with the paper's numbers beside ours."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from unike_lib.config import StatisticsConfig
from unike_lib.reporting.admission import Verdict, not_admitted, verdict_lines
from unike_lib.reporting.departures import POINTER, departure_note
from unike_lib.reporting.intervals import FEWEST
from unike_lib.reporting.markdown import cell, markdown_table, rows_of
from unike_lib.reporting.paper import PAPER_METHODS, PAPER_VARIANTS, PaperCells, paper_backbone
from unike_lib.reporting.records import FAMILIES, ROW
from unike_lib.table_config import CROSS
from unike_lib.table_parts import TableParts
from unike_lib.types import PORTABILITY, PROBE_KINDS

TITLES: dict[PaperCells, str] = {
    "table1": "Table 1: one-step editing",
    "table2": "Table 2: sequential editing",
    "table3": "Table 3: cross-task editing",
    "table4": "Table 4: what each part of UniKE gives (one-step editing)",
}
METRIC_TITLES = {"rel": "Rel.", "t_gen": "T-Gen.", "m_gen": "M-Gen.", "t_loc": "T-Loc.", "m_loc": "M-Loc."}
TASK_TITLES = {"vqa": "VQA", "caption": "caption", CROSS: "cross-task"}
REFERENCE = "unike"
CRITERION_TITLES = {
    "token": "share of answer tokens right under teacher forcing; locality: unchanged answer tokens",
    "mmedit": "MMEdit's rules: as `token`, but locality over every position (T-Loc. top-1, M-Loc. ordered top-10)",
    "exact": "all answer tokens right; locality: all answer tokens unchanged",
    "generated": "greedy answer equal to the target; locality: equal to the answer before the edit",
}
INTRODUCTION = """\
In percent, with {confidence} intervals over {intervals}. Rows in italics are the paper's, for the backbone \
that ours stands in for. Embedded backbones are small and their benchmark is our own: **levels are not comparable with \
the paper's**, only the pattern between methods is. A failed edit leaves the model unedited and is scored so; \
an answer whose logits are not finite has failed too, and scores 0."""
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
ADMISSION_TEXT = (
    "A backbone passes the admission tests when its edited layers read the very fact asked for, from a context and "
    "from a slot of a latent memory, clearly better than nothing and than another fact (`results/admission.md`). "
    "Where a backbone does not pass, on all tasks together or on a task alone, UniKE's rows say nothing about UniKE."
)


def confidence_text(statistics: StatisticsConfig) -> str:
    """Return the confidence of the intervals, "95%"."""
    return f"{100 * statistics.confidence:g}%"


def method_title(method: str) -> str:
    """Return how a table names a method variant."""
    title = PAPER_METHODS.get(method)
    if title is not None and method != "unike-paper":
        return title
    return f"{title or PAPER_VARIANTS.get(method) or 'variant'} ({method})"


@dataclass(frozen=True)
class TableText:
    """The Markdown of one table.

    `verdicts`: what the admission tests say of each of its backbones; `notes`: sentences about the benchmark.
    """

    name: PaperCells
    run: TableParts
    verdicts: Mapping[str, Verdict]
    notes: Sequence[str] = ()

    def render(self, tables: Mapping[str, pd.DataFrame], differences: pd.DataFrame) -> str:
        """Return the whole text.

        Args:
            tables: criterion -> cells with the paper's numbers.
            differences: from `paired_differences`, with their criterion.
        """
        parts = [
            f"# {TITLES[self.name]}",
            *self._introduction(),
            *self.notes,
            POINTER,
            _counts(tables["token"], self.run.seeds),
            *missing_intervals(tables["token"]),
        ]
        for criterion, table in tables.items():
            parts.append(f"## Criterion `{criterion}`: {CRITERION_TITLES[criterion]}")
            if table[list(PROBE_KINDS)].isna().all(axis=None):
                parts.append("Not measured in this run.")
                continue
            paper = criterion in FAMILIES
            parts += [self._block(block, paper) for _, block in table.groupby(["backbone", "k"], sort=False)]
        parts += _differences(differences)
        parts += departure_note(self.run)
        parts += ["## Can these backbones show UniKE at all?", ADMISSION_TEXT, verdict_lines(self.verdicts)]
        return "\n\n".join(parts) + "\n"

    def _introduction(self) -> list[str]:
        settings = self.run.tables[self.name].settings
        several = any(k > 1 for _, k in settings)
        intervals = SESSION_INTERVALS if several else EDIT_INTERVALS
        parts = [INTRODUCTION.format(confidence=confidence_text(self.run.statistics), intervals=intervals)]
        if several:
            parts.append(SESSIONS)
        if any(task == CROSS for task, _ in settings):
            parts.append(CROSS_SESSIONS)
        return parts

    def _block(self, table: pd.DataFrame, paper: bool) -> str:
        """Return the block of a backbone and K, as in the paper: a row a method, tasks side by side.

        `paper` adds the paper's rows.
        """
        backbone, k = str(table["backbone"].iloc[0]), int(table["k"].iloc[0])
        tasks = list(dict.fromkeys(table["task"]))
        kinds = (*PROBE_KINDS, PORTABILITY) if PORTABILITY in table else PROBE_KINDS
        titles = METRIC_TITLES | {PORTABILITY: "Port."}
        header = ["Method", *(f"{TASK_TITLES[task]} {titles[kind]}" for task in tasks for kind in kinds)]
        rows = dict(zip(table[ROW].itertuples(index=False, name=None), rows_of(table), strict=True))
        cells = {method: [(backbone, task, method) for task in tasks] for method in table["method"]}
        doubts = {method: self._doubts(of_method) for method, of_method in cells.items()}
        lines = []
        for method in cells:
            of_task = [rows[backbone, task, k, method] for task in tasks]
            mark = f" *(not admitted: {doubts[method]})*" if doubts[method] else ""
            numbers = [cell(row, kind) for row in of_task for kind in kinds]
            lines.append([method_title(method) + mark, *numbers])
            if paper and all(pd.notna(row["paper_rel"]) for row in of_task):
                title = (PAPER_METHODS | PAPER_VARIANTS)[method]
                printed = [row.get(f"paper_{kind}") for row in of_task for kind in kinds]
                numbers = ["-" if number is None else f"*{number:.1f}*" for number in printed]
                lines.append([f"*paper: {title}*", *numbers])
        family = paper_backbone(self.run.families[backbone])
        length = f", K = {k}" if k > 1 else ""
        failed = next(filter(None, doubts.values()), "")
        note = f", did not pass the admission tests: {failed}" if failed else ""
        return f"### {backbone}{length} (the paper's: {family}){note}\n\n{markdown_table(header, lines)}"

    def _doubts(self, cells: Sequence[tuple[str, str, str]]) -> str:
        """Return the tasks on which these cells of a method say nothing about it."""
        tasks = dict.fromkeys(task for cell in cells for task in not_admitted(self.verdicts, self.run.readers, cell))
        return ", ".join(TASK_TITLES[task] for task in tasks)


def _differences(table: pd.DataFrame) -> list[str]:
    if table.empty:
        return []
    title = method_title(str(table["first"].iloc[0]))
    header = [f"{title} minus", "edits", *METRIC_TITLES.values()]
    parts = [f"## {title} minus each other method on the same edits, in points"]
    for criterion, rows in table.groupby("criterion", sort=False):
        lines = [
            [
                f"{method_title(row['second'])}: {row['backbone']}, {_setting(row)}",
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
        table: of any of Tables 1 to 5, with `independent`.
    """
    places: dict[str, None] = {}
    columns = [str(name) for name in table]
    for row in rows_of(table):
        bare = [
            name for name in columns if f"{name}_low" in row and pd.notna(row[name]) and pd.isna(row[f"{name}_low"])
        ]
        place = str(row["setting"]) if "setting" in row else f"{row['backbone']}, {_setting(row)}"
        if bare == [PORTABILITY]:
            places[f"{place}, Port. ({row['portability_edits']:.0f} edits)"] = None
        elif bare:
            places[f"{place} ({row['independent']:.1f} independent)"] = None
    return [FEW.format(places="; ".join(places))] if places else []


def _setting(row: Mapping[str, object]) -> str:
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
        lines.append(f"- {backbone}, {_setting(first)}: {basis}{over}; failed edits: {', '.join(failed) or 'none'}")
    return "\n".join(lines)
