"""No folder that opens is refused before torch is imported: every family's, and layouts as models are released."""

import json
import shutil

import pytest
import torch
from folders import NAMES, as_torch_file, change_entry, look, parts, saved
from safetensors.torch import load_file, save_file
from test_folder import change_config
from tiny_families import family_of, tiny_model, tokenizer_of
from tiny_models import tiny_model as tiny_blip2

from unike_lib.backbones.load import check_fit
from unike_lib.backbones.tower import Blip2WithTower, TowerShape, tower_config

PROJECTIONS = {
    "blip2": ("language_projection.weight", 0),
    "minigpt4": ("language_projection.weight", 1),
    "gemma3": ("mm_input_projection_weight", 1),
    "idefics3": ("modality_projection.proj.weight", 0),
    "smolvlm2": ("modality_projection.proj.weight", 1),
    "internvl": ("multi_modal_projector.linear_1.weight", 1),
    "qwen2.5-vl": ("visual.merger.mlp.2.weight", 0),
    "qwen3-vl": ("visual.merger.linear_fc2.weight", 0),
}


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    place = tmp_path_factory.mktemp("families")
    return {name: saved(name, place / name) for name in NAMES}


def test_every_familys_projection_is_compared(families, tmp_path):
    pairs = []
    for name, (end, side) in PROJECTIONS.items():
        folder = shutil.copytree(families[name], tmp_path / name)
        change_entry(folder, end, lambda matrix, side=side: matrix.narrow(side, 0, matrix.shape[side] - 1))
        pairs.append((family_of(name), folder))
    lines = look(pairs)
    for line, (end, _), (_, folder) in zip(lines, PROJECTIONS.values(), pairs, strict=True):
        assert f"{folder}: config.json: field '" in line and f"{end}' of (" in line


def under_new_names(folder):
    save_file(tiny_model("llava", tokenizer_of("llava")).state_dict(), folder / "model.safetensors")


def flat(folder):
    """As Qwen2-VL's first folders are: the decoder's fields beside the others."""
    change_config(folder, lambda config: config.update(config.pop("text_config"), model_type=config["model_type"]))


def tied(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(next(name for name in tensors if name.endswith("lm_head.weight")))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    change_config(folder, lambda config: config.update(tie_word_embeddings=True))


def padded(folder):
    """More rows of embeddings than the tokenizer has tokens."""
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name in tensors if name.endswith(("embed_tokens.weight", "lm_head.weight"))]:
        tensors[name] = torch.cat([tensors[name], torch.zeros(60, tensors[name].shape[1])])
        rows = len(tensors[name])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    parts(text_vocab_size=rows)(folder)


def two_layers_of_the_tower(folder):
    """LLaVA that reads two layers of its tower has a projection of twice its width."""
    change_config(folder, lambda config: config.update(vision_feature_layer=[-2, -1]))
    change_entry(folder, "linear_1.weight", lambda matrix: torch.cat([matrix, matrix], 1))


def in_parts(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {name: f"model-{1 + 2 * index // len(names):05}-of-00002.safetensors" for index, name in enumerate(names)}
    for file in set(places.values()):
        part = {name: tensors[name] for name in names if places[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def opt_with_narrow_embeddings(folder):
    """As OPT-350m: words are narrower than the decoder."""
    model = tiny_blip2("blip2", word_embed_proj_dim=8)
    model.save_pretrained(folder)


def torchs(folder):
    as_torch_file(folder)


def torchs_of_before_2020(folder):
    as_torch_file(folder, _use_new_zipfile_serialization=False)


def qwen2_with_wide_heads(folder):
    """A field that Qwen2's class does not declare, and its model reads."""
    tiny_model("llava", tokenizer_of("llava"), "qwen2", head_dim=8).save_pretrained(folder)


LAYOUTS = {
    "wide heads": ("llava", qwen2_with_wide_heads),
    "torch's own": ("llava", torchs),
    "torch's of before 2020": ("minigpt4", torchs_of_before_2020),
    "new names": ("llava", under_new_names),
    "flat": ("qwen2-vl", flat),
    "tied": ("llava", tied),
    "padded": ("llava", padded),
    "two layers of the tower": ("llava", two_layers_of_the_tower),
    "in parts": ("gemma3", in_parts),
    "narrow embeddings": ("blip2", opt_with_narrow_embeddings),
}


def test_no_folder_that_opens_is_refused(families, tmp_path):
    """Every family's, and layouts as models are released; the whole check, which builds the model, takes them, too."""
    pairs = [(family_of(name), folder) for name, folder in families.items()]
    for name, (family, change) in LAYOUTS.items():
        change(folder := shutil.copytree(families[family], tmp_path / name))
        pairs.append((family, folder))
    tiles, sizes = TowerShape(identity_components=4, patch_components=2), tiny_blip2("blip2").config
    folder = shutil.copytree(families["blip2"], tmp_path / "tiles")
    qformer, text = sizes.qformer_config.to_dict(), sizes.text_config.to_dict()
    Blip2WithTower(tower_config(tiles, qformer, text, num_query_tokens=3, codebook=5)).save_pretrained(folder)
    pairs.append(("blip2", folder))
    assert look(pairs) == ["opens"] * len(pairs)
    for family, folder in pairs:
        check_fit(folder, family)
