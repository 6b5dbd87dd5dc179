"""Each edit as a whole: whether it does all that it must at once, and if not, what fails; and how hard edits are.

An answer is right where its score is 1: by `generated`, the whole answer as written; by `token`, every token of it.
"""

from collections.abc import Iterable

import pandas as pd

from unike_lib.benchmark.answers import normalise_answer
from unike_lib.config.evaluation import StatisticsConfig
from unike_lib.io import DECIMALS
from unike_lib.probe_kinds import AIMS, KINDS, kind_title
from unike_lib.records import EDIT
from unike_lib.reporting.cells import cells_of
from unike_lib.reporting.intervals import mean_interval
from unike_lib.reporting.markdown import cell, markdown_table, rows_of
from unike_lib.reporting.records import REPEATED, ROW
from unike_lib.reporting.scores import edit_clusters
from unike_lib.reporting.table_text import confidence_text, setting_text
from unike_lib.table_parts import TableParts
from unike_lib.types import PROBE_KINDS

# What becomes of an edit: one of these. Titles are those of pages and figures.
OUTCOMES = {
    "joint": "joint success",
    "under_generalised": "under-generalised",
    "over_generalised": "over-generalised",
    "both": "both",
    "not_reliable": "not reliable",
}
TEXTS = ("target", "aliases", "text_before")  # what of records says whether the answer was right before the edit
STAYS = tuple(name for name, kind in KINDS.items() if kind.must == "stay")
EXPLANATION = (
    "By `{criterion}`, in percent of all edits, {confidence} intervals for joint success. Joint success: the edit "
    "itself and both generalities are right, and every locality that the edit is asked ({localities}) is as before. Of "
    "the other reliable edits, under-generalised: a generality fails alone; over-generalised: a locality fails alone; "
    "both: both fail. Right before: the unedited model already wrote the edit's answer; the last columns are means "
    "over the other edits."
)


def outcome_criterion(records: pd.DataFrame) -> str:
    """Return the criterion by which edits are judged as a whole: `generated`, and `token` where generation was off."""
    return "generated" if "generated" in records and records["generated"].notna().all() else "token"


def edit_outcomes(scores: pd.DataFrame) -> pd.DataFrame:
    """Return what becomes of each edit, a column of 0 and 1 per outcome of `OUTCOMES`.

    Args:
        scores: [edit, probe kind], from 0 to 1; NaN where an edit is not asked a kind.
    """
    held = scores.eq(1) | scores.isna()
    reliable = held[list(AIMS["reliability"])].all(axis=1)
    general = held[[kind for kind in AIMS["generality"] if kind in held]].all(axis=1)
    local = held[[kind for kind in STAYS if kind in held]].all(axis=1)
    found = {
        "joint": reliable & general & local,
        "under_generalised": reliable & ~general & local,
        "over_generalised": reliable & general & ~local,
        "both": reliable & ~general & ~local,
        "not_reliable": ~reliable,
    }
    return pd.DataFrame(found).astype(float)


def right_before(target: str, aliases: Iterable[str], text: str) -> bool:
    """Tell whether what the unedited model writes is the edit's answer or an alias of it."""
    return normalise_answer(text) in {normalise_answer(each) for each in (target, *aliases)}


def whole_edits(records: pd.DataFrame, run: TableParts) -> pd.DataFrame:
    """Return each cell's edits as a whole, in the order of the table.

    Args:
        records: of the table's cells, with `TEXTS`.
        run: what the table reads of the configuration.

    Returns:
        One row per cell: `ROW`, `criterion`, `localities` (kinds that count, as far as edits are asked), `edits`; in
        percent `joint` with its interval and the other `OUTCOMES`, means over seeds, whose sum is 100; `right_before`,
        percent of edits whose answer was right before (NaN: generation was off); `others`, the number of the other
        edits; rest_X, the mean score of the aim X over these.
    """
    criterion = outcome_criterion(records)
    rows = [
        dict(zip(ROW, key, strict=True)) | {"criterion": criterion} | _cell(of_cell, criterion, run.statistics)
        for key, of_cell in records.groupby(ROW)
    ]
    return cells_of(run.name, records, run).merge(pd.DataFrame(rows), on=ROW).round(DECIMALS)


def _cell(records: pd.DataFrame, criterion: str, statistics: StatisticsConfig) -> dict[str, float | int | str]:
    one = ["session", "case"]
    scores = records.pivot(index=REPEATED, columns="kind", values=criterion).sort_index()
    outcomes = edit_outcomes(scores).groupby(level=one, sort=False).mean()
    clusters = edit_clusters(records, outcomes)
    low, high = mean_interval([outcomes[["joint"]].to_numpy()], clusters, statistics.confidence)
    shares = 100 * outcomes.mean()
    row: dict[str, float | int | str] = {
        "localities": " ".join(kind for kind in STAYS if kind in scores),
        "edits": len(outcomes),
        "joint": shares.pop("joint"),
        "joint_low": 100 * low[0],
        "joint_high": 100 * high[0],
        **shares,
    }
    edits = records[records["kind"] == "rel"].set_index(["seed", *EDIT])
    before = pd.Series([right_before(*texts) for texts in edits[list(TEXTS)].itertuples(index=False)], edits.index)
    before = before.groupby(level=one).first().reindex(outcomes.index)
    written = bool(edits["text_before"].ne("").any())
    rest = scores.groupby(level=one, sort=False).mean()[~before] if written else scores.iloc[:0]
    row["right_before"] = 100 * before.mean() if written else float("nan")
    row["others"] = len(rest)
    means = rest.mean().reindex(PROBE_KINDS)
    return row | {f"rest_{kind}": 100 * means[kind] for kind in PROBE_KINDS}


def whole_section(table: pd.DataFrame, run: TableParts) -> list[str]:
    """Return the section of a page about its edits as a whole; `table`: of `whole_edits`."""
    header = ["Backbone, task, method", "edits", *OUTCOMES.values(), "right before", "other edits"]
    lines = []
    for row in rows_of(table):
        name = f"{row['backbone']}, {setting_text(row)}, {run.titles[row['method']]}"
        shares = [row[outcome] for outcome in list(OUTCOMES)[1:]] + [row["right_before"]]
        means = [row[f"rest_{kind}"] for kind in PROBE_KINDS]
        texts = [cell(row, "joint"), *map(_number, shares), str(row["others"]), *map(_number, means)]
        lines.append([name, str(row["edits"]), *texts])
    asked = dict.fromkeys(kind for kinds in table["localities"] for kind in str(kinds).split())
    explanation = EXPLANATION.format(
        criterion=table["criterion"].iloc[0],
        confidence=confidence_text(run.statistics),
        localities=", ".join(map(kind_title, asked)),
    )
    page = markdown_table([*header, *(f"their {kind_title(kind)}" for kind in PROBE_KINDS)], lines)
    return ["## Each edit as a whole", explanation, page]


def _number(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.1f}"
