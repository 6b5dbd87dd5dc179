"""The report: everything a run made, on one self-contained page, with what it says of the paper's claims in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from unike_lib import __version__
from unike_lib.criterion import find_criteria
from unike_lib.io import write_text
from unike_lib.reporting.claims import not_counted, order_differences, paper_claims, ranking_changes
from unike_lib.reporting.control_table import Verdict, verdicts
from unike_lib.reporting.departures import table_departures
from unike_lib.reporting.front import front_sentences
from unike_lib.reporting.html_tables import plain_table, shown_differences, shown_table
from unike_lib.reporting.markdown import rows_of
from unike_lib.reporting.pages import file_address, render_page
from unike_lib.reporting.provenance import searched, versions
from unike_lib.reporting.records import MAIN
from unike_lib.reporting.run_summary import run_times
from unike_lib.reporting.table_text import EDIT_INTERVALS, SESSION_INTERVALS, confidence_text, missing_intervals
from unike_lib.reporting.written import WRITTEN, leaks
from unike_lib.table_parts import ReportParts, TableParts
from unike_lib.types import InputError

FIGURE_NOTES = {
    "fig2a": "Fig. 2a of the paper: generality against locality of methods as they are.",
    "fig4a": "Fig. 4a of the paper: number of retrieved states (and of examples, where they are swept too).",
    "fig4b": "Fig. 4b of the paper: fixed shares of the retrieved knowledge against the dynamic one (level lines), "
    "once as the tables have it, times methods.unike.alpha_scale, and once as Eq. 7 has it (unike-unscaled).",
    "fig4c": "Fig. 4c of the paper: directions added to the new values.",
    "fig5a": "Fig. 5a of the paper: held-out states in both encoder spaces (t-SNE).",
    "readings": "Other readings of what the paper leaves open: differences from the default, paired edit by edit; "
    "filled where the interval leaves out zero.",
    "frontier": "What each method's main knob trades: generality against locality.",
    "forgetting": "What later edits of a session leave of earlier ones; items further right were edited earlier in it.",
    "joint": "What becomes of each edit as a whole: joint success is the edit, both generalities and all localities at "
    "once.",
    "retention": "What one session of many edits costs taught facts, general questions, and its own edits "
    "(dotted: right after each edit).",
    "qualitative": "Examples of edits (the page qualitative.html has more).",
    "contact_sheet": "Some edits of the embedded benchmark.",
    "encoder_losses": "Training of the contrastive encoders.",
}

LEAKS = (
    "Taught and written: by token the answer is given and each of its tokens is judged; by generated the model writes "
    "it. Leak: what looks taught and is not written, in points"
)
BESIDE = {  # tables beside those by criterion, by what ends their files' names
    "edits": "Each edit as a whole: joint success and what fails, edits that were right before, means over the others; "
    "in percent",
    "cost": "What edits cost, as measured in this run (training: before any edit)",
}


@dataclass(frozen=True)
class ReportSources:
    """The files behind a report.

    tables: CSV files, a table's name alone or with a criterion, such as table1.csv and table1_mmedit.csv, or with
    "differences", "edits" or "cost"; control, diagnostics: CSV files; checks: backbone -> CSV file of its encoders'
    checks; figures: PNG files, in the order of the page (X_mmedit.png goes with X.png); benchmarks: Snakemake's folder
    of times.
    """

    tables: Sequence[Path]
    control: Path
    diagnostics: Path
    checks: Mapping[str, Path]
    figures: Sequence[Path]
    benchmarks: Path


def write_report(sources: ReportSources, out: Path, run: ReportParts, notes: Sequence[str] = ()) -> None:
    """Write the report; `notes` are the sentences about the benchmark that tables repeat.

    Raises:
        InputError: a table is not there under both criteria `token` and `mmedit`.
    """
    tables = {path.stem: pd.read_csv(path) for path in sources.tables}
    for name in (f"{name}{ending}" for name in run.tables for ending in ("", "_mmedit", "_differences")):
        if name not in tables:
            raise InputError(f"report: no {name}.csv among the tables {', '.join(map(str, sources.tables))}")
    control = verdicts(pd.read_csv(sources.control, keep_default_na=False, na_values=[""]))
    page = render_page(
        "report.html",
        tables=[_section(tables, of_table) for of_table in run.tables.values()],
        notes=[note.replace("*", "").replace("`", "") for note in notes],
        control=control,
        doubted=doubted(control),
        embedded=run.embedded,
        benchmark=run.benchmark,
        figures=_figures(sources.figures),
        diagnostics=plain_table(_percent(pd.read_csv(sources.diagnostics))),
        checks=plain_table(_joined(sources.checks)),
        tuning=plain_table(searched(run.tuning.grids, run.methods, run.backbones)),
        trials=run.tuning.trials,
        settings=_settings(run.settings),
        times=plain_table(_rounded(run_times(sources.benchmarks))),
        versions={"unike": __version__, **versions()},
        confidence=confidence_text(run.statistics),
        **_in_words(tables, run),
    )
    write_text(out, page)


def _in_words(tables: Mapping[str, pd.DataFrame], run: ReportParts) -> dict[str, Any]:
    """Return what the tables say: the paper's claims, order against the paper's, order between criteria.

    `front`: a few sentences; `claims`: each claim by criterion; `order` and `changes`: sentences by table.
    """
    cells = [each for each in run.tables.values() if each.entry.settings]
    first = next((each for each in cells if not each.entry.several), cells[0])  # most claims are about one-step editing
    cells.sort(key=lambda each: each is not first)
    by_criterion = []
    for criterion in MAIN:
        scored = [_of(tables, each.name, criterion) for each in cells]
        compared = [_differences(tables, each.name, criterion) for each in cells]
        by_criterion.append(paper_claims(scored, compared, run.kinds))
    orders, changes = [], []
    for each in cells:
        both = [_of(tables, each.name, criterion) for criterion in MAIN]
        if each.entry.paper is not None:
            sentences = order_differences(both[0], _differences(tables, each.name, MAIN[0]))
            orders.append((each.entry.title, sentences))
        edited = [table[~table["method"].isin(each.unedited)] for table in both]
        changes.append((each.entry.title, ranking_changes(*edited)))
    return {
        "front": front_sentences([_differences(tables, each.name, MAIN[0]) for each in cells]),
        "claims": [dict(zip(MAIN, both, strict=True)) for both in zip(*by_criterion, strict=True)],
        "uncounted": not_counted([tables[each.name] for each in cells]),
        "order": orders,
        "changes": changes,
    }


def _of(tables: Mapping[str, pd.DataFrame], name: str, criterion: str) -> pd.DataFrame:
    return tables[name if criterion == "token" else f"{name}_{criterion}"]


def _differences(tables: Mapping[str, pd.DataFrame], name: str, criterion: str) -> pd.DataFrame:
    every = tables[f"{name}_differences"]
    return every[every["criterion"] == criterion]


def _section(tables: Mapping[str, pd.DataFrame], run: TableParts) -> dict[str, Any]:
    """Return what the page shows of a table: every criterion, differences by criterion, and what intervals are over."""
    scored = {"token": run.name} | {each.name: f"{run.name}_{each.name}" for each in find_criteria(run.criteria)[1:]}
    parts = [(name, shown_table(tables[file], name in MAIN)) for name, file in scored.items() if file in tables]
    differences = tables[f"{run.name}_differences"].groupby("criterion", sort=False)
    return {
        "title": run.entry.title,
        "parts": parts,
        "differences": [(str(criterion), shown_differences(rows)) for criterion, rows in differences],
        "intervals": SESSION_INTERVALS if run.entry.several else EDIT_INTERVALS,
        "average": bool(run.entry.averages),
        "departures": table_departures(run),
        "missing": missing_intervals(tables[run.name]),
        "beside": [
            *_leaks(tables, run),
            *(
                (title, plain_table(tables[file]))
                for kind, title in BESIDE.items()
                if (file := f"{run.name}_{kind}") in tables
            ),
        ],
    }


def _leaks(tables: Mapping[str, pd.DataFrame], run: TableParts) -> list[tuple[str, Any]]:
    """Return what a table with cells has taught beside what is written; nothing where generation was off."""
    written = tables.get(f"{run.name}_{WRITTEN}")
    if run.entry.averages or written is None or written["rel"].isna().all():
        return []
    return [(LEAKS, plain_table(leaks(tables[run.name], written).round(1)))]


def _figures(paths: Sequence[Path]) -> list[dict[str, str]]:
    """Return each figure's name, address and note, and the address of the same by `mmedit` if there is one."""
    files = {path.stem: path for path in paths}
    figures = []
    for name, path in files.items():
        if name.removesuffix("_mmedit") in files and name.endswith("_mmedit"):
            continue
        other = files.get(f"{name}_mmedit")
        note = FIGURE_NOTES.get(name, name)
        figures.append(
            {"name": name, "address": file_address(path), "note": note, "mmedit": file_address(other) if other else ""}
        )
    return figures


def doubted(found: Mapping[str, Verdict]) -> list[str]:
    """Say on which backbones and tasks UniKE's rows mean nothing, because the positive control was not passed."""
    failed = {name: [task for task in of.tasks if not of.passed_on(task)] for name, of in found.items()}
    return [f"{name} did not pass the positive control ({', '.join(tasks)})" for name, tasks in failed.items() if tasks]


def _settings(rows: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the settings by section, each with value, source and note."""
    table = pd.DataFrame(rows)
    return [(str(name), rows_of(part)) for name, part in table.groupby("section", sort=False)]


def _joined(checks: Mapping[str, Path]) -> pd.DataFrame:
    return pd.concat([pd.read_csv(path).assign(backbone=name) for name, path in checks.items()])


def _percent(table: pd.DataFrame) -> pd.DataFrame:
    shares = ["exact", "token", "consistency"]
    return table.assign(**{name: (100 * table[name]).round(1) for name in shares}).rename(
        columns={name: f"{name} %" for name in shares}
    )


def _rounded(times: pd.DataFrame) -> pd.DataFrame:
    return times.round(0).rename(columns={"seconds": "seconds in all", "longest": "longest job, s", "memory": "MB"})
