"""Retention under made-up editors whose outcome is known."""

import logging
from dataclasses import dataclass, field, replace

import pandas as pd
import pytest
import torch
from tiny_models import FAMILIES, make_case, tiny_images, tiny_model, tiny_tokenizer

from unike_lib.backbones.backbone import Backbone
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.editing.editor import EditResult, NoEdit
from unike_lib.editing.patch import Part, Patch
from unike_lib.evaluation.retention import measure_cost, run_retention
from unike_lib.evaluation.retention_questions import asked_cases, look_alikes, plan_retention
from unike_lib.methods.fine_tune.editor import FineTune
from unike_lib.methods.fine_tune.settings import FineTuneMethod
from unike_lib.types import InputError, Query

SETTINGS = EvaluationConfig(sessions=3, max_new_tokens=4)
TARGETS = ("cat", "red owl", "blue", "hot dog", "owl", "left")


def edit_of(number, task="vqa"):
    case = make_case(number, TARGETS[number % len(TARGETS)])
    request = replace(case.request, id=f"{task}-{number}", task=task, image=f"{task}-image-{number}")
    other = Query(None, f"what is a {TARGETS[number % 4]} ?", "red")
    probes = [replace(p, query=replace(p.query, image=request.image)) for p in case.probes[:2]]
    probes += [case.probe("m_gen"), replace(case.probe("t_loc"), query=other), case.probe("m_loc")]
    probes[0] = replace(probes[0], query=request.query)
    return replace(case, request=request, probes=tuple(probes), facts=(f"{task}-fact-{number}",))


def taught_of(number, task="vqa"):
    case = edit_of(100 + number, task)
    query = replace(case.query("rel"), answer=TARGETS[number % 2])
    return replace(case, probes=(replace(case.probe("rel"), query=query), *case.probes[1:]))


EDITED = [[edit_of(n, task) for n in range(4)] for task in ("vqa", "caption")]
TAUGHT = [[taught_of(n, task) for n in range(5)] for task in ("vqa", "caption")]


@pytest.fixture(scope="module")
def backbone():
    """Two layers are enough; no test here changes the model."""
    model, family = tiny_model("minigpt4", num_hidden_layers=2), FAMILIES["minigpt4"]
    return Backbone(model, tiny_tokenizer(), family, tiny_images, None, "question : {} short answer :")


@dataclass(frozen=True)
class Says(Part):
    """Behind the model: what is answered to questions of some pictures, or to all (None); then the answer ends."""

    backbone: object
    answers: dict = field(default_factory=dict)

    def tensors(self):
        return {"answers": torch.zeros(1, len(self.answers))}

    def with_tensors(self, tensors):
        return self

    def append(self, more):
        return more

    def after(self, queries, answers, read, logits):
        stop = min(self.backbone.stop_tokens)
        for query, answer, rows in zip(queries, answers, logits.split(list(read)), strict=True):
            text = self.answers.get(query.image, self.answers.get(None))
            if text is None:
                continue
            ids = [*self.backbone.answer_ids(text), stop]
            for place, row in enumerate(rows):
                index = len(answer) - len(rows) + 1 + place
                row.fill_(-50.0)
                row[ids[min(index, len(ids) - 1)]] = 50.0
        return logits


@dataclass
class MadeUp:
    """An editor after whose edits the model says what a function of all requests so far says."""

    backbone: object
    answers_of: object
    requests: list = field(default_factory=list)

    def start(self, sessions):
        self.requests = []
        return Patch(sessions)

    def edit(self, requests, previous):
        self.requests += requests
        bad = self.requests[-1].id == "vqa-3"
        return EditResult(previous.append(Says(self.backbone, self.answers_of(self.requests))), ("x" if bad else None,))


def all_taught(requests):
    return {request.image: request.target for request in requests}


def last_taught(requests):
    """An edit undoes those before it: their pictures get a word that is nobody's target."""
    return dict.fromkeys([request.image for request in requests], "on") | all_taught(requests[-1:])


def one_word(requests):
    return {None: "photo"}


def means_of(backbone, editor, ks=(1, 4, 8)):
    rows = pd.DataFrame(run_retention(backbone, editor, plan_retention(EDITED, TAUGHT, ks, 6, 0), SETTINGS))
    return rows, rows.groupby(["set", "k"])[["retained", "right", "right_after"]].mean()


def test_an_editor_that_changes_nothing_retains_all(backbone):
    rows, means = means_of(backbone, NoEdit())
    assert (means["retained"] == 1).all() and set(rows["k"]) == {0, 1, 4, 8}
    assert rows[rows["k"] == 0]["set"].value_counts().to_dict() == {"taught": 6, "general": 4}
    for name in ("taught", "general"):
        assert means.loc[name]["right"].nunique() == 1
    assert rows["right_after"].notna().equals(rows["set"] == "edits")


def test_edits_that_touch_their_own_question_alone_lose_nothing(backbone):
    rows, means = means_of(backbone, MadeUp(backbone, all_taught))
    assert (means["retained"] == 1).all()
    assert (means.loc["edits"] == 1).all(axis=None)
    own = rows[(rows["set"] == "edits") & (rows["k"] == 8)]
    assert (own["status"] == "failed: x").tolist() == (own["question"] == "vqa-3").tolist()


def test_a_model_that_says_one_word_retains_nothing(backbone):
    _, means = means_of(backbone, MadeUp(backbone, one_word))
    edited = means.drop(index=0, level="k")
    assert (edited.loc[["taught", "general"]][["retained", "right"]] == 0).all(axis=None)
    assert (edited.loc["edits"]["retained"] == 1).all()  # it said that word right after each edit, too
    assert (edited.loc["edits"][["right", "right_after"]] == 0).all(axis=None)


def test_an_edit_that_is_forgotten_shows_in_the_gap(backbone):
    _, means = means_of(backbone, MadeUp(backbone, last_taught))
    own = means.loc["edits"]
    assert (own["right_after"] == 1).all()
    assert own["right"].to_dict() == own["retained"].to_dict() == {1: 1.0, 4: 1 / 4, 8: 1 / 8}
    assert (means.loc[["taught", "general"]]["retained"] == 1).all()


def test_what_a_prefix_says_is_what_a_shorter_session_says(backbone):
    editor = FineTune(backbone, FineTuneMethod(method="fine-tune", steps=2, learning_rate=0.05))
    rows, _ = means_of(backbone, editor, (2, 3))
    plan = plan_retention(EDITED, TAUGHT, (3,), 6, 0)
    assert rows["retained"].mean() < 1
    for k in (2, 3):
        alone = pd.DataFrame(run_retention(backbone, editor, replace(plan, edits=plan.edits[:k], ks=(k,)), SETTINGS))
        for n in (0, k):
            one, other = (each[each["k"] == n].reset_index(drop=True) for each in (rows, alone))
            pd.testing.assert_frame_equal(one, other)


def test_answers_that_are_no_numbers_are_not_retained(backbone):
    class Breaks(Says):
        def after(self, queries, answers, read, logits):
            return torch.full_like(logits, torch.nan)

    editor = MadeUp(backbone, one_word)
    editor.edit = lambda requests, previous: EditResult(previous.append(Breaks(backbone)), (None,))
    rows, means = means_of(backbone, editor, (2,))
    assert (means.drop(index=0, level="k")[["retained", "right"]] == 0).all(axis=None)
    assert set(rows[rows["k"] == 2]["status"]) == {"failed: logits are not finite"}


def test_a_session_mixes_the_tasks_and_begins_alike_whatever_its_length():
    long, short = (plan_retention(EDITED, TAUGHT, ks, 6, 0) for ks in ((1, 8), (3,)))
    assert long.edits[:3] == short.edits and len(long.edits) == 8
    for start in range(0, 8, 2):
        assert {case.request.task for case in long.edits[start : start + 2]} == {"vqa", "caption"}
    assert [each.id for each in long.questions["taught"]] == [
        f"{task}-{100 + n}" for n in range(3) for task in ("vqa", "caption")
    ]


def test_questions_that_an_edit_concerns_are_left_out_and_counted():
    """By a fact, by the picture, by the rephrased one, or as the question itself; two of a longer session alone."""
    edits, vqa = EDITED, list(TAUGHT[0])
    picture = replace(vqa[1].probe("rel"), query=replace(vqa[1].query("rel"), image="caption-image-0"))
    rephrased = replace(vqa[2].probe("rel"), query=replace(vqa[2].query("rel"), image="other-3"))
    vqa[0] = replace(vqa[0], facts=("free", "vqa-fact-3"))
    vqa[1] = replace(vqa[1], probes=(picture, *vqa[1].probes[1:]))
    vqa[2] = replace(vqa[2], probes=(rephrased, *vqa[2].probes[1:]))
    plan = plan_retention(edits, [vqa, TAUGHT[1]], (8,), 20, 0)
    assert plan.left_out == {"taught": 3, "general": 0}
    assert [each.id for each in plan.questions["taught"] if "vqa" in each.id] == ["vqa-103", "vqa-104"]
    assert plan_retention(edits, [vqa, TAUGHT[1]], (2,), 20, 0).left_out["taught"] == 1
    text = replace(EDITED[0][0].probe("t_gen"), query=Query(None, "What is a  CAT ?", "x"))
    asked = replace(EDITED[0][0], probes=(*EDITED[0][0].probes[:1], text, *EDITED[0][0].probes[2:]))
    plan = plan_retention([[asked, *EDITED[0][1:]], EDITED[1]], TAUGHT, (8,), 20, 0)
    assert plan.left_out["general"] == 1 and len(plan.questions["general"]) == 3


def test_more_edits_than_there_are_is_said_and_all_are_made(caplog):
    with caplog.at_level(logging.WARNING):
        plan = plan_retention(EDITED, TAUGHT, (2, 8, 50, 200), 6, 0)
    assert plan.ks == (2, 8) and len(plan.edits) == 8
    assert "retention.ks: 200 edits are asked for, the tasks have 8 in equal shares" in caplog.text
    with pytest.raises(InputError, match="expected at least one edit of each task"):
        plan_retention([EDITED[0], []], TAUGHT, (2,), 6, 0)


def test_what_was_taught_of_a_longer_task_is_asked_too():
    plan = plan_retention(EDITED, [TAUGHT[0], TAUGHT[1][:2]], (2,), 20, 0)
    assert [each.id for each in plan.questions["taught"]][:4] == ["vqa-100", "caption-100", "vqa-101", "caption-101"]
    assert len(plan.questions["taught"]) + plan.left_out["taught"] == 7
    assert len(plan_retention(EDITED, [TAUGHT[0], []], (2,), 20, 0).questions["taught"]) == 5


def test_second_edits_are_made_and_their_questions_are_not_asked(backbone):
    """The second request of each edit is about a picture of its own; what it asks is no general question."""
    second = replace(EDITED[0][0].request, id="vqa-0+1", image=None, prompt="what is a cat ?", target="owl")
    edits = [[replace(EDITED[0][0], then=(second,)), *EDITED[0][1:]], EDITED[1]]
    editor = MadeUp(backbone, all_taught)
    plan = plan_retention(edits, TAUGHT, (2,), 20, 0)
    run_retention(backbone, editor, plan, SETTINGS)
    made = [request.id for case in plan.edits for request in case.requests]
    assert [request.id for request in editor.requests] == made and "vqa-0+1" in made
    asked = [each.probe.query.prompt for each in plan.questions["general"]]
    assert "what is a cat ?" not in asked and plan.left_out["general"] == 1


def test_pictures_of_all_that_is_asked_are_seen():
    plan = plan_retention(EDITED, TAUGHT, (3,), 4, 0)
    asked = {probe.query.image for case in asked_cases(plan) for probe in case.probes} - {None}
    fixed = {f"{task}-image-{100 + n}" for task in ("vqa", "caption") for n in (0, 1)}
    assert asked == {case.request.image for case in plan.edits} | fixed


def test_look_alikes_have_new_ids_and_targets_of_their_task():
    plan = plan_retention(EDITED, TAUGHT, (8,), 1, 0)
    found = [case.request for case in look_alikes(plan.edits, 20)]
    assert found[:8] == [case.request for case in plan.edits]
    assert len({request.id for request in found}) == len(found) == 20
    for first, second in zip(found, found[8:16], strict=False):
        assert (second.image, second.prompt, second.task) == (first.image, first.prompt, first.task)
        assert second.target != first.target and second.id == f"{first.id}-again-1"


def test_cost_is_measured_at_every_k(backbone, monkeypatch):
    """Every edit takes two ticks of the clock more than the one before; each keeps one number of four bytes."""
    now, editor = [0.0], MadeUp(backbone, all_taught)

    def slow_edit(requests, previous):
        result = MadeUp.edit(editor, requests, previous)
        now[0] += 2 * len(editor.requests)
        return result

    editor.edit = slow_edit
    monkeypatch.setattr("unike_lib.evaluation.sessions.time.perf_counter", lambda: now[0])
    edits = look_alikes(plan_retention(EDITED, TAUGHT, (8,), 1, 0).edits, 6)
    editor.start(1)
    table = measure_cost(backbone, editor, edits, (2, 4))
    assert table["k"].tolist() == [2, 4, 6]
    assert table["seconds_per_edit"].tolist() == [3.0, 7.0, 11.0]
    assert table["bytes_per_edit"].tolist() == [4.0, 4.0, 4.0] and (table["peak_mb"] > 0).all()
