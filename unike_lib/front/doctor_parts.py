"""What the doctor says of a folder that passed a first look: with its tokenizer, its processor and its classes."""

from dataclasses import replace
from math import prod
from typing import Any

import torch
from transformers import AutoConfig

from unike_lib.backbones.folder import NO_CODE, opening
from unike_lib.backbones.layout import agrees_with_template, check_layout
from unike_lib.backbones.load import (
    check_fit,
    check_tokens,
    input_form,
    load_backbone,
    load_processor,
    load_tokenizer,
)
from unike_lib.backbones.reach import edited_layers, layers_with_pictures
from unike_lib.backbones.shapes import weight_shapes
from unike_lib.config.backbones import BackboneConfig
from unike_lib.family import find_family
from unike_lib.front.doctor import QUESTION, Found, run_check
from unike_lib.front.memory_sum import ESTIMATED, Setting, graph, knowledge, learned
from unike_lib.front.prompt_tokens import prompt_tokens, visual_tokens
from unike_lib.types import Query

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def examine_parts(found: Found, section: BackboneConfig) -> None:
    """Run what opening a folder would check, and note what is found."""
    folder = found.folder
    opened: dict[str, Any] = {}
    found.checks["config.json"] = None  # as the first look found
    run_check(found, "weights", lambda: _weights(found, section, opened))
    run_check(found, "tokenizer", lambda: _tokenizer(folder, opened))
    if "tokenizer" in opened:
        run_check(found, "layout", lambda: _layout(found, section, opened))
    else:
        found.checks["layout"] = ""
    run_check(found, "image processor", lambda: opened.update(processor=load_processor(folder, section)))
    if found.problem is None:
        run_check(found, "prompt", lambda: _prompts(found, section, opened))
    if found.layers is not None:
        found.memory = _memory(found, opened["config"])


def _memory(found: Found, config: Any) -> dict[str, tuple[int, int]]:
    """Return the bytes of each method at this size, with as many visual tokens as the model has, if that is known."""
    picture, most = found.visual or Setting.picture, (found.layers or 0) - found.added
    setting = Setting(
        tokens=Setting.tokens - Setting.picture + picture,
        picture=picture,
        edited=len(found.edited),
        matrices_layers=min(Setting.matrices_layers, most),
        pairs_layers=min(Setting.pairs_layers, most),
    )
    return {
        method: (knowledge(config, method, setting), learned(config, method, setting) + graph(config, method, setting))
        for method in ESTIMATED
    }


def _weights(found: Found, section: BackboneConfig, opened: dict[str, Any]) -> None:
    """Check the weights' names and shapes; note layers and memory."""
    folder = found.folder
    check_fit(folder, section.family)
    with opening(folder, "model"):
        config: Any = AutoConfig.from_pretrained(folder, **NO_CODE)
    opened["config"] = config
    found.layers = int(config.text_config.num_hidden_layers)
    chosen, found.added = None if section.layers == "last_four" else section.layers, layers_with_pictures(config)
    found.edited = edited_layers(chosen, found.layers, found.added)
    found.weights = BYTES[section.dtype] * sum(map(prod, weight_shapes(folder).values()))


def _tokenizer(folder: str, opened: dict[str, Any]) -> None:
    opened["tokenizer"] = load_tokenizer(folder)
    if "config" in opened:
        check_tokens(folder, opened["tokenizer"], opened["config"].text_config.vocab_size)


def _layout(found: Found, section: BackboneConfig, opened: dict[str, Any]) -> None:
    """Check the family's layout against the tokenizer; note whether it is the chat template's."""
    folder, tokenizer, family = found.folder, opened["tokenizer"], find_family(section.family)
    if family.follows_template and "config" not in opened:
        found.checks["layout"] = ""
        return
    form = input_form(section.family, tokenizer, folder, opened.get("config"))
    opened["family"] = replace(family, form=form)
    check_layout(folder, opened["family"], tokenizer)
    if family.follows_template:
        found.template = bool(form.picture_mark)
    elif form.text_only != "{}":  # a family with a chat
        found.template = agrees_with_template(folder, family, tokenizer)


def _prompts(found: Found, section: BackboneConfig, opened: dict[str, Any]) -> None:
    tokenizer, family = opened["tokenizer"], opened["family"]
    model_config = opened["config"]
    found.visual = visual_tokens(found.folder, model_config, opened["processor"])
    for name, image in (("with a picture", "picture"), ("without", None)):
        query = Query(image, QUESTION, "lynx")
        asked = (family, tokenizer, section.vqa_prompt)
        found.prompts[name] = prompt_tokens(found.folder, model_config, asked, query, found.visual or 1)


def open_whole(folder: str, section: BackboneConfig) -> None:
    """Open the model; raise InputError if it does not open, or its decoder is put together otherwise."""
    load_backbone(folder, section, lambda names: torch.empty(0))
