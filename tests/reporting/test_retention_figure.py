"""The table and the figure of retention, from made-up numbers."""

import pandas as pd
import pytest
from naive_intervals import interval

from unike_lib.evaluation.retention import COST_SCHEMA, RETENTION_SCHEMA
from unike_lib.io import write_table
from unike_lib.reporting.retention import draw_retention, retention_table, write_cost
from unike_lib.types import InputError


def rows(method, k, name, retained, right, right_after=None):
    count = len(retained)
    return pd.DataFrame(
        {"backbone": "small", "method": method, "k": k, "set": name, "question": list(map(str, range(count)))}
        | {"clusters": [[f"fact {number}"] for number in range(count)], "retained": retained, "right": right}
        | {"right_after": right_after or [float("nan")] * count, "text": "x", "left_out": 2, "status": "ok"}
    )


@pytest.fixture
def made_up():
    none, most = [1.0] * 8, [1.0] * 6 + [0.0] * 2
    return pd.concat(
        [
            *(rows("unike", 0, name, none, most) for name in ("taught", "general")),
            rows("unike", 10, "taught", most, [1.0] * 4 + [0.0] * 4),
            rows("unike", 10, "general", none, most),
            rows("unike", 10, "edits", most, most[:4] + [0.0] * 4, most),
            rows("unike", 1, "edits", [1.0], [0.0], [1.0]),
        ],
        ignore_index=True,
    )


def test_shares_and_intervals_are_those_of_the_questions(made_up, config):
    table = retention_table(made_up, config.statistics).set_index(["k", "set"])
    assert table.loc[0, "taught"][["retained", "right", "questions", "left_out"]].tolist() == [100, 75, 8, 2]
    assert table.loc[10, "taught"][["retained", "right"]].tolist() == [75, 50]
    assert table.loc[10, "edits"][["retained", "right_after", "at_end", "gap"]].tolist() == [75, 75, 50, 25]
    assert table.loc[1, "edits"]["gap"] == 100 and table.loc[1, "edits"][["gap_low", "gap_high"]].isna().all()
    assert table.loc[10, "taught"][["right_after", "at_end", "gap"]].isna().all()
    both = pd.concat([made_up, made_up.assign(backbone="big")])
    assert retention_table(both, config.statistics)["backbone"].tolist() == ["small"] * 6 + ["big"] * 6
    clusters = [(f"fact {number}",) for number in range(8)]
    scores = {"retained": [1] * 6 + [0] * 2, "gap": [0] * 4 + [1] * 2 + [0] * 2}
    for name, kind in (("retained", "scores"), ("gap", "differences")):
        found = table.loc[10, "edits"][[f"{name}_low", f"{name}_high"]].tolist()
        assert found == pytest.approx([100 * end for end in interval([scores[name]], clusters, kind)], abs=1e-6)


def test_the_figure_and_its_table_are_made_twice_the_same(made_up, config, tmp_path):
    write_table(tmp_path / "one.parquet", made_up, "f", RETENTION_SCHEMA)
    other = made_up.assign(method="fine-tune")
    write_table(tmp_path / "two.parquet", other, "f", RETENTION_SCHEMA)
    files = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    for name in ("a", "b"):
        outputs = {kind: tmp_path / f"{name}.{kind}" for kind in ("pdf", "png", "csv")}
        draw_retention(files, outputs, ["fine-tune", "unike"], config.statistics)
    for kind in ("pdf", "png", "csv"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert (tmp_path / "a.png").stat().st_size > 10000
    table = pd.read_csv(tmp_path / "a.csv")
    assert table["method"].tolist() == ["unike"] * 6 + ["fine-tune"] * 6
    with pytest.raises(InputError, match="records of method unike, expected fine-tune"):
        draw_retention(files, outputs, ["fine-tune"], config.statistics)


def test_costs_are_put_together(tmp_path):
    for name in ("a", "b"):
        table = pd.DataFrame([["small", name, 3, 0.5, 8.0, 100.0]], columns=COST_SCHEMA.names)
        write_table(tmp_path / name, table, "f", COST_SCHEMA)
    write_cost([tmp_path / "a", tmp_path / "b"], tmp_path / "cost.csv")
    assert pd.read_csv(tmp_path / "cost.csv")["method"].tolist() == ["a", "b"]
