import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from unike_lib.reporting.bootstrap import cluster_weights, count_clusters, percentile_interval


def half_width(scores, clusters, resamples=6000, seed=0):
    low, high = percentile_interval(np.asarray(scores)[:, None], cluster_weights(clusters, resamples, seed), 0.95)
    return (high[0] - low[0]) / 2


def test_one_fact_an_edit_gives_the_binomial_interval():
    scores = np.repeat([0.0, 1.0], [120, 280])
    clusters = [(f"fact {row}",) for row in range(400)]
    expected = 1.96 * np.sqrt(0.7 * 0.3 / 400)
    assert half_width(scores, clusters) == pytest.approx(expected, rel=0.05)


def test_one_fact_an_edit_agrees_with_scipy():
    scores = np.random.default_rng(1).beta(2, 1, size=60)
    reference = stats.bootstrap((scores,), np.mean, n_resamples=6000, method="percentile", rng=2).confidence_interval
    weights = cluster_weights([(str(row),) for row in range(60)], 6000, 0)
    low, high = percentile_interval(scores[:, None], weights, 0.95)
    assert (low[0], high[0]) == (pytest.approx(reference.low, abs=5e-3), pytest.approx(reference.high, abs=5e-3))


def test_edits_that_share_a_fact_widen_the_interval_by_the_root_of_two():
    scores = np.repeat(np.random.default_rng(1).uniform(size=150), 2)
    apart = half_width(scores, [(str(row),) for row in range(300)])
    shared = half_width(scores, [(str(row // 2),) for row in range(300)])
    assert shared / apart == pytest.approx(np.sqrt(2), rel=0.05)


def test_two_facts_an_edit_in_a_grid_equal_the_sum_of_both_variances():
    # Additive scores r_i + c_j on a full grid: the pigeonhole variance of the mean is var(r)/I + var(c)/J.
    rng = np.random.default_rng(4)
    rows, columns = rng.normal(size=40), rng.normal(size=30)
    scores = (rows[:, None] + columns[None, :]).ravel()
    clusters = [(f"row {i}", f"column {j}") for i in range(40) for j in range(30)]
    expected = 1.96 * np.sqrt(rows.var() / 40 + columns.var() / 30)
    assert half_width(scores, clusters, 2000) == pytest.approx(expected, rel=0.06)


names = st.lists(st.lists(st.sampled_from("abcd"), max_size=3), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None)
@given(names, st.integers(0, 99))
def test_weights_are_products_of_multiplicities_and_ignore_order(clusters, seed):
    weights = cluster_weights(clusters, 5, seed)
    facts = sorted(
        {name for edit in clusters for name in edit} | {f"\0edit {i}" for i, e in enumerate(clusters) if not e}
    )
    assert count_clusters(clusters) == len(facts)
    drawn = np.random.default_rng(seed).multinomial(len(facts), [1 / len(facts)] * len(facts), size=5)
    for row, edit in enumerate(clusters):
        for sample in range(5):
            product = 1
            for name in set(edit) or {f"\0edit {row}"}:
                product *= drawn[sample, facts.index(name)]
            assert weights[sample, row] == product


def test_the_same_facts_in_another_order_draw_the_same_weights():
    clusters = [("a", "b"), ("c",), ("a",)]
    turned = cluster_weights(clusters[::-1], 20, 7)[:, ::-1]
    assert np.array_equal(cluster_weights(clusters, 20, 7), turned)


def test_one_cluster_has_no_interval_and_empty_resamples_are_left_out():
    low, high = percentile_interval(np.array([[0.2], [0.4]]), cluster_weights([("a",), ("a",)], 50, 0), 0.95)
    assert np.isnan(low[0]) and np.isnan(high[0])
    weights = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    low, high = percentile_interval(np.array([[0.2], [0.4]]), weights, 0.9999)
    assert (low[0], high[0]) == (pytest.approx(0.2, abs=1e-3), pytest.approx(0.4, abs=1e-3))
