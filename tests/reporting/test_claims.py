"""The paper's claims in words, on tables made by hand."""

import numpy as np
import pandas as pd
import pytest

from unike_lib.reporting.claims import (
    claim_balanced,
    claim_below,
    claim_decline,
    claim_reliable,
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
        line = {"backbone": "left", "task": "vqa", "method": method, **labels}
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
    assert "lowest aim UniKE 85.0, above the best other, T-Patcher 70.0" in claim.evidence[0]
    assert claim_balanced(with_aims(table(rows | {"t-patcher": [99, 86, 86, 99, 99]}))).verdict == "does not hold"
    assert claim_balanced(with_aims(table({"t-patcher": [1] * 5, "fine-tune": [1] * 5}))).verdict == "not measured"


def test_decline_is_compared_with_the_median_of_the_others():
    def at(k, **scores):
        return table({name.replace("_", "-"): [score] * 5 for name, score in scores.items()}, k=k)

    one, ten = at(1, unike=90, t_patcher=90, fine_tune=90), at(10, unike=85, t_patcher=70, fine_tune=80)
    claim = claim_decline(pd.concat([one, ten]))
    assert claim.verdict == "holds"
    assert "K = 1 to 10: fall of the mean aim UniKE +5.0; FT +10.0, T-Patcher +20.0" in claim.evidence[0]
    assert claim_decline(pd.concat([one, at(10, unike=60, t_patcher=70, fine_tune=80)])).verdict == "does not hold"
    assert claim_decline(one).verdict == "not measured"


def test_methods_without_long_sessions_do_not_hinder_the_comparison():
    one = table({"unike": [90] * 5, "t-patcher": [90] * 5, "ike": [99] * 5}, k=1)
    ten = table({"unike": [85] * 5, "t-patcher": [70] * 5}, k=10)
    claim = next(claim for claim in paper_claims([one, ten], {"unike": "unike"}) if "declines" in claim.text)
    assert claim.verdict == "holds" and "ike " not in claim.evidence[0]


def test_order_against_the_paper_needs_intervals_apart():
    paper = {"unike": [99, 98, 95, 98, 97], "t-patcher": [86, 80, 75, 90, 97]}
    ours = {"unike": [90, 60, 70, 91, 50], "t-patcher": [70, 80, 70, 90, 99]}
    (sentence,) = order_differences(table(ours, paper=paper))
    # Rel. agrees; T-Gen. is turned; M-Gen. and T-Loc. are too close; M-Loc. has no order in the paper.
    assert sentence.startswith(
        "left, vqa: of 4 pairs (two methods, one metric), 1 are clearly in the paper's order, 2 "
    )
    assert "1 are clearly in the other order: T-Gen., UniKE below T-Patcher (60.0 against 80.0; paper 98.0 " in sentence
    assert order_differences(table(ours)) == []


def test_ranking_changes_between_criteria_are_named_where_they_are_clear():
    token = table({"unike": [90, 90, 90, 99, 80], "t-patcher": [90, 90, 90, 90, 85]})
    assert ranking_changes(token, token) == []
    mmedit = table({"unike": [90, 90, 90, 50, 88], "t-patcher": [90, 90, 90, 91, 85]})
    # M-Loc. (85 and 80, then 85 and 88) and the mean of aims (89.8 and 89.2, then 83.0 and 89.3) are not clear in both.
    assert ranking_changes(token, mmedit) == [
        "left, vqa: 1 pairs clearly change places, 2 within their intervals: T-Loc., UniKE above T-Patcher by token "
        "(99.0 against 90.0), below by mmedit (50.0 against 91.0)."
    ]
