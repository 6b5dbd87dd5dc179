"""Spoiled config.json files of a model's folder: it opens, or one named error of one line (make fault-test)."""

import copy
import json
import os
import random
import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "backbones"))
from tiny_chatml import CHATML_TEMPLATES
from tiny_families import QWEN, TEMPLATES, family_of, processor_of, tiny_model, tokenizer_of

from unike_lib.backbones.load import load_backbone, load_processor
from unike_lib.config.backbones import BackboneConfig
from unike_lib.types import InputError

FUZZ = int(os.environ.get("FUZZ", "1000"))  # cases per family and kind of file, where long fuzzing is asked for
VALUES = (None, True, 0, -1, 3, 10**12, 0.5, 1e308, "", "16", "foo", "a\nb", "\0", [], [1], ["a"], {}, {"a": 1})


def places(value, path=()):
    """Return the path of every field of a config."""
    if not isinstance(value, dict):
        return [path]
    return [path, *(inner for key, each in value.items() for inner in places(each, (*path, key)))]


FAMILIES = ["llava", "smolvlm", "smolvlm2", "idefics3", "gemma3", *QWEN, *CHATML_TEMPLATES]


@pytest.fixture(scope="module", params=FAMILIES)
def saved(request, tmp_path_factory):
    folder, tokenizer = tmp_path_factory.mktemp("model"), tokenizer_of(request.param)
    tokenizer.chat_template = TEMPLATES.get(request.param)
    parts = (tiny_model(request.param, tokenizer), tokenizer, processor_of(request.param, tokenizer).image_processor)
    for part in parts:
        part.save_pretrained(folder)
    return family_of(request.param), folder


@pytest.mark.parametrize("count", [pytest.param(10), pytest.param(FUZZ, marks=pytest.mark.fuzz)])
def test_a_spoiled_config_opens_or_is_refused(saved, tmp_path, count):
    family, good = saved
    folder = shutil.copytree(good, tmp_path / "model")
    whole = json.loads((good / "config.json").read_text())
    settings, draw = BackboneConfig(family=family, folder=str(folder)), random.Random(count)
    for _ in range(count):
        config = copy.deepcopy(whole)
        *before, last = draw.choice(places(config)[1:])
        holder = config
        for key in before:
            holder = holder[key]
        if draw.random() < 0.1:
            del holder[last]
        else:
            holder[last] = draw.choice(VALUES)
        (folder / "config.json").write_text(json.dumps(config))
        try:
            load_backbone(folder, settings, lambda names: None)
            load_processor(folder, settings)
        except InputError as error:
            # A setting is named where the processor's own size does not fit it, else the folder.
            assert str(folder) in str(error) or "image_size" in str(error), (before, last, holder.get(last), str(error))
            assert len(str(error).splitlines()) == 1, repr(str(error))


SPOILED = ("preprocessor_config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors", "config.json")
SPOILED = (*SPOILED, "chat_template.jinja")


@pytest.mark.parametrize("count", [pytest.param(3), pytest.param(FUZZ, marks=pytest.mark.fuzz)])
def test_a_spoiled_file_opens_or_is_refused(saved, tmp_path, count):
    family, good = saved
    folder = shutil.copytree(good, tmp_path / "model")
    settings, draw = BackboneConfig(family=family, folder=str(folder)), random.Random(count)
    for _ in range(count):
        name = draw.choice(SPOILED)
        content = bytearray((good / name).read_bytes())
        if name.endswith("_config.json") and draw.random() < 0.7:
            values = json.loads(content)
            values[draw.choice(list(values))] = draw.choice(VALUES)
            content = bytearray(json.dumps(values).encode())
        else:
            for _ in range(draw.randint(1, 3)):
                content[draw.randrange(len(content) if name != "model.safetensors" else 4000)] = draw.randrange(256)
            content = content[: draw.choice([len(content)] * 3 + [draw.randrange(len(content))])]
        (folder / name).write_bytes(content)
        try:
            load_backbone(folder, settings, lambda names: None)
            load_processor(folder, settings)
        except InputError as error:
            assert str(folder) in str(error) or "image_size" in str(error), (name, str(error))
            assert len(str(error).splitlines()) == 1, repr(str(error))
        shutil.copy(good / name, folder / name)
