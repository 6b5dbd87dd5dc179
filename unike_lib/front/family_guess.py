"""Which family a model's folder is: as its config.json, its tokenizer and its chat template say."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unike_lib.backbones.folder import check_folder
from unike_lib.backbones.folder_config import read_config
from unike_lib.family import Family, families
from unike_lib.types import InputError

# BLIP-2's and MiniGPT-4's folders have one model_type; their checkpoints differ in the decoder.
OF_DECODER = {"opt": "blip2", "llama": "minigpt4"}


@dataclass(frozen=True)
class Guess:
    """A family by name, why it, and the others that fit the model_type too."""

    family: str
    why: str
    others: tuple[str, ...] = ()


def guess_family(folder: str | Path) -> Guess:
    """Return the family of a folder.

    Raises:
        InputError: there is no such folder, or none fits, or several do: says what `family` could be.
    """
    fitting, config = fitting_families(folder)
    kind, decoder = config.get("model_type"), _decoder_of(config)
    chosen, why = fitting, f"model_type {kind!r}"
    if len(chosen) > 1 and OF_DECODER.get(decoder) in [family.name for family in chosen]:
        chosen = [family for family in chosen if family.name == OF_DECODER[decoder]]
        why += f" and a decoder of type {decoder!r}"
    if len(chosen) > 1:
        chosen, said = _by_tokenizer(folder, chosen)
        why += said
    if len(chosen) > 1:
        names = ", ".join(family.name for family in chosen)
        raise InputError(f"{folder}: its model_type {kind!r} fits several families; say which: family = one of {names}")
    others = tuple(family.name for family in fitting if family is not chosen[0])
    return Guess(chosen[0].name, why, others)


def fitting_families(folder: str | Path) -> tuple[list[Family], dict[str, Any]]:
    """Return the families of a folder's model_type, and its config.json; without torch.

    Raises:
        InputError: there is no such folder, or no such family.
    """
    check_folder(folder)
    config, every = read_config(folder), families()
    fitting = [family for family in every.values() if config.get("model_type") in family.model_types]
    if not fitting:
        known = ", ".join(sorted({each for family in every.values() for each in family.model_types}))
        raise InputError(
            f"{folder}: config.json: field 'model_type': no family for {config.get('model_type')!r}; known: {known}; "
            "or a file of your own, family file.py:FAMILY (examples/own_backbone)"
        )
    return fitting, config


def _decoder_of(config: Mapping[str, Any]) -> str:
    """Return the decoder's type; a text_config that does not say it is OPT's (Hugging Face's default for BLIP-2)."""
    text = config.get("text_config")
    return str(text.get("model_type", "")) if isinstance(text, Mapping) else ""


def _by_tokenizer(folder: str | Path, fitting: list[Family]) -> tuple[list[Family], str]:
    """Return the families whose marks the tokenizer has; of several, those that write what the chat template writes."""
    from unike_lib.backbones.layout import agrees_with_template
    from unike_lib.backbones.load import load_tokenizer

    tokenizer = load_tokenizer(folder)
    vocabulary = tokenizer.get_vocab()
    chosen = [family for family in fitting if all(mark in vocabulary for mark in family.marks)] or fitting
    said = " and the tokenizer's marks"
    if len(chosen) > 1:
        alike = [family for family in chosen if agrees_with_template(folder, family, tokenizer)]
        chosen, said = (alike, " and the chat template") if alike else (chosen, said)
    return chosen, said
