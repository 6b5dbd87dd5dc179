"""Sweeps as data: what their points are, what they inherit, how an overlay takes them away."""

import pytest
from pydantic import ValidationError

from unike_lib.config.figures import FiguresConfig, SweepConfig

LINES = {"shape": "lines", "vary": {"unike": {"top_k": [8, 40]}}}


def figures(**fields):
    return FiguresConfig.model_validate({"backbones": ["big"], "fig2a": ["unike"], "sweeps": {"a": LINES}} | fields)


def test_a_point_changes_one_field():
    vary = {"unike": {"top_k": [8, 40], "rotate_memory": [True], "retrieval_temperature": [None]}}
    sweep = SweepConfig(shape="lines", vary=vary)
    points = [{"top_k": 8}, {"top_k": 40}, {"rotate_memory": True}, {"retrieval_temperature": None}]
    assert sweep.points("unike") == points
    assert [type(value) for point in points for value in point.values()] == [int, int, bool, type(None)]
    assert SweepConfig(shape="differences", vary=vary).points("unike") == [{}, *points]


def test_a_sweep_takes_what_it_leaves_open_from_all_figures():
    config = figures(edits=40, sweeps={"a": LINES, "b": LINES | {"backbones": ["small"], "edits": 8}})
    assert (config.sweep("a").backbones, config.sweep("a").tasks, config.sweep("a").edits) == (
        ("big",),
        ("vqa", "caption"),
        40,
    )
    assert (config.sweep("b").backbones, config.sweep("b").edits) == (("small",), 8)


def test_null_takes_an_entry_away():
    vary = {"unike": {"top_k": [8], "alpha": None}, "t-patcher": None}
    config = figures(sweeps={"a": LINES | {"vary": vary}, "b": None})
    assert list(config.sweeps) == ["a"] and config.sweeps["a"].vary == {"unike": {"top_k": (8,)}}
    with pytest.raises(ValidationError, match="at least 1"):
        figures(sweeps={"a": LINES | {"vary": {"unike": None}}})


@pytest.mark.parametrize("name", ["fig2a", "Fig", "a/b", ""])
def test_a_name_must_be_free_and_a_file_name(name):
    with pytest.raises(ValidationError, match="cannot name a figure"):
        figures(sweeps={name: LINES})
