"""SERAC's two models and their training against loops over single texts."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_models import FAMILIES, QUERIES, VOCABULARY, make_case, tiny_images, tiny_model, tiny_tokenizer
from torch.nn.functional import cross_entropy

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.forward import answer_logits
from unike_lib.methods.serac.counterfactual import CounterfactualMix
from unike_lib.methods.serac.editor import Serac, SeracModels, load_router
from unike_lib.methods.serac.settings import SeracMethod
from unike_lib.methods.serac.training import CounterfactualLoss, ScopeLoss, train_serac
from unike_lib.types import InputError, Probe, Query

SHAPE = {"width": 32, "heads": 2, "scope_layers": 1, "counterfactual_layers": 2}
TEXTS = ["what is this ?", "name it", "a photo of a red owl on the left"]


def settings(**changes):
    return SeracMethod(
        method="serac", **{**SHAPE, "steps": 60, "batch_size": 4, "eval_every": 20, "learning_rate": 3e-3, **changes}
    )


@pytest.fixture
def models(make_backbone):
    torch.manual_seed(0)
    return SeracModels.untrained(make_backbone("blip2"), settings())


def questions(texts):
    return [Query(None, text) for text in texts]


def test_scope_is_a_gaussian_of_the_distance(models):
    alone = [models.vectors([text])[0] for text in TEXTS]
    pairs = [(0, 0), (0, 1), (2, 1), (1, 2)]
    first, second = ([questions(TEXTS)[pair[side]] for pair in pairs] for side in (0, 1))
    scores = models.scope(first, second)
    expected = torch.stack([(-((alone[a] - alone[b]) ** 2).sum()).exp() for a, b in pairs])
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-4)
    assert float(scores[0]) == 1.0 and 0 < float(scores[1]) < 1


def test_the_classifier_reads_the_answer_only_if_asked_to(models):
    query = Query(None, "name it", "owl")
    assert models.text(query) == "name it"
    assert replace(models, leak_answer=True).text(query) == "name it owl"
    assert replace(models, leak_answer=True).text(replace(query, answer=None)) == "name it"


@pytest.mark.parametrize("mixture", ["soft", "hard"])
def test_scope_and_answers_are_those_of_the_toolkit(models, mixture, monkeypatch):
    """Rows that EasyEdit's own SERAC_MULTI made of random vectors and logits (serac_golden.json names the commit)."""
    golden = json.loads((Path(__file__).parent / "serac_golden.json").read_text())[mixture]
    edits = (Query(None, "0", "a"), Query(None, "1", "b"))
    models = replace(models, radius=1 / golden["scale"])
    for case in golden["queries"]:
        known = dict(zip("01q", torch.tensor([*golden["edits"], case["embedding"]]), strict=True))
        asked = []

        def vectors(_, texts, known=known):
            return torch.stack([known[text] for text in texts])

        def answer(_, queries, edits, answers, read, case=case, asked=asked):
            asked.extend(edits)
            return [torch.tensor(case["replacement"])[-read[0] :]]

        monkeypatch.setattr(SeracModels, "vectors", vectors)
        monkeypatch.setattr(SeracModels, "answer", answer)
        query, base = Query(None, "q"), torch.tensor(case["base"])
        scores = models.scope([query, query], edits)
        assert float(scores.max()) == pytest.approx(case["probability"], abs=1e-4)
        found = CounterfactualMix(models, (edits,), mixture, "all").after([query], [[]], [len(base)], base.clone())
        wanted = torch.tensor(case["logits"])
        if mixture == "soft":  # the toolkit adds a constant that keeps its logarithm finite
            found, wanted = found.exp(), wanted.exp() - torch.finfo(torch.float32).eps
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)
        assert asked == ([edits[case["nearest"]]] if case["probability"] > 0.5 else [])


def sequence_of(models, query, answer):
    """Token ids of [edit, end, question, mark, answer], and their last states by GPT-2's own forward."""
    words, end, mark = models.backbone.tokenizer, 2, len(VOCABULARY)
    asked = f"question : {query.prompt} short answer :" if query.style == "question" else query.prompt
    told = words("question : name it short answer :")["input_ids"]
    edited = [*told, mark, *words("red owl")["input_ids"], end]
    prompt = words(asked)["input_ids"]
    ids = [*edited, *prompt, mark, *answer]
    marks = [index for index, token in enumerate(ids) if token == mark]
    places = [128 + index - marks[index >= len(edited)] for index in range(len(ids))]
    states = models.counterfactual.model(
        input_ids=torch.tensor([ids]), position_ids=torch.tensor([places]), attention_mask=torch.ones(1, len(ids))
    ).last_hidden_state[0]
    return states @ models.counterfactual.model.wte.weight[:mark].T, len(edited), len(prompt)


@pytest.mark.parametrize("read", ["answer", "prompt", "everything"])
def test_the_counterfactual_model_reads_edit_and_question(models, read):
    """Its logits after the question's tokens are those of the same tokens; the mark stands for the last of them."""
    queries, answers, expected = QUERIES[:3], [[5], [6, 7, 8], []], []
    counts = [{"answer": len(answer) + 1, "prompt": len(answer) + 3, "everything": 99}[read] for answer in answers]
    found = models.answer(queries, [Query(None, "name it", "red owl")] * 3, answers, counts)
    for query, answer, count, logits in zip(queries, answers, counts, found, strict=True):
        whole, edit, prompt = sequence_of(models, query, answer)
        tail = [*whole[edit : edit + prompt - 1], *whole[edit + prompt :]]
        expected = torch.stack([*whole[:edit], *tail][-count:])
        assert len(tail) == prompt + len(answer) and len(expected) == min(count, edit + len(tail))
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("positions", ["all", "answer"])
def test_every_place_of_a_row_is_mixed_or_those_from_the_answer_on(models, positions):
    """A twin: the backbone's own logits and the counterfactual model's, laid on each other with the ends together."""
    backbone, request = models.backbone, make_case(0, "red owl").request
    request, query = replace(request, prompt="name it"), QUERIES[0]
    editor = Serac(replace(models, positions=positions, radius=100.0))
    patch = editor.edit([request], editor.start(1)).patch
    plain, mixed = (answer_logits(backbone, [query], each, everywhere=True).logits for each in (None, patch))
    whole, edit, prompt = sequence_of(models, query, backbone.answer_ids(query.answer))
    second = torch.stack([*whole[: edit + prompt - 1], *whole[edit + prompt :]])
    if positions == "answer":
        second = second[-1 - len(backbone.answer_ids(query.answer)) :]
    u, v = (models.vectors([text])[0] for text in ("name it", query.prompt))
    share = torch.exp(-((u - v) ** 2).sum() / 100.0)
    assert 0.05 < float(share.detach()) < 0.95
    kept = max(0, len(plain) - len(second))
    second = second[-(len(plain) - kept) :]
    expected = (1 - share) * plain[kept:].softmax(-1) + share * second.softmax(-1)
    torch.testing.assert_close(mixed[kept:].softmax(-1), expected, atol=1e-6, rtol=1e-4)
    assert torch.equal(mixed[:kept], plain[:kept]) and (kept > 0) == (positions == "answer")


def mixed_cases():
    """Edits with two kinds of questions; a locality question of one is another's own."""
    cases = [make_case(index, target) for index, target in enumerate(["owl", "red cat", "blue", "hot dog"])]
    colour = [
        Probe("rel", Query("image-2", "what is on the left ?", "blue")),
        Probe("t_gen", Query("image-2", "a photo of the left", "blue")),
    ]
    request = replace(cases[2].request, prompt="what is on the left ?")
    cases[2] = replace(cases[2], request=request, probes=(*colour, *cases[2].probes[2:]))
    return cases


def test_scope_loss_equals_a_loop(models):
    cases = mixed_cases()
    loss = ScopeLoss(models, cases)(cases)
    vector = {}
    for case in cases:
        for probe in case.probes:
            vector[probe.query.prompt] = models.vectors([probe.query.prompt])[0]
    groups = [{"what is this ?", "name it"}, {"what is on the left ?", "a photo of the left"}]
    near, far = [], []
    for case, beside in zip(cases, [*cases[1:], cases[0]], strict=True):
        asked = {probe.kind: probe.query.prompt for probe in case.probes}
        own = vector[asked["rel"]]
        near += [((own - vector[asked[kind]]) ** 2).sum() for kind in ("rel", "t_gen")]
        for text in (asked["t_loc"], asked["m_loc"], beside.request.prompt):
            if not any({asked["rel"], text} <= group for group in groups):
                far.append(-torch.log(1 - torch.exp(-((own - vector[text]) ** 2).sum())))
    assert len(far) == 4 + 3 + 2
    torch.testing.assert_close(loss, torch.stack(near).mean() + torch.stack(far).mean(), atol=1e-4, rtol=1e-4)


def test_counterfactual_loss_equals_a_loop(models):
    cases = mixed_cases()
    loss = CounterfactualLoss(models, 0.0, 0)(cases)
    losses = []
    for case in cases:
        wanted = [*models.backbone.answer_ids(case.request.target), 2]
        for kind in ("rel", "t_gen"):
            query = next(probe.query for probe in case.probes if probe.kind == kind)
            (logits,) = models.answer([query], [case.request.query], [wanted[:-1]], [len(wanted)])
            losses += [cross_entropy(row, torch.tensor(token)) for row, token in zip(logits, wanted, strict=True)]
    torch.testing.assert_close(loss, torch.stack(losses).mean(), atol=1e-5, rtol=0)


def test_random_targets_are_the_same_in_edit_and_answer(models, cases):
    loss = CounterfactualLoss(models, 1.0, 0)
    seen, mark = [], models.counterfactual.mark
    object.__setattr__(models, "head", lambda edit, target, query: seen.append(list(target)) or ([mark], [mark]))
    loss(cases)
    assert [len(target) for target in seen[::2]] == [2, 1, 3, 1, 1]
    assert seen[::2] == seen[1::2] != [models.backbone.answer_ids(case.request.target) for case in cases]


@pytest.fixture(scope="module")
def trained():
    """Trained once: tensors and losses."""
    question = "question : {} short answer :"
    backbone = Backbone(tiny_model("blip2"), tiny_tokenizer(), FAMILIES["blip2"], tiny_images, None, question)
    cases = mixed_cases()
    return backbone, *train_serac(settings(steps=300, random_targets=0.2), backbone, cases, cases[:2], 0)


def test_training_lowers_both_losses_and_is_repeatable(trained):
    backbone, tensors, losses = trained
    assert list(losses.columns) == ["part", "step", "train", "dev"]
    for _, curve in losses.groupby("part"):
        assert curve["train"].iloc[-1] < 0.5 * curve["train"].iloc[0]
        assert curve["dev"].min() < 0.5 * curve["dev"].iloc[0]
    short = settings(steps=20)
    cases = mixed_cases()
    one, two = (train_serac(short, backbone, cases, cases[:2], 3)[0] for _ in range(2))
    assert one.keys() == tensors.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_training_stops_early_and_keeps_the_best_weights(trained):
    backbone, *_ = trained
    cases = mixed_cases()
    strangers = [replace(case, request=replace(case.request, target="<unk>")) for case in cases]
    rule = settings(steps=2000, eval_every=5, patience=2, learning_rate=3e-2, random_targets=0.0)
    tensors, losses = train_serac(rule, backbone, cases, strangers, 0)
    curve = losses[losses["part"] == "counterfactual"]
    assert curve["step"].max() < 2000 and (curve["dev"].iloc[-2:] >= curve["dev"].min()).all()
    loss = CounterfactualLoss(load_router(rule, backbone, tensors), 0.0, 0)
    assert float(loss(strangers)) == pytest.approx(curve["dev"].min(), rel=1e-5)


def test_edits_are_answered_in_scope_and_only_there(trained):
    backbone, tensors, _ = trained
    editor = Serac(load_router(settings(), backbone, tensors))
    requests = [case.request for case in mixed_cases()]
    patch = editor.edit(requests, editor.start(4)).patch
    replies = answer_logits(backbone, [request.query for request in requests], patch)
    right = replies.batch.targets[replies.where] == replies.logits.argmax(-1)
    assert right[replies.batch.targets[replies.where] >= 0].double().mean() > 0.9
    elsewhere = [Query(None, "what is a cat ?", "red owl")] * 4
    plain, edited = (answer_logits(backbone, elsewhere, p).logits for p in (None, patch))
    torch.testing.assert_close(plain.softmax(-1), edited.softmax(-1), atol=0.2, rtol=0)


def test_a_session_does_not_depend_on_its_batch(trained):
    backbone, tensors, _ = trained
    editor = Serac(load_router(settings(), backbone, tensors))
    requests = [case.request for case in mixed_cases()]
    queries = [query for _ in requests for query in QUERIES]
    together = answer_logits(backbone, queries, editor.edit(requests, editor.start(4)).patch)
    alone = answer_logits(backbone, QUERIES, editor.edit(requests[2:3], editor.start(1)).patch)
    own = together.where.nonzero()[:, 0] // len(QUERIES) == 2
    torch.testing.assert_close(together.logits[own], alone.logits, atol=1e-4, rtol=0)


def test_tensors_of_other_settings_are_refused(trained):
    backbone, tensors, _ = trained
    with pytest.raises(InputError, match="serac: trained models do not fit"):
        load_router(settings(width=64), backbone, tensors)
    with pytest.raises(InputError, match="found 1 and 0"):
        train_serac(settings(), backbone, mixed_cases()[:1], [], 0)


def test_a_training_that_diverges_is_refused(make_backbone):
    with pytest.raises(InputError, match="serac scope: the loss is not finite at step"):
        train_serac(settings(learning_rate=1e30), make_backbone("blip2"), mixed_cases(), mixed_cases()[:2], 0)
