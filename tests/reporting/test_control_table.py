"""Verdicts of the positive control: from intervals, not from means."""

import numpy as np
import pandas as pd
import pytest
from made_up_records import control_scores
from naive_intervals import interval

from unike_lib.config.evaluation import StatisticsConfig
from unike_lib.io import write_table
from unike_lib.reporting.control_table import (
    Verdict,
    read_verdicts,
    summarise,
    verdict_lines,
    verdicts,
    write_positive_control,
)
from unike_lib.types import InputError

STATISTICS = StatisticsConfig()


def verdict(**changes):
    return verdicts(summarise(control_scores("left", **changes), STATISTICS))["left"]


def test_a_backbone_passes_when_both_tests_are_clear():
    assert verdict().passed
    words = verdict().evidence
    assert "alpha 0.4)" in words and "+1.00 (" in words


@pytest.mark.parametrize(
    ("changes", "context", "slot"),
    [
        ({"context": {"same fact": 0.0}}, False, True),
        ({"context": {"other fact": 1.0}}, False, True),
        ({"latent": {"same fact": 0.0}}, True, False),
        ({"latent": {"other fact": 1.0}}, True, False),
        ({"latent": {"same fact": 0.02, "other fact": 0.0}}, True, False),
        ({"latent": {"same fact": 0.02, "other fact": -1.0}}, True, False),
        ({"context": {"same fact": 1.0, "other fact": 0.98}}, False, True),
    ],
)
def test_either_comparison_of_either_test_can_fail_it(changes, context, slot):
    """In the last three cases the mean is above both; the edits are not clear of both, of none, and of the other."""
    found = verdict(**changes)
    assert (found.context, found.slot, found.passed) == (context, slot, False)


def test_a_task_may_fail_alone():
    scores = control_scores("left")
    weak = scores["task"].eq("caption") & scores["test"].eq("latent")
    scores.loc[weak, "log_probability"] = -2.0
    found = verdicts(summarise(scores, STATISTICS))["left"]
    assert found.passed and found.passed_on("vqa") and not found.passed_on("caption")
    assert "Vqa alone passes; caption alone DOES NOT PASS (slot)." in verdict_lines({"left": found})
    assert not verdict(context={"same fact": 0.0}).passed_on("vqa")


def test_the_scan_has_no_say_in_the_verdict():
    """Edits of the scan that know everything, or nothing, leave the verdict and its numbers as they are."""
    scores = control_scores("left")
    found = verdict()
    words = verdict_lines({"left": found})
    scan = scores.assign(log_probability=scores["log_probability"].where(scores["part"] == "verdict", -9.0))
    scan.loc[scan["part"] == "scan", "token"] = 1.0
    scan = scan.sort_values("part", kind="stable")  # the scan's rows first
    assert verdict_lines(verdicts(summarise(scan, STATISTICS))) == words
    blind = scores.assign(log_probability=scores["log_probability"].where(scores["part"] == "scan", -2.0))
    assert found.passed and not verdicts(summarise(blind, STATISTICS))["left"].passed
    assert not Verdict(False, True, "", {"vqa": Verdict(True, True, "")}).passed_on("vqa")


def test_differences_are_paired_and_intervals_clustered():
    scores = control_scores("left").query("part == 'verdict' and layers in ('edited', 'none')")
    summary = summarise(scores, STATISTICS)
    row = summary.query("task == 'vqa' and test == 'context' and memory == 'same fact'").iloc[0]
    wide = scores[scores["task"] == "vqa"].pivot_table("log_probability", "case", ["test", "memory"], sort=False)
    paired = wide["context", "same fact"] - wide["none", "none"]
    assert row["gain"] == pytest.approx(paired.mean())
    facts = scores[(scores["task"] == "vqa") & (scores["test"] == "none")]["facts"]
    expected = interval([paired.tolist()], facts.tolist(), "unbounded")
    assert [row["gain_low"], row["gain_high"]] == pytest.approx(list(expected))


def test_the_slot_may_pass_at_any_alpha_and_pays_for_it():
    summary = summarise(control_scores("left"), STATISTICS)
    assert set(summary[summary["test"] == "latent"]["confidence"].round(6)) == {0.975}
    assert set(summary[summary["test"] != "latent"]["confidence"]) == {0.95}


def test_tables_and_text(tmp_path):
    names = ("left", "right")
    tables = [control_scores("left"), control_scores("right", latent={"same fact": 0.0})]
    scores, readouts = ([tmp_path / f"{name}{suffix}" for name in names] for suffix in (".parquet", "_readout.csv"))
    for name, table, path, readout in zip(names, tables, scores, readouts, strict=True):
        write_table(path, table, "fingerprint")
        row = {"backbone": name, "layer": 4, "edited": True, "h_pos": 0.25, "attention": 0.5, "h_know": np.nan}
        pd.DataFrame([row | {"memory": 0.2, "decoded": 0.6, "chance": 0.1}]).to_csv(readout, index=False)
    outputs = {"csv": tmp_path / "a.csv", "readout": tmp_path / "r.csv", "markdown": tmp_path / "a.md"}
    outputs["windows"] = [tmp_path / f"{name}_windows.csv" for name in names]
    write_positive_control(scores, readouts, outputs, STATISTICS)
    found = read_verdicts(scores, STATISTICS)
    assert found["left"].passed and not found["right"].passed
    assert verdict_lines(found) in outputs["markdown"].read_text()
    text = outputs["markdown"].read_text()
    assert "- left: passes. " in text and "- right: DOES NOT PASS (slot). " in text
    assert "Clearest window: 2-5 at alpha 0.4" in text
    assert "no fact and no picture of the scan is in the verdict" in text
    assert "| 4 (edited) | 0.25 | 0.50 | - | 0.20 | 60.0 | 10.0 |" in text
    windows = pd.read_csv(outputs["windows"][1])
    assert set(windows["backbone"]) == {"right"} and set(windows["layers"]) == {"2-5", "4-7"}
    assert set(windows["part"]) == {"scan"}
    gains = windows[windows["task"] == "all"].set_index(["layers", "memory"])["gain"]
    assert gains["2-5", "same fact"] == pytest.approx(0.502, abs=1e-3) and gains["4-7", "other fact"] == pytest.approx(
        0
    )


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "odd.parquet"
    write_table(path, control_scores("left").drop(columns="facts"), "fingerprint")
    with pytest.raises(InputError, match=r"odd\.parquet: no column facts"):
        write_positive_control([path], [], {"windows": []}, STATISTICS)
    with pytest.raises(InputError, match=r"odd\.parquet: no column facts"):
        read_verdicts([path], STATISTICS)
