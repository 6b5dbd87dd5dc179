"""A folder whose decoder is put together otherwise than its layout says is refused where it is opened.

Granite's decoder has Llama's parts, and scales in its config: of embeddings, attention, what blocks add, and logits.
"""

import pytest
import torch
from tiny_families import tiny_model, tokenizer_of
from tiny_models import tiny_model as tiny_blip2

from unike_lib.backbones import decoder, own_forward
from unike_lib.backbones.load import load_backbone
from unike_lib.config.backbones import BackboneConfig
from unike_lib.types import InputError

OUTSIDE = """
from unike_lib.family import LLAMA, Family, InputForm
form = InputForm(before_image="USER: ", with_image="{} ASSISTANT:", text_only="USER: {} ASSISTANT:")
FAMILY = Family("outside", form, ("llava",), decoders={"granite": LLAMA, "qwen2": LLAMA, "mistral": LLAMA})
BLIP2 = Family("outside2", form, ("blip-2",), "language_model", "language_model.lm_head", {"granite": LLAMA})
"""


@pytest.fixture
def opened(tmp_path):
    """Open a folder of a family from outside, with the given kind of decoder."""

    def opened(text, dtype="float32", whole=False, **fields):
        (tmp_path / "outside.py").write_text(OUTSIDE)
        tokenizer, folder = tokenizer_of("llava"), str(tmp_path / "model")
        if whole:  # a decoder with a head of its own
            model = tiny_blip2("minigpt4", model_type=text, vocab_size=len(tokenizer), **fields)
        else:
            model = tiny_model("llava", tokenizer, text, **fields)
        for part in (model, tokenizer):
            part.save_pretrained(folder)
        family = f"{tmp_path / 'outside.py'}:{'BLIP2' if whole else 'FAMILY'}"
        settings = BackboneConfig(family=family, folder=folder, dtype=dtype)
        return load_backbone(folder, settings, lambda names: None)

    return opened


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    ("field", "place", "whole"),
    [
        ("embedding_multiplier", "the embeddings on, by 0.5 of", False),
        ("residual_multiplier", "layer 0 of 4 on, by ", False),
        ("residual_multiplier", "layer 0 of 6 on, by ", True),
        ("logits_scaling", "the logits on, by 1 of", True),
    ],
)
def test_a_scale_that_the_layout_does_not_know_is_found_where_it_acts(opened, tmp_path, dtype, field, place, whole):
    with pytest.raises(InputError) as error:
        opened("granite", dtype, whole, **{field: 2.0})
    assert str(error.value).startswith(f"{tmp_path / 'model'}: ") and "\n" not in str(error.value)
    assert f"differs from the model's own forward from {place}" in str(error.value)
    assert "'granite'" in str(error.value)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_scale_within_a_module_that_runs_here_too_is_no_difference(opened, dtype):
    assert opened("granite", dtype, attention_multiplier=0.9).decoder.model.config.model_type == "granite"


@pytest.mark.parametrize("text", ["mistral", "qwen2"])
def test_a_window_wider_than_the_question_is_looked_at(opened, monkeypatch, text):
    fields = {"sliding_window": 100}
    if text == "qwen2":
        fields |= {"use_sliding_window": True, "layer_types": ["full_attention", "sliding_attention"] * 2}
    backbone = opened(text, **fields)
    assert backbone.decoder.window == backbone.decoder.stack.config.sliding_window == 100
    monkeypatch.setattr(decoder, "window_of", lambda *_: None)
    with pytest.raises(InputError, match=f"from layer {'1' if text == 'qwen2' else '0'} of 4 on"):
        opened(text, **fields)


def test_a_decoder_that_cannot_be_run_is_one_line(opened, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("mat1 and mat2\nshapes cannot be multiplied")

    monkeypatch.setattr(torch.nn.functional, "linear", broken)
    with pytest.raises(InputError, match=r"model: no readable decoder; .* whole \(mat1 and mat2\)$"):
        opened("granite")


def test_what_is_no_number_on_both_sides_is_no_difference(opened):
    """Logits that are no numbers are named where they are asked for (`finite`)."""
    nothing = torch.tensor([[torch.nan, torch.inf, 1.0]])
    assert float(own_forward._apart(nothing, nothing.clone())) == 0
    assert float(own_forward._apart(nothing, torch.tensor([[1.0, torch.inf, 1.0]]))) == torch.inf
    assert float(own_forward._apart(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 4.0]]))) == pytest.approx(5 / 4)
