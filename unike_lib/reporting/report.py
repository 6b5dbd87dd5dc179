"""The report: everything a run made, on one self-contained page, with what it says of the paper's claims in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from unike_lib import __version__
from unike_lib.config import Config
from unike_lib.io import atomic_path
from unike_lib.methods import resolve_method
from unike_lib.reporting.admission import Verdict, verdicts
from unike_lib.reporting.claims import order_differences, paper_claims, ranking_changes
from unike_lib.reporting.markdown import Row, rows_of
from unike_lib.reporting.pages import file_address, render_page
from unike_lib.reporting.paper import short_title
from unike_lib.reporting.provenance import setting_sources, versions
from unike_lib.reporting.records import CRITERIA, ROW
from unike_lib.reporting.run_summary import run_times
from unike_lib.reporting.table_text import METRIC_TITLES, TITLES
from unike_lib.types import InputError

TABLE_TITLES = {str(name): title for name, title in TITLES.items()}
TABLE_TITLES["table5"] = "Table 5: averages of one-step and sequential editing"
FIGURE_NOTES = {
    "fig2a": "Fig. 2a of the paper: generality against locality of methods as they are.",
    "fig4a": "Fig. 4a of the paper: number of retrieved states.",
    "fig4b": "Fig. 4b of the paper: fixed shares of the retrieved knowledge against the dynamic one (level lines), "
    "which alpha_scale multiplies (methods.unike: far below 1 where the search chose so).",
    "fig4c": "Fig. 4c of the paper: directions added to the new values.",
    "fig5a": "Fig. 5a of the paper: held-out states in both encoder spaces (t-SNE).",
    "readings": "Other readings of what the paper leaves open: differences from the default, paired edit by edit; "
    "filled where the interval leaves out zero.",
    "frontier": "What each method's main knob trades, by the token criterion: generality against locality.",
    "forgetting": "What later edits of a session leave of earlier ones; items further right were edited earlier in it.",
    "qualitative": "Examples of edits (the page qualitative.html has more).",
    "contact_sheet": "Some edits of the embedded benchmark.",
    "encoder_losses": "Training of the contrastive encoders.",
}


@dataclass(frozen=True)
class ReportSources:
    """The files behind a report.

    tables: CSV files, a table's name or the name and a criterion, such as table1.csv and table1_mmedit.csv;
    admission, diagnostics: CSV files; checks: backbone -> CSV file of its encoders' checks; figures: PNG files, in the
    order of the page; settings: config.yaml; benchmarks: Snakemake's folder of times.
    """

    tables: Sequence[Path]
    admission: Path
    diagnostics: Path
    checks: Mapping[str, Path]
    figures: Sequence[Path]
    settings: Path
    benchmarks: Path


@dataclass(frozen=True)
class ShownTable:
    """A table as the page shows it: headers, and rows of cells; a cell is a text, or a number with its interval."""

    labels: tuple[str, ...]
    numbers: tuple[str, ...]
    rows: tuple["ShownRow", ...]


@dataclass(frozen=True)
class ShownRow:
    """A row: its labels, its (number, interval) cells, and whether the numbers are the paper's."""

    labels: tuple[str, ...]
    cells: tuple[tuple[str, str], ...]
    paper: bool = False


def write_report(sources: ReportSources, out: Path, config: Config) -> None:
    """Write the report.

    Raises:
        InputError: no Table 1 under both criteria `token` and `mmedit` among the tables.
    """
    tables = {path.stem: pd.read_csv(path) for path in sources.tables}
    for name in ("table1", "table1_mmedit"):
        if name not in tables:
            raise InputError(f"report: no {name}.csv among the tables {', '.join(map(str, sources.tables))}")
    admission = verdicts(pd.read_csv(sources.admission, keep_default_na=False, na_values=[""]))
    shown = dict.fromkeys(name for names in config.shown.values() for name in names)
    page = render_page(
        "report.html",
        tables=_sections(tables),
        admission=admission,
        doubted=not_admitted(admission),
        embedded=[name for name in shown if config.backbones[name].folder is None],
        figures=[(path.stem, file_address(path), FIGURE_NOTES.get(path.stem, "")) for path in sources.figures],
        diagnostics=plain_table(_percent(pd.read_csv(sources.diagnostics))),
        checks=plain_table(_joined(sources.checks)),
        settings=_settings(sources.settings, config),
        times=plain_table(_rounded(run_times(sources.benchmarks))),
        versions={"unike": __version__, **versions()},
        confidence=f"{100 * config.statistics.confidence:g}%",
        **_in_words(tables, config),
    )
    with atomic_path(out) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _in_words(tables: Mapping[str, pd.DataFrame], config: Config) -> dict[str, Any]:
    """Return what the tables say: the paper's claims, order against the paper's, order between criteria."""
    kinds = {name: resolve_method(config.methods, name).method for name in config.methods}
    of_cells = [table for name, table in tables.items() if _split_name(name)[1] == "token" and {*ROW} <= set(table)]
    first = next(place for place, table in enumerate(of_cells) if table is tables["table1"])
    ordered = [of_cells[first], *of_cells[:first], *of_cells[first + 1 :]]
    return {
        "claims": paper_claims(ordered, kinds),
        "order": order_differences(tables["table1"]),
        "changes": ranking_changes(tables["table1"], tables["table1_mmedit"]),
    }


def _sections(tables: Mapping[str, pd.DataFrame]) -> list[tuple[str, list[tuple[str, ShownTable]]]]:
    """Return a section a table: its title, and the criteria under which it was scored, `token` first."""
    sections: dict[str, list[tuple[str, ShownTable]]] = {}
    for name, table in tables.items():
        base, criterion = _split_name(name)
        sections.setdefault(base, []).append((criterion, shown_table(table)))
    for parts in sections.values():
        parts.sort(key=lambda part: CRITERIA.index(part[0]))
    return [(TABLE_TITLES.get(base, base), parts) for base, parts in sorted(sections.items())]


def _split_name(name: str) -> tuple[str, str]:
    """Return table and criterion of a file's name: "table1_mmedit" -> "table1", "mmedit"."""
    base, _, criterion = name.partition("_")
    return (base, criterion) if criterion in CRITERIA else (name, "token")


def shown_table(table: pd.DataFrame) -> ShownTable:
    """Lay out a results table: every column X with ends X_low and X_high is a number, with paper_X in a row below.

    Columns before the first number are labels, without counts of clusters.
    """
    columns = [str(name) for name in table]
    numbers = [name for name in columns if f"{name}_low" in columns]
    labels = [name for name in columns[: columns.index(numbers[0])] if name != "clusters"] if numbers else columns
    rows = []
    for row in rows_of(table):
        texts = tuple(_label(name, row[name]) for name in labels)
        rows.append(ShownRow(texts, tuple(_with_ends(row, name) for name in numbers)))
        printed = [row.get(f"paper_{name}", float("nan")) for name in numbers]
        if not pd.isna(printed).all():
            blank = ("the paper", *[""] * (len(labels) - 1))
            rows.append(ShownRow(blank, tuple(("" if pd.isna(n) else f"{n:.1f}", "") for n in printed), paper=True))
    titles = tuple(METRIC_TITLES.get(name, _words(name)) for name in numbers)
    return ShownTable(tuple(map(_words, labels)), titles, tuple(rows))


def plain_table(table: pd.DataFrame) -> ShownTable:
    """Lay out any table: columns of text are labels, the others numbers with at most three decimals."""
    columns = [str(name) for name in table]
    labels = [name for name in columns if not pd.api.types.is_numeric_dtype(table[name])]
    numbers = [name for name in columns if name not in labels]
    rows = tuple(
        ShownRow(tuple(str(row[name]) for name in labels), tuple((_number(row[name]), "") for name in numbers))
        for row in rows_of(table)
    )
    return ShownTable(tuple(map(_words, labels)), tuple(map(_words, numbers)), rows)


def not_admitted(found: Mapping[str, Verdict]) -> list[str]:
    """Say on which backbones and tasks UniKE's rows mean nothing, because the admission tests were not passed."""
    sentences = []
    for name, verdict in found.items():
        failed = [task for task in verdict.tasks if not verdict.admits(task)]
        if failed:
            sentences.append(f"{name} did not pass the admission tests ({', '.join(failed)})")
    return sentences


def _settings(path: Path, config: Config) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the settings by section, each with value, source and note."""
    table = setting_sources(path.read_text(encoding="utf-8"), config.model_dump(mode="json"))
    return [(str(name), rows_of(rows)) for name, rows in table.groupby("section", sort=False)]


def _joined(checks: Mapping[str, Path]) -> pd.DataFrame:
    return pd.concat([pd.read_csv(path).assign(backbone=name) for name, path in checks.items()])


def _percent(table: pd.DataFrame) -> pd.DataFrame:
    shares = ["exact", "token", "consistency"]
    return table.assign(**{name: (100 * table[name]).round(1) for name in shares}).rename(
        columns={name: f"{name} %" for name in shares}
    )


def _rounded(times: pd.DataFrame) -> pd.DataFrame:
    return times.round(0).rename(columns={"seconds": "seconds in all", "longest": "longest job, s", "memory": "MB"})


def _label(name: str, value: Any) -> str:
    return short_title(value) if name == "method" else str(value)


def _with_ends(row: Row, name: str) -> tuple[str, str]:
    value, low, high = (float(row[key]) for key in (name, f"{name}_low", f"{name}_high"))
    if pd.isna(value):
        return "-", ""
    return f"{value:.1f}", "" if pd.isna(low) else f"{low:.1f} to {high:.1f}"


def _number(value: float) -> str:
    """Return a number with at most three decimals; a dash for what was not measured."""
    return "-" if pd.isna(value) else f"{value:.3f}".rstrip("0").rstrip(".")


def _words(name: str) -> str:
    return name.replace("_", " ")
