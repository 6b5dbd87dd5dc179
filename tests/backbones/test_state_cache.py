"""States of frozen layers kept on disk: every pass that takes them gives what a pass without them gives."""

from dataclasses import replace

import pytest
import torch
from patches import patch_of
from tiny_models import make_case, tiny_images

from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.backbones.no_cache import NoCache
from unike_lib.backbones.prompt_states import prompt_states
from unike_lib.backbones.speed.state_cache import StateCache, cache_states, cached_depths
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.editing.patch import Patch
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import records_table, run_edits
from unike_lib.evaluation.unedited_answers import UneditedAnswers
from unike_lib.methods.fine_tune.editor import FineTune
from unike_lib.methods.fine_tune.settings import FineTuneMethod
from unike_lib.methods.shared.neurons import Neurons
from unike_lib.records import MEASURED
from unike_lib.types import InputError, Query

QUESTIONS = [
    Query("a.png", "what is this ?", "hot dog"),
    Query("b.png", "which colour ?", "blue"),
    Query(None, "who owns the cat ?", "red owl left"),
    Query("a.png", "a photo of", "cat", style="plain"),
]
CLOSE = {"atol": 2e-5, "rtol": 2e-5}
DEPTHS = [1, 3, 5, 6]


@pytest.fixture
def windowed(family, make_backbone):
    """Edited layers that are not the last four, so that the depths at which methods begin differ."""
    return make_backbone(family, (1, 2))


@pytest.fixture
def kept(windowed, tmp_path):
    cache_states(windowed, [*QUESTIONS, QUESTIONS[0]], DEPTHS, tmp_path / "kept.safetensors", "fingerprint")
    return StateCache(windowed, [tmp_path / "kept.safetensors"])


@pytest.fixture
def ran(windowed, monkeypatch):
    """The layers that were run, one entry per call."""
    seen = []
    for layer in windowed.decoder.layers:
        forward = layer.forward

        def counted(*args, index=layer.index, forward=forward):
            seen.append(index)
            return forward(*args)

        monkeypatch.setattr(layer, "forward", counted)
    return seen


def random_neurons(backbone, layer, sessions):
    torch.manual_seed(layer)
    width, gated = backbone.width, backbone.decoder.names.gate is not None
    parts = {"keys": (width, 3), "key_bias": (3,), "values": (3, width)}
    parts |= {"up": (width, 3), "up_bias": (3,)} if gated else {}
    return Neurons(**{name: torch.randn(sessions, *shape) for name, shape in parts.items()})


@pytest.mark.parametrize("where", ["first edited", "last", "nowhere"])
@pytest.mark.parametrize("keep", [True, False])
def test_replies_and_answers_are_those_of_a_whole_pass(windowed, kept, ran, where, keep):
    last = len(windowed.decoder.layers) - 1
    begins = {"first edited": 1, "last": last, "nowhere": last + 1}[where]
    patch = Patch(2) if where == "nowhere" else patch_of(2, {begins: random_neurons(windowed, begins, 2)})
    rows = QUESTIONS
    whole = answer_logits(windowed, rows, patch, everywhere=True, keep=keep)
    answers = generate(windowed, rows, [[]] * 4, patch, 5)
    windowed.cache = kept
    del ran[:]
    taken = answer_logits(windowed, rows, patch, everywhere=True, keep=keep)
    assert set(ran) <= set(range(min(begins, last), last + 1))
    torch.testing.assert_close(taken.logits, whole.logits, **CLOSE)
    assert taken.greedy == whole.greedy
    if keep:
        assert generate(windowed, rows, taken.answer_ids, patch, 5, taken) == answers


def test_states_of_prompts_are_hugging_faces_and_are_not_run_again(windowed, kept, ran):
    """Behind its own norm, with any answer or none; a question that is not kept is run, once."""
    windowed.cache = kept
    asked = [*QUESTIONS, replace(QUESTIONS[2], answer=None), replace(QUESTIONS[0], answer="blue")]
    del ran[:]
    found = prompt_states(windowed, asked, (4, 2))
    assert not ran
    for row, query in zip(found, asked, strict=True):
        embeddings = windowed.encode([replace(query, answer=None)]).embeddings
        every = windowed.model.language_model(inputs_embeds=embeddings, output_hidden_states=True).hidden_states
        for state, layer in zip(row, (4, 2), strict=True):
            module = windowed.decoder.layers[layer].module
            norm = getattr(module, "input_layernorm", None) or module.self_attn_layer_norm
            torch.testing.assert_close(state, norm(every[layer][0, -1]), **CLOSE)
    new = [Query("c.png", "what is this ?"), Query("c.png", "what is this ?", "cat")]
    once, again = prompt_states(windowed, new, (2,)), ran.copy()
    assert torch.equal(once[0], once[1]) and again == [0, 1]
    prompt_states(windowed, new, (2,))
    assert ran == again


@pytest.mark.parametrize(("first", "left"), [(1, []), (2, [1]), (3, []), (5, [])])
def test_another_answer_is_run_behind_the_kept_prompt(windowed, kept, ran, first, left):
    rows = [
        replace(QUESTIONS[0], answer="hot cat left"),
        QUESTIONS[2],
        replace(QUESTIONS[1], answer="red"),
        QUESTIONS[1],
    ]
    batch = windowed.encode(rows)
    wanted = windowed.run_below(batch, first).hidden
    found = kept.entering(rows, batch, first)
    torch.testing.assert_close(found[batch.mask], wanted[batch.mask], **CLOSE)
    del ran[:]
    kept.entering(QUESTIONS, windowed.encode(QUESTIONS), first)
    assert ran == left


@pytest.mark.parametrize("answers", [[[5], [6, 7], [8, 9, 10], []], [[], [], [], [4, 4]]])
def test_replies_along_other_answers_are_those_of_a_whole_pass(windowed, kept, answers):
    patch = patch_of(2, {2: random_neurons(windowed, 2, 2)})
    whole = answer_logits(windowed, QUESTIONS, patch, answers, everywhere=True)
    written = generate(windowed, QUESTIONS, [[]] * 4, patch, 5)
    windowed.cache = kept
    taken = answer_logits(windowed, QUESTIONS, patch, answers, everywhere=True, keep=True)
    torch.testing.assert_close(taken.logits, whole.logits, **CLOSE)
    assert generate(windowed, QUESTIONS, answers, patch, 5, taken) == written


def test_of_another_answer_only_the_rest_is_run_where_answers_are_written(windowed, kept, monkeypatch):
    """Below the edit, as many tokens as the longest rest; questions without an answer are kept as prompts."""
    seen = []
    forward = windowed.decoder.layers[0].forward
    monkeypatch.setattr(
        windowed.decoder.layers[0],
        "forward",
        lambda hidden, *more: seen.append(hidden.shape[1]) or forward(hidden, *more),
    )
    windowed.cache = kept
    answers = [*([5, 6, 7] for _ in QUESTIONS)]
    answer_logits(windowed, QUESTIONS, patch_of(1, {2: random_neurons(windowed, 2, 1)}), answers, keep=True)
    assert seen == [3]


def test_what_is_not_kept_is_run(windowed, kept):
    stranger = Query("b.png", "what is this ?", "hot dog")
    for rows in ([*QUESTIONS, stranger], [replace(QUESTIONS[0], context="new fact : cat . ")]):
        batch = windowed.encode(rows)
        assert kept.entering(rows, batch, 1) is None
        windowed.cache = NoCache()
        wanted = windowed.prepare(rows).hidden
        windowed.cache = kept
        torch.testing.assert_close(windowed.prepare(rows).hidden, wanted, atol=0, rtol=0)


def test_the_prompt_of_the_closest_kept_answer_counts(windowed, tmp_path, ran):
    """Two kept answers to one question: of a third, the longest common beginning is not run again."""
    question = QUESTIONS[0]
    cache_states(
        windowed, [question, replace(question, answer="red owl left")], DEPTHS, tmp_path / "two", "fingerprint"
    )
    kept = StateCache(windowed, [tmp_path / "two"])
    rows = [replace(question, answer="red owl"), replace(question, answer="red owl left")]
    batch = windowed.encode(rows)
    del ran[:]
    found = kept.entering(rows, batch, 3)
    assert ran == []  # a beginning of a kept answer is kept
    torch.testing.assert_close(found[batch.mask], windowed.run_below(batch, 3).hidden[batch.mask], **CLOSE)


@pytest.mark.parametrize("k", [1, 2])
def test_scores_of_sessions_are_the_same(windowed, tmp_path, k):
    cases = [make_case(i, target) for i, target in enumerate(["hot dog", "cat", "red owl left", "blue"])]
    settings = EvaluationConfig(sessions=4, max_new_tokens=5)
    editor = FineTune(windowed, FineTuneMethod(method="fine-tune", steps=6, learning_rate=0.03, teach_end=False))

    def table():
        before = answer_before(windowed, cases, settings)
        before.save(tmp_path / "before.parquet", "fingerprint")
        scores = run_edits(windowed, editor, {k: cases}, UneditedAnswers.load(tmp_path / "before.parquet"), settings)
        return records_table(scores, {}, settings).drop(columns=[*MEASURED, "alpha"])

    wanted = table()
    cache_states(
        windowed, [probe.query for case in cases for probe in case.probes], DEPTHS, tmp_path / "kept", "fingerprint"
    )
    windowed.cache = StateCache(windowed, [tmp_path / "kept"])
    found = table()
    assert wanted["token"].nunique() > 2
    assert found.to_csv() == wanted.to_csv()


def test_states_are_kept_where_methods_begin(windowed, make_backbone):
    begin = (None, -3, -1, 0)  # the first edited layer, the last three, the last, none
    assert cached_depths(windowed, begin) == [1, 3, 5, 6]  # of six layers
    assert cached_depths(make_backbone("blip2", (4, 5)), begin) == [4, 5, 6]


def test_rows_are_remembered_until_the_outermost_context_ends(windowed):
    """By their questions, all of them in their order, and by the layer; not where remembering is off."""
    cache = windowed.cache = StateCache(windowed)
    ask = windowed.prepare
    assert ask(QUESTIONS) is not ask(QUESTIONS)
    with cache.remembering():
        known = ask(QUESTIONS)
        with cache.remembering():
            assert ask(QUESTIONS) is known
            fewer = ask(QUESTIONS[:2])
            assert fewer is not known and ask(QUESTIONS[1::-1]) is not fewer
        assert ask(QUESTIONS) is known and ask(QUESTIONS[:2]) is fewer
        with cache.remembering(False):
            other = ask(QUESTIONS)
            assert other is not known and ask(QUESTIONS) is not other
        assert ask(QUESTIONS, 3) is not known and ask(QUESTIONS, windowed.layers[0]) is known
        whole = windowed.run_below(windowed.encode(QUESTIONS[1::-1]))
        assert torch.equal(ask(QUESTIONS[1::-1]).hidden, whole.hidden)
    assert ask(QUESTIONS) is not known


def test_files_of_others_are_refused(windowed, kept, tmp_path, make_backbone):
    other = make_backbone("minigpt4")
    other.decoder.layers.pop()
    with pytest.raises(InputError, match="another backbone"):
        StateCache(other, [tmp_path / "kept.safetensors"])
    with pytest.raises(InputError, match=r"none.*no readable states"):
        StateCache(windowed, [tmp_path / "none"])
    content = bytearray((tmp_path / "kept.safetensors").read_bytes())
    content[-9] ^= 1
    (tmp_path / "kept.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        StateCache(windowed, [tmp_path / "kept.safetensors"])


def test_pictures_are_part_of_a_question(windowed, kept):
    assert tiny_images(["a.png"]).ne(tiny_images(["c.png"])).any()
    rows = [replace(QUESTIONS[0], image="c.png")]
    assert kept.entering(rows, windowed.encode(rows), 1) is None
