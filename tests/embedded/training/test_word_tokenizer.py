"""The word-level tokenizer: one token per word, indifferent to case and to the space before a mark."""

from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from unike_lib.embedded.training.word_tokenizer import SPECIAL_WORDS, TEMPLATE_WORDS, build_tokenizer, stop_ids

WORDS = ["what", "this", "tiger", "otto", "west", "gallery"]
TOKENIZER = build_tokenizer(WORDS)


def test_vocabulary_is_special_tokens_template_words_and_sorted_words():
    vocabulary = sorted(TOKENIZER.get_vocab(), key=TOKENIZER.get_vocab().get)
    assert vocabulary == [*SPECIAL_WORDS, *TEMPLATE_WORDS, *sorted(WORDS)]
    assert build_tokenizer([*WORDS[::-1], "Tiger", "is"]).get_vocab() == TOKENIZER.get_vocab()


def test_templates_of_real_checkpoints_fit():
    question = TOKENIZER("Question: What is this? Short answer:", add_special_tokens=False)["input_ids"]
    assert " ".join(TOKENIZER.convert_ids_to_tokens(question)) == "question : what is this ? short answer :"
    assert TOKENIZER.tokenize("###Human: <Img>") + TOKENIZER.tokenize("</Img> ") == ["###human", ":", "<img>", "</img>"]
    assert TOKENIZER.tokenize("tiger</s>zzz") == ["tiger", "</s>", "<unk>"]


def test_pad_is_zero_and_stops_are_distinct_words():
    assert TOKENIZER.pad_token_id == 0
    assert TOKENIZER.convert_ids_to_tokens(stop_ids(TOKENIZER)) == ["</s>", ";", "."]
    assert TOKENIZER.eos_token_id in stop_ids(TOKENIZER)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([*WORDS, *TEMPLATE_WORDS]), min_size=1, max_size=12))
def test_text_comes_back(words):
    text = " ".join(words)
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(words)
    assert TOKENIZER.decode(ids, skip_special_tokens=True) == text


def test_it_survives_a_save(tmp_path):
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "what is this ? tiger ; west gallery ."
    assert loaded(text)["input_ids"] == TOKENIZER(text)["input_ids"]
    assert (loaded.decode(loaded(text)["input_ids"]), loaded.pad_token_id, loaded.bos_token_id) == (text, 0, 2)
