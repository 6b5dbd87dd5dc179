"""A SERAC that sees: MSCKE's own numbers, Hugging Face's own models, and loops over single questions."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_sequences import real_logits
from test_serac import SHAPE, sequence_of
from tiny_models import WIDTH, make_case, tiny_images
from torch import nn

from unike_lib.backbones.forward import answer_logits
from unike_lib.method import default_methods, resolve_method
from unike_lib.methods.serac.counterfactual import CounterfactualMix
from unike_lib.methods.serac.editor import Serac, load_router
from unike_lib.methods.serac_multimodal import METHOD
from unike_lib.methods.serac_multimodal.editor import PictureEncoder, SeeingModels
from unike_lib.methods.serac_multimodal.settings import SeracMultimodalMethod
from unike_lib.methods.serac_multimodal.training import SeeingScopeLoss, train
from unike_lib.types import EditRequest, InputError, Probe, Query

# What zeng-zhen/FGVEdit 8cd6cd4 (easyeditor/trainer/algs/MSCKE.py) gave for random features and logits: one stored edit
# (its `dot` is then plain joining), and three with `cat`.
GOLDEN = load_file(Path(__file__).parent / "serac_multimodal_golden.safetensors")
# By case: of each question the picture (None: no picture), the nearest edit, and whether it is in scope.
ASKED = {
    "one_edit_dot": [(0, 0, True), (0, 0, True), (0, 0, True), (1, 0, False), (None, 0, False)],
    "three_edits_cat": [(0, 0, True), (0, 0, True), (0, 0, False), (1, 1, False), (None, 2, False)],
}


def settings(**changes):
    small = {**SHAPE, "steps": 60, "batch_size": 4, "eval_every": 20, "learning_rate": 3e-3}
    return SeracMultimodalMethod(method="serac-multimodal", **{**small, **changes})


def seeded(backbone, **changes):
    torch.manual_seed(0)
    return SeeingModels.untrained(backbone, settings(**changes))


class Known(nn.Module):
    """A text encoder that knows the vectors of texts."""

    def __init__(self, vectors):
        super().__init__()
        self.vectors = vectors

    def forward(self, texts):
        return torch.stack([self.vectors[text] for text in texts])


@pytest.mark.parametrize("case", ASKED)
def test_scores_and_logits_are_those_of_mscke(make_backbone, monkeypatch, case):
    """Pictures come as visual tokens whose mean is the golden feature, texts as their golden features."""
    golden = {name.removeprefix(f"{case}/"): value for name, value in GOLDEN.items() if name.startswith(f"{case}/")}
    backbone = make_backbone("blip2")
    spread = torch.tensor([-3.0, 1.0, 2.0])[:, None] * torch.ones(WIDTH)
    backbone.images = lambda names: torch.stack([golden["in.image_features"][int(name)] + spread for name in names])
    models = seeded(backbone, width=WIDTH)
    count = len(golden["in.edit_text_features"])
    known = {f"edit {number}": golden["in.edit_text_features"][number] for number in range(count)}
    known |= {f"question {number}": golden[f"in.q{number}.text_features"] for number in range(5)}
    pictures = models.scope_encoder.pictures
    pictures.out.weight.data, pictures.out.bias.data = torch.eye(WIDTH), torch.zeros(WIDTH)
    pictures.none.data = golden["in.zero_image_features"]
    models.scope_encoder.texts = Known(known)
    edits = tuple(Query(str(number), f"edit {number}", "word") for number in range(count))
    answered = []

    def answer(_, queries, edits, answers, read):
        answered.extend(edits)
        return [golden[f"in.{queries[0].prompt.replace('question ', 'q')}.replacement_logits_all"][0, -read[0] :]]

    monkeypatch.setattr(SeeingModels, "token_ids", lambda self, texts: texts)
    monkeypatch.setattr(SeeingModels, "answer", answer)
    for number, (picture, nearest, switched) in enumerate(ASKED[case]):
        query = Query(None if picture is None else str(picture), f"question {number}")
        scores = models.scope([query] * count, edits)
        wanted = golden[f"out.q{number}.log_probabilities"][0].exp()
        torch.testing.assert_close(scores, wanted, atol=2e-5, rtol=0)
        base, answered[:] = golden[f"in.q{number}.base_logits"][0], []
        mix = CounterfactualMix(models, (edits,), "hard", "all")
        found = mix.after([query], [[]], [len(base)], base.clone())
        assert torch.equal(found, golden[f"out.q{number}.logits"][0])
        assert answered == ([edits[nearest]] if switched else []) and int(scores.argmax()) == nearest


def distance(models, one, other):
    """Return |e - x|^2 of two questions, each encoded alone, its picture from the mean of its visual tokens."""

    def half(query):
        pictures = models.scope_encoder.pictures
        seen = pictures.none
        if query.image is not None:
            mean = tiny_images([query.image])[0].mean(0)
            seen = pictures.out.weight @ ((mean - pictures.centre) / pictures.spread) + pictures.out.bias
        ids = models.backbone.tokenizer(query.prompt, add_special_tokens=False)["input_ids"]
        return models.scope_encoder.texts([ids])[0], seen

    (t, v), (u, w) = half(one), half(other)
    return (t - u).square().sum() + (v - w).square().sum()


def test_a_question_in_scope_is_answered_by_the_second_model_and_others_by_the_real_model(family, make_backbone):
    """A twin of whole models: Hugging Face's own, unedited, and GPT-2; the scope by hand, with a radius between."""
    backbone = make_backbone(family)
    models = seeded(backbone)
    own = Query("image-1", "name it", "red owl")
    queries = [
        replace(own, prompt="name this"),
        replace(own, image="image-2"),
        replace(own, image=None),
        replace(own, image="image-2", prompt="what is on the left ?"),
        own,
    ]
    distances = torch.stack([distance(models, own, query) for query in queries]).detach()
    radius = (
        float(distances.sort().values[2:4].mean()) / 0.6931471805599453
    )  # half of e^-d between two of the questions
    models = replace(models, radius=radius)
    request = EditRequest("r", "vqa", "image-1", "name it", "red owl")
    editor = Serac(models)
    said = answer_logits(backbone, queries, editor.edit([request], editor.start(1)).patch, everywhere=True)
    rows = said.logits.split(said.where.sum(1).tolist())
    inside = (distances / radius).neg().exp() > 0.5
    assert inside.sum() == 3 and inside[4]
    for query, row, second in zip(queries, rows, inside.tolist(), strict=True):
        expected = real_logits(backbone, query)
        if second:
            whole, edit, prompt = sequence_of(models, query, backbone.answer_ids("red owl"))
            tail = torch.stack([*whole[: edit + prompt - 1], *whole[edit + prompt :]])[-len(expected) :]
            expected = torch.cat([expected[: len(expected) - len(tail)], tail])
        torch.testing.assert_close(row, expected, atol=1e-4, rtol=0)


def test_of_edits_made_one_after_another_the_nearest_answers_and_of_equal_ones_the_latest(make_backbone):
    """By a loop over stored edits, one of them without a picture; what else is stored changes no score."""
    backbone = make_backbone("minigpt4")
    editor = Serac(seeded(backbone))
    places = [("image-1", "name it"), (None, "name it"), ("image-2", "a photo of"), ("image-1", "name it")]
    answers = ["hot dog", "cat", "red owl left", "blue"]
    requests = [EditRequest(answer, "vqa", *place, answer) for place, answer in zip(places, answers, strict=True)]
    patch = editor.start(1)
    for request in requests:
        patch = editor.edit([request], patch).patch
    asked = [Query("image-1", "name it"), Query(None, "name it"), Query("image-2", "a photo"), Query(None, "a photo")]
    chosen, mix = [], patch.part(CounterfactualMix)
    scores, best = mix._best_edits(asked)
    for row, query in enumerate(asked):
        far = [float(distance(editor.models, query, request.query).detach()) for request in requests]
        chosen.append(max(range(4), key=lambda number: (-round(far[number], 3), number)))
        assert best[row] == requests[chosen[-1]].query
        assert float(scores[row]) == pytest.approx(torch.tensor(-min(far)).exp().item(), abs=1e-6)
        alone = editor.edit([requests[chosen[-1]]], editor.start(1)).patch.part(CounterfactualMix)
        torch.testing.assert_close(alone._best_edits([query])[0][0], scores[row], atol=1e-6, rtol=1e-4)
    assert chosen[:3] == [3, 1, 2]
    saved = patch.with_tensors(patch.tensors())
    assert saved.part(CounterfactualMix).edits == (tuple(request.query for request in requests),)


def test_a_feature_of_a_picture_is_read_once_and_centred_on_the_training_pictures(make_backbone):
    backbone, read = make_backbone("blip2"), []
    backbone.images = lambda names: read.extend(names) or tiny_images(names)
    models = seeded(backbone)
    for _ in range(2):
        models.vectors([("name it", "image-1"), ("name it", ""), ("a photo", "image-1"), ("a photo", "image-2")])
    assert read == ["image-1", "image-2"]
    encoder, features = PictureEncoder(3, 2), torch.tensor([[1.0, 5.0, 0.0], [3.0, 5.0, 8.0], [2.0, 5.0, 1.0]])
    encoder.fit(features)
    torch.testing.assert_close(encoder.centre, torch.tensor([2.0, 5.0, 3.0]))
    spreads = [1.0, 0.0, 19.0**0.5]
    torch.testing.assert_close(encoder.spread, torch.tensor([1.0, sum(spreads) / 30, 19.0**0.5]))
    row = torch.tensor([4.0, 5.0, 3.0 + 3.0 * 19.0**0.5])
    found = encoder([row, None])
    torch.testing.assert_close(found[0], encoder.out.weight @ torch.tensor([2.0, 0.0, 3.0]) + encoder.out.bias)
    assert torch.equal(found[1], encoder.none)
    encoder.fit(features[:1])  # one picture says nothing of the spread
    torch.testing.assert_close(encoder.centre, torch.tensor([2.0, 5.0, 3.0]))


def seen_cases():
    """Edits that share questions and pictures: the second is the first's picture, rephrased; the last its fact."""
    cases = [make_case(index, target) for index, target in enumerate(["owl", "red cat", "blue", "hot dog"])]
    request = replace(cases[2].request, prompt="what is on the left ?")
    own = [Probe("rel", request.query), Probe("t_gen", Query("image-2", "a photo of the left", "blue"))]
    own.append(Probe("m_gen", replace(request.query, image="other-2")))
    cases[2] = replace(cases[2], request=request, probes=(*own, *cases[2].probes[3:]))
    again = replace(cases[1].request, image="other-0")
    cases[1] = replace(cases[1], request=again, probes=(Probe("rel", again.query), *cases[1].probes[1:]))
    return [*cases[:3], replace(cases[3], facts=cases[0].facts)]


def test_scope_loss_equals_a_loop(make_backbone):
    models, cases = seeded(make_backbone("blip2")), seen_cases()
    loss = SeeingScopeLoss(models, cases)(cases)
    texts = [{"what is this ?", "name it"}, {"what is on the left ?", "a photo of the left"}]
    pictures = [{"image-0", "other-0", "image-1", "other-1"}, {"image-2", "other-2"}, {"image-3", "other-3"}]
    near, far = [], []
    for case, beside in zip(cases, [*cases[1:], cases[0]], strict=True):
        own, other = case.request.query, beside.request.query
        near += [distance(models, own, case.query(kind)) for kind in ("rel", "t_gen", "m_gen")]
        asked = [case.query("t_loc"), case.query("m_loc")]
        if not set(case.facts) & set(beside.facts):
            asked += [other, replace(other, image=own.image), replace(own, image=other.image)]
        for query in asked:
            same_text = query.prompt == own.prompt or any({query.prompt, own.prompt} <= group for group in texts)
            same_picture = query.image == own.image or any({query.image, own.image} <= group for group in pictures)
            if not (same_text and same_picture):
                far.append(-torch.log(1 - torch.exp(-distance(models, own, query))))
    assert len(near) == 12 and len(far) == 8 + 0 + 3 + 3
    torch.testing.assert_close(loss, torch.stack(near).mean() + torch.stack(far).mean(), atol=1e-4, rtol=1e-4)


def test_training_tells_pictures_apart_and_is_repeatable(make_backbone):
    backbone = make_backbone("minigpt4")
    cases = [make_case(index, target) for index, target in enumerate(["owl", "red cat", "blue", "hot dog"])]
    tensors, losses = train(settings(), backbone, cases, cases[:2], 0)
    short = settings(steps=3)
    one, two = (train(short, backbone, cases, cases[:2], 3)[0] for _ in range(2))
    assert tensors.keys() == one.keys() and all(torch.equal(one[name], two[name]) for name in one)
    curve = losses[losses["part"] == "scope"]
    assert curve["train"].iloc[-1] < 0.5 * curve["train"].iloc[0]
    names = sorted({probe.query.image for case in cases for probe in case.probes if probe.query.image})
    features = torch.stack([tiny_images([name])[0].mean(0) for name in names])
    torch.testing.assert_close(tensors["scope.pictures.centre"], features.mean(0))
    torch.testing.assert_close(tensors["scope.pictures.spread"], features.std(0))
    models = load_router(settings(), backbone, tensors, SeeingModels)
    own = cases[0].request.query
    asked = [own, cases[0].query("t_gen"), cases[0].query("m_gen"), cases[1].request.query, replace(own, image=None)]
    scores = models.scope(asked, [own] * 5)
    assert scores[0] == 1 and scores[1:3].min() > 0.5 > scores[3:].max()


def test_trained_models_of_another_room_are_refused(make_backbone):
    backbone = make_backbone("blip2")
    tensors = seeded(backbone).tensors()
    with pytest.raises(InputError, match="serac-multimodal: trained models do not fit"):
        load_router(settings(width=64), backbone, tensors, SeeingModels)
    with pytest.raises(InputError, match="serac-multimodal: expected training and development edits, found 1 and 0"):
        train(settings(), backbone, [make_case(0)], [], 0)


def test_values_of_mscke_are_a_variant():
    shipped = resolve_method(default_methods(), "serac-multimodal-shipped", None, {})
    assert (shipped.learning_rate, shipped.steps, shipped.mixture) == (1e-5, 50000, "hard")
    assert METHOD.settings is SeracMultimodalMethod and METHOD.train
    assert isinstance(shipped, SeracMultimodalMethod) and shipped.scope_layers == shipped.counterfactual_layers == 12
