"""Whether a model's folder can be edited, and how: what opening it would check, and, if asked for, opening it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from unike_lib.backbones.folder import NO_CODE, check_folder, opening
from unike_lib.backbones.folder_config import check_config, read_config
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
from unike_lib.checksum import check_listed
from unike_lib.config.backbones import BackboneConfig
from unike_lib.family import find_family
from unike_lib.front.family_guess import Guess, guess_family
from unike_lib.front.finding import folder_of, read_settings
from unike_lib.front.memory_sum import ESTIMATED, Setting, graph, knowledge, learned
from unike_lib.front.prompt_tokens import PromptToken, prompt_tokens, visual_tokens
from unike_lib.types import InputError, Query

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
GB = 1e9
QUESTION = "What is this?"
COLUMNS = 100  # letters of a line
WORDS = 14  # at most so many tokens of a prompt are written on a line


@dataclass
class Found:
    """What is known of a folder.

    checks: name -> what is wrong, in the order in which they were run (None: passed; "": not run); template: whether
    the family writes what the chat template writes; added: behind how many of the first layers pictures are added;
    visual: tokens of a picture; weights: bytes; memory: method -> bytes that all edits share, and bytes of one edit at
    its peak.
    """

    folder: str
    guess: Guess | None = None
    checks: dict[str, str | None] = field(default_factory=dict)
    layers: int | None = None
    added: int = 0
    edited: tuple[int, ...] = ()
    template: bool = True
    visual: int | None = None
    prompts: dict[str, list[PromptToken]] = field(default_factory=dict)
    weights: int | None = None
    memory: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def problem(self) -> str | None:
        """Why the folder cannot be edited, in one line; None: it can."""
        return next((wrong for wrong in self.checks.values() if wrong), None)


def examine(
    name: str,
    family: str | None = None,
    results: Path = Path("results"),
    config: Sequence[str | Mapping[str, Any]] = (),
    whole: bool = False,
) -> Found:
    """Return what is known of a backbone of the configuration, or of a folder.

    Nothing large is opened, unless `whole`: then the model is, too, and asked the fixed question of `own_forward`.

    Raises:
        InputError: the configuration is wrong, or the workflow has not made the backbone yet.
    """
    settings = read_settings(config, results.parent)
    section = settings.backbones.get(name)
    found = Found(name if section is None else folder_of(name, section, results))
    folder = found.folder
    _run(found, "files", lambda: _files(folder))
    if found.problem is None:
        _run(found, "family", lambda: _family(found, family or (section.family if section else None)))
    if found.guess is None:
        return found
    if section is None or family is not None:
        section = BackboneConfig(family=found.guess.family, folder=folder)
    _examine_parts(found, section)
    found.checks["forward"] = ""
    if whole and found.problem is None:
        _run(found, "forward", lambda: _open(folder, section))
    return found


def _run(found: Found, check: str, work: Callable[[], None]) -> None:
    """Run a check and keep what it finds wrong."""
    found.checks[check] = None
    try:
        work()
    except InputError as error:
        found.checks[check] = str(error)


def _open(folder: str, section: BackboneConfig) -> None:
    """Open the model; raise InputError if it does not open, or its decoder is put together otherwise."""
    load_backbone(folder, section, lambda names: torch.empty(0))


def _files(folder: str) -> None:
    check_folder(folder)
    if Path(folder).is_dir():
        check_listed(Path(folder))


def _family(found: Found, given: str | None) -> None:
    if given is not None:
        found.guess = Guess(find_family(given).name if ".py:" not in given else given, "as given")
    else:
        found.guess = guess_family(found.folder)


def _examine_parts(found: Found, section: BackboneConfig) -> None:
    folder, family = found.folder, find_family(section.family)
    opened: dict[str, Any] = {}
    _run(found, "config.json", lambda: check_config(folder, read_config(folder), family))
    _run(found, "weights", lambda: _weights(found, section, opened))
    _run(found, "tokenizer", lambda: _tokenizer(folder, opened))
    if "tokenizer" in opened:
        _run(found, "layout", lambda: _layout(found, section, opened))
    else:
        found.checks["layout"] = ""
    _run(found, "image processor", lambda: opened.update(processor=load_processor(folder, section)))
    if found.problem is None:
        _run(found, "prompt", lambda: _prompts(found, section, opened))
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


def as_text(found: Found) -> str:
    """Return one screen of text."""
    problem = found.problem
    lines = [f"{found.folder}: {'can be edited' if problem is None else 'CANNOT be edited'}"]
    if problem is not None:
        lines.append(f"reason: {problem}")
    if found.guess is not None:
        lines.append(f"family: {found.guess.family} ({found.guess.why})")
        if found.guess.others:
            lines.append(f"  its model_type fits {', '.join(found.guess.others)}, too: --family says which")
    words = {None: "passed", "": "not run"}
    checked = ", ".join(f"{name} {words.get(wrong, 'FAILED')}" for name, wrong in found.checks.items())
    lines.append(f"checks: {checked}")
    if problem is None and found.checks.get("forward") == "":
        lines.append(
            "  forward: whether the model, run layer by layer, says what it says itself; --open looks (opens it)"
        )
    if not found.template:
        lines.append("  its chat template writes another prompt, or it has none; the family's is used")
    if found.layers is not None and found.edited:
        can, edited = f"{found.added} to {found.layers - 1}", f"{found.edited[0]} to {found.edited[-1]}"
        lines.append(f"layers: {found.layers}; each of {can} can be edited; as it stands {edited} are")
    lines += _prompt_lines(found)
    return "\n".join([*lines, *_memory_lines(found)])


def _prompt_lines(found: Found) -> list[str]:
    lines = []
    for name, tokens in found.prompts.items():
        lines.append(f"prompt {name}: {QUESTION!r}, answered 'lynx' (token:id; the answer in brackets)")
        words = [token.shown(found.visual) for token in tokens]
        lines += [f"  {' '.join(words[start : start + WORDS])}" for start in range(0, len(words), WORDS)]
    return lines


def _memory_lines(found: Found) -> list[str]:
    if not found.memory:
        return []
    model = "unknown" if found.weights is None else f"{found.weights / GB:.2f} GB"
    lines = [f"memory (an estimate from shapes; the paper's sizes of memories): the model {model}; more, in GB:"]
    lines.append(f"  {'method':<16} {'once':>8} {'an edit':>8}")
    lines += [f"  {name:<16} {once / GB:>8.3f} {each / GB:>8.3f}" for name, (once, each) in found.memory.items()]
    return lines
