"""What a judge says of the records' answers beside what `normalised` says: how often they agree, and where not."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from unike_lib.config.judge import JudgeConfig
from unike_lib.io import DECIMALS, read_table, write_csv, write_text
from unike_lib.probe_kinds import further_kinds, kind_title
from unike_lib.reporting.markdown import markdown_table, rows_of
from unike_lib.reporting.records import ROW

EXAMPLES = 10
CELLS = ["table", *ROW, "kind"]
TEXTS = ["question", "answers", "given"]
EXPLANATION = (
    "A language model reads the question, the accepted answers and the answer that was written, and says whether it is "
    "right: what must become the target is compared with the target and its aliases, what must stay with the unedited "
    "model's own answer. It sees no picture. `normalised` compares the same texts letter by letter (without case, "
    "articles, punctuation). Agreement: share of answers with equal verdicts, in percent. Kappa: Cohen's, agreement "
    "beyond chance; a dash where chance alone agrees always. Let through: share of answers wrong by `normalised` that "
    "the judge calls right; refused: share of those right that it calls wrong. A judge that refuses many right "
    "answers, or has a kappa near 0, is too weak to be believed."
)


def agreement_of(verdicts: pd.DataFrame) -> dict[str, float | int]:
    """Return how a judge and `normalised` agree on some answers.

    Args:
        verdicts: `judged` and `normalised`, each 0 or 1.

    Returns:
        answers: their number; in percent judge and normalised (right by each), agreement, let_through (wrong by
        `normalised`, right by the judge), refused (the reverse); kappa. NaN: undefined.
    """
    judge, other = verdicts["judged"].eq(1), verdicts["normalised"].eq(1)
    agreed = float(judge.eq(other).mean())
    chance = judge.mean() * other.mean() + (1 - judge.mean()) * (1 - other.mean())
    return {
        "answers": len(verdicts),
        "judge": 100 * float(judge.mean()),
        "normalised": 100 * float(other.mean()),
        "agreement": 100 * agreed,
        "kappa": (agreed - chance) / (1 - chance) if chance < 1 else float("nan"),
        "let_through": 100 * float(judge[~other].mean()),
        "refused": 100 * float((~judge[other]).mean()),
    }


def judge_table(verdicts: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return `agreement_of` of each group of answers, in the order of the records."""
    rows = [dict(zip(by, key, strict=True)) | agreement_of(group) for key, group in verdicts.groupby(by, sort=False)]
    return pd.DataFrame(rows).round(DECIMALS)


def write_judge(verdicts: Mapping[str, Path], outputs: Mapping[str, Path], settings: JudgeConfig) -> None:
    """Write results/judge.csv, one row per table, cell and probe kind, and results/judge.md, a page to read.

    Args:
        verdicts: files of `judge_records`, by table.
        outputs: `csv`, `markdown`.
        settings: which judge, and what it was asked.
    """
    rows = pd.concat([read_table(path).assign(table=name) for name, path in verdicts.items()], ignore_index=True)
    kinds = further_kinds({*rows["kind"]}, ())
    cells = rows.groupby(CELLS[:-1], sort=False).ngroup()
    rows = rows.assign(cell=cells, place=rows["kind"].map(kinds.index)).sort_values(["cell", "place"], kind="stable")
    write_csv(outputs["csv"], judge_table(rows, CELLS))
    write_text(outputs["markdown"], judge_page(rows, settings))


def judge_page(verdicts: pd.DataFrame, settings: JudgeConfig) -> str:
    """Return the page: agreement over all answers, by table and by probe kind, and answers where both differ."""
    asked = verdicts[verdicts["margin"].notna()]
    prompt = "\n".join(f"    {line}" for line in settings.prompt.splitlines())
    everything = judge_table(verdicts.assign(table="all"), ["table"])
    tables = pd.concat([everything, judge_table(verdicts, ["table"])])
    return "\n\n".join([
        "# Answers judged by a language model",
        f"Judge: `{settings.folder}`. {EXPLANATION}",
        _markdown("Table", tables["table"].tolist(), tables),
        *_by_kind(judge_table(verdicts, ["kind"])),
        *_examples(asked[asked["judged"] != asked["normalised"]]),
        f"## What the judge is asked\n\n{prompt}",
    ]) + "\n"  # fmt: skip


def _by_kind(table: pd.DataFrame) -> list[str]:
    return ["## By question", _markdown("Question", [kind_title(kind) for kind in table["kind"]], table)]


def _markdown(first: str, names: list[str], table: pd.DataFrame) -> str:
    columns = ["judge", "normalised", "agreement", "let_through", "refused"]
    lines = [
        [name, str(row["answers"]), *(_number(row[each]) for each in columns), _number(row["kappa"], 2)]
        for name, row in zip(names, rows_of(table), strict=True)
    ]
    return markdown_table(
        [first, "answers", "right by the judge", *columns[1:3], "let through", "refused", "kappa"], lines
    )


def _examples(differing: pd.DataFrame) -> list[str]:
    """Return the first texts of which both differ, each once, with the verdict of each."""
    rows = differing.assign(answers=differing["answers"].map(" or ".join)).drop_duplicates([*TEXTS, "kind"])
    lines = [
        [row["question"], row["answers"], row["given"], "right" if row["judged"] else "wrong", f"{row['margin']:+.1f}"]
        for row in rows_of(rows.head(EXAMPLES))
    ]
    escaped = [[" ".join(text.split()).replace("|", "\\|") for text in line] for line in lines]
    header = ["Question", "accepted", "written", "by the judge", "margin, nats"]
    title = f"## Where they differ\n\n{len(rows)} texts; the first {len(lines)}."
    return [title, markdown_table(header, escaped)] if lines else []


def _number(value: float, digits: int = 1) -> str:
    return "-" if pd.isna(value) else f"{value:.{digits}f}"
