"""GRACE against the values that EasyEdit's own code gave (grace_golden.safetensors names the commit), and by hand."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from grace_twin import Twin
from safetensors.torch import load_file
from tiny_models import FAMILIES, QUERIES, make_case, tiny_images, tiny_model, tiny_tokenizer

import unike_lib.methods.grace.balance as balance_module
from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import IGNORED, Batch
from unike_lib.backbones.edit import PassContext
from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.methods.grace.balance import pool_balance
from unike_lib.methods.grace.codebook import Arrivals, Codebook
from unike_lib.methods.grace.editor import Grace
from unike_lib.methods.grace.settings import GraceMethod
from unike_lib.types import EditRequest, Query

LAYER = 3
# Edits that are added, that repeat a question with another answer, that split and that widen, in two sessions.
SEQUENCES = ([0, 1, 5, 2, 6], [2, 7, 6, 1, 3])
STEPS = {"add_add_add": 3, "expand_same_label": 3, "split_other_label": 2, "add_then_split_then_expand": 2}


@pytest.fixture(scope="module")
def golden():
    return load_file(Path(__file__).with_name("grace_golden.safetensors"))


def grace(backbone, layer=LAYER, **settings):
    method = GraceMethod(method="grace", layer=layer - len(backbone.decoder.layers), **{"steps": 3, **settings})
    return Grace(backbone, method, layer, None, 0)


def requests():
    made = [make_case(i, target).request for i, target in enumerate(["hot dog", "cat", "red owl left", "blue", "owl"])]
    again, near = replace(made[1], target="red", id="again"), replace(made[2], prompt="what is it ?", id="near")
    return [*made, again, near, replace(made[0], target=made[2].target, id="wide")]


def empty(width, out, replaces="last"):
    none = torch.zeros(1, 0)
    keys, values = torch.zeros(1, 0, width), torch.zeros(1, 0, out)
    return Codebook(LAYER, "down", replaces, keys, values, none, none, none.long(), none.bool())


def golden_book(golden, name, steps):
    """Make a case's edits; after each, compare with the original's keys, radii and values."""
    book = empty(16, 16)
    for step in range(steps):
        state, ids = golden[f"{name}.state.{step}"][None], golden[f"{name}.answer.{step}"].tolist()
        start = golden[f"{name}.start.{step}"]
        start = torch.full((1, 16), torch.nan) if not len(start) else start[None]
        book, place = book.with_edits(
            Arrivals(state, torch.tensor([hash(tuple(ids))]), torch.ones(1), start), only_shrinks=False
        )
        live = book.live[0]
        if step < STEPS.get(name, 0):
            for part in ("keys", "values", "radii"):
                expected = golden[f"{name}.{part}.{step}"]
                torch.testing.assert_close(getattr(book, part)[0, live], expected, atol=2e-5, rtol=0)
    return book, place


@pytest.mark.parametrize("name", STEPS)
def test_edits_find_their_places_as_in_the_original(golden, name):
    steps = STEPS[name]
    book, _ = golden_book(golden, name, steps)
    if f"{name}.state.{steps}" not in golden:  # all steps made: the queries, too
        chosen = book.chosen(golden[f"{name}.asked"])
        ours = torch.where((chosen >= 0)[:, None], book.values[0, chosen.clamp(min=0)], golden[f"{name}.base"])
        torch.testing.assert_close(ours, golden[f"{name}.said"], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "radii"),
    [
        ("split_second_label_order_bug", [1.0, 1.0]),  # 0.6 away from its own: nothing is widened below the radius
        ("same_answer_other_prompt_length", [1.0]),
        ("add_then_split_then_expand", [0.69999, 0.7]),
    ],
)
def test_an_edit_that_repeats_its_answer_widens_its_own_key(golden, name, radii):
    """Where the original compares with another key's answer, or takes the prompt for a part of the answer."""
    steps = sum(key.startswith(f"{name}.state") for key in golden)
    book, place = golden_book(golden, name, steps)
    torch.testing.assert_close(book.radii[0, book.live[0]], torch.tensor(radii), atol=2e-5, rtol=0)
    assert int(place) < steps - 1 and not book.live[0, -1]


@pytest.mark.parametrize(
    ("name", "replaces"),
    [("replace_last_at_given_position", "last"), ("replace_prompt", "prompt"), ("replace_all", "all")],
)
def test_tokens_are_replaced_as_in_the_original(golden, backbone, name, replaces):
    value = {part: golden[f"{name}.{part}"] for part in ("key", "value", "radius", "x", "y_base", "y", "at")}
    parts = {
        "keys": value["key"][None],
        "values": value["value"][None],
        "radii": value["radius"][None],
        "slack": torch.zeros(1, 1),
    }
    live = torch.ones(1, 1, dtype=torch.bool)
    book = empty(16, 16, replaces).with_tensors({**parts, "answers": live.long(), "live": live})
    context = PassContext(value["at"].expand(len(value["x"])))
    assert book.weight(LAYER, "down", value["x"], context) is None
    ours = book.ffn(backbone.decoder.layers[LAYER], value["x"], value["y_base"], context)
    torch.testing.assert_close(ours, value["y"], atol=1e-5, rtol=0)
    assert book.ffn(backbone.decoder.layers[LAYER - 1], value["x"], value["y_base"], context) is value["y_base"]


class Started(Grace):
    """An editor whose values start where the original's did."""

    starts: dict

    def _fresh(self, requests):
        return torch.stack([self.starts[request.id] for request in requests])


def llama_of(golden, monkeypatch):
    """The original's tiny Llama; a query's prompt says which tokens: "input_ids_0", and how many are its prompt."""
    size = {"vocab_size": 40, "intermediate_size": 32, "num_hidden_layers": 3, "num_key_value_heads": 4}
    model = tiny_model("minigpt4", **size)
    start = "edit_two.in.w."
    weights = {name.removeprefix(start): value for name, value in golden.items() if name.startswith(start)}
    model.language_model.load_state_dict(weights)
    backbone = Backbone(model, tiny_tokenizer(), FAMILIES["minigpt4"], tiny_images, (1, 2), "{}")
    rows = {name: golden[f"edit_two.in.{name}"][0] for name in ("input_ids_0", "input_ids_1", "query_far")}

    def encode(queries, answers=None):
        ids = torch.stack([rows[query.prompt] for query in queries])
        last, lengths = (torch.full((len(ids),), n) for n in (5, ids.shape[1]))
        targets = torch.full_like(ids, IGNORED)
        targets[:, 5:-1] = ids[:, 6:]
        return Batch(backbone.embed(ids), targets, last, lengths)

    monkeypatch.setattr(backbone, "encode", encode)
    return backbone


def test_whole_edits_equal_those_of_the_original(golden, monkeypatch):
    """Two edits of a session on its tiny Llama: codebook, and what the model says then."""
    backbone = llama_of(golden, monkeypatch)
    editor = Started(backbone, GraceMethod(method="grace", steps=8, teach_end=False, learning_rate=1.0), 1, None, 0)
    starts = {f"edit-{number}": golden[f"edit_two.in.values_at_start_{number}"][-1] for number in range(2)}
    object.__setattr__(editor, "starts", starts)
    patch = editor.start(1)
    for number in range(2):
        request = EditRequest(f"edit-{number}", "vqa", None, f"input_ids_{number}", ("hot dog", "cat")[number])
        patch = editor.edit([request], patch).patch
        book = patch.part(Codebook)
        for part, atol in (("keys", 1e-5), ("radii", 1e-5), ("values", 1e-2)):
            torch.testing.assert_close(
                getattr(book, part)[0], golden[f"edit_two.out.{part}_{number}"], atol=atol, rtol=0
            )
    said = lambda name: backbone.forward(backbone.prepare([Query(None, name)], 1), patch)  # noqa: E731
    torch.testing.assert_close(said("input_ids_0"), golden["edit_two.out.logits_edit_0"], atol=1e-2, rtol=0)
    torch.testing.assert_close(said("query_far"), golden["edit_two.out.logits_far"], atol=1e-4, rtol=0)


@pytest.fixture(params=["last", "prompt", "all"])
def edited(request, family, make_backbone):
    """Two sessions of five edits each, side by side, and by hand."""
    backbone = make_backbone(family, (LAYER, 5))
    editor, made = grace(backbone, replaces=request.param, initial_radius=2.0), requests()
    twins = [Twin(backbone, LAYER, 2.0, replaces=request.param) for _ in SEQUENCES]
    patch = editor.start(2)
    for position in range(5 if request.param == "last" else 3):
        asked = [made[order[position]] for order in SEQUENCES]
        outcome = editor.edit(asked, patch)
        assert outcome.failures == (None, None)
        patch = outcome.patch
        for twin, each in zip(twins, asked, strict=True):
            twin.edit(each, editor._fresh([each])[0])
    return backbone, patch, twins


def test_sessions_equal_edits_by_hand_in_hugging_faces_model(edited):
    """The codebooks; what both models say to questions, of the edits and others, and the answers that they write."""
    backbone, patch, twins = edited
    book = patch.part(Codebook)
    asked = [*QUERIES, *(request.query for request in requests())]
    if book.edits == 3:  # the second session's key was widened to another question
        assert book.radii[1, 0] > 2.2 and book.live.tolist() == [[True, False, True], [True, False, False]]
    for session, twin in enumerate(twins):
        live = book.live[session]
        for part, place in (("keys", 0), ("radii", 1), ("values", 2)):
            ours = getattr(book, part)[session, live]
            theirs = [torch.as_tensor(entry[place]) for entry in twin.entries]
            torch.testing.assert_close(ours, torch.stack(theirs).float(), atol=2e-2 if place == 2 else 1e-4, rtol=1e-3)
        mine = patch.select([session])
        for keep in (True, False):
            replies = answer_logits(backbone, asked, mine, keep=keep)
            for query, ours in zip(asked, replies.logits.split(replies.where.sum(1).tolist()), strict=True):
                torch.testing.assert_close(ours, twin.logits(query)[-len(ours) :].detach(), atol=5e-2, rtol=0)
        answers = generate(backbone, asked[:2], [[], []], mine, 3)
        for query, answer in zip(asked[:2], answers, strict=True):
            assert answer == twin.written(query, 3)


def test_an_edit_that_fails_leaves_its_session_as_it_was(make_backbone):
    """As the first edit, and as the second: the other session has its own edits alone."""
    backbone, made = make_backbone("minigpt4", (LAYER, 5)), requests()
    editor = Started(backbone, grace(backbone).settings, LAYER, None, 0)
    fine = {each.id: torch.rand(backbone.width) for each in made}
    patch = editor.start(2)
    for number, (failing, working) in enumerate([(0, 1), (2, 3), (4, 2)]):
        bad = {made[failing].id: torch.full((backbone.width,), torch.nan)} if number != 1 else {}
        object.__setattr__(editor, "starts", fine | bad)
        outcome = editor.edit([made[failing], made[working]], patch)
        assert outcome.failures == ("loss is not finite" if bad else None, None)
        before, patch = patch, outcome.patch
        assert all(value.float().isfinite().all() for value in patch.tensors().values())
        if bad:
            expected = answer_logits(backbone, QUERIES, before.select([0]) if number else None).logits
            assert torch.equal(answer_logits(backbone, QUERIES, patch.select([0])).logits, expected)
    assert patch.part(Codebook).live.tolist() == [[False, True, False], [True, True, True]]


def test_edits_of_a_session_in_half_precision_are_known_again(make_backbone):
    """Alone or beside others, the same question again takes its own key."""
    backbone, made = make_backbone("blip2", (LAYER, 5)), requests()
    for parameter in backbone.model.parameters():
        parameter.data = parameter.data.bfloat16()
    editor = grace(backbone)
    patch = editor.edit(made[:2], editor.start(2)).patch
    patch = editor.edit([made[0], made[5]], patch).patch  # the same edit; the same question with another answer
    assert patch.part(Codebook).live.tolist() == [[True, False], [False, True]]
    single = editor.edit(made[1:2], editor.start(1)).patch
    again = editor.edit(made[5:6], single).patch
    assert again.part(Codebook).live.tolist() == [[False, True]] and again.part(Codebook).radii[0, 1] == 1


def test_balanced_radii_lie_between_rephrasings_and_unrelated_questions(family, make_backbone, monkeypatch):
    """By loops, from states that a hook reads in Hugging Face's model; each edit keeps its own."""
    for name, value in {"NEIGHBOURS": 2, "POOL": 3, "WORDINGS": 1}.items():
        monkeypatch.setattr(balance_module, name, value)
    backbone, made = make_backbone(family, (LAYER, 5)), requests()
    pool = [make_case(index, "blue") for index in range(10, 14)]
    worded = [replace(case, request=replace(case.request, prompt="name the cat")) for case in pool[1:]]
    worded[0] = replace(worded[0], probes=tuple(probe_on_the_left(each) for each in worded[0].probes))
    pool = [pool[0], *worded]
    balance = pool_balance(backbone, LAYER, pool, 0.3)
    asked = [made[0], replace(made[1], prompt="what is it ?")]  # the pool rephrases the first one's words
    twin = Twin(backbone, LAYER)
    states = torch.stack([twin.state(request.query) for request in asked])
    expected = []
    for request, state in zip(asked, states, strict=True):
        others = {kind: [twin.state(case.query(kind)) for case in pool[:3]] for kind in KINDS}
        far = min(float((state - each).norm()) for kind in ("rel", "t_loc", "m_loc") for each in others[kind])
        nearest = sorted(range(3), key=lambda index: float((state - others["rel"][index]).norm()))[:2]
        near = [
            sum(float((others["rel"][i] - others[kind][i]).norm()) for kind in ("t_gen", "m_gen")) / 2 for i in nearest
        ]
        if request is asked[0]:
            near.append(float((state - twin.state(Query(request.image, "name it"))).norm()))
        expected.append(0.7 * far + 0.3 * sum(near) / len(near))
    torch.testing.assert_close(balance.radii(asked, states), torch.tensor(expected), atol=1e-4, rtol=0)
    editor = replace(grace(backbone, radius="balanced"), balance=balance)
    first = editor.edit(asked[:1], editor.start(1)).patch
    twin.edit(asked[0], editor._fresh(asked[:1])[0], expected[0], True)
    book = editor.edit(asked[1:], first).patch.part(Codebook)
    twin.edit(asked[1], editor._fresh(asked[1:])[0], expected[1], True)
    assert first.part(Codebook).radii.tolist() == [[pytest.approx(expected[0], abs=1e-4)]]
    assert book.radii.tolist() == [[pytest.approx(entry[1], abs=1e-4) for entry in twin.entries]]


KINDS = ("rel", "t_gen", "m_gen", "t_loc", "m_loc")


def probe_on_the_left(probe):
    return replace(probe, query=replace(probe.query, prompt="on the left")) if probe.kind == "t_gen" else probe


def test_a_widened_key_reaches_its_question_in_other_last_digits_until_it_is_split():
    """And a question of the pool that is the edit's own is not unrelated to it."""
    book, state = empty(2, 2), torch.tensor([[3.0, 4.0]])
    edit = lambda x, answer: Arrivals(x, torch.tensor([answer]), torch.ones(1), torch.zeros(1, 2))  # noqa: E731
    far = state + torch.tensor([[1.9, 0.0]])
    for x, answer in ((state, 1), (far, 1)):
        book, place = book.with_edits(edit(x, answer), only_shrinks=False)
    assert place == 0 and book.chosen(far + torch.tensor([[3e-6, 0.0]])) == 0
    assert book.chosen(far + torch.tensor([[1e-4, 0.0]])) == -1
    book, _ = book.with_edits(edit(far + 1e-2, 2), only_shrinks=False)
    assert book.slack.eq(0).all() and book.live.tolist() == [[True, False, True]]
    balance = balance_module.Balance(None, LAYER, 0.0, state, torch.ones(1), torch.cat([state, far]), {})
    torch.testing.assert_close(balance.radii([requests()[0]], state), torch.tensor([1.9]))
