"""docs/science.md: its numbers are those of records, none is typed by hand, and what is missing is an error."""

import json
import shutil
from itertools import product

import numpy as np
import pandas as pd
import pytest
from made_up_records import make_records

from tools.science.collect import CRITERIA, collect
from tools.science.numbers import Numbers
from tools.science.page import NUMBERS, PAGE, TEMPLATE, page_text, typed_numbers
from unike_lib.config.evaluation import StatisticsConfig
from unike_lib.io import write_table
from unike_lib.reporting.scores import score_table
from unike_lib.types import PROBE_KINDS, InputError

ROW = ["backbone", "task", "k", "method"]
SMOL, NANO = "minigpt4-smol", "blip2-nano"
# Settings, in the places of the template where they may stand: confidence; a tie of AUC; the pool's quantiles.
SETTINGS = ["95%", ".001", "95%"]
METRICS = [*PROBE_KINDS, "t_gen_far", "gap", "mean", "lowest", "joint"]
MADE = {  # table -> backbones, tasks, Ks, methods
    "rivals": (
        [SMOL, NANO],
        ["vqa", "caption"],
        [1, 10, 20],
        ["base", "fine-tune", "t-patcher", "unike", "unike-scope"],
    ),
    "cross": (
        *([SMOL, NANO], ["vqa", "caption"], [1, 20]),
        ["fine-tune", "fine-tune-scope", "t-patcher", "t-patcher-scope", "unike", "unike-scope"],
    ),
    "hundred": ([SMOL], ["vqa", "caption"], [100], ["fine-tune", "t-patcher", "unike", "unike-scope"]),
    "ablations": ([SMOL], ["vqa", "caption"], [20], ["unike-scope", "unike-scope-neurons"]),
    "trained": ([SMOL], ["vqa", "caption"], [1, 20], ["ke", "mend"]),
    "in-context": ([SMOL], ["vqa"], [1], ["ike"]),
    "parts": ([SMOL], ["vqa"], [1], ["only-intrin", "only-latent-ike", "intrin-latent-ike", "unike"]),
    "mixed": ([SMOL], ["cross"], [10], ["fine-tune", "unike", "unike-scope"]),
}


def with_numbers(rows, seed):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rows)
    for name in METRICS:
        values = rng.uniform(40, 90, len(table)).round(4)
        table = table.assign(**{name: values, f"{name}_low": values - 2, f"{name}_high": values + 2})
    return table


def made_rows(table, criteria):
    backbones, tasks, ks, methods = MADE[table]
    for criterion, backbone, task, k, method in product(criteria, backbones, tasks, ks, methods):
        yield {"table": table, "criterion": criterion, "backbone": backbone, "task": task, "k": k, "method": method}


@pytest.fixture
def folder(tmp_path):
    """A folder of numbers with every table, each number made up."""
    scores = [
        row | {"edits": 20, "control_passed": row["backbone"] == SMOL} for t in MADE for row in made_rows(t, CRITERIA)
    ]
    with_numbers(scores, 0).to_csv(tmp_path / "scores.csv", index=False)
    edits = [{**row} for table in MADE for row in made_rows(table, ["token"])]
    with_numbers(edits, 1).drop(columns="criterion").to_csv(tmp_path / "edits.csv", index=False)
    leads = []
    for row in scores:
        others = MADE[row["table"]][3] + (["unike", "unike-scope"] if row["table"] in ("trained", "in-context") else [])
        for first in others:
            behind = first == f"{row['method']}-scope"
            if row["method"] not in (first, "base") and (first in ("unike", "unike-scope") or behind):
                leads.append(
                    row | {"first": first, "second": row["method"], "seeds": 3, "seed_lowest": 1, "seed_highest": 2}
                )
    with_numbers(leads, 2).drop(columns="method").to_csv(tmp_path / "leads.csv", index=False)
    scope = [
        dict(zip(["backbone", "task", "set", "layer"], each, strict=True))
        | {"split": "eval", "auc": 0.5 + each[3] / 100, "nearest_is_own": 0.5}
        | {"edited": each[3] in (20, 23), "chosen": each[3] == 26}
        for each in product([SMOL, NANO], ["vqa", "caption"], ["t_gen", "t_gen_far", "m_gen"], [20, 23, 26, 29])
    ]
    pd.DataFrame(scope).to_csv(tmp_path / "scope.csv", index=False)
    run = {"version": "0", "machine": "a desk", "tables": {name: {"commit": "abc", "seeds": 3} for name in MADE}}
    (tmp_path / "run.json").write_text(json.dumps(run))
    return tmp_path


def test_the_page_is_what_its_numbers_give():
    """Byte for byte, in a fresh clone."""
    if not NUMBERS.exists():
        pytest.skip("no run has been taken in")
    assert page_text(TEMPLATE.read_text(encoding="utf-8"), Numbers(NUMBERS)) == PAGE.read_text(encoding="utf-8")


def test_no_result_is_typed_by_hand():
    assert typed_numbers(TEMPLATE.read_text(encoding="utf-8")) == SETTINGS
    typed = (
        "{{ n.score('rel') }} 3 of 4, 93.8 (90.1), -.5 or 77%, 7 billion, minigpt4 at 20.\n{% if x > 2.5 %}y{% endif %}"
    )
    assert typed_numbers(typed) == ["93.8", "90.1", "-.5", "77%"]


def test_every_part_of_the_template_can_be_rendered(folder):
    numbers = Numbers(folder)
    page = page_text(TEMPLATE.read_text(encoding="utf-8"), numbers)
    assert "{" not in page and "nan" not in page.replace("nano", "") and "\n\n\n\n" not in page
    row = numbers.row("scores", table="rivals", backbone=SMOL, task="vqa", k=20, method="unike-scope")
    joint = numbers.row("edits", table="rivals", backbone=SMOL, task="vqa", k=20, method="unike-scope")["joint"]
    (line,) = [line for line in page.splitlines() if line.startswith("| VQA, 20 | **unike-scope** |")]
    assert f" {row['t_gen_far']:.1f} |" in line and line.endswith(f"{joint:.1f} ({joint - 2:.1f} to {joint + 2:.1f}) |")
    assert page.count("The numbers, by `token`") == 1
    assert len(numbers.claims()) == 8


@pytest.mark.parametrize(
    ("file", "keys"), [("scores", ["method"]), ("edits", ["method"]), ("leads", ["first", "second"])]
)
def test_a_missing_number_is_an_error_that_names_it(folder, file, keys):
    table = pd.read_csv(folder / f"{file}.csv")
    wanted = (table["table"] == "cross" if file == "leads" else table["table"] == "rivals") & (table["k"] == 20)
    wanted &= (table["task"] == "vqa") & (table["backbone"] == SMOL) & (table[keys[-1]] == "t-patcher")
    table[~wanted].to_csv(folder / f"{file}.csv", index=False)
    with pytest.raises(InputError, match=rf"{file}\.csv: 0 rows with ") as raised:
        page_text(TEMPLATE.read_text(encoding="utf-8"), Numbers(folder))
    for word in (f"table {'cross' if file == 'leads' else 'rivals'}", "task vqa", "k 20", f"{keys[-1]} t-patcher"):
        assert word in str(raised.value)


def test_an_empty_number_is_an_error_that_names_its_column(folder):
    table = pd.read_csv(folder / "scores.csv")
    table.loc[(table["table"] == "rivals") & (table["method"] == "unike"), "m_gen"] = np.nan
    table.to_csv(folder / "scores.csv", index=False)
    with pytest.raises(InputError, match="method unike: nothing in column m_gen"):
        page_text(TEMPLATE.read_text(encoding="utf-8"), Numbers(folder))


def test_a_table_that_was_not_run_is_said(folder):
    for file in ("scores", "edits", "leads"):
        table = pd.read_csv(folder / f"{file}.csv")
        table[table["table"].isin(["rivals", "cross"])].to_csv(folder / f"{file}.csv", index=False)
    page = page_text(TEMPLATE.read_text(encoding="utf-8"), Numbers(folder))
    assert "The ablations (`presets/ablations.yaml`) were not run." in page
    assert page.count("| not measured | not measured |") == 4  # external methods, cross-task, both of the parts


STEPS = {"": 0, "_low": -10, "_high": 10}
SEEDS, METHODS = (0, 1), ("base", "fine-tune", "unike", "unike-scope")


@pytest.fixture
def results(tmp_path):
    """A run of K = 1 and 2 with two seeds: its records, and as much of its tables as is read."""
    records = {}
    folder = tmp_path / "results" / "stages" / "records" / "left" / "eval_vqa" / "k1-2"
    folder.mkdir(parents=True)
    for method, seed in product(METHODS, SEEDS):
        parts = [make_records(("left", "vqa", method), k=k, shift=seed / 10, seed=seed) for k in (1, 2)]
        records[method, seed] = pd.concat(parts)
        write_table(folder / f"{method}{f'.seed{seed}' * bool(seed)}.parquet", records[method, seed], "fingerprint")
    everything = pd.concat(records.values())
    out = tmp_path / "results"
    for criterion, ending in CRITERIA.items():
        table = score_table(everything, criterion, StatisticsConfig(), keys=ROW).assign(control_passed=True)
        table.to_csv(out / f"rivals{ending}.csv", index=False)
    table.assign(joint=50.0).to_csv(out / "rivals_edits.csv", index=False)
    scope = {"backbone": "left", "state": ["raw", "trained", "raw"], "set": ["t_gen", "t_gen", "m_loc"], "auc": 0.5}
    pd.DataFrame(scope).to_csv(out / "scope.csv", index=False)
    return out, everything


def test_leads_are_means_over_the_same_edits_and_seeds(results, tmp_path):
    folder, records = results
    collect(folder, tmp_path / "out", "abc")
    leads = pd.read_csv(tmp_path / "out" / "leads.csv")
    pairs = {("unike", "fine-tune"), ("unike", "unike-scope"), ("unike-scope", "fine-tune"), ("unike-scope", "unike")}
    assert {*zip(leads["first"], leads["second"], strict=True)} == pairs and len(leads) == len(pairs) * len(
        CRITERIA
    ) * 2
    for row in leads.to_dict("records"):
        of_k = records[records["k"] == row["k"]]
        means = of_k.groupby(["method", "kind", "seed"])[row["criterion"]].mean().unstack("seed") * 100
        difference = means.loc[row["first"]] - means.loc[row["second"]]
        aims = (
            difference.loc["rel"]
            + difference.loc[["t_gen", "m_gen"]].mean()
            + difference.loc[["t_loc", "m_loc"]].mean()
        ) / 3
        assert row["t_loc"] == pytest.approx(difference.loc["t_loc"].mean(), abs=1e-3)
        assert row["mean"] == pytest.approx(aims.mean(), abs=1e-3) and row["mean_low"] < row["mean"] < row["mean_high"]
        assert (row["seeds"], row["seed_lowest"], row["seed_highest"]) == pytest.approx(
            (2, aims.min(), aims.max()), abs=1e-3
        )
    made = json.loads((tmp_path / "out" / "run.json").read_text())["tables"]
    assert made == {"rivals": {"commit": "abc", "seeds": 2}}
    assert len(pd.read_csv(tmp_path / "out" / "scope.csv")) == 1


def test_a_run_without_its_files_is_an_error(results, tmp_path):
    folder, _ = results
    next(folder.rglob("unike-scope.parquet")).unlink()
    next(folder.rglob("unike-scope.seed1.parquet")).unlink()
    with pytest.raises(InputError, match="k1-2: no records of unike-scope"):
        collect(folder, tmp_path / "out", "abc")
    (folder / "rivals_mmedit.csv").unlink()
    with pytest.raises(InputError, match=r"rivals_mmedit\.csv: no such file"):
        collect(folder, tmp_path / "out", "abc")
    (folder / "rivals.csv").unlink()
    with pytest.raises(InputError, match=r"results: no rivals\.csv, cross\.csv, .*; expected a run of `make science`"):
        collect(folder, tmp_path / "out", "abc")
    (folder / "trained.csv").touch()
    (folder / "trained.csv").write_text("backbone,task,k,method\n")
    with pytest.raises(InputError, match=r"rivals\.csv: no such file; expected the table that trained is compared"):
        collect(folder, tmp_path / "out", "abc")


def test_a_later_run_replaces_its_own_tables_and_leaves_the_others(results, tmp_path):
    folder, _ = results
    out = tmp_path / "out"
    collect(folder, out, "abc")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for path in sorted(folder.glob("rivals*.csv")):
        path.rename(path.with_name(path.name.replace("rivals", "hundred")))
    (folder / "scope.csv").unlink()
    collect(folder, out, "def")
    tables = pd.read_csv(out / "scores.csv")["table"]
    assert [*tables] == ["rivals"] * (len(tables) // 2) + ["hundred"] * (len(tables) // 2)
    assert Numbers(out).commits() == "`abc` (rivals), `def` (hundred)" and Numbers(out).seeds() == "rivals 2, hundred 2"
    for file in ("scores.csv", "edits.csv", "leads.csv"):
        assert (out / file).read_bytes().startswith(before[file])
    assert (out / "scope.csv").read_bytes() == before["scope.csv"]
    once = {path.name: path.read_bytes() for path in out.iterdir()}
    collect(folder, out, "def")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == once
    with pytest.raises(InputError, match=r"results: no rivals\.csv"):
        collect(folder, out, "def", ["rivals"])


def test_a_cell_of_several_tables_is_the_one_with_the_most_edits(folder):
    scores = pd.read_csv(folder / "scores.csv")
    more = scores[(scores["table"] == "rivals") & (scores["backbone"] == SMOL) & (scores["k"] == 20)]
    more = more[more["method"] != "base"].assign(table="hundred", edits=100)
    pd.concat([scores, more]).to_csv(folder / "scores.csv", index=False)
    cells = [(each["backbone"], each["k"], each["task"], each["table"]) for each in Numbers(folder).main_cells()]
    places = [(SMOL, 1), (SMOL, 10), (SMOL, 20), (SMOL, 100), (NANO, 1), (NANO, 10), (NANO, 20)]
    tables = {(SMOL, 20): "hundred", (SMOL, 100): "hundred"}
    assert cells == [(*place, task, tables.get(place, "rivals")) for place in places for task in ("vqa", "caption")]


def test_long_sessions_stand_on_the_page_as_they_were_measured(results, folder, tmp_path):
    run, _ = results
    measured = [
        {"backbone": "minigpt4-smol", "method": method, "k": k, "set": name, "questions": 40, "left_out": 0}
        | {f"{column}{end}": value + step for column in ("retained", "right") for end, step in STEPS.items()}
        | {f"right_after{end}": 90.0 + step if name == "edits" else None for end, step in STEPS.items()}
        for (method, k), name, value in product(
            [("t-patcher", 10), ("unike-scope", 10)], ("taught", "general", "edits"), (50.0,)
        )
    ]
    pd.DataFrame(measured).assign(retained=lambda rows: rows["retained"].where(rows["set"] != "general", 60)).to_csv(
        run / "retention.csv", index=False
    )
    collect(run, tmp_path / "out", "abc")
    assert {*pd.read_csv(tmp_path / "out" / "retention.csv")["commit"]} == {"abc"}
    shutil.copy(tmp_path / "out" / "retention.csv", folder)
    lines = Numbers(folder).retention_table("minigpt4-smol", [10]).splitlines()[2:]
    shown = "| 10 | 50.0 (40.0 to 60.0) | 60.0 (40.0 to 60.0) | 50.0 (40.0 to 60.0) | 90.0 |"
    assert lines == [f"| T-Patcher {shown}", f"| **unike-scope** {shown}"]
