"""Train an embedded backbone from scratch: Q-Former by classification, then projection and decoder on taught facts.

The same seed gives the same weights on the same machine. The library ships the default run's, so by default nothing is
trained.
"""

import random
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BlipImageProcessorPil, PreTrainedTokenizerFast

from unike_lib.backbones.checkpoint import whole_folder
from unike_lib.backbones.tower import Blip2WithTower, TowerShape, tower_config
from unike_lib.config.run import PretrainConfig
from unike_lib.embedded.training.language_model import LOG_FIELDS, LanguageTrainer, train_language_model
from unike_lib.embedded.training.qformer import ATTRIBUTES, train_qformer
from unike_lib.embedded.training.recipe import LOG, SHIPPED, Recipe
from unike_lib.embedded.training.row_sampler import Composer, read_lessons
from unike_lib.embedded.training.tower_features import BASIS, PIXEL_MEAN, PIXEL_STD, load_imagenet
from unike_lib.embedded.training.word_tokenizer import BEGIN, END, IMAGE, PAD, build_tokenizer, stop_ids, token_id
from unike_lib.family import find_family
from unike_lib.io import read_json

HIDDEN, LAYERS, HEADS, FFN = 128, 8, 4, 384
POSITIONS = 4096  # room for 32 demonstrations in context
INITIAL_STD = 0.08  # about HIDDEN ** -0.5: with HF's 0.02 a model this narrow hardly starts to learn
PIXELS = {"height": 128, "width": 256}
VISION = "vision_model."
NETWORK = VISION + "network."  # its weights come with a package


def pretrain(recipe: Recipe[PretrainConfig], out: Path, shipped: Path = SHIPPED / "blip2_nano.safetensors") -> None:
    """Write an embedded backbone's folder: `save_pretrained` files and training_log.csv.

    Its trained part is the library's if this very recipe made that, else it is trained.

    Raises:
        InputError: the features belong to another benchmark, or a file is broken.
    """
    tokenizer = build_tokenizer(read_json(recipe.base))
    part = recipe.shipped_part(shipped)
    save_folder(out, *(train(recipe, tokenizer) if part is None else _assembled(recipe, tokenizer, part)))


def _assembled(
    recipe: Recipe[PretrainConfig], tokenizer: PreTrainedTokenizerFast, part: dict[str, Tensor]
) -> tuple[Blip2WithTower, PreTrainedTokenizerFast, pd.DataFrame]:
    """Return what `train` returns, from a trained part."""
    basis = {name: part[VISION + name] for name in BASIS}
    model = assemble_model(_text_entries(recipe.backbone.family, tokenizer), tokenizer, basis)
    log = pd.DataFrame(part.pop(LOG).numpy(), columns=LOG_FIELDS).astype({"step": int})
    model.load_state_dict(part, strict=False)  # all but the tower's network, and the head, which is tied
    return model, tokenizer, log


def trained_part(folder: Path) -> dict[str, Tensor]:
    """Return the trained part of a folder that `pretrain` wrote: all but the tower's ImageNet weights, and the log."""
    tensors = load_file(folder / "model.safetensors")
    log = torch.from_numpy(pd.read_csv(folder / "training_log.csv")[list(LOG_FIELDS)].to_numpy())
    return {name: value for name, value in tensors.items() if not name.startswith(NETWORK)} | {LOG: log}


def train(
    recipe: Recipe[PretrainConfig], tokenizer: PreTrainedTokenizerFast
) -> tuple[Blip2WithTower, PreTrainedTokenizerFast, pd.DataFrame]:
    """Return a backbone trained from scratch, its tokenizer, and the log of its language model."""
    settings, family = recipe.settings, recipe.backbone.family
    seen = recipe.tower_features()
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    model = assemble_model(_text_entries(family, tokenizer), tokenizer, seen.basis)
    outputs = train_qformer(model, seen, settings, generator)
    lessons = read_lessons(recipe.benchmark, seen.scenes)
    rng = random.Random(f"rows {recipe.seed}")
    composer = Composer(lessons, tokenizer, find_family(family).form, recipe.backbone.vqa_prompt, settings, rng)
    trainer = LanguageTrainer(model, outputs, token_id(tokenizer, IMAGE), settings, generator)
    return model, tokenizer, train_language_model(trainer, composer)


def assemble_model(
    text: dict[str, Any], tokenizer: PreTrainedTokenizerFast, basis: dict[str, Tensor], codebook: int = 0
) -> Blip2WithTower:
    """Return an untrained model with the fitted tower and a language model of the given config entries.

    `codebook`: classes of the visual codebook; 0 is a linear language projection.
    """
    qformer = {"hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": HEADS}
    qformer |= {"intermediate_size": 2 * HIDDEN, "cross_attention_frequency": 1}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    entries = {"num_query_tokens": len(ATTRIBUTES), "image_token_index": token_id(tokenizer, IMAGE)}
    model = Blip2WithTower(tower_config(TowerShape(), qformer | dropout, text, codebook=codebook, **entries))
    load_imagenet(model.vision_model)
    for name, value in basis.items():
        getattr(model.vision_model, name).copy_(value)
    if not codebook:
        torch.nn.init.normal_(model.language_projection.weight, std=INITIAL_STD)
    model.generation_config.eos_token_id = stop_ids(tokenizer)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def _text_entries(family: str, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    entries: dict[str, Any] = {
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS,
        "vocab_size": len(tokenizer),
        "pad_token_id": token_id(tokenizer, PAD),
        "bos_token_id": token_id(tokenizer, BEGIN),
        "eos_token_id": token_id(tokenizer, END),
        "tie_word_embeddings": True,
    }
    if family == "blip2":
        opt = {"ffn_dim": FFN, "word_embed_proj_dim": HIDDEN, "dropout": 0.0, "init_std": INITIAL_STD}
        return entries | {"model_type": "opt"} | opt
    # Three FFN matrices where OPT has two: two thirds of the width is the same size.
    return entries | {"model_type": "llama", "intermediate_size": FFN * 2 // 3, "initializer_range": INITIAL_STD}


def save_folder(out: Path, model: Blip2WithTower, tokenizer: PreTrainedTokenizerFast, log: pd.DataFrame) -> None:
    """Write a trained model as a `save_pretrained` folder with its training log, whole or not at all."""
    mean, std = [PIXEL_MEAN / 255] * 3, [PIXEL_STD / 255] * 3
    processor = BlipImageProcessorPil(size=PIXELS, image_mean=mean, image_std=std)
    with whole_folder(out) as folder:
        for part in (model, tokenizer, processor):
            part.save_pretrained(folder)
        log.to_csv(folder / "training_log.csv", index=False)
