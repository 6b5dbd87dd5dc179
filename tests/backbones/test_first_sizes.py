"""What is said of sizes before torch is imported is what Hugging Face's own classes say of them, field by field."""

import copy
import json

import pytest
import torch
from folders import NAMES
from test_folder import refusal
from tiny_families import QWEN, tiny_model, tokenizer_of
from tiny_models import FAMILIES
from tiny_models import tiny_model as tiny_blip2
from transformers import CONFIG_MAPPING

from unike_lib.backbones.folder_config import check_config
from unike_lib.backbones.library_sizes import with_defaults
from unike_lib.backbones.sizes import check_sizes
from unike_lib.family import families, find_family

DECODERS = [f"llava+{kind}" for kind in ("mistral", "qwen2", "qwen3", "gemma", "gemma3_text")]
PARTS = (None, "text_config", "vision_config", "qformer_config")
DEFAULT = object()


def model_of(name):
    name, _, text = name.partition("+")
    return tiny_blip2(name) if name in FAMILIES else tiny_model(name, tokenizer_of(name), text or "llama")


def shapes_of(model):
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def built(model, config):
    """The shapes that the model's own class gives a config; None: it refuses it."""
    try:
        with torch.device("meta"):
            return shapes_of(type(model)(type(model.config).from_dict(copy.deepcopy(config))))
    except Exception:  # of any kind: a config's values reach every line of a class
        return None


def others(field, value):
    if isinstance(value, bool) or not isinstance(value, int | float | list) or value == []:
        return []
    if field in ("image_size", "patch_size") and isinstance(value, list):
        return [[side * 2 for side in value], value[0] * 2, DEFAULT]
    return [value + value[-1:]] if isinstance(value, list) else [value * 2, DEFAULT]


def changed(config, parts):
    """Each number or list of a config, doubled, lengthened, or left to its default."""
    for part in parts:
        for field, value in (config if part is None else config.get(part, {})).items():
            for other in [] if field.endswith(("token_id", "token_index")) else others(field, value):
                found = copy.deepcopy(config)
                place = found if part is None else found[part]
                place.pop(field) if other is DEFAULT else place.update({field: other})
                yield field if part is None else f"{part}.{field}", found


def written(model):
    return json.loads(model.config.to_json_string(use_diff=False))


@pytest.mark.parametrize("name", [*NAMES, *DECODERS])
def test_every_field_is_refused_where_their_class_builds_other_shapes_of_it(name):
    model, parts = model_of(name), PARTS if "+" not in name else ("text_config",)
    config, shapes = written(model), shapes_of(model)
    assert built(model, config) == shapes
    check_sizes("folder", config, shapes)
    refused = set()
    for field, found in changed(config, parts):
        theirs = built(model, found)
        if theirs == shapes:
            check_sizes("folder", found, shapes)
        elif theirs is not None:
            said = refusal(lambda found=found: check_sizes("folder", found, shapes))
            assert said.startswith("folder: config.json: field '") and f"'{field}'" in said
            refused.add(field)
    assert {"text_config.hidden_size", "text_config.vocab_size"} <= refused
    towers = [field for field in refused if field.startswith("vision_config")]
    assert len(towers) > 4 or parts == ("text_config",)


@pytest.mark.parametrize("name", QWEN)
def test_a_number_of_heads_that_a_tower_is_built_with_and_cannot_run_with_is_refused(name):
    model = model_of(name)
    config = written(model)
    config["vision_config"]["num_heads"] = 3
    assert built(model, config) == shapes_of(model)
    broken = type(model)(type(model.config).from_dict(copy.deepcopy(config)))
    with pytest.raises(RuntimeError, match="shape"):
        broken.model.visual(torch.zeros(16, 3 * 2 * 4 * 4), torch.tensor([[1, 4, 4]]))
    said = refusal(lambda: check_sizes("folder", config, shapes_of(model)))
    assert (
        "'vision_config.num_heads': 3, but 'vision_config." in said and "is 16; expected a number that divides" in said
    )
    config["vision_config"]["num_heads"] = 0
    said = refusal(lambda: check_config("folder", config, find_family(name)))
    assert said == "folder: config.json: field 'vision_config.num_heads': expected a positive integer, found 0"


def types():
    """Every type of model, decoder and tower that the families are told apart by, or are made of."""
    known = [kind for family in families().values() for kind in (*family.model_types, *family.decoders)]
    return sorted({*known, "clip_vision_model", "siglip_vision_model"})


def plain(value):
    """A config's numbers, texts and lists, as JSON has them, without what every class of transformers has."""
    value = value if isinstance(value, dict) else json.loads(value.to_json_string(use_diff=False))
    return {name: plain(each) if isinstance(each, dict) else each for name, each in value.items()}


@pytest.mark.parametrize("kind", types())
def test_defaults_are_those_of_their_classes(kind):
    """Read from text here, and from the imported class there; with nothing in parts, and with empty ones."""
    for parts in ({}, {"text_config": {}, "vision_config": {}}):
        ours = with_defaults({"model_type": kind, **parts})
        theirs = plain(CONFIG_MAPPING[kind](**copy.deepcopy(parts)))
        assert len(ours) > 4
        for name, value in [*ours.items(), *[(f"{part}.{name}", each) for part in PARTS[1:]
                            for name, each in ours.get(part, {}).items()]]:  # fmt: skip
            part, _, field = name.rpartition(".")
            found = theirs[part][field] if part else theirs.get(field)
            if isinstance(value, int | float) and not isinstance(value, bool) and field != "sliding_window":
                assert found == value or (isinstance(found, list) and set(found) == {value}), name
