"""BLIP-2 and MiniGPT-4: pictures of many sizes and both ends of the positions, against Hugging Face's whole model."""

import pytest
import torch
from PIL import Image
from tiny_models import VISUAL_TOKENS, VOCABULARY
from transformers import BlipImageProcessorPil

from unike_lib.backbones.visual import embed_images
from unike_lib.types import InputError, Query

PLACEHOLDER = VOCABULARY.index("<unk>")
POSITIONS = {"blip2": 64, "minigpt4": 128}
SIZES = {"wide": (90, 11), "high": (7, 60), "one": (1, 1), "square": (8, 8)}
PROCESSOR = BlipImageProcessorPil(size={"height": 8, "width": 8})


def picture(name):
    generator = torch.Generator().manual_seed(len(name))
    width, height = SIZES[name]
    return Image.fromarray(torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8).numpy())


@pytest.fixture
def backbone(family, make_backbone):
    """It sees pictures through the image processor and the tower, as in a run."""
    made = make_backbone(family)
    made.images = lambda names: embed_images(made.model, PROCESSOR, [picture(name) for name in names])
    made.model.config.image_token_id = PLACEHOLDER
    return made


def theirs(backbone, query):
    """Logits of the whole model: from pixels and ids, or, without a picture, from ids alone."""
    form, ids = backbone.form, lambda text: backbone.tokenizer(text)["input_ids"]
    text = f"question : {query.prompt} short answer :" if query.style == "question" else query.prompt
    row = ids(f"{text} {query.answer or ''}")
    if query.image is None:
        return backbone.model.language_model(input_ids=torch.tensor([row])).logits[0]
    row = [1] * form.start_token_with_image + ids(form.before_image) + [PLACEHOLDER] * VISUAL_TOKENS + (
        ids(form.after_image) + row
    )  # fmt: skip
    pixels = PROCESSOR(images=[picture(query.image)], return_tensors="pt")["pixel_values"]
    return backbone.model(pixel_values=pixels, input_ids=torch.tensor([row])).logits[0]


def close_to_theirs(backbone, queries):
    batch = backbone.encode(queries)
    ours = backbone.forward(backbone.run_below(batch))
    for row, query in enumerate(queries):
        logits = theirs(backbone, query)
        assert len(logits) == int(batch.lengths[row])
        torch.testing.assert_close(ours[row, : len(logits)], logits, atol=2e-5, rtol=0)


@torch.no_grad()
def test_pictures_of_many_sizes_in_one_batch(backbone):
    queries = [Query(name, "what is this ?", "hot dog") for name in SIZES] + [Query(None, "what is a cat ?", "red")]
    assert len(set(backbone.encode(queries[:-1]).lengths.tolist())) == 1
    close_to_theirs(backbone, queries)
    seen = backbone.images(list(SIZES))
    assert len({tuple(each.flatten().tolist()) for each in seen}) == len(SIZES)


@torch.no_grad()
def test_both_ends_of_the_positions_are_theirs(family, backbone):
    """Of OPT's learned positions and of Llama's rotary ones: a row up to the last, one of a single token."""
    most = POSITIONS[family]
    room = most + 1 - int(backbone.encode([Query("wide", "cat", style="plain")]).lengths[0])
    last = Query("wide", " ".join(["cat"] * room), style="plain")
    assert int(backbone.encode([last]).lengths[0]) == most
    close_to_theirs(backbone, [last, Query(None, "cat", style="plain")])
    with pytest.raises(InputError, match=f"needs {most + 1} positions, but the model has {most}"):
        backbone.encode([Query("wide", " ".join(["cat"] * (room + 1)), style="plain")])
