"""Tiny random backbones of both families, in Hugging Face's own classes, and a word-level tokenizer."""

import copy
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import Blip2Config, Blip2ForConditionalGeneration, PreTrainedTokenizerFast

from unike_lib.backbones.families.blip2 import FAMILY as BLIP2
from unike_lib.backbones.families.minigpt4 import FAMILY as MINIGPT4
from unike_lib.types import EditCase, EditRequest, Probe, Query

WORDS = (
    "what is this ? on the left name it a photo of question : short answer "
    "red blue cat dog hot owl ###Human: <Img> </Img>"
)
VOCABULARY = ["<pad>", "<s>", "</s>", "<unk>", *dict.fromkeys(WORDS.split())]
VISUAL_TOKENS, WIDTH, LAYERS = 3, 16, 6
FAMILIES = {"blip2": BLIP2, "minigpt4": MINIGPT4}


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def tiny_model(family: str, seed: int = 0, **text) -> Blip2ForConditionalGeneration:
    """Return a model of the caller's own, and leave torch's generator as building it would."""
    built, state = _built(family, seed, **text)
    torch.set_rng_state(state)
    return _own(built, {})


def _own(module: torch.nn.Module, memo: dict[int, Any]) -> torch.nn.Module:
    """Copy a module as copy.deepcopy does, several times faster: most of its attributes are numbers or empty."""
    own = memo[id(module)] = object.__new__(type(module))
    for name, value in vars(module).items():
        if name == "_modules":
            copied = {key: memo.get(id(part)) or _own(part, memo) for key, part in value.items()}
        elif isinstance(value, dict) and not value:
            copied = type(value)()
        elif value is None or isinstance(value, str | int | float):
            copied = value
        else:
            copied = copy.deepcopy(value, memo)
        own.__dict__[name] = copied
    return own


@cache
def _built(family: str, seed: int, **text) -> tuple[Blip2ForConditionalGeneration, torch.Tensor]:
    """Build a model once; also the state in which that leaves torch's generator."""
    torch.manual_seed(seed)
    shared = {
        "vocab_size": len(VOCABULARY), "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
        "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    }  # fmt: skip
    opt = {"model_type": "opt", "ffn_dim": 32, "word_embed_proj_dim": WIDTH, "dropout": 0.0, "init_std": 0.3}
    llama = {
        "model_type": "llama", "intermediate_size": 24, "num_key_value_heads": 2, "initializer_range": 0.3,
        "max_position_embeddings": 128,
    }  # fmt: skip
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = Blip2Config(
        vision_config={**small, "image_size": 8, "patch_size": 4, "initializer_range": 0.02},
        qformer_config={**small, "encoder_hidden_size": 16, "vocab_size": 8},
        text_config={**shared, **(opt if family == "blip2" else llama), **text},
        num_query_tokens=VISUAL_TOKENS,
    )
    model = Blip2ForConditionalGeneration(config).eval()
    torch.nn.init.normal_(model.query_tokens)
    for name, parameter in model.language_model.named_parameters():
        if "bias" in name or "norm" in name:
            torch.nn.init.normal_(parameter, mean=float("norm.weight" in name), std=0.2)
    return model, torch.get_rng_state()


def tiny_images(names: Sequence[str]) -> torch.Tensor:
    """Visual tokens that depend on the name only."""
    rows = []
    for name in names:
        generator = torch.Generator().manual_seed(sum(map(ord, name)))
        rows.append(torch.randn(VISUAL_TOKENS, WIDTH, generator=generator))
    return torch.stack(rows)


def make_case(index: int, target: str = "hot dog") -> EditCase:
    request = EditRequest(f"vqa-{index}", "vqa", f"image-{index}", "what is this ?", target)
    probes = (
        Probe("rel", request.query),
        Probe("t_gen", Query(request.image, "name it", target)),
        Probe("m_gen", Query(f"other-{index}", request.prompt, target)),
        Probe("t_loc", Query(None, "what is a cat ?", "red owl")),
        Probe("m_loc", Query(f"near-{index}", "what is on the left ?", "blue dog")),
    )
    return EditCase(request, probes, (f"fact-{index}",))


QUERIES = [
    Query("image-1", "what is this ?", "hot dog"),
    Query(None, "what is a cat ?", "red"),
    Query("image-2", "a photo of", "a cat on the left", style="plain"),
    Query("image-1", "name it"),
]
