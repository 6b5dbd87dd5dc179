"""Records of every room against a scoring twin: texts and logits of the edited model, scored by rules that stand apart.

Where an edit can be made in Hugging Face's own model (weights changed, a hook, a text in front of the question), its
own `generate` and forward say what the answers are. The other rooms are asked token by token, one question at a time.
"""

import copy
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from hugging_face_twin import Twin, an_edit, inputs_of, row_of
from liveedit_twin import Plain
from neuron_knowledge import LAYERS, make_knowledge
from room_editors import room_editor
from test_rooms import IN_WEIGHTS, baked
from tiny_families import tiny_family

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.forward import answer_logits
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import run_edits
from unike_lib.family import find_family
from unike_lib.method import default_methods
from unike_lib.methods.grace.codebook import Codebook
from unike_lib.methods.ike.contexts import Contexts
from unike_lib.methods.liveedit.experts import Experts
from unike_lib.methods.wise.memories import SideMemories

MOST = 3
SETTINGS = EvaluationConfig(sessions=2, max_new_tokens=MOST, criteria=("token", "mmedit", "generated", "normalised"))
CASES = [
    an_edit(0, "what is this?", "red cat", ("is an owl on the left?", "a photo"), ("far 0", "what is on it?", "red")),
    an_edit(1, "what cat is it?", "on the left", ("what is an owl?", "a cat"), ("far 1", "is it red?", "an owl")),
]
SPLIT = [
    an_edit(10 + n, "what owl is it?", target, ("what is on the left?", "a cat"), (f"far {10 + n}", "is it?", "a cat"))
    for n, target in enumerate(["a photo", "red owl", "cat", "an owl"])
]
QUERIES = [probe.query for case in CASES for probe in case.probes]


@pytest.fixture(scope="module")
def tiny():
    """Six layers, as what methods read of knowledge has; two are edited."""
    torch.set_num_threads(1)
    tiny = tiny_family("smolvlm", num_hidden_layers=6, max_position_embeddings=1024)
    tiny.backbone.layers = LAYERS
    return tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_knowledge(tmp_path_factory.mktemp("knowledge")).folder


@pytest.fixture(scope="module")
def unedited(tiny):
    return Twin(tiny, tiny.model, QUERIES, MOST)


@pytest.fixture(scope="module")
def before(tiny):
    return answer_before(tiny.backbone, CASES, SETTINGS)


class OneByOne(Twin):
    """Rows alone, without padding; `run(query, ids)`: logits with these tokens as answer; the last: behind them."""

    def __init__(self, tiny, run):
        self.run = run
        super().__init__(tiny, None, QUERIES, MOST)

    def written(self, queries):
        for query in queries:
            ids = []
            while len(ids) < self.most:
                ids.append(int(self.run(query, ids)[-1].argmax()))
                if ids[-1] == self.tiny.tokenizer.eos_token_id:
                    break
            text = self.tiny.tokenizer.decode(ids, skip_special_tokens=True).strip()
            yield text, len(ids) == self.most and ids[-1] != self.tiny.tokenizer.eos_token_id

    def best(self, query):
        start = inputs_of(self.tiny, query)["input_ids"].shape[1]
        target = inputs_of(self.tiny, query, query.answer)["input_ids"][0, start:].tolist()
        return self.run(query, target)[-len(target) - 1 : -1].argmax(-1).tolist(), target


def weights_twin(tiny, patch):
    """A copy of the model whose weights are changed."""
    settings = find_family("smolvlm"), None, LAYERS
    backbone = baked(Backbone(copy.deepcopy(tiny.model), tiny.tokenizer, *settings), patch, 0)
    return Twin(tiny, backbone.model, QUERIES, MOST)


def context_twin(tiny, patch):
    """The texts in front of the question."""
    told = patch.part(Contexts)
    style = "plain" if told.plain else "question"
    asked = lambda query: replace(query, context=told.texts[0], style=style)  # noqa: E731
    return OneByOne(tiny, lambda query, ids: forward(tiny, asked(query), ids))


def hook_twin(tiny, patch):
    """A hook on the module of the model that the edit acts in."""
    kind = next(kind for kind in HOOKS if patch.part(kind) is not None)
    part = patch.part(kind)

    def run(query, ids):
        with HOOKS[kind](tiny, part, inputs_of(tiny, query)["input_ids"][0]):
            return forward(tiny, query, ids)

    return OneByOne(tiny, run)


def own_twin(tiny, patch):
    """The edited model's own logits, of one question and with the tokens so far as its answer."""

    def run(query, ids):
        asked = replace(query, answer=None)
        return answer_logits(tiny.backbone, [asked], patch, [ids], keep=False).logits

    return OneByOne(tiny, run)


@torch.no_grad()
def forward(tiny, query, ids):
    """Hugging Face's logits of a row with an answer's tokens behind it, [token, vocabulary]."""
    row = inputs_of(tiny, query)
    answer = torch.tensor([ids], dtype=torch.long)
    for name, more in (("input_ids", answer), ("attention_mask", torch.ones_like(answer))):
        row[name] = torch.cat([row[name], more], 1)
    return tiny.model(**row).logits[0]


@contextmanager
def hooked(module, act):
    handle = module.register_forward_hook(act)
    yield
    handle.remove()


def layer_of(tiny, number):
    return tiny.model.model.text_model.layers[number]


def grace_hook(tiny, book, prompt):
    """The value of the nearest key within its radius replaces the output at the last prompt token."""
    last = len(prompt) - 1

    def act(module, inputs, output):
        far = (book.keys[0] - inputs[0][0, last]).norm(dim=1).masked_fill(~book.live[0], torch.inf)
        nearest = int(far.argmin())
        if far[nearest] <= book.radii[0, nearest] + 1e-4:
            where = {"last": slice(last, last + 1), "prompt": slice(0, last), "all": slice(None)}[book.replaces]
            output = output.clone()
            output[0, where] = book.values[0, nearest]
        return output

    return hooked(layer_of(tiny, book.layer).mlp.down_proj, act)


def wise_hook(tiny, memories, prompt):
    """The side matrix where it is far enough from the matrix over the prompt."""
    (places,), (values,), (least,) = memories.places, memories.values, memories.smallest[0]
    module = layer_of(tiny, memories.layer.index).mlp.down_proj
    side = module.weight.detach().flatten().index_add(0, places, values[0]).view_as(module.weight)
    act = torch.nn.functional.silu

    def route(module, inputs, output):
        moved = inputs[0] @ side.T
        far = (act(moved) - act(output))[0, : len(prompt)].norm(dim=1).mean()
        return moved if far >= memories.settings.act_ratio * least else output

    return hooked(module, route)


def liveedit_hook(tiny, experts, prompt):
    """Experts behind a layer, by the plain formulas, weighed by what the row's picture and prompt are there."""
    plain = Plain(experts.network.state_dict(), experts.network.of_edits.of_text.heads)
    pictured = (prompt == tiny.model.config.image_token_id).nonzero()[:, 0]
    made = list(zip(*(getattr(experts, name)[0] for name in ("vision", "text", "inputs", "outputs")), strict=True))

    def act(module, inputs, output):
        states = output[0] if output.ndim == 3 else output
        if not len(pictured):
            return output
        shares = plain.shares(states[pictured], states[int(pictured[-1]) + 1 : len(prompt)], made)
        return output + experts.strength * plain.added(states, shares, made)

    return hooked(layer_of(tiny, experts.layer), act)


HOOKS = {Codebook: grace_hook, SideMemories: wise_hook, Experts: liveedit_hook}


def kind_of_twin(patch):
    """The most physical twin of an edit."""
    kinds = set(map(type, patch.parts))
    if kinds <= set(IN_WEIGHTS):
        return weights_twin
    if kinds == {Contexts}:
        return context_twin
    return hook_twin if len(kinds) == 1 and kinds <= set(HOOKS) else own_twin


# What must have a twin in Hugging Face's own model; others read memories, or answer by a second model.
PHYSICAL = {
    weights_twin: {
        "base", "fine-tune", "ke", "lora", "lora-easyedit", "lora-memeic", "m-ore", "m-ore-shipped", "mend",
        "only-intrin", "scope-edit", "scope-edit-shipped", "t-patcher",
    },
    hook_twin: {"grace", "grace-balanced", "liveedit", "liveedit-shipped", "wise", "wise-shipped"},
    context_twin: {"ike"},
}  # fmt: skip


SEEN = {}  # by variant: a probe's kind, its row, and whether the edits moved its text


@pytest.mark.parametrize("name", default_methods())
def test_records_are_what_the_twin_says_by_the_rules(name, tiny, folder, unedited, before):
    """A session of two edits: texts, cut answers and scores of every probe."""
    editor = room_editor(name, tiny.backbone, folder, SPLIT)
    patch = editor.start(1)
    for case in CASES:
        patch = editor.edit([case.request], patch).patch
    make = kind_of_twin(patch)
    assert all(make is kind for kind, names in PHYSICAL.items() if name in names)
    twin = make(tiny, patch)
    scores = run_edits(tiny.backbone, editor, {2: CASES}, before, SETTINGS)
    assert len(scores) == len(QUERIES) == 10
    cases = {case.request.id: case for case in CASES}
    for score in scores:
        row = row_of(cases[score.case].probe(score.kind), unedited, twin)
        ours = {"text_before": score.text_before, "text_after": score.text_after, "cut": score.cut} | score.scores
        for column, value in row.items():
            assert ours[column] == pytest.approx(value), (score.case, score.kind, column)
        SEEN.setdefault(name, []).append((score.kind, row, score.text_after != score.text_before))


def test_the_twin_saw_edits_and_every_score():
    """Of the variants that were run: answers that an edit moved and that it left, right and wrong ones."""
    if len(SEEN) < len(default_methods()):
        pytest.skip("asked of a whole run")
    rows = [each for found in SEEN.values() for each in found]
    moved = {name for name, found in SEEN.items() if any(changed for *_, changed in found)}
    assert len(moved) > len(SEEN) / 2
    for column in ("token", "generated", "normalised"):
        assert len({row[column] for _, row, _ in rows}) > 1, column
