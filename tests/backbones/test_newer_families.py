"""LLaVA of any chat, LLaVA-OneVision, InternVL, SmolVLM, Idefics3: sizes of pictures, ends of positions, bfloat16."""

import copy
import json
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from test_families import QUERIES, saved, their_inputs
from tiny_families import SIDE, TEMPLATES, family_of, picture, tiny_family

from unike_lib.backbones.load import load_backbone, load_model, load_processor
from unike_lib.backbones.positions import WholePictures
from unike_lib.backbones.speed.state_cache import StateCache, cache_states
from unike_lib.backbones.visual import embed_images
from unike_lib.config.backbones import BackboneConfig
from unike_lib.types import InputError, Query

NAMES = ["llava-chatml+qwen3", "llava-onevision+qwen2", "internvl+qwen2", "internvl+qwen3", "internvl+llama"]
NAMES += ["smolvlm2+llama"]
OLDER = ["llava+llama", "llava+qwen2", "smolvlm+llama", "idefics3+llama"]
PICTURES = {
    name: picture(name).resize(size) for name, size in {"wide": (90, 11), "high": (7, 60), "one": (1, 1)}.items()
}


@pytest.fixture(scope="module", params=[*NAMES, *OLDER])
def tiny(request):
    return tiny_family(*request.param.split("+"))


def ours(backbone, queries=QUERIES):
    return backbone.forward(backbone.run_below(backbone.encode(queries)))


def close_to(tiny, found, queries, atol=1e-5):
    for row, query in enumerate(queries):
        theirs = tiny.model(**their_inputs(tiny, query)).logits[0].float()
        torch.testing.assert_close(found[row, : len(theirs)], theirs, atol=atol, rtol=0)


@pytest.fixture
def of_all_sizes(tiny, monkeypatch):
    """What embeds pictures with a model and its processor; theirs get the same pictures."""

    def sized(name):
        return PICTURES[name] if name in PICTURES else picture(name)

    def embedding(model, prepare):
        return lambda names: embed_images(model, prepare, [sized(name) for name in names])

    monkeypatch.setattr("test_families.picture", sized)
    return embedding


@pytest.fixture
def backbone(tiny, of_all_sizes):
    """The tiny model's, which sees pictures of several sizes."""
    copied, prepare = copy.copy(tiny.backbone), tiny.processor.image_processor
    copied.images = of_all_sizes(tiny.model, WholePictures(prepare) if tiny.name == "llava-onevision" else prepare)
    return copied


def to_the_end(backbone, image, most):
    """A question that takes the last position."""
    room = most - int(backbone.encode([Query(image, "", style="plain")]).lengths[0])
    return Query(image, "." * room, style="plain")


@torch.no_grad()
def test_pictures_of_several_sizes_in_one_batch(tiny, backbone):
    """As many tokens of each, and those that their processor and model make of it."""
    queries = [Query(name, "what is this?", "red cat") for name in PICTURES] + [QUERIES[1]]
    assert len(set(backbone.encode(queries[:-1]).lengths.tolist())) == 1
    close_to(tiny, ours(backbone, queries), queries)


@pytest.mark.parametrize("name", [*NAMES, *OLDER])
@torch.no_grad()
def test_both_ends_of_the_positions(name):
    most = 40
    tiny = tiny_family(*name.split("+"), max_position_embeddings=most)
    last = to_the_end(tiny.backbone, "one", most)
    assert int(tiny.backbone.encode([last]).lengths[0]) == most
    queries = [last, Query(None, ".", style="plain")]
    close_to(tiny, ours(tiny.backbone, queries), queries)
    with pytest.raises(InputError, match="needs 41 positions, but the model has 40"):
        tiny.backbone.encode([replace(last, prompt=last.prompt + ".")])


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    path = saved(tiny, tmp_path_factory.mktemp("saved") / "model")
    (path / "chat_template.jinja").write_text(TEMPLATES[tiny.name])
    return path


@torch.no_grad()
def test_in_bfloat16_answers_are_as_far_from_float32s_as_theirs(tiny, folder, backbone, of_all_sizes):
    """Pictures of several sizes and none, and a row up to the last position, in one batch."""
    config = BackboneConfig(family=family_of(tiny.name), folder=str(folder), dtype="bfloat16")
    model, processor = load_model(folder, config), load_processor(folder, config)
    loaded = load_backbone(folder, config, of_all_sizes(model, processor))
    last = to_the_end(backbone, "two", tiny.model.config.text_config.max_position_embeddings)
    queries = [*QUERIES, *(Query(name, "what is this?", "red cat") for name in PICTURES), last]
    found, exact = ours(loaded, queries), ours(backbone, queries)
    for row, query in enumerate(queries):
        inputs = their_inputs(tiny, query)
        inputs = {name: each.bfloat16() if name == "pixel_values" else each for name, each in inputs.items()}
        theirs = model(**inputs).logits[0].float()
        wanted, tokens = exact[row], len(theirs)
        rounding = (theirs - wanted[:tokens]).abs()
        mine = (found[row, :tokens] - wanted[:tokens]).abs()
        assert float(mine.mean()) < 1.5 * float(rounding.mean()) and float(rounding.mean()) > 1e-3


@torch.no_grad()
def test_layers_below_the_edited_ones_are_kept(tiny, tmp_path):
    backbone = copy.copy(tiny.backbone)
    backbone.layers = (1, 2, 3)
    cache_states(backbone, QUERIES, [1, 3, 4], tmp_path / "kept", "fingerprint")
    frozen, batch = StateCache(backbone, [tmp_path / "kept"]), backbone.encode(QUERIES)
    for first in (1, 3):
        close_to(tiny, backbone.forward(backbone.run_below(batch, first)), QUERIES)
        found, wanted = frozen.entering(QUERIES, batch, first), backbone.run_below(batch, first).hidden
        torch.testing.assert_close(found[batch.mask], wanted[batch.mask], atol=2e-5, rtol=2e-5)


@torch.no_grad()
def test_a_folder_that_would_cut_pictures_gives_one_tile(tiny, folder, tmp_path):
    """As the released folders' own settings have it."""
    copied = shutil.copytree(folder, tmp_path / "model")
    file = copied / "preprocessor_config.json"
    changed = json.loads(file.read_text()) | {"crop_to_patches": True, "min_patches": 2, "max_patches": 12}
    changed["do_image_splitting"] = True
    file.write_text(json.dumps(changed))
    config = BackboneConfig(family=family_of(tiny.name), folder=str(copied))
    found = load_processor(copied, config)([PICTURES["wide"], PICTURES["high"]], return_tensors="pt")
    assert found["pixel_values"].shape[:-3].numel() == 2


@pytest.mark.parametrize("name", NAMES[:3])  # SmolVLM's tower takes pictures of many sizes
@torch.no_grad()
def test_a_processor_of_another_size_is_named(name):
    tiny = tiny_family(*name.split("+"))
    prepare = copy.deepcopy(tiny.processor.image_processor)
    prepare.size = {"height": 2 * SIDE, "width": 2 * SIDE}
    prepare = WholePictures(prepare) if tiny.name == "llava-onevision" else prepare
    with pytest.raises(InputError, match="pictures of 32 x 32 pixels, but the model takes 16 x 16"):
        embed_images(tiny.model, prepare, [Image.new("RGB", (40, 30))])


@pytest.mark.parametrize("sizes", [[(20, 30)], [(20, 30), (60, 16), (16, 16)]])
@torch.no_grad()
def test_onevisions_pictures_are_those_of_its_own_text_of_several(sizes):
    """Its processor and tower, given them as the pictures of one text; tokens of each and the one of a line's end."""
    tiny = tiny_family("llava-onevision", "qwen2")
    pictures = [picture(str(size)).resize(size) for size in sizes]
    theirs = tiny.processor.image_processor(images=[[*pictures, picture("more")]], return_tensors="pt")
    several = tiny.model.get_image_features(**theirs).pooler_output
    found = embed_images(tiny.model, WholePictures(tiny.processor.image_processor), pictures)
    assert found.shape == (len(sizes), (SIDE // 4) ** 2 + 1, 16)
    torch.testing.assert_close(found, torch.stack(list(several[: len(sizes)])), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[:, -1], tiny.model.model.image_newline.expand(len(sizes), -1))


def test_a_processor_whose_pictures_keep_their_sizes_is_refused(tmp_path):
    """LLaVA's folders with Pixtral's tower have one: rows of tokens, of another number for each picture."""
    folder = saved(tiny_family("llava-chatml", "qwen2"), tmp_path / "model")
    kind = {"image_processor_type": "PixtralImageProcessor", "size": {"longest_edge": 64}, "patch_size": 4}
    (folder / "preprocessor_config.json").write_text(json.dumps(kind))
    with pytest.raises(InputError, match=r"^[^\n]*preprocessor_config\.json: pictures keep sizes of their own[^\n]*$"):
        load_processor(folder, BackboneConfig(family="llava", folder=str(folder)))
