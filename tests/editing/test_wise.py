"""WISE against Hugging Face's own models: weights trained by plain autograd, and rows routed by a hook."""

from dataclasses import replace

import pytest
import torch
from taught import taught_losses
from test_half_precision import in_dtype
from tiny_models import QUERIES, make_case

from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.backbones.kv_cache import forward_with_cache
from unike_lib.editing.building import EditorSources
from unike_lib.editing.editor import edit_loss
from unike_lib.methods.wise import editor as wise
from unike_lib.methods.wise.formulas import margin_loss
from unike_lib.methods.wise.memories import SideMemories
from unike_lib.methods.wise.settings import WiseMethod
from unike_lib.types import EditRequest, InputError, Query

LAYER, DOWN, ACTIVATION = (
    2,
    {"blip2": "fc2", "minigpt4": "mlp.down_proj"},
    {"blip2": torch.relu, "minigpt4": torch.nn.functional.silu},
)
STEPS, RATE, DECAY, CLAMP, MARGINS = 3, 0.3, 0.01, 0.15, (0.5, 6.0, 2.0)
REQUESTS = [make_case(1, "cat").request, make_case(2, "red owl left").request]
SECOND = [EditRequest("more", "vqa", None, "name it", "blue"), make_case(3, "hot dog").request]
UNRELATED = (
    tuple(Query(None, text) for text in ("what is a cat ?", "a photo of", "on the left")),
    (Query("image-9", "name it"),),
)


def editor_of(backbone, **changes):
    alpha, beta, gamma = MARGINS
    settings = {
        "steps": STEPS,
        "learning_rate": RATE,
        "weight_decay": DECAY,
        "clamp": CLAMP,
        "act_ratio": 0.7,
        "mask_ratio": 0.4,
    }
    settings |= {"alpha": alpha, "beta": beta, "gamma": gamma, "unrelated": "both", **changes}
    return wise.Wise(backbone, WiseMethod(method="wise", **settings), backbone.decoder.layers[LAYER], UNRELATED, 0)


def module_of(backbone, family):
    return backbone.model.language_model.get_decoder().layers[LAYER].get_submodule(DOWN[family])


def entering(backbone, module, query):
    """What enters the module at the prompt's tokens, and Hugging Face's logits of the row."""
    seen, batch = [], backbone.encode([query])
    hook = module.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].flatten(0, -2)))
    logits = backbone.model.language_model(inputs_embeds=batch.embeddings).logits[0]
    hook.remove()
    return seen[0][: int(batch.last_prompt) + 1], logits


class Twin:
    """One session: a matrix S of its own for every memory, trained in the model itself, and the least distances."""

    def __init__(self, backbone, family, editor):
        self.backbone, self.editor, self.module = backbone, editor, module_of(backbone, family)
        self.act, self.original = ACTIVATION[family], self.module.weight.detach().clone()
        self.sides, self.least, self.count = [], [], 0

    def far(self, states, matrix):
        bias = 0 if self.module.bias is None else self.module.bias
        return (self.act(states @ matrix.T + bias) - self.act(states @ self.original.T + bias)).norm(dim=1).mean()

    def edit(self, request):
        chosen = self.editor.settings
        if self.count % chosen.save_every == 0:
            self.sides.append(self.original.clone())
            self.least.append(float("inf"))
        self.count += 1
        places = self.editor.places(len(self.sides) - 1)
        mask = torch.zeros(self.original.numel()).index_fill(0, places, 1.0).view_as(self.original)
        matrix, alpha, beta, gamma = self.sides[-1], *MARGINS
        own, _ = entering(self.backbone, self.module, request.query)
        others = [entering(self.backbone, self.module, query)[0] for query in self.editor.draw(request)]
        for _ in range(chosen.steps):
            self.module.weight = torch.nn.Parameter(matrix)
            logits = entering(self.backbone, self.module, request.query)[1]
            loss = taught_losses(logits, self.backbone.answer_ids(request.target)).mean()
            near, far = self.far(own, self.module.weight), [self.far(each, self.module.weight) for each in others]
            for terms in ([each - near + gamma for each in far], [each - alpha for each in far], [beta - near]):
                loss = loss + sum(term for term in terms if term > 0) / max(1, sum(term > 0 for term in terms))
            (gradient,) = torch.autograd.grad(loss, self.module.weight)
            matrix = matrix - mask * chosen.learning_rate * (gradient + chosen.weight_decay * matrix)
            matrix = matrix.clamp(self.original - CLAMP, self.original + CLAMP)
        self.module.weight = torch.nn.Parameter(self.original.clone(), requires_grad=False)
        self.sides[-1] = matrix
        self.least[-1] = min(self.least[-1], self.far(own, matrix).item())

    def memories(self):
        """Matrices and least distances: the side memory, then the others as they are merged; one number at a time."""
        chosen, full = self.editor.settings, self.count // self.editor.settings.save_every
        side = [(self.sides[full], self.least[full])] if full < len(self.sides) else [(self.original, float("inf"))]
        if not chosen.retrieve:
            least = min(self.least)
            merged = [(self.merge(self.sides[:full]), least)] if full else []
            return [(side[0][0], least), *merged]
        size = chosen.merge_every // chosen.save_every
        groups = [range(start, start + size) for start in range(0, full - size + 1, size)]
        loose = range(len(groups) * size, full)
        merged = [(self.merge([self.sides[n] for n in group]), min(self.least[n] for n in group)) for group in groups]
        return [*side, *[(self.sides[number], self.least[number]) for number in loose], *merged]

    def merge(self, matrices):
        changes = [(matrix - self.original).flatten() for matrix in matrices]
        kept = int(self.editor.settings.density * self.original.numel())
        for change in changes:
            change[change.abs().argsort(descending=True)[kept:]] = 0
        merged = self.original.flatten().clone()
        for place, values in enumerate(torch.stack(changes).T.tolist()):
            same = [value for value in values if (value > 0 if sum(values) >= 0 else value < 0)]
            merged[place] += sum(same) / max(1, len(same))
        return merged.view_as(self.original)

    def taken(self, query):
        states, ratio = entering(self.backbone, self.module, query)[0], self.editor.settings.act_ratio
        (side, least), *others = self.memories()
        farthest = self.far(states, side)
        taken = side if farthest >= ratio * least else self.original
        for matrix, least in others:
            far = self.far(states, matrix)
            if far > farthest and far > ratio * least:
                farthest, taken = far, matrix
        return taken

    def logits(self, query):
        """Hugging Face's logits from the last prompt token on, with the matrix that the row takes."""
        self.module.weight.data = self.taken(query)
        logits = entering(self.backbone, self.module, query)[1]
        self.module.weight.data = self.original.clone()
        return logits[int(self.backbone.encode([query]).last_prompt) :]


SEVERAL = [
    {},
    {"save_every": 1, "merge_every": 2},
    {"save_every": 1, "merge_every": 1000, "density": 0.2},
    {"save_every": 1, "retrieve": False, "density": 0.2, "merge_every": 5},
]


@pytest.mark.parametrize("changes", SEVERAL)
def test_edits_equal_weights_changed_in_the_model_and_a_hook_that_routes(family, make_backbone, changes):
    """Three edits in a row of two sessions side by side; then one more session after fewer edits."""
    editor, twins = (
        editor_of(make_backbone(family), **changes),
        [Twin(make_backbone(family), family, None) for _ in "ab"],
    )
    patch, routes = editor.start(2), set()
    for requests in (REQUESTS, SECOND, REQUESTS[::-1]):
        outcome = editor.edit(requests, patch)
        patch = outcome.patch
        assert outcome.failures == (None, None)
        for twin, request in zip(twins, requests, strict=True):
            twin.editor = editor
            twin.edit(request)
        for session, twin in enumerate(twins):
            replies = answer_logits(editor.backbone, QUERIES, patch.select([session]))
            counts = replies.where.sum(1).tolist()
            for query, ours in zip(QUERIES, replies.logits.split(counts), strict=True):
                torch.testing.assert_close(ours, twin.logits(query), atol=2e-3, rtol=0)
                routes.add(twin.taken(query) is twin.original)
    part = patch.part(SideMemories)
    for session, twin in enumerate(twins):
        for number, side in enumerate(twin.sides):
            ours = twin.original.flatten().index_add(0, part.places[number], part.values[number][session])
            torch.testing.assert_close(ours.view_as(side), side, atol=1e-4, rtol=0)
        torch.testing.assert_close(part.smallest[session], torch.tensor(twin.least), atol=1e-3, rtol=0)
    assert any((value.abs() == torch.tensor(CLAMP)).any() for value in part.values)
    assert routes == {True, False}


def test_a_session_with_fewer_edits_goes_on_in_its_own_memory(make_backbone):
    """One session's second request is taken back; a third begins its second memory, not its third."""
    editor = editor_of(make_backbone("minigpt4"), save_every=1, merge_every=2)
    first = editor.edit(REQUESTS, editor.start(2)).patch
    second = editor.edit(SECOND, first).patch.revert(torch.tensor([True, False]), first)
    third = editor.edit(REQUESTS[::-1], second).patch
    alone = editor.edit(REQUESTS[1:], editor.start(1)).patch
    for session, expected in ((1, alone), (1, editor.edit(REQUESTS[:1], alone).patch)):
        ours = answer_logits(editor.backbone, QUERIES, (second if expected is alone else third).select([session]))
        torch.testing.assert_close(
            ours.logits, answer_logits(editor.backbone, QUERIES, expected).logits, atol=1e-3, rtol=0
        )
    assert third.part(SideMemories).counts.tolist() == [3, 2]


def test_an_edit_that_fails_is_none(make_backbone, monkeypatch):
    editor = editor_of(make_backbone("minigpt4"), save_every=1, merge_every=2)
    for previous in (editor.start(2), editor.edit(SECOND, editor.start(2)).patch):
        right = editor.edit(REQUESTS, previous).patch
        with monkeypatch.context() as patched:
            patched.setattr(wise, "edit_loss", lambda *given: edit_loss(*given) * torch.tensor([1.0, torch.nan]))
            outcome = editor.edit(REQUESTS, previous)
        assert outcome.failures == (None, "loss is not finite")
        for session, expected in enumerate((right, previous)):
            ours = answer_logits(editor.backbone, QUERIES, outcome.patch.select([session])).logits
            known = answer_logits(editor.backbone, QUERIES, expected.select([session])).logits
            torch.testing.assert_close(ours, known, atol=1e-3, rtol=0)


def test_a_question_takes_the_same_whatever_is_answered(make_backbone):
    """Its gate is opened by the prompt, holds for tokens that are written behind it, and reads no answer."""
    editor = editor_of(make_backbone("minigpt4"))
    patch = editor.edit(REQUESTS, editor.start(2)).patch
    queries = QUERIES[:2] * 2
    written = generate(editor.backbone, queries, [[]] * 4, patch, 5)
    asked = answer_logits(editor.backbone, queries, patch, written).greedy
    assert [each[: len(ids)] for each, ids in zip(asked, written, strict=True)] == written
    decoder, asked = editor.backbone.decoder, answer_logits(editor.backbone, queries, patch, [[]] * 4)
    token, real = editor.backbone.embed(torch.full((4, 1), 9)), torch.ones(4, 1, dtype=torch.bool)
    behind = decoder.logits(decoder.finish(forward_with_cache(decoder, token, asked.past, real, patch)))[:, 0]
    (kept,) = asked.past.context.kept.values()
    assert 0 in kept["taken"].tolist()
    replies = answer_logits(editor.backbone, queries, patch, [[9]] * 4).logits.unflatten(0, (4, 2))
    torch.testing.assert_close(behind, replies[:, 1], atol=1e-4, rtol=0)
    first = [answer_logits(editor.backbone, queries, patch, [ids] * 4) for ids in ([5], [9, 4, 7, 8])]
    firsts = [[each[0] for each in reply.logits.split(reply.where.sum(1).tolist())] for reply in first]
    torch.testing.assert_close(torch.stack(firsts[0]), torch.stack(firsts[1]), atol=1e-4, rtol=0)


def test_places_are_a_share_of_the_matrix_drawn_anew_for_each_memory(make_backbone):
    editor = editor_of(make_backbone("minigpt4"), mask_ratio=0.2)
    first, second, other = editor.places(0), editor.places(1), replace(editor, seed=1).places(0)
    assert torch.equal(first, editor.places(0)) and not torch.equal(first, other)
    size = editor.layer.part("mlp.down_proj").weight.numel()
    assert all(abs(len(each) / size - 0.2) < 0.06 for each in (first, second, other))
    assert len(set(first.tolist()) & set(second.tolist())) < len(first) / 2
    assert len(editor_of(make_backbone("minigpt4"), mask_ratio=1.0).places(0)) == size


def test_unrelated_questions_are_the_method_splits(make_backbone):
    """Without their answers; an edit draws by its own name, whatever is beside it."""
    cases = [make_case(number) for number in range(3)]
    text = wise.unrelated_questions(cases, WiseMethod(method="wise"))
    assert text == ((Query(None, "what is a cat ?"),),)
    both = wise.unrelated_questions(cases, WiseMethod(method="wise", unrelated="both"))
    assert both == (*text, tuple(Query(f"near-{number}", "what is on the left ?") for number in range(3)))
    bare = replace(cases[0], probes=tuple(probe for probe in cases[0].probes if probe.kind != "m_loc"))
    with pytest.raises(InputError, match="probes t_loc, m_loc"):
        wise.unrelated_questions([bare], WiseMethod(method="wise", unrelated="both"))
    editor = editor_of(make_backbone("minigpt4"))
    drawn = {editor.draw(replace(REQUESTS[0], id=str(number)))[0].prompt for number in range(20)}
    assert drawn == {query.prompt for query in UNRELATED[0]}


@pytest.mark.parametrize("layer", [-7, None])
def test_the_last_layer_and_one_that_is_not_there_are_refused(make_backbone, tmp_path, layer):
    backbone = make_backbone("minigpt4", (5,))
    with pytest.raises(InputError, match="before the last of 6"):
        wise.build(WiseMethod(method="wise", layer=layer), backbone, EditorSources(tmp_path), 0)
    with pytest.raises(ValueError, match="multiple of save_every 500"):
        WiseMethod(method="wise", merge_every=700)


def test_an_edit_ends_where_its_loss_is_low_and_settled(make_backbone, monkeypatch):
    """Session by session: both settle at their second look, after one step, and the first is low."""
    backbone = make_backbone("minigpt4")
    quiet = {"alpha": 1000.0, "beta": 0.0, "gamma": 0.0}
    monkeypatch.setattr(wise, "margin_loss", lambda *given: margin_loss(*given) * 0)
    monkeypatch.setattr(wise, "edit_loss", lambda *given: edit_loss(*given) * torch.tensor([1e-6, 1.0]))
    editors = [editor_of(backbone, **quiet, steps=steps, learning_rate=1e-6) for steps in (1, 4)]
    one, many = (each.edit(REQUESTS, each.start(2)).patch.part(SideMemories).values[0] for each in editors)
    assert torch.equal(one[0], many[0]) and not torch.equal(one[1], many[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_backbone_in_half_precision_is_edited_in_single(make_backbone, dtype):
    """The memory is in float32, and near to that of a backbone in float32."""
    editors = [editor_of(each) for each in (make_backbone("minigpt4"), in_dtype(make_backbone("minigpt4"), dtype))]
    outcomes = [editor.edit(REQUESTS, editor.start(2)) for editor in editors]
    assert outcomes[1].failures == (None, None)
    single, half = (outcome.patch.part(SideMemories) for outcome in outcomes)
    assert half.values[0].dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(half.values[0], single.values[0]).min() > 0.95
    torch.testing.assert_close(half.smallest, single.smallest, atol=0.3, rtol=0)
    said = [answer_logits(e.backbone, QUERIES * 2, o.patch).logits for e, o in zip(editors, outcomes, strict=True)]
    assert (said[0].argmax(1) == said[1].argmax(1)).float().mean() > 0.8
