"""Folders of tiny models as somebody might have them, and what is said of them before torch is imported."""

import json
import subprocess
import sys

import torch
from safetensors.torch import load_file, save_file
from test_folder import change_config, save
from tiny_families import TEMPLATES, processor_of, tokenizer_of
from tiny_models import FAMILIES
from tiny_models import tiny_model as tiny_blip2

NAMES = (*TEMPLATES, *FAMILIES)
LOOK = """
import json, sys
from unike_lib.backbones.folder_config import first_look
from unike_lib.types import InputError
for family, folder in json.loads(sys.argv[1]):
    try:
        first_look(folder, family)
        print("opens")
    except InputError as error:
        print(error)
    imported = {"torch", "transformers"} & sys.modules.keys()
    assert not imported, (folder, imported)
"""


def look(pairs):
    """Return what is said of folders, one line each, in a process that imports no more than the look itself."""
    values = json.dumps([(family, str(folder)) for family, folder in pairs])
    done = subprocess.run([sys.executable, "-c", LOOK, values], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def saved(name, folder):
    """Write a tiny model of a family, with tokenizer and image processor."""
    if name not in FAMILIES:
        return save(name, folder)
    tokenizer = tokenizer_of("llava")
    for part in (tiny_blip2(name), tokenizer, processor_of("llava", tokenizer).image_processor):
        part.save_pretrained(folder)
    return folder


def as_torch_file(folder, **settings):
    """Write the weights as torch writes them; `_use_new_zipfile_serialization=False`: as before 2020."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin", **settings)
    return folder / "pytorch_model.bin"


def change_entry(folder, end, change, called=None):
    """Change the first entry whose name ends so; give the new one another end; without a change, take it out."""
    tensors = load_file(folder / "model.safetensors")
    name = next(each for each in sorted(tensors) if each.endswith(end))
    old = tensors[name] if called else tensors.pop(name)
    if change is not None:
        tensors[name.removesuffix(end) + (called or end)] = change(old).clone().contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def parts(**values):
    """Change fields of a part of config.json: `text_hidden_size` of `text_config`."""

    def change(config):
        for name, value in values.items():
            part, _, field = name.partition("_")
            config[f"{part}_config"][field] = value

    return lambda folder: change_config(folder, change)
