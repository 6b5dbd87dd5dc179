"""Put SmolLM2 behind the tiled tower: train connector and low-rank factors, then merge them with the base model."""

import random
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from unike_lib.backbones.load import input_form
from unike_lib.backbones.tower import Blip2WithTower
from unike_lib.checksum import check_listed
from unike_lib.config.run import SmolConfig
from unike_lib.embedded.training import lora
from unike_lib.embedded.training.connector import ConnectorTrainer, fill_codebook, train_connector, visual_classes
from unike_lib.embedded.training.dense_row_sampler import DenseRowSampler
from unike_lib.embedded.training.language_model import LOG_FIELDS
from unike_lib.embedded.training.pretrain import assemble_model, save_folder
from unike_lib.embedded.training.qformer import train_qformer
from unike_lib.embedded.training.recipe import LOG, TOWER, Recipe
from unike_lib.embedded.training.row_sampler import read_lessons
from unike_lib.embedded.training.tower_features import BASIS
from unike_lib.embedded.training.word_tokenizer import IMAGE, token_id
from unike_lib.io import read_table, read_tensors, write_tensors
from unike_lib.types import InputError

VISION_PARTS = ("query_tokens", "qformer.", "language_projection.")
FACTORS = "lora."


def train_smol(recipe: Recipe[SmolConfig], out: Path) -> None:
    """Train the connector and the low-rank factors; write them with their training log.

    A killed run goes on from its last checkpoint, a hidden file beside `out`, and ends in the same bytes.

    Raises:
        InputError: the features belong to another benchmark, or a file is broken.
    """
    settings, fingerprint = recipe.settings, recipe.fingerprint
    seen = recipe.tower_features()
    tokenizer: Any = AutoTokenizer.from_pretrained(recipe.base)
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    words, labels = visual_classes(read_table(recipe.benchmark / "training.parquet"), seen.scenes)
    model = smol_model(recipe.base, tokenizer, seen.basis, len(words))
    outputs = train_qformer(model, seen, settings, generator)
    fill_codebook(model, outputs[0], words, labels, tokenizer)
    layers = range(settings.first_layer, settings.last_layer + 1)
    factors = lora.attach(model.language_model, layers, settings.rank, generator)
    trainer = ConnectorTrainer(model, outputs, token_id(tokenizer, IMAGE), settings, generator)
    checkpoint = out.parent / f".{out.name}.checkpoint.safetensors"
    log = train_connector(trainer, _row_sampler(recipe, tokenizer, seen.scenes), factors, checkpoint, fingerprint)
    tensors = _of(model.state_dict(), VISION_PARTS)
    tensors |= {TOWER + name: value for name, value in seen.basis.items()}
    tensors |= {FACTORS + name: value.detach().half() for name, value in factors.items()}
    write_tensors(out, tensors | {LOG: log}, fingerprint)
    checkpoint.unlink(missing_ok=True)


def _row_sampler(
    recipe: Recipe[SmolConfig], tokenizer: PreTrainedTokenizerFast, scenes: pd.DataFrame
) -> DenseRowSampler:
    form, question = input_form(recipe.backbone.family, tokenizer), recipe.backbone.vqa_prompt
    rng = random.Random(f"rows {recipe.seed}")
    return DenseRowSampler(read_lessons(recipe.benchmark, scenes), tokenizer, form, question, recipe.settings, rng)


def smol_model(
    base: Path, tokenizer: PreTrainedTokenizerFast, basis: dict[str, Tensor], classes: int
) -> Blip2WithTower:
    """Return tower, untrained Q-Former and the base language model in float32 as one model, all frozen but the eyes."""
    check_listed(base)
    language_model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = assemble_model(language_model.config.to_dict(), tokenizer, basis, classes)
    model.language_model = language_model.requires_grad_(False)
    return model


def assemble_smol(base: Path, trained: Path, out: Path) -> None:
    """Write the whole model as a `save_pretrained` folder, low-rank factors merged; its LM is in float16.

    Raises:
        InputError: a file is missing or broken.
    """
    tensors = read_tensors(trained)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    classes = len(tensors["language_projection.words"])
    model = smol_model(base, tokenizer, {name: tensors[TOWER + name] for name in BASIS}, classes)
    missing, _ = model.load_state_dict(_of(tensors, VISION_PARTS), strict=False)
    if left := [name for name in missing if name.startswith(VISION_PARTS)]:
        raise InputError(f"{trained}: expected the tensors {left}")
    factors = _of(tensors, (FACTORS,))
    lora.merge(model.language_model, {name.removeprefix(FACTORS): value for name, value in factors.items()})
    model.language_model.half()
    save_folder(out, model, tokenizer, pd.DataFrame(tensors[LOG].numpy(), columns=LOG_FIELDS))


def _of(tensors: dict[str, Tensor], prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if name.startswith(prefixes)}
