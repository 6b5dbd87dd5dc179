"""Which answers of a backbone are wrong, and which triplets are kept: a backbone whose answers are written."""

from types import SimpleNamespace

import pytest

from unike_lib.benchmark.answers import normalise_answer
from unike_lib.knowledge import triplets
from unike_lib.knowledge.triplets import collect_triplets
from unike_lib.types import EditCase, EditRequest


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Red CAT", "red cat"),
        ("  a red\n cat .", "a red cat"),
        ("what ?!", "what"),
        ("yes,;:", "yes"),
        ("3.5 km.", "3.5 km"),
        (".5", ".5"),
        (" . ", ""),
    ],
)
def test_answers_are_compared_without_case_spaces_and_closing_punctuation(text, same):
    assert normalise_answer(text) == same


def case(number, target):
    return EditCase(EditRequest(f"q{number}", "vqa", f"{number}.png", f"what is {number} ?", target), (), ("f",))


@pytest.fixture
def collect(monkeypatch):
    """Return a function that collects triplets: each question is answered with what `said` has for its picture."""

    def collected(cases, said, limit=100, seed=0, rows=3):
        said = {case.request.image: text for case, text in zip(cases, said, strict=True)}

        def answers(backbone, queries, drafts, *_, **__):
            assert not any(drafts)
            return [[query.image] for query in queries]

        monkeypatch.setattr(triplets, "ROWS", rows)
        monkeypatch.setattr(triplets, "generate", answers)
        backbone = SimpleNamespace(text=lambda ids: said[ids[0]], stop_tokens=frozenset())
        return collect_triplets(backbone, cases, limit, 1, seed)

    return collected


def test_wrong_answers_are_kept_in_the_pools_order(collect):
    cases = [case(number, "red cat") for number in range(7)]
    found = collect(cases, ["owl", "Red cat.", "a red cat", "", "red  cat", ".", "dog"])
    assert [(each.id, each.positive, each.negative) for each in found] == [
        ("q0", "red cat", "owl"), ("q2", "red cat", "a red cat"), ("q6", "red cat", "dog"),
    ]  # fmt: skip
    assert [(each.image, each.prompt) for each in found] == [(f"{n}.png", f"what is {n} ?") for n in (0, 2, 6)]


def test_a_truth_is_normalised_too(collect):
    found = collect([case(0, "Red Cat."), case(1, "Owl")], ["red cat", "dog"])
    assert [each.id for each in found] == ["q1"]


def test_all_questions_are_asked_in_batches(collect):
    cases = [case(number, "cat") for number in range(7)]
    assert [each.id for each in collect(cases, ["dog"] * 7, rows=3)] == [f"q{number}" for number in range(7)]


def test_a_limit_takes_some_from_all_of_the_pool_by_seed(collect):
    cases = [case(number, "cat") for number in range(40)]
    chosen = [[int(each.id[1:]) for each in collect(cases, ["dog"] * 40, 8, seed, rows=3)] for seed in (0, 0, 1)]
    assert [len(numbers) for numbers in chosen] == [8, 8, 8]
    assert chosen[0] == chosen[1] != chosen[2]
    for numbers in chosen:
        assert numbers == sorted(numbers) and max(numbers) > 20
