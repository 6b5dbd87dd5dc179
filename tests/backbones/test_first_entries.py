"""Missing and superfluous entries are refused before torch is imported, and never where the whole check takes them.

The whole check is `weights.check_weights`: transformers' own model, and its own steps from names in a file to the
model's. Here it is asked with the same names.
"""

import copy
import itertools
import re
from types import SimpleNamespace

import pytest
import torch
import transformers
from folders import NAMES
from test_first_sizes import DECODERS, PARTS, built, model_of, shapes_of, written

from unike_lib.backbones import entries
from unike_lib.backbones.entries import bare
from unike_lib.backbones.sizes import check_sizes
from unike_lib.backbones.weights import check_weights
from unike_lib.types import InputError

MODELS = [*NAMES, *DECODERS]
LAYER = re.compile(r"(layers?|blocks|deepstack_merger_list)\.\d+\.")


def said(check, *arguments):
    try:
        check("folder", *arguments)
    except InputError as error:
        return str(error)
    return ""


def library(model, config):
    """A function that asks the whole check; the model of a config is built once."""
    with torch.device("meta"):
        own = type(model)(type(model.config).from_dict(copy.deepcopy(config)))
    kind = SimpleNamespace(from_config=lambda config: own)
    return lambda shapes: said(check_weights, kind, config, shapes)


def without_one(shapes, names):
    """Each of these entries taken away, those of layers in the first layer that has it, and in all."""
    groups = {}
    for name in names:
        groups.setdefault(LAYER.sub(r"\1.#.", name), []).append(name)
    for names in groups.values():
        for away in [names[:1], names][: len(names)]:
            yield away, {name: shape for name, shape in shapes.items() if name not in away}


def with_one_more(shapes, names):
    """Each of these entries again, under another last word; some under others."""
    last = list({LAYER.sub(r"\1.#.", name): name for name in names}.values())
    for new in (*(f"{name}x" for name in last), f"foo.{last[-1]}", "foo.weight", "model.foo", "lm_head.bias", "model"):
        yield new, shapes | {new: shapes[last[-1]]}


def ends_that_may_be_one(name, model):
    """Gemma 3: the decoder's part of a configuration says so, and the whole, which counts, does not."""
    return ("embed_tokens.weight", "lm_head.weight") if model.all_tied_weights_keys or name == "gemma3" else ()


def own_part(name, shapes):
    """What a model's name is about: of LLaVA with one decoder or another, the decoder."""
    return [entry for entry in shapes if "language_model" in entry or "+" not in name]


@pytest.mark.parametrize("name", MODELS)
def test_every_entry_missing_or_too_many_is_said_in_the_words_of_the_whole_check(name):
    model = model_of(name)
    config, shapes = written(model), shapes_of(model)
    theirs = library(model, config)
    assert said(check_sizes, config, shapes) == theirs(shapes) == ""
    tied = ends_that_may_be_one(name, model)
    cases = list(without_one(shapes, own_part(name, shapes)))
    assert len(cases) > 15
    for away, rest in cases:
        ours = said(check_sizes, config, rest)
        assert ours == theirs(rest) != "" or (not ours and away[0].endswith(tied))
        assert away[0] in ours or not ours
    if tied:  # neither of the two
        rest = {entry: shape for entry, shape in shapes.items() if not entry.endswith(tied)}
        assert said(check_sizes, config, rest) == theirs(rest) != ""
    for new, more in with_one_more(shapes, own_part(name, shapes)):
        assert theirs(more) and f": 1 entry unexpected: {new};" in said(check_sizes, config, more), new


@pytest.mark.parametrize("name", MODELS)
def test_no_two_entries_of_a_model_are_one_without_where_they_lie(name):
    shapes = shapes_of(model_of(name))
    assert len({bare(entry) for entry in shapes}) == len(shapes)


def with_field(config, path, value):
    found = copy.deepcopy(config)
    part, _, field = path.rpartition(".")
    (found[part] if part else found)[field] = value
    return found


def switches(config):
    for part in PARTS:
        for field, value in (config if part is None else config.get(part, {})).items():
            if isinstance(value, bool):
                yield field if part is None else f"{part}.{field}", not value


# Other fields by which models have other entries, and fields that their classes do not write.
OTHERS = {
    "blip2": [("qformer_config.num_hidden_layers", 5), ("text_config.word_embed_proj_dim", 8),
              ("text_config._remove_final_layer_norm", True)],
    "minigpt4": [("qformer_config.num_hidden_layers", 4), ("text_config.tie_word_embeddings", True)],
    "llava": [("vision_feature_layer", [-2, -1]), ("vision_config.num_hidden_layers", 0)],
    "internvl": [("vision_config.norm_type", "rms_norm"), ("vision_config.use_mean_pooling", False)],
    "qwen2-vl": [("text_config.tie_word_embeddings", True)],
    "qwen3-vl": [("vision_config.deepstack_visual_indexes", [])],
}  # fmt: skip
# What is left to the whole check.
LATE = {"text_config.word_embed_proj_dim": ("project_in.weight", "project_out.weight")}


@pytest.mark.parametrize("name", MODELS)
def test_fields_that_give_a_model_other_entries_are_followed(name):
    """Of each switch, the model's own class says what it gives; weights of the other position are refused."""
    model, decided = model_of(name), set()
    config, shapes = written(model), shapes_of(model)
    for path, value in [*switches(config), *OTHERS.get(name, [])]:
        if "+" in name and not path.startswith("text_config."):
            continue
        found = with_field(config, path, value)
        own = built(model, found)
        if own is None:
            continue
        assert said(check_sizes, found, own) == "", (path, value)
        changed = own.keys() ^ shapes.keys()
        if not changed and "tie" not in path:
            continue
        theirs = library(model, found)
        if changed and path not in LATE:
            assert theirs(shapes) and said(check_sizes, found, shapes), (path, value)
            decided.add(path)
        ends = ("lm_head.weight", "embed_tokens.weight")
        for away, rest in without_one(own, [entry for entry in own if entry in changed or entry.endswith(ends)]):
            ours = said(check_sizes, found, rest)
            assert ours in ("", theirs(rest)), (path, away)
            assert ours or away[0].endswith((*ends, *LATE.get(path, ()))), (path, away)
    expected = {
        "blip2": {"text_config.enable_bias", "text_config.do_layer_norm_before", "vision_config.qkv_bias",
                  "text_config.layer_norm_elementwise_affine", "qformer_config.use_qformer_text_input"},
        "llava": {"text_config.attention_bias", "text_config.mlp_bias", "multimodal_projector_bias"},
        "llava-chatml": {"vision_config.vision_use_head"},
        "gemma3": {"text_config.attention_bias", "vision_config.vision_use_head"},
        "internvl": {"vision_config.attention_bias", "vision_config.use_qk_norm", "vision_config.use_mask_token",
                     "vision_config.use_absolute_position_embeddings", "vision_config.use_mean_pooling"},
        **{f"llava+{kind}": {"text_config.attention_bias"} for kind in ("qwen3", "gemma", "gemma3_text")},
        "qwen3-vl": {"text_config.attention_bias"},
    }  # fmt: skip
    assert expected.get(name, set()) <= decided


# Names as released folders have them, by the names of their model: model cards' index files of the years 2023 to 2025.
LLAVA_NAMES = {"model.language_model.": "language_model.model.", "lm_head": "language_model.lm_head",
               "model.vision_tower.": "vision_tower.vision_model.", "model.": ""}  # fmt: skip
RELEASED = [
    *((name, LLAVA_NAMES) for name in ("llava", "llava+gemma", "llava-chatml", "llava-onevision", "gemma3")),
    ("internvl", LLAVA_NAMES | {"model.vision_tower.": "vision_tower."}),
    *((name, {"model.language_model.": "model.", "model.visual.": "visual."}) for name in ("qwen2-vl", "qwen2.5-vl")),
    ("blip2", {"": ""}),
    ("minigpt4", {"": "blip."}),
]


def renamed(shapes, beginnings):
    return {next((new + name.removeprefix(old) for old, new in beginnings.items() if name.startswith(old)), name): shape
            for name, shape in shapes.items()}  # fmt: skip


@pytest.mark.parametrize(("name", "beginnings"), RELEASED, ids=[name for name, _ in RELEASED])
def test_names_of_released_folders_are_taken_and_one_missing_is_seen(name, beginnings):
    model = model_of(name)
    config, shapes = written(model), renamed(shapes_of(model), beginnings)
    theirs = library(model, config)
    assert said(check_sizes, config, shapes) == theirs(shapes) == ""
    if name in ("llava", "gemma3"):  # numbers that a model works out itself
        old = {"language_model.model.layers.0.self_attn.rotary_emb.inv_freq": (2,),
               "vision_tower.vision_model.embeddings.position_ids": (1, 17)}  # fmt: skip
        old = {each: shape for each, shape in old.items() if not theirs(shapes | {each: shape})}
        assert len(old) == (2 if name == "llava" else 1)
        assert said(check_sizes, config, shapes | old) == ""
    gammas = {each.replace("LayerNorm.weight", "LayerNorm.gamma"): shape for each, shape in shapes.items()}
    assert said(check_sizes, config, gammas) == theirs(gammas) == ""
    tied = ends_that_may_be_one(name, model)
    for away, rest in without_one(shapes, [*shapes][:: max(1, len(shapes) // 12)]):
        assert said(check_sizes, config, rest) == theirs(rest) != "" or away[0].endswith(tied)


@pytest.mark.parametrize("name", NAMES)
def test_whatever_beginnings_the_whole_check_takes_are_taken(name):
    """Each part of the names at the front is left out, doubled, or put in front of an entry."""
    model = model_of(name)
    config, shapes = written(model), shapes_of(model)
    theirs, taken = library(model, config), 0
    fronts = ("model.", "language_model.", "model.language_model.", "language_model.model.", "vision_model.",
              "vision_tower.", "model.model.", f"{model.base_model_prefix}.", "text_model.")  # fmt: skip
    for entry in {tuple(entry.split(".")[:2]): entry for entry in shapes}.values():
        parts = entry.split(".")
        for keep, front in itertools.product(range(min(4, len(parts))), ("", *fronts)):
            found = {each: shape for each, shape in shapes.items() if each != entry}
            found[front + ".".join(parts[keep:])] = shapes[entry]
            if not said(check_sizes, config, found):
                continue  # the whole check has the last word
            assert theirs(found), (entry, front, keep)
            taken += 1
    assert taken


def test_nothing_is_said_of_kinds_that_are_not_known_or_of_another_library(monkeypatch):
    model = model_of("llava")
    config = written(model)
    spoiled = {name: shape for name, shape in shapes_of(model).items() if "linear_2" not in name} | {"foo": (1,)}
    assert "2 entries missing: model.multi_modal_projector.linear_2.bias" in said(check_sizes, config, spoiled)
    assert said(check_sizes, config | {"model_type": "my_vlm"}, spoiled) == ""
    missing = said(check_sizes, with_field(config, "vision_config.model_type", "dinov2"), spoiled)
    assert "entries missing" in missing and "unexpected" not in missing  # some of the tower's may be called so
    monkeypatch.setattr(entries, "LIBRARY", "5.22")
    assert said(check_sizes, config, spoiled) == ""


def test_the_table_was_compared_with_this_library():
    assert transformers.__version__.startswith(f"{entries.LIBRARY}.")
