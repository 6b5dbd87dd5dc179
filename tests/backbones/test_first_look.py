"""A wrong folder is refused before torch is imported, and no folder that opens is refused."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_folder import FIELDS, HTML, LFS, change_config, only_sentencepiece, save
from tiny_families import TEMPLATES, family_of, processor_of, tiny_model, tokenizer_of
from tiny_models import FAMILIES
from tiny_models import tiny_model as tiny_blip2
from transformers import CONFIG_MAPPING, LlavaConfig
from transformers.activations import ACT2FN
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from unike_lib.backbones.library_names import ACTIVATIONS, DTYPES, MODEL_TYPES, ROTARY_KINDS, LibraryNames
from unike_lib.backbones.load import check_fit
from unike_lib.backbones.tower import Blip2WithTower, TowerShape, tower_config

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
    assert not imported - {*sys.argv[2:]}, (folder, imported)
"""


def look(pairs, *may_import):
    """Return what is said of folders, one line each, in a process that imports no more than the look itself."""
    values = json.dumps([(family, str(folder)) for family, folder in pairs])
    command = [sys.executable, "-c", LOOK, values, *may_import]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return save("llava", tmp_path_factory.mktemp("good") / "model")


def as_torch_file(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


def cut(file, size):
    os.truncate(file, size)


def change_entry(folder, end, change):
    tensors = load_file(folder / "model.safetensors")
    name = next(each for each in sorted(tensors) if each.endswith(end))
    tensors[name] = change(tensors[name]).contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def parts(**values):
    """Change fields of a part of config.json: `text_hidden_size` of `text_config`."""

    def change(config):
        for name, value in values.items():
            part, _, field = name.partition("_")
            config[f"{part}_config"][field] = value

    return lambda folder: change_config(folder, change)


def field(name):
    return lambda folder: change_config(folder, FIELDS[name][0])


def large(folder):
    """LLaVA's defaults are a 7B model."""
    (folder / "config.json").write_text(json.dumps(LlavaConfig().to_dict()))


SIZE = "model: config.json: field '{}_config.{}': {}, but the weights have "
KINDS = {
    "quantised": (field("awq"), "'quantization_config'"),
    "text for a number": (field("text for a number"), "'text_config.hidden_size'"),
    "activation": (field("activation"), "'text_config.hidden_act': expected an activation that transformers knows"),
    "the tower's activation": (field("the tower's activation"), "'vision_config.hidden_act'"),
    "rotary kind": (field("rotary kind"), "'text_config.rope_scaling.rope_type': expected a kind that transformers"),
    "another tower": (field("another tower"), "'vision_config.model_type': expected a type that transformers knows"),
    "dtype": (field("dtype"), "'dtype': expected a dtype of PyTorch's"),
    "pointer": (lambda f: (f / "model.safetensors").write_text(LFS), "model.safetensors: a Git LFS pointer"),
    "page": (lambda f: (f / "tokenizer.json").write_text(HTML), "tokenizer.json: a web page"),
    "adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), "adapter_config.json: an adapter"),
    "half": (
        lambda f: cut(f / "model.safetensors", (f / "model.safetensors").stat().st_size - 1),
        " bytes; download it again",
    ),
    "half a head": (lambda f: cut(f / "model.safetensors", 100), "half a file: 100 of "),
    "half of torch's": (
        lambda f: cut(file := as_torch_file(f), file.stat().st_size // 2),
        "pytorch_model.bin: half a file: it starts as one of torch's, and its end is missing",
    ),
    "none of torch's": (lambda f: as_torch_file(f).write_text("x" * 99), "pytorch_model.bin: half a file, no file of"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no weights: expected model.safetensors or"),
    "tokenizer.model alone": (only_sentencepiece, "tokenizer.json: no such file, only tokenizer.model"),
    "no processor": (lambda f: (f / "preprocessor_config.json").unlink(), "preprocessor_config.json: no such file"),
    "7B": (large, SIZE.format("text", "vocab_size", 32000) + "'language_model.model.embed_tokens.weight' of (131, 16)"),
    "more layers": (parts(text_num_hidden_layers=5), SIZE.format("text", "num_hidden_layers", 5) + "4 layers there"),
    "a wider decoder": (parts(text_hidden_size=32), SIZE.format("text", "hidden_size", 32)),
    "a wider network": (
        parts(text_intermediate_size=25),
        SIZE.format("text", "intermediate_size", 25)
        + "'language_model.model.layers.0.mlp.gate_proj.weight' of (24, 16); expected the config.json of these weights",
    ),
    "more layers of the tower": (parts(vision_num_hidden_layers=3), SIZE.format("vision", "num_hidden_layers", 3)),
    "a wider network of the tower": (
        parts(vision_intermediate_size=17),
        SIZE.format("vision", "intermediate_size", 17) + "'vision_tower.",
    ),
    "other patches": (parts(vision_patch_size=8), SIZE.format("vision", "patch_size", 8) + "'vision_tower."),
    "a projection to another width": (
        lambda f: change_entry(f, "linear_1.weight", lambda matrix: matrix[:12]),
        SIZE.format("text", "hidden_size", 16) + "'multi_modal_projector.linear_1.weight' of (12, 8)",
    ),
    "a projection from another width": (
        lambda f: change_entry(f, "linear_1.weight", lambda matrix: matrix[:, :6]),
        SIZE.format("vision", "hidden_size", 8) + "'multi_modal_projector.linear_1.weight' of (16, 6)",
    ),
    "a projection's second half": (
        lambda f: change_entry(f, "linear_2.weight", lambda matrix: matrix[:, :6]),
        SIZE.format("text", "hidden_size", 16) + "'multi_modal_projector.linear_2.weight' of (16, 6)",
    ),
}


def test_every_kind_is_said_before_torch_is_imported(good, tmp_path):
    """So that a wrong folder costs a fraction of a second, not the imports."""
    folders = [shutil.copytree(good, tmp_path / str(index) / "model") for index in range(len(KINDS))]
    for folder, (spoil, _) in zip(folders, KINDS.values(), strict=True):
        spoil(folder)
    lines = look([("llava", folder) for folder in folders])
    assert len(lines) == len(KINDS)
    for folder, line, (name, (_, words)) in zip(folders, lines, KINDS.items(), strict=True):
        assert str(folder) in line and words in line, (name, line)
    whole = (good / "model.safetensors").stat().st_size
    assert f"half a file: {whole - 1} of {whole} bytes" in lines[[*KINDS].index("half")]


def test_a_file_of_torchs_takes_torch_alone(good, tmp_path):
    folders = [shutil.copytree(good, tmp_path / name) for name in ("right", "wrong")]
    change_entry(folders[1], "linear_1.weight", lambda matrix: matrix[:12])
    for folder in folders:
        as_torch_file(folder)
    lines = look([("llava", folder) for folder in folders], "torch")
    assert lines[0] == "opens" and "'multi_modal_projector.linear_1.weight' of (12, 8)" in lines[1]


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


def saved(name, folder):
    if name not in FAMILIES:
        return save(name, folder)
    tokenizer = tokenizer_of("llava")
    for part in (tiny_blip2(name), tokenizer, processor_of("llava", tokenizer).image_processor):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    place = tmp_path_factory.mktemp("families")
    return {name: saved(name, place / name) for name in (*TEMPLATES, *FAMILIES)}


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


def sizes_left_out(folder):
    """What config.json does not say is transformers' default, which is not known here."""
    change_config(folder, lambda config: [config["text_config"].pop(name) for name in ("hidden_size", "vocab_size")])


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


LAYOUTS = {
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


def test_what_is_not_said_is_not_compared(families, tmp_path):
    sizes_left_out(folder := shutil.copytree(families["llava"], tmp_path / "model"))
    assert look([("llava", folder)]) == ["opens"]


def test_every_name_that_the_libraries_know_is_in_their_source():
    floats = [name for name in dir(torch) if isinstance(each := getattr(torch, name), torch.dtype)
              and each.is_floating_point]  # fmt: skip
    known = {ACTIVATIONS: ACT2FN, ROTARY_KINDS: ROPE_INIT_FUNCTIONS, MODEL_TYPES: CONFIG_MAPPING, DTYPES: floats}
    for names, table in known.items():
        assert len(list(table)) > 4 and names.long_known in table
        assert [name for name in table if not names.has(name)] == []
        assert not any(names.has(name) for name in ("foo", "gelu_of_mine", "float7", "lama", ".*"))


def test_the_library_is_asked_where_it_is_imported_and_believed_where_its_source_is_another(monkeypatch):
    """Families from outside may add types to transformers; a package's source may be written in another way."""
    assert LibraryNames("torch", ("_C/__init__.pyi",), "float32", lambda name: name == "mine").know("mine")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "torch")
    names = [LibraryNames("torch", (file,), known, None) for file, known in (("_C/__init__.pyi", "float32"),
             ("_C/__init__.pyi", "float7"), ("nowhere.py", "float32"))]  # fmt: skip
    assert [each.know("mine") for each in names] == [False, True, True]
    assert not names[1].know(["float32"])
