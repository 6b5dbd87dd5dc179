"""The paper's claims in words, on tables made by hand."""

import numpy as np
import pandas as pd
import pytest

from unike_lib.reporting.claims import (
    claim_balanced,
    claim_below,
    claim_decline,
    claim_reliable,
    not_counted,
    order_differences,
    paper_claims,
    ranking_changes,
    with_aims,
)
from unike_lib.types import PROBE_KINDS


def table(rows, half_width=2.0, **labels):
    """A results table: method -> five scores, all intervals equally wide; `paper` gives the paper's scores."""
    paper = labels.pop("paper", {})
    lines = []
    for method, scores in rows.items():
        line = {"backbone": "left", "task": "vqa", "k": 1, "method": method, "admitted": True, **labels}
        for kind, score, printed in zip(PROBE_KINDS, scores, paper.get(method, [np.nan] * 5), strict=True):
            line |= {kind: score, f"{kind}_low": score - half_width, f"{kind}_high": score + half_width}
            line[f"paper_{kind}"] = printed
        lines.append(line)
    return pd.DataFrame(lines)


def test_aims_are_means_of_their_metrics():
    row = with_aims(table({"unike": [90, 80, 60, 100, 50]})).iloc[0]
    assert (row["reliability"], row["generality"], row["locality"]) == (90, 70, 75)
    assert (row["generality_low"], row["locality_high"]) == (68, 77)


@pytest.mark.parametrize(("scores", "verdict"), [((90, 85, 50), "holds"), ((90, 79, 50), "does not hold")])
def test_most_methods_are_reliable_where_more_than_half_reach_eighty(scores, verdict):
    rows = {name: [score] * 5 for name, score in zip(("fine-tune", "t-patcher", "unike"), scores, strict=True)}
    claim = claim_reliable(with_aims(table({"base": [0, 0, 0, 100, 100], **rows})))
    assert claim.verdict == verdict
    assert claim.evidence[0].endswith(": held." if verdict == "holds" else ": not held.")
    assert "UniKE 50.0%" in claim.evidence[0] and "Base" not in claim.evidence[0]


def test_a_weak_side_counts_only_where_intervals_lie_apart():
    weak = with_aims(table({"t-patcher": [99, 60, 60, 90, 90]}))
    assert claim_below(weak, ["t-patcher"], "intrinsic", ("generality", "locality")).verdict == "holds"
    near = with_aims(table({"t-patcher": [99, 89, 89, 90, 90]}))
    claim = claim_below(near, ["t-patcher"], "intrinsic", ("generality", "locality"))
    assert claim.verdict == "does not hold" and "the intervals overlap" in claim.evidence[0]
    turned = claim_below(weak, ["t-patcher"], "external", ("locality", "generality"))
    assert turned.verdict == "does not hold" and "the other way round" in turned.evidence[0]
    assert claim_below(weak, [], "external", ("locality", "generality")).verdict == "not measured"


def test_half_of_the_cells_is_in_part():
    cells = [table({"t-patcher": [99, 60, 60, 90, 90]}), table({"t-patcher": [99, 95, 95, 90, 90]}, task="caption")]
    aims = with_aims(pd.concat(cells))
    assert claim_below(aims, ["t-patcher"], "intrinsic", ("generality", "locality")).verdict == "holds in part"


def test_unike_is_balanced_where_its_lowest_aim_is_the_highest():
    rows = {"unike": [95, 90, 90, 85, 85], "t-patcher": [99, 70, 70, 99, 99], "base": [0, 0, 0, 100, 100]}
    claim = claim_balanced(with_aims(table(rows)))
    assert claim.verdict == "holds"
    assert claim.evidence == ("left, VQA: lowest aim UniKE 85.0, the best other T-Patcher 70.0: held.",)
    assert claim_balanced(with_aims(table(rows | {"t-patcher": [99, 86, 86, 99, 99]}))).verdict == "does not hold"
    assert claim_balanced(with_aims(table({"t-patcher": [1] * 5, "fine-tune": [1] * 5}))).verdict == "not measured"


def test_decline_is_compared_with_the_median_of_the_others():
    def at(k, **scores):
        return table({name.replace("_", "-"): [score] * 5 for name, score in scores.items()}, k=k)

    one, ten = at(1, unike=90, t_patcher=90, fine_tune=90), at(10, unike=85, t_patcher=70, fine_tune=80)
    claim = claim_decline(pd.concat([one, ten]))
    assert claim.verdict == "holds"
    falls = "falls by 5.0, the others' by 15.0 in the median (FT 10.0, T-Patcher 20.0): held."
    assert claim.evidence == (f"left, VQA, K = 1 to 10: the mean aim of UniKE {falls}",)
    assert claim_decline(pd.concat([one, at(10, unike=60, t_patcher=70, fine_tune=80)])).verdict == "does not hold"
    assert claim_decline(one).verdict == "not measured"


def test_methods_without_long_sessions_do_not_hinder_the_comparison():
    one = table({"unike": [90] * 5, "t-patcher": [90] * 5, "ike": [99] * 5}, k=1)
    ten = table({"unike": [85] * 5, "t-patcher": [70] * 5}, k=10)
    claim = next(claim for claim in paper_claims([one, ten], {"unike": "unike"}) if "declines" in claim.text)
    assert claim.verdict == "holds" and "ike " not in claim.evidence[0]


def test_rows_that_say_nothing_of_their_method_are_left_out_and_named():
    left = table({"unike": [95, 90, 90, 85, 85], "t-patcher": [99, 70, 70, 99, 99]})
    right = table({"unike": [20] * 5, "t-patcher": [99, 70, 70, 99, 99]}, task="caption")
    right["admitted"] = right["method"] != "unike"
    claims = paper_claims([pd.concat([left, right])], {"unike": "unike", "t-patcher": "t-patcher"})
    balanced = next(claim for claim in claims if "balances" in claim.text)
    assert balanced.verdict == "holds" and len(balanced.evidence) == 1
    assert "caption: 1 of 1 methods reach" in claims[0].evidence[1]
    assert not_counted([left, right]) == ["left, caption: UniKE."]
    assert not_counted([left]) == []


def compared(differences, half_width):
    """UniKE minus T-Patcher, metric by metric."""
    row = {"backbone": "left", "task": "vqa", "k": 1, "first": "unike", "second": "t-patcher"}
    for kind, value in zip(PROBE_KINDS, differences, strict=True):
        row |= {kind: value, f"{kind}_low": value - half_width, f"{kind}_high": value + half_width}
    return pd.DataFrame([row])


def test_order_against_the_paper_needs_intervals_apart():
    paper = {"fine-tune": [99, 98, 95, 98, 97], "t-patcher": [86, 80, 75, 90, 97]}
    ours = {"fine-tune": [90, 60, 70, 91, 50], "t-patcher": [70, 80, 70, 90, 99]}
    (sentence,) = order_differences(table(ours, paper=paper), pd.DataFrame())
    # Rel. agrees; T-Gen. is turned; M-Gen. and T-Loc. are too close; M-Loc. has no order in the paper.
    assert sentence == (
        "left, VQA: of 4 pairs (two methods, one metric), 1 are clearly in the paper's order, 2 cannot be told apart, "
        "1 are clearly in the other order: T-Gen., FT below T-Patcher (60.0 against 80.0; paper 98.0 against 80.0)."
    )
    assert order_differences(table(ours), pd.DataFrame()) == []


@pytest.mark.parametrize("names", [("unike", "t-patcher"), ("t-patcher", "unike")])
def test_order_of_unike_and_another_is_that_of_their_paired_difference(names):
    """Whichever of the two the table has first."""
    paper = {"unike": [99, 98, 95, 98, 97], "t-patcher": [86, 80, 75, 99, 97]}
    ours = {"unike": [90, 60, 70, 91, 50], "t-patcher": [89, 61, 70, 90, 99]}
    rows = table({name: ours[name] for name in names}, paper=paper)
    (sentence,) = order_differences(rows, compared([1, -1, 0, 1, -49], 0.5))
    assert "of 4 pairs" in sentence and "1 are clearly in the paper's order, 1 cannot be told apart, 2 are" in sentence
    assert "(UniKE minus another: 1 with the paper's sign, 1 unclear, 2 with the other)" in sentence
    assert "T-Gen., UniKE below T-Patcher (60.0 against 61.0; paper 98.0 against 80.0)" in sentence
    assert "T-Loc., T-Patcher below UniKE (90.0 against 91.0; paper 99.0 against 98.0)" in sentence
    (unclear,) = order_differences(rows, compared([1, -1, 0, 1, -49], 2.0))
    assert "0 are clearly in the paper's order, 4 cannot be told apart" in unclear
    assert order_differences(rows.assign(admitted=rows["method"] != "unike"), compared([1] * 5, 0.5)) == []


def test_ranking_changes_between_criteria_are_named_where_they_are_clear():
    token = table({"unike": [90, 90, 90, 99, 80], "t-patcher": [90, 90, 90, 90, 85]})
    assert ranking_changes(token, token) == []
    mmedit = table({"unike": [90, 90, 90, 50, 88], "t-patcher": [90, 90, 90, 91, 85]})
    # M-Loc. (85 and 80, then 85 and 88) and the mean of aims (89.8 and 89.2, then 83.0 and 89.3) are not clear in both.
    assert ranking_changes(token, mmedit) == [
        "left, VQA: 1 pairs clearly change places, 2 within their intervals: T-Loc., UniKE above T-Patcher by token "
        "(99.0 against 90.0), below by mmedit (50.0 against 91.0)."
    ]
