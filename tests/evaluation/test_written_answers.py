"""What a model writes: accepted answers, answers that were cut, answers of its own, where an answer ends."""

from dataclasses import replace

import pytest
import torch
from tiny_models import make_case
from torch.nn.functional import cross_entropy

from unike_lib.backbones.batch import END, IGNORED
from unike_lib.backbones.generate import generate
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.criteria.normalised import squad_answer
from unike_lib.criterion import Reply, find_criterion
from unike_lib.editing.editor import NoEdit, answer_loss
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import run_edits
from unike_lib.methods.fine_tune.editor import FineTune
from unike_lib.methods.fine_tune.settings import FineTuneMethod
from unike_lib.types import Probe, Query

SETTINGS = EvaluationConfig(sessions=4, max_new_tokens=3)
NONE = torch.zeros(0)


# By SQuAD 1.1's evaluate-v1.1.py: lower, then punctuation, then articles, then white space.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Cat", "cat"),
        ("a cat, an owl and the dog.", "cat owl and dog"),
        ("  Two\n Cats ", "two cats"),
        ("the-cat", "thecat"),
        ("another theme", "another theme"),
        ("U.S.A.", "usa"),
        ("", ""),
    ],
)
def test_answers_are_normalised_as_squad_does(text, expected):
    assert squad_answer(text) == expected


@pytest.mark.parametrize("target", ["A", "The", "a.", "?", "an", "..."])
@pytest.mark.parametrize("name", ["generated", "normalised"])
def test_silence_is_no_answer_that_is_an_article_or_punctuation_alone(name, target):
    """A letter of a multiple choice, for example; SQuAD's own rule leaves nothing of these."""
    reply = Reply(Query(None, "q", target), "become", *[NONE] * 3, NONE, NONE, "", (target,))
    assert find_criterion(name).of(reply) == 0
    assert find_criterion(name).of(replace(reply, text=f" {target.upper()} ")) == 1
    assert find_criterion(name).of(replace(reply, text="cat")) == 0


@pytest.mark.parametrize(
    ("said", "generated", "normalised"),
    [("The USA.", 0, 1), ("america", 1, 1), ("an America", 0, 1), ("u.s.a", 0, 1), ("usa", 1, 1), ("canada", 0, 0)],
)
def test_any_accepted_answer_is_right(said, generated, normalised):
    reply = Reply(Query(None, "q", "USA"), "become", *[NONE] * 3, NONE, NONE, said, ("USA", "America"))
    assert find_criterion("generated").of(reply) == generated
    assert find_criterion("normalised").of(reply) == normalised


def test_an_alias_is_a_right_answer_where_texts_are_compared(make_backbone):
    backbone, case = make_backbone("blip2"), make_case(0, "cat")
    (ids,) = generate(backbone, [case.query("rel")], [[]], None, SETTINGS.max_new_tokens)
    said = backbone.text(ids)
    probes = [replace(p, aliases=("other", said.upper())) if p.kind == "rel" else p for p in case.probes]
    for cases, right in (([case], 0.0), ([replace(case, probes=tuple(probes))], 1.0)):
        scores = run_edits(backbone, NoEdit(), {1: cases}, answer_before(backbone, cases, SETTINGS), SETTINGS)
        (rel,) = (score for score in scores if score.kind == "rel")
        assert rel.scores["generated"] == rel.scores["normalised"] == right and rel.scores["token"] < 1
        assert rel.cut == (len(ids) == SETTINGS.max_new_tokens)


@pytest.mark.parametrize("family", ["blip2", "minigpt4"])
def test_a_question_without_an_answer_is_judged_by_what_the_unedited_model_says(make_backbone, family):
    backbone = make_backbone(family)
    own = (
        Probe("alone", Query(None, "what is this ?"), "stay"),
        Probe("near", Query("image-3", "what is this ?"), "stay"),
    )
    cases = [replace(make_case(i, t), probes=(*make_case(i, t).probes, *own)) for i, t in enumerate(["cat", "blue"])]
    before = answer_before(backbone, cases, SETTINGS)
    stays = run_edits(backbone, NoEdit(), {1: cases}, before, SETTINGS)
    asked = [score for score in stays if score.kind in ("alone", "near")]
    assert len(asked) == 4 and all(set(score.scores.values()) == {1.0} for score in asked)
    # The same where every question is really asked again: neurons that do nothing, in a patch that is not empty.
    still = FineTune(backbone, FineTuneMethod(method="fine-tune", steps=1, learning_rate=1e-12))
    again = [
        score for score in run_edits(backbone, still, {1: cases}, before, SETTINGS) if score.kind in ("alone", "near")
    ]
    assert all(set(score.scores.values()) == {1.0} for score in again)
    assert all(score.answer_tokens == max(1, len(before.generated_ids(score.case, score.kind))) for score in asked)
    editor = FineTune(backbone, FineTuneMethod(method="fine-tune", steps=20, learning_rate=0.1))
    edited = [s for s in run_edits(backbone, editor, {1: cases}, before, SETTINGS) if s.kind in ("alone", "near")]
    for score in edited:
        # Along the unedited model's own answer; its first token is that of the edited greedy answer.
        said, wanted = score.text_after.split(), score.text_before.split()
        assert score.scores["exact"] == (said[: len(wanted)] == wanted)
        assert score.scores["generated"] == (said == wanted)
    assert min(score.scores["token"] for score in edited) < 1


def test_bytes_are_those_of_one_edit(make_backbone):
    """Whole matrices of the last FFN are kept, once per session however many edits it has."""
    backbone = make_backbone("blip2")
    cases = [make_case(i, target) for i, target in enumerate(["cat", "blue", "hot dog", "red owl"])]
    editor = FineTune(backbone, FineTuneMethod(method="fine-tune", steps=1))
    layer = backbone.decoder.layers[-1]
    whole = sum(layer.part(name).weight.nelement() * 4 for name in layer.names.ffn_matrices)
    before = answer_before(backbone, cases, SETTINGS)
    for k in (1, 2):
        scores = run_edits(backbone, editor, {k: cases}, before, SETTINGS)
        assert {score.edit_bytes for score in scores} == {whole / k}
        assert all(score.peak_mb > 50 for score in scores)


def test_any_stop_token_ends_an_answer():
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[IGNORED, 3, 1, END], [IGNORED, 6, END, IGNORED]])
    chances = logits.softmax(-1)
    first = [cross_entropy(logits[0], torch.tensor(3)), cross_entropy(logits[1], torch.tensor(1))]
    first.append(-(chances[2, 2] + chances[2, 4]).log())
    second = [cross_entropy(logits[3], torch.tensor(6)), -(chances[4, 2] + chances[4, 4]).log()]
    expected = [sum(first) / 3, sum(second) / 2]
    torch.testing.assert_close(answer_loss(logits, targets, {4, 2}), torch.stack(expected))
