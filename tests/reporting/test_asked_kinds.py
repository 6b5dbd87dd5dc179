"""A benchmark that does not ask every kind of probe: empty columns, and all else as without them."""

import pandas as pd
import pytest
from made_up_records import METHODS, make_records

from unike_lib.reporting.edit_tables import write_edit_tables
from unike_lib.reporting.records import load_records
from unike_lib.reporting.tables import write_result_table
from unike_lib.reporting.whole_edits import edit_outcomes
from unike_lib.table_parts import table_parts
from unike_lib.types import InputError

LACKING = ("m_gen", "m_loc")
AIMLESS = ("t_gen", "m_gen")
NUMBERS = ("token", "mmedit", "exact", "generated", "differences")


@pytest.fixture
def run(config):
    rows = config.tables["table1"].model_copy(update={"backbones": ("left",), "tasks": ("vqa",)})
    return table_parts(config.model_copy(update={"tables": config.tables | {"table1": rows}}), "table1")


def write(records, control, run, folder):
    folder.mkdir()
    outputs = {name: folder / f"{name}.csv" for name in NUMBERS}
    outputs |= {"markdown": folder / "t.md", "latex": folder / "t.tex"}
    write_result_table({"table1": records}, control, outputs, run)
    return {name: pd.read_csv(outputs[name]) for name in NUMBERS}, outputs["markdown"].read_text()


def test_what_nobody_asks_is_an_empty_column(save, control, run, tmp_path):
    whole = [make_records(("left", "vqa", method)) for method in METHODS]
    fewer = [records[~records["kind"].isin(LACKING)] for records in whole]
    full, _ = write([save(each, f"a{i}") for i, each in enumerate(whole)], control, run, tmp_path / "full")
    found, page = write([save(each, f"b{i}") for i, each in enumerate(fewer)], control, run, tmp_path / "fewer")
    for name in NUMBERS:
        columns = [f"{kind}{end}" for kind in LACKING for end in ("", "_low", "_high")]
        assert found[name][columns].isna().all(axis=None), name
        gap = [column for column in found[name] if str(column).startswith(("gap", "mean", "lowest"))]
        kept = [column for column in full[name] if column not in (*columns, *gap)]
        pd.testing.assert_frame_equal(found[name][kept], full[name][kept])
    means = found["token"].set_index("method")[["rel", "t_gen", "t_loc"]]
    for row in found["differences"].query("criterion == 'token'").to_dict("records"):
        assert row["mean"] == pytest.approx((row["rel"] + row["t_gen"] + row["t_loc"]) / 3, abs=2e-4)
        lowest = means.loc[row["first"]].min() - means.loc[row["second"]].min()
        assert row["lowest"] == pytest.approx(lowest, abs=2e-4)
    for row in found["token"].to_dict("records"):
        assert row["gap"] == pytest.approx(row["t_gen"] - row["t_loc"], abs=2e-4)
    line = next(line for line in page.splitlines() if line.startswith("| T-Patcher"))
    assert line.split("|")[4].strip() == line.split("|")[6].strip() == "-"
    assert "| nan" not in page


def test_an_aim_that_nobody_asks_is_left_out_of_what_is_over_aims(save, control, run, tmp_path):
    records = [make_records(("left", "vqa", method)).query("kind not in @AIMLESS") for method in METHODS]
    found, _ = write([save(each, f"d{i}") for i, each in enumerate(records)], control, run, tmp_path / "aimless")
    assert found["token"]["gap"].isna().all()
    means = found["token"].set_index("method")
    aims = pd.DataFrame({"rel": means["rel"], "locality": (means["t_loc"] + means["m_loc"]) / 2})
    for row in found["differences"].query("criterion == 'token'").to_dict("records"):
        one, other = aims.loc[row["first"]], aims.loc[row["second"]]
        assert row["mean"] == pytest.approx((one - other).mean(), abs=2e-4)
        assert row["lowest"] == pytest.approx(one.min() - other.min(), abs=2e-4)


def test_edits_as_a_whole_are_judged_by_what_they_are_asked(save, control, run, tmp_path):
    scores = pd.DataFrame({"rel": [1.0, 1.0, 0.0], "t_gen": [1.0, 0.0, 1.0], "t_loc": [1.0, 1.0, 1.0]})
    outcomes = edit_outcomes(scores)
    assert outcomes.idxmax(axis=1).tolist() == ["joint", "under_generalised", "not_reliable"]
    assert (outcomes.sum(axis=1) == 1).all()


def test_an_edit_without_what_others_are_asked_is_refused(save):
    records = make_records(("left", "vqa", "base"))
    path = save(records[(records["case"] != "vqa-3") | (records["kind"] != "t_loc")])
    with pytest.raises(InputError, match="case vqa-3: no record of kind t_loc"):
        load_records([path])
    path = save(records[records["kind"] != "rel"])
    with pytest.raises(InputError, match="no record of kind rel"):
        load_records([path])


def test_tables_of_edits_are_written_without_them(save, run, tmp_path):
    records = [
        save(make_records(("left", "vqa", method)).query("kind not in @LACKING"), f"c{i}")
        for i, method in enumerate(METHODS)
    ]
    outputs = {name: tmp_path / f"{name}.csv" for name in ("edits", "cost")} | {"cost_page": tmp_path / "cost.md"}
    write_edit_tables(records, {}, outputs, run)
    table = pd.read_csv(outputs["edits"])
    assert table[[f"rest_{kind}" for kind in LACKING]].isna().all(axis=None) and table["joint"].notna().all()
