"""The example of docs/evaluation.md, number by number."""

import pytest
import torch

from unike_lib.criterion import Reply, find_criterion
from unike_lib.types import Query

RED, OWL, CAT = 5, 6, 7
NONE = torch.zeros(0)


def scores(best, text, must="become", accepted=("red owl",)):
    wanted = torch.tensor([RED, OWL])
    reply = Reply(Query(None, "q", "red owl"), must, wanted, torch.tensor(best), NONE, NONE, NONE, text, accepted)
    names = ("token", "exact", "generated", "normalised")
    return {name: find_criterion(name).of(reply) for name in names}


@pytest.mark.parametrize(
    ("best", "text", "expected"),
    [
        ((RED, CAT), "The red cat.", (0.5, 0, 0, 0)),
        ((RED, OWL), "A red owl", (1, 1, 0, 1)),
        ((RED, OWL), "red owl red owl", (1, 1, 0, 0)),
    ],
)
def test_the_page_s_numbers(best, text, expected):
    assert tuple(scores(best, text).values()) == expected


def test_a_locality_question_stays_but_for_an_article():
    found = scores((RED, OWL), "dog", "stay", ("a dog",))
    assert (found["generated"], found["normalised"]) == (0, 1)
