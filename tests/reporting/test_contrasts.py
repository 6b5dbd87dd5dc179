"""Differences over all aims, against loops."""

import numpy as np
import pytest
from naive_intervals import interval

from unike_lib.reporting.contrasts import lowest_difference
from unike_lib.reporting.scores import EditScores


def test_the_lowest_aim_is_compared_with_every_aim_of_the_other():
    """Aims are about 0.9, 0.55, 0.8 and 0.5, 0.4, 0.8: all of ours against the second of theirs, and back."""
    rng = np.random.default_rng(1)
    levels = {"ours": [0.9, 0.5, 0.6, 0.8, 0.8], "theirs": [0.5, 0.3, 0.5, 0.8, 0.8]}
    values = {name: (rng.random((40, 5)) < level).astype(float) for name, level in levels.items()}
    facts = [(f"fact {edit // 2}",) for edit in range(40)]
    ours, theirs = (EditScores(values[name], tuple(facts), 0, ()) for name in levels)
    aims = {
        name: [value[:, 0], (value[:, 1] + value[:, 2]) / 2, (value[:, 3] + value[:, 4]) / 2]
        for name, value in values.items()
    }
    means = {name: [aim.mean() for aim in three] for name, three in aims.items()}
    assert np.argmin(means["ours"]) == 1 and np.argmin(means["theirs"]) == 1
    low = min(interval([list(aim - aims["theirs"][1])], facts, "differences")[0] for aim in aims["ours"])
    high = max(interval([list(aims["ours"][1] - aim)], facts, "differences")[1] for aim in aims["theirs"])
    expected = [100 * value for value in (min(means["ours"]) - min(means["theirs"]), low, high)]
    assert list(lowest_difference(ours, theirs, 0.95).values()) == pytest.approx(expected)
