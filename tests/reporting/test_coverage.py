"""Coverage of the intervals by simulation of the benchmark's own designs: 90 to 98% where 95% is meant.

More than 98% is allowed only where no interval does better: where all score the same (p = 1: the truth is the end of
every interval), and for differences of 0/1 scores where few edits differ (of five that do, even all in one direction
are no evidence at 5%: 2 / 2^5 > 0.05).
"""

import numpy as np
import pytest

from unike_lib.embedded.world.edits import CAPTION_ROUNDS, ring
from unike_lib.reporting.intervals import DIFFERENCES, SCORES, mean_interval

TIMES = 500  # simulated tables
NOISE = 0.01  # one standard error of a coverage of 95% by so many
K = 10
CONCEPTS = 29  # that caption edits of the evaluation are about


def covered(cells, clusters, truth, bounds=SCORES):
    low, high = mean_interval(cells, clusters, 0.95, bounds)
    assert not np.isnan(low).any() and (high > low).all()  # never without width
    return np.mean((low <= truth + 1e-12) & (truth - 1e-12 <= high))


def clustered(rng, count, each, p, alike):
    """Return chances of being right, [count * each, TIMES], that clusters share; `alike`: their correlation."""
    if alike == 0 or p == 1:
        return np.full((count * each, TIMES), p)
    chances = rng.beta(p * (1 / alike - 1), (1 - p) * (1 / alike - 1), size=(count, TIMES))
    return np.repeat(chances, each, axis=0)


def one_step(edits):
    return [(f"fact {edit}",) for edit in range(edits)]


def sessions(count):
    return [(f"session {edit // K}",) for edit in range(count * K)]


def captions(edits):
    """Return the concepts and the facts of so many captions of the benchmark's ring: two facts a concept."""
    pairs = ring(range(CONCEPTS), CAPTION_ROUNDS["eval"])
    chosen = [pairs[place] for place in np.random.default_rng(3).permutation(len(pairs))[:edits]]
    facts = [[f"{concept}/{fact}" for concept in pair for fact in ("naming", "donor")] for pair in chosen]
    return np.array(chosen), facts


@pytest.mark.parametrize("tokens", [1, 4], ids=["exact", "token"])
@pytest.mark.parametrize("p", [0.8, 0.9, 0.95, 1.0])
def test_means_are_covered(p, tokens):
    rng = np.random.default_rng(int(100 * p) + tokens)
    found = {}
    for edits in (20, 100):
        chances = clustered(rng, edits, 1, p, 0.0)
        found[f"{edits} edits"] = covered([rng.binomial(tokens, chances) / tokens], one_step(edits), p)
    for count in (5, 10, 20):
        for alike in (0.0, 0.05):
            chances = clustered(rng, count, K, p, alike)
            scores = rng.binomial(tokens, chances) / tokens
            found[f"{count} sessions, alike {alike}"] = covered([scores], sessions(count), p)
    for edits in (20, 100, 203):
        pairs, facts = captions(edits)
        chances = clustered(rng, CONCEPTS, 1, p, 0.1)[pairs].mean(axis=1)
        found[f"{edits} captions"] = covered([rng.binomial(tokens, chances) / tokens], facts, p)
    low, high = (1, 1) if p == 1 else (0.9 - NOISE, 0.98 + NOISE)
    wrong = {name: share for name, share in found.items() if not low <= share <= high}
    assert not wrong


@pytest.mark.parametrize(("first", "second"), [(0.9, 0.9), (0.95, 0.8), (1.0, 0.84)])
def test_differences_are_covered(first, second):
    """Two methods on the same edits; half of the answer tokens are equally hard for both."""
    rng = np.random.default_rng(int(100 * second))
    for clusters, count, each in ((one_step(20), 20, 1), (one_step(100), 100, 1), (sessions(10), 10, K)):
        for tokens in (1, 4):
            score = 0
            for _ in range(tokens):
                luck, other = rng.random((2, count * each, TIMES))
                other = np.where(rng.random(luck.shape) < 0.5, luck, other)
                score = score + (luck < first).astype(float) - (other < second)
            share = covered([score / tokens], clusters, first - second, DIFFERENCES)
            few = tokens == 1 and count * each < 50  # fewer than ten edits differ
            assert 0.9 <= share <= (1 if few else 0.98), (count, each, tokens, share)


@pytest.mark.parametrize("p", [0.8, 0.9, 0.95])
def test_averages_over_backbones_and_tasks_are_covered(p):
    """Table 5: both backbones have the same edits, and a fact that is hard for one is hard for the other."""
    rng = np.random.default_rng(int(100 * p))
    pairs, facts = captions(50)
    vqa, caption = clustered(rng, 50, 1, p, 0.3), clustered(rng, CONCEPTS, 1, p, 0.1)[pairs].mean(axis=1)
    cells = [rng.binomial(2, chances) / 2 for chances in (vqa, caption, vqa, caption)]
    assert 0.9 <= covered(cells, [*one_step(50), *facts] * 2, p) <= 0.98
    chances = clustered(rng, 2 * 5, 2 * K, p, 0.05)  # ten sessions of K hold the edits of five of 2 K, in each task
    cells = [rng.binomial(2, part) / 2 for part in (*np.split(chances, 2), *np.split(chances, 2))]
    names = [(f"{task} session {edit // (2 * K)}",) for task in ("vqa", "caption") for edit in range(5 * 2 * K)]
    assert 0.9 <= covered(cells, names * 2, p) <= 0.98
