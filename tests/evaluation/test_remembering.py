"""States that enter the edited layers are computed once for the same questions, and no score changes."""

import pandas as pd
import pytest
from test_sessions import SETTINGS, frame, strong_fine_tune

from unike_lib.backbones.speed.state_cache import StateCache
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import run_edits
from unike_lib.evaluation.tuning import sweep
from unike_lib.records import MEASURED


@pytest.fixture
def passes(backbone, monkeypatch):
    """The batches that the frozen layers were run on, in order."""
    seen, run = [], backbone.run_below
    backbone.cache = StateCache(backbone)

    def counted(batch, first=None):
        seen.append(first)
        return run(batch, first)

    monkeypatch.setattr(backbone, "run_below", counted)
    return seen


def test_a_sweep_runs_the_frozen_layers_once_and_scores_as_each_point_alone(backbone, cases, passes):
    quick = SETTINGS.without_generation()
    before = answer_before(backbone, cases, SETTINGS)
    editor_of = lambda point: strong_fine_tune(backbone, **point)  # noqa: E731
    points = [{"learning_rate": rate} for rate in (0.001, 0.03)]
    alone = []
    for point in points:
        del passes[:]
        alone.append(frame(run_edits(backbone, editor_of(point), {1: cases}, before, quick)))
        needed = len(passes)
    del passes[:]
    swept = sweep(backbone, editor_of, cases, before, points, quick)
    together = len(passes)
    assert together <= needed  # of one point; some of its own questions may be the same
    for (_, scores), wanted in zip(swept, alone, strict=True):
        pd.testing.assert_frame_equal(frame(scores).drop(columns=[*MEASURED]), wanted.drop(columns=[*MEASURED]))
    assert not alone[0]["token"].equals(alone[1]["token"])
    run_edits(backbone, editor_of(points[0]), {1: cases}, before, quick)
    assert len(passes) == together + needed  # nothing is remembered after the sweep


def test_the_first_edited_layer_is_one_place_by_default_and_by_number(backbone, cases, passes):
    """What an edit asked up to its default layer is not run again for the score right after it, which names it."""
    queries = [case.request.query for case in cases]
    with backbone.cache.remembering():
        by_default = backbone.prepare(queries)
        assert backbone.prepare(queries, backbone.layers[0]) is by_default
    assert len(passes) == 1
