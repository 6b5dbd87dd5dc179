import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional

from unike_lib import criteria
from unike_lib.backbones.batch import IGNORED
from unike_lib.benchmark.answers import normalise_answer
from unike_lib.criteria.mmedit import ordered_agreement
from unike_lib.criterion import Criterion, Reply, find_criteria, find_criterion
from unike_lib.editing.editor import answer_loss
from unike_lib.evaluation.probes import top_ids
from unike_lib.methods.shared.network_training import divergences_of
from unike_lib.types import InputError, Query

# What the metric functions of EasyEdit's multimodal code (MMEdit) return for random logits: two rows of nine tokens,
# before and after an edit; four more tokens go in front of the edited rows where a context does.
GOLDEN = Path(__file__).with_name("metrics_golden.safetensors")
LABELS = torch.tensor([[IGNORED] * 6 + [33, 34, 36], [IGNORED] * 7 + [30, 18]])
NONE = torch.zeros(0)
AGREEMENT = {"same": (2 / 3, 0.26666668), "longer": (2 / 3, 0.26666668), "shorter": (4 / 7, 0.20714286)}
ACCURACY, EXACT, LOG_PROBABILITY, DIVERGENCE = 0.8, 0.5, -2.6862113, 0.30328432


def reply(best, wanted):
    """A reply to a probe that must become its answer, of which nothing else is known."""
    best, wanted = torch.tensor(best), torch.tensor(wanted)
    return Reply(Query(None, "what ?", "this"), "become", wanted, best, NONE, NONE, NONE, "", ("",))


def scores(name, best, targets):
    """The scores of rows by a criterion, each from its answer tokens alone."""
    rows = [(row[w != IGNORED].tolist(), w[w != IGNORED].tolist()) for row, w in zip(best, targets, strict=True)]
    return torch.tensor([find_criterion(name).of(reply(*row)) for row in rows], dtype=torch.float64)


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
    rows = scores("token", logits.argmax(-1), targets)
    assert float((rows * counts).sum() / counts.sum()) == pytest.approx(ACCURACY, abs=1e-6)
    losses = answer_loss(logits[targets != IGNORED], targets)
    assert float((losses * counts).sum() / counts.sum()) == pytest.approx(-LOG_PROBABILITY, abs=1e-5)
    assert float(scores("exact", logits.argmax(-1), targets).mean()) == EXACT


def test_kl_equals_public_implementation(golden):
    where = torch.ones(2, 9, dtype=torch.bool)
    where[1, :3] = False
    before, after = (golden[name][where].log_softmax(-1) for name in ("before", "after"))
    rows, counts = divergences_of(before, after, where), where.sum(1)
    assert float((rows * counts).sum() / counts.sum()) == pytest.approx(DIVERGENCE, abs=1e-5)


def test_hand_computed_scores():
    targets = torch.tensor([[IGNORED, 4, 5, 6], [1, 2, IGNORED, IGNORED]])
    best = torch.tensor([[9, 4, 5, 0], [1, 2, 7, 7]])
    assert scores("token", best, targets).tolist() == [pytest.approx(2 / 3), 1.0]
    assert scores("exact", best, targets).tolist() == [0.0, 1.0]
    assert scores("token", best, torch.tensor([[IGNORED, 4, 0, 0], [1, 3, IGNORED, IGNORED]])).tolist() == [
        pytest.approx(2 / 3),
        0.5,
    ]


def test_a_written_answer_counts_after_normalisation():
    written = replace(reply([1], [1]), text=" Two  Cats. ", accepted=("two cats",))
    assert find_criterion("generated").of(written) == 1.0
    assert find_criterion("generated").of(replace(written, text="two dogs")) == 0.0


def test_mmedit_judges_by_ranks_where_an_answer_must_stay():
    """One of two tokens is right; three of four slots agree."""
    before, after = torch.tensor([[1, 2], [3, 4]]), torch.tensor([[1, 2], [3, 5]])
    asked = replace(reply([1, 0], [1, 2]), ranks_before=before, ranks_after=after)
    found = [find_criterion("mmedit").of(replace(asked, must=must)) for must in ("become", "stay", "differ")]
    assert found == [0.5, 0.75, 0.25]


def test_any_range_fits_and_no_score_outside_of_it():
    likely = Criterion("likely", "", lambda each: each.log_probabilities.mean(), -math.inf, 0.0, worst=-100.0)
    judged = Criterion("judged", "", lambda each: float(each.text), 1.0, 5.0, higher_is_better=False)
    asked = replace(reply([1, 0], [1, 2]), log_probabilities=torch.tensor([-1.0, -2.0]), text="2")
    assert (likely.of(asked), likely.failed, judged.of(asked), judged.failed) == (-1.5, -100.0, 2.0, 5.0)
    turned = replace(asked, must="differ")
    assert (likely.of(turned), judged.of(turned)) == (1.5, 4.0)  # 1 + 5 - 2
    for text in ("6", "nan"):
        with pytest.raises(InputError, match=rf"judged: {text}.* expected 1.0 .. 5.0"):
            judged.of(replace(asked, text=text))
    for values in ({"low": -math.inf}, {"low": 1.0, "high": 1.0}, {"worst": math.nan}):
        with pytest.raises(ValueError, match="finite worst"):
            Criterion("odd", "", float, **values)


def test_every_criterion_of_the_library_is_found_by_its_name():
    names = sorted(path.stem for path in Path(criteria.__file__).parent.glob("[!_]*.py"))
    assert (
        [each.name for each in find_criteria(names)] == names == ["exact", "generated", "mmedit", "normalised", "token"]
    )
    assert all(each.percent and each.title for each in find_criteria(names))


ids = st.integers(0, 4)
rows = st.lists(
    st.lists(st.tuples(ids, st.one_of(st.just(IGNORED), ids)), min_size=5, max_size=5), min_size=1, max_size=4
)


@settings(max_examples=60, deadline=None)
@given(rows)
def test_accuracy_equals_a_loop(pairs):
    pairs = [[(best, 0 if t == 0 else target) for t, (best, target) in enumerate(row)] for row in pairs]
    best, targets = torch.tensor(pairs).unbind(-1)
    for row, share, exact in zip(pairs, scores("token", best, targets), scores("exact", best, targets), strict=True):
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
