"""Forgetting against a record frame whose numbers are known."""

import pandas as pd
import pytest
from made_up_records import make_records
from naive_intervals import interval

from unike_lib.reporting.forgetting import draw_forgetting, forgetting
from unike_lib.reporting.records import load_records
from unike_lib.types import InputError


@pytest.fixture
def known(save):
    """Sessions of 3, 3 and 2 edits: right after its edit an item scores 1, each later edit takes 0.25."""
    records = make_records(("right", "vqa", "unike"), edits=8, k=3)
    length = records["session"].map({0: 3, 1: 3, 2: 2})
    since = length - 1 - records["position"]
    for criterion in ("token", "mmedit", "exact"):
        records[criterion] = 1 - 0.25 * since
        records[f"{criterion}_right_after"] = records[f"{criterion}_right_after"].where(records["kind"] != "rel", 1.0)
    records.loc[records["kind"] == "m_loc", "mmedit"] = 0.0
    records["mmedit_right_after"] *= 0.5
    return save(records, "known")


def test_scores_by_the_number_of_edits_since(known, config):
    points = forgetting(load_records([known], ["k"]), config.statistics)
    assert len(points) == 2 * 2
    token = points[points["criterion"] == "token"].set_index("since")
    assert token["since_last"].to_dict() == {0: 0, 1: 2}
    for aim in ("reliability", "generality", "locality"):
        assert token[aim].tolist() == [100.0, 65.0]  # one edit since: three items of 75; two: two of 50
    assert token["edits"].tolist() == [3, 5]  # the partial last session has nothing two edits ago
    assert token["clusters"].tolist() == [3, 3]
    assert (token["right_after"] == 100).all() and token["reliability_low"].isna().all()  # three sessions
    mmedit = points[points["criterion"] == "mmedit"].set_index("since")
    assert mmedit["locality"].tolist() == [50.0, 32.5]
    assert (mmedit["right_after"] == 50).all()


def test_intervals_are_over_sessions(save, config):
    records = load_records([save(make_records(("right", "vqa", "unike"), edits=24, k=4))], ["k"])
    points = forgetting(records, config.statistics).query("criterion == 'token' and since == 1").iloc[0]
    rel = records[(records["kind"] == "rel") & (records["position"] < 3)]
    for column, criterion in (("reliability", "token"), ("right_after", "token_right_after")):
        ends = interval([rel[criterion].tolist()], [(str(name),) for name in rel["session"]], "scores")
        found = points[[f"{column}_low", f"{column}_high"]].tolist()
        assert found == pytest.approx([100 * end for end in ends], abs=1e-4)


@pytest.mark.parametrize(
    ("k", "ranges"),
    [
        (10, [(0, 0), (1, 4), (5, 9)]),
        (12, [(0, 0), (1, 4), (5, 9), (10, 11)]),
        (100, [(0, 0), (1, 9), *((ten, ten + 9) for ten in range(10, 100, 10))]),
    ],
)
def test_every_number_of_edits_since_is_in_one_range(k, ranges, save, config):
    records = load_records([save(make_records(("right", "vqa", "unike"), edits=2 * k, k=k))], ["k"])
    points = forgetting(records, config.statistics).query("criterion == 'mmedit'")
    assert list(zip(points["since"], points["since_last"], strict=True)) == ranges
    assert points["edits"].tolist() == [2 * (last - first + 1) for first, last in ranges]


def test_the_figure_is_drawn_twice_the_same(known, save, config, tmp_path):
    other = save(make_records(("right", "vqa", "t-patcher"), edits=8, k=3), "other")
    longer = save(make_records(("right", "caption", "unike"), edits=8, k=4), "longer")
    for name in ("a", "b"):
        paths = {kind: tmp_path / f"{name}.{kind}" for kind in ("pdf", "png", "csv")}
        draw_forgetting([known, other, longer], paths, config.tables["table2"].methods, config.statistics)
    for kind in ("pdf", "png", "csv"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()
    assert (tmp_path / "a.png").stat().st_size > 10000
    assert len(pd.read_csv(tmp_path / "a.csv")) == 2 * (2 + 2 + 2)


def test_one_step_records_are_refused(save, config):
    path = save(make_records(("right", "vqa", "unike")))
    with pytest.raises(InputError, match="no score right after the edit"):
        forgetting(load_records([path], ["k"]), config.statistics)
    odd = make_records(("right", "vqa", "unike"), k=4)
    odd.loc[odd["kind"] == "rel", "exact_right_after"] = 7.0
    with pytest.raises(InputError, match=r"exact_right_after is 7\.0"):
        load_records([save(odd, "odd")], criteria=("exact",))
