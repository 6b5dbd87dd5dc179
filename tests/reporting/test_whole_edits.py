"""Each edit as a whole: made-up edits with known outcomes, and loops over edits in the place of tables."""

import itertools

import pandas as pd
import pytest
from made_up_records import make_records, with_tables
from naive_intervals import interval

from unike_lib.config.tables import TableConfig
from unike_lib.reporting.edit_tables import write_edit_tables
from unike_lib.reporting.joint_figure import draw_joint
from unike_lib.reporting.tables import write_result_table
from unike_lib.reporting.whole_edits import OUTCOMES, edit_outcomes, right_before
from unike_lib.table_parts import table_parts
from unike_lib.types import PROBE_KINDS, InputError

CELL = ("left", "vqa", "fine-tune")
SHARES = list(OUTCOMES)


def run_of(config, methods, **fields):
    rows = TableConfig(title="Mine", backbones=["left"], tasks=["vqa"], methods=methods, **fields)
    return table_parts(with_tables(config, table1=rows), "table1")


@pytest.fixture
def write(config, save, tmp_path):
    """Return a function that writes the tables of edits of these records and returns both."""

    def written(*records, trained=None, **fields):
        methods = list(dict.fromkeys(each["method"].iloc[0] for each in records))
        paths = [save(each, f"part{number}") for number, each in enumerate(records)]
        out = {"edits": tmp_path / "e.csv", "cost": tmp_path / "c.csv", "cost_page": tmp_path / "c.md"}
        write_edit_tables(paths, trained or {}, out, run_of(config, methods, **fields))
        return pd.read_csv(out["edits"]), pd.read_csv(out["cost"])

    return written


def made(right, edits=12, cell=CELL, **fields):
    """Records whose generated score is that of `right` by kind: a number, or a function of the edit's number."""
    records = make_records(cell, edits=edits, **fields)
    numbers = records["case"].str.rsplit("-", n=1).str[1].astype(int)
    of = [
        right[kind](n) if callable(right[kind]) else right[kind]
        for kind, n in zip(records["kind"], numbers, strict=True)
    ]
    return records.assign(generated=pd.Series(of, records.index).astype(float))


def test_edits_with_known_outcomes(write):
    """One always says the target, one never does, one does all, one the edit alone, one breaks a locality as well."""
    asked, near = dict.fromkeys(PROBE_KINDS, 1), {"t_loc": 1, "m_loc": 1}
    kinds = {
        "fine-tune": asked | {"t_loc": 0, "m_loc": 0},  # always the target
        "base": dict.fromkeys(PROBE_KINDS, 0) | near,  # never
        "t-patcher": asked,
        "unike": asked | {"t_gen": 0},
        "unike-paper": asked | {"m_gen": 0, "m_loc": 0},
    }
    table, _ = write(*(made(right, cell=("left", "vqa", method)) for method, right in kinds.items()))
    outcomes = ["over_generalised", "not_reliable", "joint", "under_generalised", "both"]
    for row, outcome in zip(table.to_dict("records"), outcomes, strict=True):
        assert {name: row[name] for name in SHARES} == dict.fromkeys(SHARES, 0.0) | {outcome: 100.0}, row["method"]
    assert table["criterion"].unique().tolist() == ["generated"]


def test_outcomes_are_those_of_loops_over_edits(write):
    """Every pattern of right and wrong answers once, with a kind that some edits are asked beside, and another."""
    patterns = list(itertools.product([0, 1], repeat=5))
    right = {kind: lambda n, place=place: patterns[n][place] for place, kind in enumerate(PROBE_KINDS)}
    records = made(right, edits=32)
    port = records[records["kind"] == "rel"].assign(kind="portability", generated=0.0)
    records = pd.concat([records, port])
    (row,) = write(records)[0].to_dict("records")
    count = dict.fromkeys(SHARES, 0)
    joint = []
    for rel, *general, text, image in patterns:
        wrong = "" if rel else "not_reliable"
        fails = ("g" if 0 in general else "") + ("l" if 0 in (text, image) else "")
        name = wrong or {"": "joint", "g": "under_generalised", "l": "over_generalised", "gl": "both"}[fails]
        count[name] += 1
        joint.append(float(name == "joint"))
    assert [row[name] for name in SHARES] == [100 * count[name] / 32 for name in SHARES]
    assert sum(row[name] for name in SHARES) == 100 and row["localities"] == "t_loc m_loc"
    facts = records[records["kind"] == "rel"]["facts"].tolist()
    low, high = interval([joint], facts, "scores")
    assert [row["joint_low"], row["joint_high"]] == pytest.approx([100 * low, 100 * high], abs=1e-4)


def test_seeds_are_averaged_and_without_generation_tokens_count(write):
    one = make_records(CELL, generated=False).assign(token=1.0)
    other = one.assign(seed=4, token=lambda rows: rows["kind"].ne("t_gen") | rows["case"].isin(["vqa-0", "vqa-5"]))
    table, cost = write(pd.concat([one, other.astype({"token": float})]))
    (row,) = table.to_dict("records")
    assert (row["criterion"], row["edits"], row["joint"]) == ("token", 12, pytest.approx(100 * (12 + 2) / 24, abs=1e-4))
    assert row["under_generalised"] == pytest.approx(100 * 10 / 24, abs=1e-4)
    assert pd.isna(row["right_before"]) and pd.isna(row["rest_rel"]) and row["others"] == 0
    assert cost["edits"].tolist() == [24]


def test_edits_that_were_right_before_are_counted_and_left_out_of_the_means(write):
    right = {kind: lambda n, place=place: (n + place) % 3 == 0 for place, kind in enumerate(PROBE_KINDS)}
    records = made(right).assign(aliases=[["scarlet"]] * 60)
    texts = {"vqa-0": " RED.", "vqa-1": "Scarlet !", "vqa-2": "a red", "vqa-3": ""}
    (row,) = write(records.assign(text_before=records["case"].map(texts).fillna("blue")))[0].to_dict("records")
    assert (row["right_before"], row["others"]) == (pytest.approx(100 * 2 / 12, abs=1e-4), 10)
    for place, kind in enumerate(PROBE_KINDS):
        expected = sum((n + place) % 3 == 0 for n in range(2, 12)) / 10
        assert row[f"rest_{kind}"] == pytest.approx(100 * expected), kind
    assert right_before("a cat", (), "A  Cat.") and not right_before("cat", (), "a cat")


def test_sessions_are_clusters_and_of_each_k_there_is_a_row(write):
    short, long = (made(dict.fromkeys(PROBE_KINDS, lambda n: n % 2), edits=30, k=k) for k in (3, 5))
    table, _ = write(short, long, ks=[3, 5])
    assert table["k"].tolist() == [3, 5] and table["joint"].tolist() == [50, 50]
    for row, size in zip(table.to_dict("records"), (3, 5), strict=True):
        sessions = [[f"session {n // size}"] for n in range(30)]
        low, high = interval([[float(n % 2) for n in range(30)]], sessions, "scores")
        assert [row["joint_low"], row["joint_high"]] == pytest.approx([100 * low, 100 * high], abs=1e-4)


def test_costs_are_sums_over_edits_and_training_stands_apart(write, tmp_path):
    records = make_records(CELL)
    number = records["case"].str[4:].astype(float)
    records = records.assign(edit_seconds=number, edit_bytes=1000 * number, peak_mb=100 + number)
    for seed, seconds in ((0, 4.0), (1, 5.0)):
        pd.DataFrame({"step": [1, 2], "seconds": seconds}).to_csv(tmp_path / f"{seed}.csv", index=False)
    trained = {("left", "fine-tune"): [tmp_path / "0.csv", tmp_path / "1.csv"]}
    _, cost = write(records, make_records(("left", "vqa", "base")), trained=trained)
    row, base = cost.to_dict("records")
    assert [row[name] for name in ("seconds", "bytes", "peak_mib")] == [66 / 12, 66_000 / 12, 111]
    assert (row["training_seconds"], base["training_seconds"], base["seconds"]) == (4.5, 0, 0.5)
    lines = (tmp_path / "c.md").read_text().splitlines()
    assert "| left, VQA, FT | 12 | 5.500 | 5,500 | 111 | 4.5 |" in lines
    assert "| left, VQA, Base | 12 | 0.500 | 1,000 | 200 | - |" in lines
    pd.DataFrame({"step": [1]}).to_csv(tmp_path / "0.csv", index=False)
    with pytest.raises(InputError, match=r"0\.csv: no seconds"):
        write(records, trained=trained)


def test_the_page_and_the_figure_show_the_numbers(write, config, control, save, tmp_path):
    right = dict.fromkeys(PROBE_KINDS, 1) | {"m_loc": lambda n: n < 9}
    table, _ = write(made(right))
    run, paths = run_of(config, ["fine-tune"]), [tmp_path / "part0.parquet"]
    out = {"token": tmp_path / "token.csv", "markdown": tmp_path / "page.md"}
    write_result_table({"table1": paths}, control, out, run, edits=[tmp_path / "e.csv"])
    text = out["markdown"].read_text()
    low, high = table.loc[0, ["joint_low", "joint_high"]]
    assert (
        f"| left, VQA, FT | 12 | 75.0 ({low:.1f} to {high:.1f}) | 0.0 | 25.0 | 0.0 | 0.0 | 0.0 | 12 | 100.0 |" in text
    )
    assert "## Each edit as a whole\n\nBy `generated`" in text and "(T-Loc., M-Loc.)" in text
    files = [{kind: tmp_path / f"{kind}{number}" for kind in ("pdf", "png", "csv")} for number in range(2)]
    for each in files:
        draw_joint(tmp_path / "e.csv", each)
    assert all(files[0][kind].read_bytes() == files[1][kind].read_bytes() for kind in files[0])
    assert pd.read_csv(files[0]["csv"])["joint"].tolist() == [75.0]


def test_a_locality_that_an_edit_is_not_asked_does_not_fail_it():
    scores = pd.DataFrame([[1.0] * 5, [1.0] * 5, [1.0] * 4 + [0.0]], columns=list(PROBE_KINDS))
    scores.loc[1, "m_loc"] = float("nan")
    assert edit_outcomes(scores)["joint"].tolist() == [1, 1, 0]
