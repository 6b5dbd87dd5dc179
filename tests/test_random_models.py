"""Random backbones of the paper's geometry: sizes of the real ones, made in place; a tokenizer of the right size."""

import json

import pytest
import torch
from transformers import Blip2ForConditionalGeneration

from tools.random_models import byte_tokenizer, geometry, random_model, write_random_checkpoint
from unike_lib.backbones.load import load_backbone, load_model, load_processor
from unike_lib.backbones.speed.upcast_linear import widen
from unike_lib.backbones.tokenizer import is_byte_level, starts_texts
from unike_lib.backbones.visual import embed_images
from unike_lib.config.backbones import BackboneConfig
from unike_lib.types import Query

TEXTS = ["How many tennis balls are in the picture?", "Question: What is this? Short answer: a café"]


def parameters(config):
    with torch.device("meta"):
        model = Blip2ForConditionalGeneration(config)
    return {
        "vision": sum(p.numel() for p in model.vision_model.parameters()),
        "language": sum(p.numel() for p in model.language_model.parameters()),
        "all": sum(p.numel() for p in model.parameters()),
    }


def test_full_geometry_has_the_published_sizes():
    """OPT 2.7B: 2,651,596,800 parameters; Llama 7B: 6,738,415,616; EVA-ViT-g less a block: about a billion."""
    opt, llama = parameters(geometry("blip2-opt-2.7b")), parameters(geometry("minigpt4-vicuna-7b"))
    assert opt["language"] == 2_651_596_800
    assert llama["language"] == 6_738_415_616
    assert opt["vision"] == llama["vision"] and 0.98e9 < opt["vision"] < 1.0e9
    assert 3.7e9 < opt["all"] < 3.8e9


@pytest.mark.parametrize("size", [600, 3000, 50272])
def test_a_byte_level_tokenizer_has_its_size_and_splits_any_text(size):
    tokenizer = byte_tokenizer(TEXTS, size, "</s>")
    assert len(tokenizer) == size and is_byte_level(tokenizer) and starts_texts(tokenizer)
    for text in (*TEXTS, "über 9000 \u65e5\u672c"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text and max(ids) < size
    assert len(tokenizer(TEXTS[0])["input_ids"]) <= 1 + 9  # a word per token, as a real one
    with pytest.raises(ValueError, match="of 100 tokens cannot be made"):
        byte_tokenizer(TEXTS, 100, "</s>")


@pytest.mark.parametrize(
    ("name", "family", "start", "places"),
    [("blip2-opt-2.7b", "blip2", 2, (4, 0)), ("minigpt4-vicuna-7b", "minigpt4", 0, (0, None))],
)
def test_a_random_checkpoint_is_loaded_like_a_real_one(tmp_path, name, family, start, places):
    """`places`: where its start token stands in a row with a picture of 4 visual tokens, and without one."""
    write_random_checkpoint(name, TEXTS, tmp_path, tiny=True)
    stamp = (tmp_path / "model.safetensors").stat().st_mtime_ns
    write_random_checkpoint(name, TEXTS, tmp_path, tiny=True)
    assert (tmp_path / "model.safetensors").stat().st_mtime_ns == stamp
    settings = BackboneConfig(family=family, folder=str(tmp_path), dtype="bfloat16")
    model, processor = load_model(tmp_path, settings), load_processor(tmp_path, settings)
    assert all(p.dtype == torch.bfloat16 for p in model.parameters())
    from PIL import Image

    pictures = [Image.effect_noise((50, 40), 60).convert("RGB") for _ in range(2)]
    tokens = embed_images(model, processor, pictures)
    assert tokens.shape == (2, 4, 64) and torch.isfinite(tokens).all()
    assert (tokens[0] != tokens[1]).any()
    backbone = load_backbone(tmp_path, settings, lambda names: tokens[: len(names)])
    batch = backbone.encode([Query("a", TEXTS[0], "two"), Query(None, "who?", "me")])
    logits = backbone.forward(backbone.run_below(batch))
    assert logits.shape[-1] == 600 and torch.isfinite(logits).all()
    assert model.config.text_config.bos_token_id == start
    here = (batch.embeddings == model.get_input_embeddings().weight[start]).all(-1) & batch.mask
    assert [row.nonzero().flatten().tolist() for row in here] == [[] if at is None else [at] for at in places]


def test_a_checkpoint_with_another_start_token_is_written_anew(tmp_path):
    """Checkpoints of the rehearsal from before OPT's start token was </s> have a description that does not name it."""
    (tmp_path / "complete.json").write_text(json.dumps({"name": "blip2-opt-2.7b", "tiny": True}))
    write_random_checkpoint("blip2-opt-2.7b", TEXTS, tmp_path, tiny=True)
    assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["blip2-opt-2.7b", "minigpt4-vicuna-7b"])
def test_models_are_made_in_their_dtype(name):
    model = random_model(geometry(name, tiny=True), torch.bfloat16)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert all(b.dtype in (torch.float32, torch.int64) for b in model.buffers())  # rotary frequencies stay exact


def test_widened_matrices_give_what_half_precision_gives_but_for_rounding():
    """Against the exact product of the same half-precision numbers: never further off than torch's own half product."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 48).to(torch.bfloat16).requires_grad_(False)
    inputs = torch.randn(3, 5, 64, dtype=torch.bfloat16, requires_grad=True)
    exact = inputs.double() @ layer.weight.double().T + layer.bias.double()
    plain = layer(inputs)
    plain.float().pow(2).sum().backward()
    own_gradient, inputs.grad = inputs.grad, None
    widen(torch.nn.Sequential(layer))
    wide = layer(inputs)
    wide.float().pow(2).sum().backward()
    assert wide.dtype == torch.bfloat16 and layer.weight.dtype == torch.bfloat16
    assert (wide - exact).abs().max() <= (plain - exact).abs().max() + 1e-3
    assert torch.allclose(wide, exact.to(torch.bfloat16), atol=0, rtol=2**-7)
    assert torch.allclose(inputs.grad.float(), own_gradient.float(), rtol=0.05, atol=0.5)
    few = layer(inputs[:1, :2])
    assert few.shape == (1, 2, 48) and torch.allclose(few.double(), exact[:1, :2], rtol=0.02, atol=0.02)
