"""Train an embedded backbone from a benchmark: eyes first, then language, saved as a `save_pretrained` folder.

Stages: `extract_tower_features` (once for all backbones), then `pretrain` for each: Q-Former by classification, its
outputs cached, language projection and decoder on the taught facts. The same seed gives the same weights on the same
machine.
"""

import logging
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformers import BlipImageProcessorPil, PreTrainedTokenizerFast

from unike_lib.backbone_config import BackboneConfig
from unike_lib.backbones.load import FAMILIES
from unike_lib.backbones.pretrain_language import LanguageTrainer, train_language_model
from unike_lib.backbones.pretrain_qformer import ATTRIBUTES, train_qformer
from unike_lib.backbones.pretrain_text import Composer, read_lessons
from unike_lib.backbones.pretrain_tower import (
    PIXEL_MEAN,
    PIXEL_STD,
    TowerFeatures,
    extract_tower_features,
    read_tower_features,
)
from unike_lib.backbones.tokenizer import BEGIN, END, IMAGE, PAD, build_tokenizer, stop_ids, token_id
from unike_lib.backbones.tower import Blip2WithTower, TowerShape, tower_config
from unike_lib.config import PretrainConfig
from unike_lib.io import read_json, write_checksums

__all__ = ["extract_tower_features", "pretrain"]

logger = logging.getLogger(__name__)

WIDTH, LAYERS, HEADS, FFN = 128, 8, 4, 384
POSITIONS = 4096  # room for 32 demonstrations in context
INITIAL_STD = 0.08  # about WIDTH ** -0.5: with HF's 0.02 a model this narrow hardly starts to learn
PIXELS = {"height": 128, "width": 256}


def pretrain(
    benchmark: Path, features: Path, out: Path, backbone: BackboneConfig, settings: PretrainConfig, seed: int
) -> None:
    """Train one embedded backbone and write its folder, whole or not at all.

    The folder holds config.json, model.safetensors, generation_config.json (`eos_token_id`: the tokens that end an
    answer), tokenizer, preprocessor_config.json and training_log.csv (step, loss, rate).

    Args:
        benchmark: folder that `write_benchmark` made.
        features: file that `extract_tower_features` made from it.
        out: folder to write.
        backbone: family (BLIP-2: OPT decoder, MiniGPT-4: Llama decoder) and question template.
        settings: of the training.
        seed: of the first weights and of all drawing.

    Raises:
        InputError: the features belong to another benchmark, or a file is broken.
    """
    seen = read_tower_features(features, benchmark)
    tokenizer = build_tokenizer(read_json(benchmark / "vocabulary.json"))
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = build_model(backbone.family, tokenizer, seen)
    outputs = train_qformer(model, seen, settings, generator)
    lessons = read_lessons(benchmark, seen.scenes)
    rng = random.Random(f"rows {seed}")
    composer = Composer(lessons, tokenizer, FAMILIES[backbone.family].form, backbone.vqa_prompt, settings, rng)
    trainer = LanguageTrainer(model, outputs, token_id(tokenizer, IMAGE), settings, generator)
    log = train_language_model(trainer, composer)
    save_folder(out, model, tokenizer, log)


def build_model(family: str, tokenizer: PreTrainedTokenizerFast, seen: TowerFeatures) -> Blip2WithTower:
    """Return an untrained model of a family with the fitted tower."""
    return assemble_model(_text_entries(family, tokenizer), tokenizer, seen.basis)


def assemble_model(
    text: dict[str, Any], tokenizer: PreTrainedTokenizerFast, basis: dict[str, Tensor], codebook: int = 0
) -> Blip2WithTower:
    """Return an untrained model with the fitted tower and a language model of the given config entries.

    `codebook`: classes of the visual codebook; 0 is a linear language projection.
    """
    shape = TowerShape()
    model = Blip2WithTower(
        tower_config(
            shape,
            {
                "hidden_size": WIDTH,
                "num_hidden_layers": 2,
                "num_attention_heads": HEADS,
                "intermediate_size": 2 * WIDTH,
                "cross_attention_frequency": 1,
                "hidden_dropout_prob": 0.0,
                "attention_probs_dropout_prob": 0.0,
            },
            text,
            num_query_tokens=len(ATTRIBUTES),
            image_token_index=token_id(tokenizer, IMAGE),
            codebook=codebook,
        )
    )
    model.vision_model.load_network()
    for name, value in basis.items():
        getattr(model.vision_model, name).copy_(value)
    if not codebook:
        torch.nn.init.normal_(model.language_projection.weight, std=INITIAL_STD)
    model.generation_config.eos_token_id = stop_ids(tokenizer)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def _text_entries(family: str, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    entries: dict[str, Any] = {
        "hidden_size": WIDTH,
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
        opt = {"ffn_dim": FFN, "word_embed_proj_dim": WIDTH, "dropout": 0.0, "init_std": INITIAL_STD}
        return entries | {"model_type": "opt"} | opt
    # Three FFN matrices where OPT has two: two thirds of the width is the same size.
    return entries | {"model_type": "llama", "intermediate_size": FFN * 2 // 3, "initializer_range": INITIAL_STD}


def save_folder(out: Path, model: Blip2WithTower, tokenizer: PreTrainedTokenizerFast, log: pd.DataFrame) -> None:
    """Write a trained model as a `save_pretrained` folder with its training log, whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as temporary:
        folder = Path(temporary) / out.name
        _save(folder, model, tokenizer)
        log.to_csv(folder / "training_log.csv", index=False)
        write_checksums(folder, folder.iterdir())
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)


def _save(folder: Path, model: Blip2WithTower, tokenizer: PreTrainedTokenizerFast) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    mean, std = [PIXEL_MEAN / 255] * 3, [PIXEL_STD / 255] * 3
    BlipImageProcessorPil(size=PIXELS, image_mean=mean, image_std=std).save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)
