"""Rooms from beside the paper on every family and dtype, and in sessions of ten edits of both tasks."""

from dataclasses import replace

import pytest
import torch
from room_editors import room_editor
from test_half_precision import in_dtype
from tiny_families import tiny_family
from tiny_models import FAMILIES, make_case, tiny_images, tiny_model, tiny_tokenizer

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.forward import answer_logits
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.session_layout import session_cases
from unike_lib.evaluation.sessions import run_edits
from unike_lib.family import families
from unike_lib.types import PROBE_KINDS

ROOMS = ("lora", "grace", "wise", "liveedit", "m-ore", "serac-multimodal")
SETTINGS = EvaluationConfig(sessions=2, max_new_tokens=2)
TARGETS = ("hot dog", "cat", "red owl left", "blue")
SPLIT = [make_case(100 + number, target) for number, target in enumerate(TARGETS)]
CASES = [make_case(number, target) for number, target in enumerate(TARGETS[:3])]  # sessions of two and of one


def tiny_backbone(family):
    """A tiny model of a family, in Hugging Face's own classes."""
    if family not in FAMILIES:
        return tiny_family(family).backbone
    question = "question : {} short answer :"
    return Backbone(tiny_model(family), tiny_tokenizer(), FAMILIES[family], tiny_images, (4, 5), question)


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def dtype(request):
    return request.param


@pytest.fixture(scope="module", params=families())
def asked(request, dtype):
    """A model, and its answers before any edit."""
    torch.set_num_threads(1)
    backbone = in_dtype(tiny_backbone(request.param), dtype)
    return backbone, answer_before(backbone, CASES, SETTINGS)


@pytest.mark.parametrize("name", ROOMS)
def test_edits_are_made_scored_and_undone_on_every_family_in_every_dtype(asked, dtype, name, tmp_path):
    """Scores are scores, logits are finite; a failed second edit leaves the first one, and no patch the model."""
    backbone, before = asked
    editor = room_editor(name, backbone, tmp_path, SPLIT)
    scores = run_edits(backbone, editor, {2: CASES}, before, SETTINGS)
    assert len(scores) == len(CASES) * len(PROBE_KINDS) and {score.status for score in scores} == {"ok"}
    assert all(0 <= value <= 1 for score in scores for value in score.scores.values())

    queries = [case.query(kind) for case in CASES[:2] for kind in PROBE_KINDS]
    said = lambda patch: answer_logits(backbone, queries, patch).logits  # noqa: E731
    unedited = said(None)
    first = editor.edit([CASES[0].request], editor.start(1)).patch
    once = said(first)
    assert once.isfinite().all() and not torch.equal(once, unedited)
    both = editor.edit([CASES[1].request], first).patch
    moved, undone = (said(both) - once).abs().max(), both.revert(torch.tensor([False]), first)
    assert moved > 0  # the most that is left where the second edit failed is rounding
    assert (said(undone) - once).abs().max() <= moved * (0.25 if dtype == torch.bfloat16 else 1e-3)
    torch.testing.assert_close(said(None), unedited, atol=0, rtol=0)


@pytest.mark.parametrize("name", ROOMS)
def test_sessions_of_ten_edits_of_both_tasks_do_not_depend_on_what_is_edited_beside_them(name, tmp_path):
    """A cross-task session and a shorter last one, one by one and side by side; each item is scored right after."""
    backbone = tiny_backbone("minigpt4")
    captions = [make_case(number, TARGETS[number % 4]) for number in range(50, 57)]
    captions = [
        replace(case, request=replace(case.request, id=f"caption-{number}", task="caption", prompt="a photo of"))
        for number, case in enumerate(captions)
    ]
    questions = [make_case(number, TARGETS[number % 3]) for number in range(7)]
    cases = session_cases([questions, captions], 10, 14, 0)
    assert [sum(case.request.task == "caption" for case in cases[s : s + 10]) for s in (0, 10)] == [5, 2]
    before = answer_before(backbone, cases, SETTINGS)
    editor = room_editor(name, backbone, tmp_path, SPLIT)
    one, two = (
        run_edits(backbone, editor, {10: cases}, before, SETTINGS.model_copy(update={"sessions": sessions}))
        for sessions in (1, 2)
    )
    place = lambda score: (score.session, score.position, score.kind)  # noqa: E731
    one, two = sorted(one, key=place), sorted(two, key=place)
    assert len(one) == 14 * len(PROBE_KINDS) and {score.status for score in one} == {"ok"}
    assert [place(score) for score in one] == [place(score) for score in two]
    for mine, other in zip(one, two, strict=True):
        assert (mine.case, mine.text_after) == (other.case, other.text_after)
        assert mine.scores == pytest.approx(other.scores)
        assert mine.right_after == pytest.approx(other.right_after, nan_ok=True)
        assert bool(mine.right_after) == (mine.kind == "rel")
