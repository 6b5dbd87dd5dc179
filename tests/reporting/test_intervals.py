"""Intervals by hand, against scipy, and against loops over pairs of edits (`naive_intervals`)."""

import numpy as np
import pytest
from naive_intervals import interval, merged, worth
from scipy import stats

from unike_lib.embedded.world.edits import ring
from unike_lib.reporting.intervals import (
    DIFFERENCES,
    SCORES,
    UNBOUNDED,
    count_clusters,
    independent_clusters,
    mean_interval,
)

BOUNDS = {"scores": SCORES, "differences": DIFFERENCES, "unbounded": UNBOUNDED}
Z = 1.959964


def ends(scores, clusters=None, bounds=SCORES, confidence=0.95):
    clusters = [(f"fact {row}",) for row in range(len(scores))] if clusters is None else clusters
    low, high = mean_interval([np.array(scores, dtype=float)[:, None]], clusters, confidence, bounds)
    return low[0], high[0]


def in_sessions(*lengths):
    return [(f"session {number}",) for number, length in enumerate(lengths) for _ in range(length)]


@pytest.mark.parametrize(("right", "edits"), [(17, 20), (3, 10), (20, 20), (0, 7), (99, 100)])
@pytest.mark.parametrize("confidence", [0.95, 0.8])
def test_edits_of_their_own_have_wilsons_interval(right, edits, confidence):
    reference = stats.binomtest(right, edits).proportion_ci(confidence, method="wilson")
    assert ends([1] * right + [0] * (edits - right), confidence=confidence) == pytest.approx(tuple(reference))


def test_intervals_by_hand():
    # 20 of 20: 20 / (20 + 1.96^2); all half: the same share of what lies below and above.
    assert ends([1] * 20) == pytest.approx((0.83887, 1), abs=1e-5)
    assert ends([0] * 20) == pytest.approx((0, 0.16113), abs=1e-5)
    assert ends([0.5] * 20) == pytest.approx((0.5 - 0.080565, 0.5 + 0.080565), abs=1e-5)
    # No difference among 20: as wide as Tango's score interval (1998), z^2 / (n + z^2).
    assert ends([0] * 20, bounds=DIFFERENCES) == pytest.approx((-0.16113, 0.16113), abs=1e-5)
    # One of 20 by -1: n * var = 0.95, ends of size 1: sum of squares 0.95 + 1 + 0.05^2 = 1.9525; over 21^2; t = 2.0930.
    half = 2.0930 * np.sqrt(1.9525) / 21
    assert ends([-1] + [0] * 19, bounds=DIFFERENCES) == pytest.approx((-0.05 - half, -0.05 + half), abs=1e-4)
    # The scale ends at -1: nineteen of twenty by -1; of sizes 1: sum of squares 0.95 + 1 + 0.95^2; over 21^2.
    half = 2.0930 * np.sqrt(0.95 + 1 + 0.95**2) / 21
    assert ends([-1] * 19 + [0], bounds=DIFFERENCES) == pytest.approx((-1, -0.95 + half), abs=1e-4)
    assert ends([1] * 19 + [0], bounds=DIFFERENCES) == pytest.approx((0.95 - half, 1), abs=1e-4)
    # All right in five sessions of ten: each session is one observation.
    assert ends([1] * 50, in_sessions(*[10] * 5)) == pytest.approx((5 / (5 + Z**2), 1))
    # Five sessions with nine of ten right each differ in nothing: as 45 of 50.
    alike = ends(([1] * 9 + [0]) * 5, in_sessions(*[10] * 5))
    assert alike == pytest.approx(tuple(stats.binomtest(45, 50).proportion_ci(method="wilson")))


def test_whole_sessions_have_the_t_interval_of_their_means():
    values = np.random.default_rng(1).normal(size=70)
    means = values.reshape(7, 10).mean(axis=1)
    reference = stats.t.interval(0.9, 6, means.mean(), stats.sem(means))
    assert ends(values, in_sessions(*[10] * 7), UNBOUNDED, 0.9) == pytest.approx(reference)
    alone = stats.t.interval(0.95, 69, values.mean(), stats.sem(values))
    assert ends(values, bounds=UNBOUNDED) == pytest.approx(alone)


def test_edits_twice_over_are_as_wide_as_once():
    """The same edits on two backbones, or two edits of one fact that score alike, are no more evidence."""
    values = np.random.default_rng(2).uniform(-1, 1, size=30)
    once, facts = ends(values, bounds=UNBOUNDED), [(f"fact {row}",) for row in range(30)]
    assert ends(np.repeat(values, 2), [name for name in facts for _ in (0, 1)], UNBOUNDED) == pytest.approx(once)
    low, high = mean_interval([values[:, None]] * 2, facts * 2, 0.95, UNBOUNDED)
    assert (low[0], high[0]) == pytest.approx(once)


def some_captions():
    """Thirty pairs of fourteen concepts, two facts a concept that always come together, and one more here and there."""
    facts = [[f"{c}/{fact}" for c in pair for fact in ("naming", "donor")] for pair in ring(range(14), 3)[:30]]
    return [[*names, "extra"] if row % 7 == 0 else names for row, names in enumerate(facts)]


DESIGNS = {
    "own facts": [(f"fact {row}",) for row in range(12)],
    "sessions, the last shorter": in_sessions(4, 4, 4, 4, 4, 2),
    "captions": some_captions(),
    "a fact of several": [("a", "b"), ("a",), ("c",), ("d",), ("e", "c"), ("f",), ("g", "h"), ("i", "a")],
}


@pytest.mark.parametrize("kind", list(BOUNDS))
@pytest.mark.parametrize("design", list(DESIGNS))
def test_one_cell_equals_loops_over_pairs(design, kind):
    clusters = DESIGNS[design]
    rng = np.random.default_rng(7)
    for values in (rng.integers(0, 2, len(clusters)), rng.integers(0, 5, len(clusters)) / 4):
        other = rng.integers(0, 2, len(clusters)) * (kind != "scores")
        values = values - other
        expected = interval([list(map(float, values))], clusters, kind)
        assert ends(values, clusters, BOUNDS[kind]) == pytest.approx(expected)
    assert count_clusters(clusters) == len(merged(clusters))
    assert independent_clusters(clusters) == pytest.approx(worth(clusters))


@pytest.mark.parametrize("kind", list(BOUNDS))
def test_cells_weigh_the_same_and_share_their_clusters(kind):
    rng = np.random.default_rng(8)
    designs = [DESIGNS[name] for name in ("own facts", "captions", "own facts", "sessions, the last shorter")]
    cells = [rng.integers(0, 4, len(design)) / 3 - (kind != "scores") * 0.5 for design in designs]
    clusters = [names for design in designs for names in design]
    low, high = mean_interval([cell[:, None] for cell in cells], clusters, 0.95, BOUNDS[kind])
    expected = interval([list(map(float, cell)) for cell in cells], clusters, kind)
    assert (low[0], high[0]) == pytest.approx(expected)


def test_facts_that_never_occur_apart_are_one():
    together = [("a/naming", "a/donor", "b/naming", "b/donor"), ("c/naming", "c/donor", "a/naming", "a/donor")]
    assert count_clusters(together) == 3
    assert count_clusters([*together, ("a/naming",)]) == 4
    assert count_clusters([("a", "a"), (), ()]) == 3  # an edit without facts is by itself
    concepts = [tuple(name.split("/")[0] for name in names) for names in some_captions()]
    facts = [[name for name in names if "/" in name] for names in some_captions()]
    scores = np.random.default_rng(3).integers(0, 2, len(facts))
    assert ends(scores, facts) == ends(scores, [[name for name in names if name != "extra"] for names in concepts])


@pytest.mark.parametrize(
    ("clusters", "worth_"),
    [
        (in_sessions(10, 10, 10, 10, 5), 45**2 / (4 * 100 + 25)),  # Kish: 4.76, which is five
        (in_sessions(10, 10, 10, 10, 1), 41**2 / 401),  # 4.19
        (in_sessions(*[10] * 4), 4),
        ([("a", "b"), ("b", "c"), ("c", "a")] * 10, 1.5),  # each of three facts is half of two thirds of the edits
        ([(f"fact {row}",) for row in range(4)], 4),
    ],
)
def test_few_independent_clusters_have_no_interval(clusters, worth_):
    assert independent_clusters(clusters) == pytest.approx(worth_)
    scores = np.random.default_rng(5).integers(0, 2, len(clusters))
    assert np.isnan(ends(scores, clusters)).tolist() == [round(worth_) < 5] * 2


def test_a_cell_in_one_session_has_no_spread_to_show():
    """Nor has one with a single edit of another session: worth 1.1; nine edits of it are worth 1.7."""
    for last, lacking in ((0, True), (1, True), (9, False)):
        cells = [np.linspace(0, 1, size)[:, None] for size in (50, 50, 50, 20 + last)]
        names = [(f"session {edit // 5}",) for edit in range(150)] + [("another",)] * 20 + [("last",)] * last
        low, high = mean_interval(cells, names, 0.95)
        assert np.isnan([low[0], high[0]]).tolist() == [lacking] * 2


def test_columns_are_apart_and_what_was_not_measured_has_none():
    columns = np.stack([np.linspace(0, 1, 20), np.full(20, np.nan), np.ones(20)], axis=1)
    low, high = mean_interval([columns], [(str(row),) for row in range(20)], 0.95)
    assert np.isnan([low[1], high[1]]).all()
    assert (low[0], high[0]) == pytest.approx(ends(columns[:, 0]))
    assert (low[2], high[2]) == pytest.approx(ends(columns[:, 2]))


def test_equal_values_without_bounds_have_no_interval():
    assert np.isnan(ends([2.0] * 20, bounds=UNBOUNDED)).all()


def test_the_order_of_edits_and_facts_does_not_matter():
    clusters, scores = some_captions(), list(np.random.default_rng(6).integers(0, 3, 30) / 2)
    assert ends(scores[::-1], [names[::-1] for names in clusters[::-1]]) == pytest.approx(ends(scores, clusters))
