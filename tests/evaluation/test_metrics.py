import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional

from unike_lib.benchmark.answers import normalise_answer
from unike_lib.editing.editor import answer_loss
from unike_lib.evaluation.metrics import (
    IGNORED,
    exact_match,
    ordered_agreement,
    token_accuracy,
    top_ids,
    unchanged_targets,
)
from unike_lib.methods.shared.network_training import divergences_of

# What the metric functions of EasyEdit's multimodal code (MMEdit) return for random logits: two rows of nine tokens,
# before and after an edit; four more tokens go in front of the edited rows where a context does.
GOLDEN = Path(__file__).with_name("metrics_golden.safetensors")
LABELS = torch.tensor([[IGNORED] * 6 + [33, 34, 36], [IGNORED] * 7 + [30, 18]])
AGREEMENT = {"same": (2 / 3, 0.26666668), "longer": (2 / 3, 0.26666668), "shorter": (4 / 7, 0.20714286)}
ACCURACY, EXACT, LOG_PROBABILITY, DIVERGENCE = 0.8, 0.5, -2.6862113, 0.30328432


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN)


@pytest.mark.parametrize("lengths", AGREEMENT)
def test_ordered_agreement_equals_public_implementations(golden, lengths):
    after = golden["after"]
    after = {"same": after, "longer": torch.cat([golden["in_front"], after], 1), "shorter": after[:, 2:]}[lengths]
    for ranks, expected in zip((1, 10), AGREEMENT[lengths], strict=True):
        pairs = zip(top_ids(golden["before"], ranks), top_ids(after, ranks), strict=True)
        shares = [ordered_agreement(*pair) for pair in pairs]
        assert sum(shares) / len(shares) == pytest.approx(expected, abs=1e-6)


def test_accuracy_and_log_probability_equal_public_implementations(golden):
    # Their labels name the token at a position, our targets the one after it.
    logits, targets = golden["before"], functional.pad(LABELS[:, 1:], (0, 1), value=IGNORED)
    counts = (targets != IGNORED).sum(-1)
    assert counts.tolist() == [3, 2]
    rows = token_accuracy(logits.argmax(-1), targets)
    assert float((rows * counts).sum() / counts.sum()) == pytest.approx(ACCURACY, abs=1e-6)
    losses = answer_loss(logits[targets != IGNORED], targets)
    assert float((losses * counts).sum() / counts.sum()) == pytest.approx(-LOG_PROBABILITY, abs=1e-5)
    assert float(exact_match(logits.argmax(-1), targets).mean()) == EXACT


def test_kl_equals_public_implementation(golden):
    where = torch.ones(2, 9, dtype=torch.bool)
    where[1, :3] = False
    before, after = (golden[name][where].log_softmax(-1) for name in ("before", "after"))
    rows, counts = divergences_of(before, after, where), where.sum(1)
    assert float((rows * counts).sum() / counts.sum()) == pytest.approx(DIVERGENCE, abs=1e-5)


def test_hand_computed_scores():
    targets = torch.tensor([[IGNORED, 4, 5, 6], [1, 2, IGNORED, IGNORED]])
    best = torch.tensor([[9, 4, 5, 0], [1, 2, 7, 7]])
    assert token_accuracy(best, targets).tolist() == [pytest.approx(2 / 3), 1.0]
    assert exact_match(best, targets).tolist() == [0.0, 1.0]
    before = torch.tensor([[0, 4, 0, 0], [1, 3, 0, 0]])
    assert unchanged_targets(before, targets).tolist() == [[IGNORED, 4, 0, 0], [1, 3, IGNORED, IGNORED]]
    assert token_accuracy(best, unchanged_targets(before, targets)).tolist() == [pytest.approx(2 / 3), 0.5]


def test_a_row_without_answer_token_is_refused_by_number():
    targets = torch.tensor([[1, 2], [IGNORED, IGNORED]])
    for metric in (token_accuracy, exact_match):
        with pytest.raises(ValueError, match=r"rows \[1\]"):
            metric(torch.zeros(2, 2, dtype=torch.long), targets)


ids = st.integers(0, 4)
rows = st.lists(
    st.lists(st.tuples(ids, st.one_of(st.just(IGNORED), ids)), min_size=5, max_size=5), min_size=1, max_size=4
)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_accuracy_equals_a_loop(pairs):
    pairs = [[(best, 0 if t == 0 else target) for t, (best, target) in enumerate(row)] for row in pairs]
    best, targets = torch.tensor(pairs).unbind(-1)
    for row, share, exact in zip(pairs, token_accuracy(best, targets), exact_match(best, targets), strict=True):
        hits = [b == t for b, t in row if t != IGNORED]
        assert float(share) == pytest.approx(sum(hits) / len(hits))
        assert float(exact) == float(all(hits))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(0, 2**31))
def test_ordered_agreement_equals_a_loop_over_the_common_tail(length_before, length_after, ranks, seed):
    draw = torch.Generator().manual_seed(seed)
    before = torch.randint(3, (length_before, ranks), generator=draw)
    after = torch.randint(3, (length_after, ranks), generator=draw)
    tail = min(length_before, length_after)
    slots = [
        before[length_before - tail + t][r] == after[length_after - tail + t][r]
        for t in range(tail)
        for r in range(ranks)
    ]
    assert ordered_agreement(before, after) == pytest.approx(float(sum(slots)) / len(slots))
    assert ordered_agreement(before, before) == 1.0


def test_rank_order_counts_and_shapes_are_checked():
    assert ordered_agreement(torch.tensor([[1, 2]]), torch.tensor([[2, 1]])) == 0.0
    with pytest.raises(ValueError, match="equal ranks"):
        ordered_agreement(torch.zeros(3, 2), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="no position"):
        ordered_agreement(torch.zeros(0, 2), torch.zeros(3, 2))


def test_top_ids_ranks_by_logit():
    logits = torch.tensor([[0.1, 3.0, 2.0, -1.0]])
    assert top_ids(logits, 3).tolist() == [[1, 2, 0]]


def test_kl_of_two_known_distributions_ignores_masked_positions():
    """Two rows; of the second one position is read."""
    before = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.3, 0.7]]).log()
    after = torch.tensor([[0.25, 0.75], [0.1, 0.9], [0.3, 0.7]]).log()
    where = torch.tensor([[True, True, False], [False, True, False]])
    kl = [0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75), 0.9 * math.log(9) + 0.1 * math.log(1 / 9)]
    assert divergences_of(before, after, where).tolist() == pytest.approx([sum(kl) / 2, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(" Two  Cats. ", "two cats"), ("a\tdog !?", "a dog"), ("-5", "-5"), ("u.s. map", "u.s. map"), ("...", "")],
)
def test_normalised_answers(text, expected):
    assert normalise_answer(text) == expected


@given(st.text(max_size=20))
def test_normalising_twice_changes_nothing(text):
    assert normalise_answer(normalise_answer(text)) == normalise_answer(text)
