"""Answers join prompts without a seam: tokens of prompt and answer are those of the whole text, for every tokenizer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_tokenizer
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from unike_lib.backbones.tokenizer import answer_prefix, is_byte_level
from unike_lib.embedded.training.word_tokenizer import build_tokenizer

CORPUS = [
    "Question: What is the owner of this picture? Short answer: red cat 12",
    "Question: where does the tiger live? Short answer: in the old gallery",
    "a photo of a red cat on the left of a blue owl",
    "nq question: who wrote the play? ",
]
ANSWERS = ["red cat", "12", "a blue owl on the left", "Paris, France", "don't know", "naïve", "3.5 km", "(none)"]
PROMPTS = ["Question: What is this? Short answer:", "a photo of", "nq question: who wrote it?", "owner :", "Answer 12"]


def trained(pre_tokenizer, normalizer=None, alphabet=()):
    tokenizer = Tokenizer(BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel() if alphabet else decoders.Metaspace()
    letters = list(alphabet) or sorted({letter for text in [*PROMPTS, *ANSWERS] for letter in text})
    special = ["<unk>", "<s>", "</s>"]
    trainer = BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


BYTES = pre_tokenizers.ByteLevel.alphabet()
WORDS_AND_NUMBERS = Regex(r"'s|'t| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
LLAMA_3 = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Split(WORDS_AND_NUMBERS, behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
)
SMOLLM2 = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
)
LLAMA_1 = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
KINDS = {
    "opt": (lambda: trained(pre_tokenizers.ByteLevel(add_prefix_space=False), alphabet=BYTES), True),
    "llama-3": (lambda: trained(LLAMA_3, alphabet=BYTES), True),
    "smollm2": (lambda: trained(SMOLLM2, alphabet=BYTES), True),
    "sentencepiece": (lambda: trained(pre_tokenizers.Metaspace(prepend_scheme="first")), False),
    "llama-1": (lambda: trained(pre_tokenizers.Split("▁", "merged_with_next"), LLAMA_1), False),
    "word-level": (lambda: build_tokenizer(["what", "is", "this", "red", "cat", "owl"]), False),
    "word-level-plain": (tiny_tokenizer, False),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    build, byte_level = KINDS[request.param]
    return build(), byte_level


def ids(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def test_byte_level_tokenizers_are_known_also_from_a_folder(kind, tmp_path):
    tokenizer, byte_level = kind
    assert is_byte_level(tokenizer) is byte_level
    tokenizer.save_pretrained(tmp_path)
    assert answer_prefix(AutoTokenizer.from_pretrained(tmp_path)) == (" " if byte_level else "")


@settings(max_examples=60, deadline=None)
@given(prompt=st.sampled_from(PROMPTS), answer=st.sampled_from(ANSWERS) | st.text("abc owl123.,?-é", min_size=1))
def test_prompt_and_answer_tokenise_as_the_whole(kind, prompt, answer):
    tokenizer, _ = kind
    answer = " ".join(answer.split())
    if answer:
        joined = ids(tokenizer, prompt) + ids(tokenizer, answer_prefix(tokenizer) + answer)
        assert joined == ids(tokenizer, f"{prompt} {answer}")


@pytest.mark.parametrize("name", [name for name, (_, byte_level) in KINDS.items() if byte_level])
def test_without_the_prefix_a_byte_level_answer_is_another_word(name):
    tokenizer = KINDS[name][0]()
    assert ids(tokenizer, "owner :") + ids(tokenizer, "red cat") != ids(tokenizer, "owner : red cat")


def test_stop_tokens_come_from_the_generation_config_and_the_tokenizer(backbone):
    config = backbone.model.generation_config
    for ids_there, expected in ((None, {2}), (7, {7, 2}), ([7, 8], {7, 8, 2}), (2, {2})):
        config.eos_token_id = ids_there
        assert backbone.stop_tokens == expected
    backbone.tokenizer.eos_token = None
    assert backbone.stop_tokens == {2}
