"""The report's front: what intervals say, in three sentences."""

import pandas as pd

from unike_lib.reporting.front import front_sentences


def lead(k, second, mean, half=2.0, task="vqa"):
    ends = {"mean": mean, "mean_low": mean - half, "mean_high": mean + half}
    return {"backbone": "left", "task": task, "k": k, "first": "unike", "second": second, **ends}


ROWS = [
    lead(1, "t-patcher", 3.0),  # +1 to +5
    lead(1, "fine-tune", -3.0),
    lead(1, "unike-scope", -9.0),
    lead(20, "t-patcher", 1.0),  # -1 to +3
    lead(20, "fine-tune", -4.0),
    lead(20, "unike-scope", -16.0, half=4.0),
    lead(20, "unike-scope", 1.0, task="caption"),
]


def test_three_sentences_by_intervals():
    one, longest, late = front_sentences([pd.DataFrame(ROWS)])
    assert one.startswith("After one edit, UniKE as the paper has it is clearly ahead")
    assert "in 1 of 2 comparisons (with T-Patcher, FT" in one and "clearly behind in 1, and 0 are not decided" in one
    assert longest.startswith("After sessions of 20 edits")
    assert "ahead by the mean of the three aims (token, paired edit by edit) in 0 of 2" in longest
    assert "clearly behind in 1, and 1 are not decided" in longest
    assert late.startswith("At K = 20, the late scope (ours, not the paper's)")
    assert "left, VQA: +16.0 (+12.0 to +20.0) points, more" in late
    assert "left, caption: -1.0 (-3.0 to +1.0) points, not decided" in late


def test_a_cell_that_two_tables_share_counts_once():
    table = pd.DataFrame(ROWS)
    assert front_sentences([table, table]) == front_sentences([table])


def test_what_the_run_has_not_is_not_said():
    short = [row for row in ROWS if row["k"] == 1 and row["second"] != "unike-scope"]
    assert len(front_sentences([pd.DataFrame(short)])) == 1
    assert front_sentences([pd.DataFrame(columns=["criterion"]), pd.DataFrame()]) == []
    only = [row for row in ROWS if row["second"] == "unike-scope"]
    assert [text[:6] for text in front_sentences([pd.DataFrame(only)])] == ["At K ="]
