"""What a search maximises, by hand."""

import pytest

from unike_lib.editing.objective import objective

FIVE = {"rel": 0.9, "t_gen": 0.6, "m_gen": 0.4, "t_loc": 1.0, "m_loc": 0.5}


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (tuple(FIVE), (0.9 + 0.5 + 0.75) / 3),
        (("rel", "t_gen", "t_loc"), (0.9 + 0.6 + 1.0) / 3),
        (("rel", "t_loc", "m_loc"), (0.9 + 0.75) / 2),
        (("rel",), 0.9),
    ],
)
def test_the_objective_is_the_mean_of_the_aims_that_are_asked(kinds, expected):
    assert objective({kind: FIVE[kind] for kind in kinds}) == pytest.approx(expected)
