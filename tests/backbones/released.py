"""Tiny models in folders as models are released, and what such a folder says beside its own model."""

import copy

import torch
from test_families import QUERIES, their_inputs
from tiny_families import TEMPLATES, picture

from unike_lib.backbones.load import load_backbone, load_processor
from unike_lib.backbones.visual import embed_images


def save_as_released(tiny, path, **settings):
    """Words in and out are one matrix, the tokenizer has the chat template, the image processor has these settings."""
    config = copy.deepcopy(tiny.model.config)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = True
    model = type(tiny.model)(config).eval()
    model.load_state_dict({**tiny.model.state_dict(), "lm_head.weight": model.lm_head.weight}, strict=False)
    model.tie_weights()
    processor, tokenizer = copy.deepcopy(tiny.processor.image_processor), copy.deepcopy(tiny.tokenizer)
    tokenizer.chat_template = TEMPLATES[tiny.name]
    for name, value in settings.items():
        setattr(processor, name, value)
    for part in (model, tokenizer, processor):
        part.save_pretrained(path)
    return path


@torch.no_grad()
def sure_answers_that_are_theirs(tiny, config, atol):
    """Compare the backbone of a folder with its own model: logits (in float32), and the likeliest tokens.

    Returns the least share of a question's tokens whose likeliest one is sure, so that it was compared.
    """
    processor, loaded = load_processor(config.folder, config), load_backbone(config.folder, config, lambda names: None)
    assert loaded.model.lm_head.weight is loaded.model.get_input_embeddings().weight
    loaded.images = lambda names: embed_images(loaded.model, processor, [picture(name) for name in names])
    found, shares = loaded.forward(loaded.run_below(loaded.encode(QUERIES))), []
    for row, query in enumerate(QUERIES):
        inputs = their_inputs(tiny, query)
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(getattr(torch, config.dtype))
        theirs = loaded.model(**inputs).logits[0].float()
        here = found[row, : len(theirs)]
        if config.dtype == "float32":
            torch.testing.assert_close(here, theirs, atol=atol, rtol=0)
        first, second = theirs.topk(2).values.T
        sure = first - second > 0.05 * theirs.std()
        assert here.argmax(-1)[sure].tolist() == theirs.argmax(-1)[sure].tolist()
        shares.append(float(sure.float().mean()))
    return min(shares)
