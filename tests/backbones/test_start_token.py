"""Where the start token stands: BLIP-2 against Hugging Face's own processor, MiniGPT-4 against MMEdit's layout."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_families import picture
from tiny_models import FAMILIES, VISUAL_TOKENS, tiny_images, tiny_model, tiny_tokenizer
from tiny_starters import tiny_starter

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import IGNORED
from unike_lib.backbones.generate import generate
from unike_lib.backbones.tokenizer import starts_texts
from unike_lib.embedded.training.word_tokenizer import build_tokenizer
from unike_lib.types import InputError, Query

QUERIES = [
    Query("one", "what is this?", "red cat"),
    Query(None, "what is an owl?", "an owl on the left"),
    Query("two", "a photo of", "owl", "plain"),
    Query("one", "is this on the left?"),
    Query(None, "this?", "red", context="New Fact: a red owl\n"),
]
IMAGE = -1


@pytest.fixture(scope="module", params=["opt", "llama"])
def tiny(request, tmp_path_factory):
    return tiny_starter(request.param, "blip2", tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def minigpt4(tmp_path_factory):
    return tiny_starter("llama", "minigpt4", tmp_path_factory.mktemp("minigpt4"))


def whole_text(query):
    prompt = f"Question: {query.prompt} Short answer:" if query.style == "question" else query.prompt
    return query.context + prompt + (f" {query.answer}" if query.answer else "")


def their_inputs(tiny, query):
    """What Hugging Face's processor makes of a picture and of the whole text, prompt and answer, special tokens too."""
    images = {} if query.image is None else {"images": picture(query.image)}
    return tiny.processor(text=whole_text(query), return_tensors="pt", **images)


def our_ids(backbone, batch, row):
    """The token ids of a row, found in the table of embeddings; -1 where there is no token: a visual one."""
    table = backbone.model.get_input_embeddings().weight
    same = (batch.embeddings[row, : int(batch.lengths[row]), None] == table).all(-1)
    return [int(each.int().argmax()) if each.any() else IMAGE for each in same]


def their_ids(tiny, query):
    placeholder = tiny.tokenizer.convert_tokens_to_ids("<image>")
    ids = their_inputs(tiny, query)["input_ids"][0].tolist()
    return [IMAGE if token == placeholder else token for token in ids]


def test_the_start_token_stands_between_the_picture_and_the_text(tiny):
    """[visual tokens] start text, and start text without a picture; one start token per row, in front of a context."""
    batch = tiny.backbone.encode(QUERIES)
    for row, query in enumerate(QUERIES):
        ids, count = our_ids(tiny.backbone, batch, row), 0 if query.image is None else VISUAL_TOKENS
        text = tiny.tokenizer(whole_text(query), add_special_tokens=False)["input_ids"]
        assert ids == [IMAGE] * count + [tiny.start] + text
    assert tiny.start == {"opt": 2, "llama": 1}[tiny.kind] == tiny.tokenizer.bos_token_id


TEXT = st.text("abc what is?.,:'1-", min_size=1, max_size=30).map(lambda text: " ".join(text.split())).filter(bool)


@settings(max_examples=20, deadline=None)
@given(prompt=TEXT, answer=TEXT, image=st.sampled_from(["one", None]), style=st.sampled_from(["question", "plain"]))
def test_any_text_has_the_token_ids_of_their_processor(tiny, prompt, answer, image, style):
    """The whole text is tokenised at once there: the answer has no start token of its own and joins without a seam."""
    query = Query(image, prompt, answer, style)
    batch, theirs = tiny.backbone.encode([query]), their_ids(tiny, query)
    assert our_ids(tiny.backbone, batch, 0) == theirs
    written = batch.targets[0][batch.targets[0] != IGNORED].tolist()
    assert written == theirs[int(batch.last_prompt[0]) + 1 :] and tiny.start not in written


@torch.no_grad()
def test_logits_equal_the_whole_model_after_its_own_processor(tiny):
    backbone = tiny.backbone
    batch = backbone.encode(QUERIES)
    ours = backbone.forward(backbone.run_below(batch))
    for row, query in enumerate(QUERIES):
        inputs = their_inputs(tiny, query)
        model = tiny.model if query.image else tiny.model.language_model
        theirs = model(**{"use_cache": False} | dict(inputs)).logits[0]
        assert len(theirs) == int(batch.lengths[row])
        torch.testing.assert_close(ours[row, : len(theirs)], theirs, atol=1e-5, rtol=0)


@torch.no_grad()
def test_the_unedited_model_writes_what_hugging_face_generates(tiny):
    """From the prompt alone, with their greedy search over kept keys and values; an end token ends both."""
    tiny.model.generation_config.eos_token_id = tiny.model.language_model.generation_config.eos_token_id = None
    answers = generate(tiny.backbone, QUERIES, [[], [5], [5, 6], [], []], None, max_new_tokens=6)
    for query, answer in zip(QUERIES, answers, strict=True):
        inputs = their_inputs(tiny, replace(query, answer=None))
        model = tiny.model if query.image else tiny.model.language_model
        written = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0].tolist()[-6:]
        stops = [place for place, token in enumerate(written) if token in tiny.backbone.stop_tokens]
        assert answer == written[: (stops or [6])[0]]


def test_an_answer_has_no_start_token(tiny):
    assert tiny.start not in tiny.backbone.answer_ids("red cat")
    assert tiny.backbone.text(tiny.backbone.answer_ids("red cat")) == "red cat"
    prompt = tiny.tokenizer("Question: what is this? Short answer:")["input_ids"]
    whole = tiny.tokenizer("Question: what is this? Short answer: red cat")["input_ids"]
    assert prompt + tiny.backbone.answer_ids("red cat") == whole


def test_minigpt4_has_one_start_token_before_its_wrapper_and_none_without_a_picture(minigpt4):
    """MMEdit's mini_gpt4.py: start token, '###Human: <Img>', picture, '</Img> ', text; each tokenised without marks."""
    backbone, ids = minigpt4.backbone, lambda text: minigpt4.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert minigpt4.tokenizer("a")["input_ids"][0] == 1  # its tokenizer would put one in front of each piece
    batch = backbone.encode(QUERIES)
    for row, query in enumerate(QUERIES):
        wrapper = [1, *ids("###Human: <Img>"), *[IMAGE] * VISUAL_TOKENS, *ids("</Img> ")]
        expected = (wrapper if query.image else []) + ids(whole_text(query))
        assert our_ids(backbone, batch, row) == expected


def test_the_embedded_tokenizers_put_nothing_in_front(tiny):
    """So the embedded BLIP-2 keeps the layout that it was trained with: picture, text."""
    assert starts_texts(tiny.tokenizer) and starts_texts(tiny.backbone.tokenizer)
    plain = build_tokenizer(["what", "is", "this"])
    assert not starts_texts(plain) and plain.bos_token_id is not None
    backbone = Backbone(tiny_model("blip2"), tiny_tokenizer(), FAMILIES["blip2"], tiny_images)
    text = tiny_tokenizer()("what is this ? red")["input_ids"]
    batch = backbone.encode([Query("any", "what is this ?", "red"), Query(None, "what is this ?", "red")])
    assert our_ids(backbone, batch, 0) == [IMAGE] * VISUAL_TOKENS + text
    assert our_ids(backbone, batch, 1) == text


def test_an_answer_needs_a_token_before_it(tiny):
    nothing = Query(None, "", "red", "plain")
    assert int(tiny.backbone.encode([nothing]).last_prompt) == 0  # the start token is one
    backbone = Backbone(tiny_model("blip2"), tiny_tokenizer(), FAMILIES["blip2"], tiny_images)
    assert int(backbone.encode([replace(nothing, image="any")]).last_prompt) == VISUAL_TOKENS - 1
    with pytest.raises(InputError, match="the prompt has no tokens"):
        backbone.encode([nothing])
