"""Rows longer than a model's positions or window, and models whose numbers end, against Hugging Face's own forward."""

import pytest
import torch
from tiny_families import tiny_family
from tiny_models import QUERIES

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.evaluation.context_visibility import behind
from unike_lib.types import InputError, Query

POSITIONS = 64  # of the tiny OPT
LIMITS = {"blip2": POSITIONS, "minigpt4": 128}


@pytest.mark.parametrize("family", LIMITS)
def test_a_row_beyond_the_positions_is_named(make_backbone, family):
    backbone = make_backbone(family)
    asked = [QUERIES[0], Query("image-1", "what is this ? " * 40, "hot dog")]
    limit = f"but the model has {LIMITS[family]}"
    with pytest.raises(InputError, match=rf"question 'what is this \?.*image 'image-1'.* tokens.*{limit}"):
        backbone.encode(asked)
    with pytest.raises(InputError, match="behind a context of 720 letters"):
        backbone.encode([Query(None, "what is this ?", "dog", context="red cat " * 90)])
    half = [Query(None, " ".join(["cat"] * (LIMITS[family] - 24)), "dog")]
    with pytest.raises(InputError, match=limit):
        behind(backbone, half, half)


@torch.no_grad()
def test_the_last_position_can_be_used_and_none_behind_it(make_backbone, monkeypatch):
    monkeypatch.setattr(Backbone, "stop_tokens", frozenset())
    backbone = make_backbone("blip2")
    query = Query(None, " ".join(["cat"] * (POSITIONS - 4)), style="plain")
    short = Query(None, "cat", style="plain")
    assert backbone.encode([query]).lengths.tolist() == [POSITIONS - 4]
    drafts = [[], [4, 5, 6, 7, 8, 9]]  # padding of the first row lies behind its last position
    written = generate(backbone, [query, short], drafts, None, 5)
    assert len(written[0]) == 5  # the fifth is read at the last position
    with pytest.raises(InputError, match=r"question 'cat cat.* needs 65 positions, but the model has 64"):
        generate(backbone, [query], [[]], None, 6)


STRETCHED = {
    "dynamic": ({"rope_type": "dynamic", "factor": 4.0}, 48),
    "longrope": (
        {"rope_type": "longrope", "short_factor": [1.0, 1.1], "long_factor": [2.0, 5.1],
         "original_max_position_embeddings": 48}, 192),
    "yarn": ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 48}, 192),
}  # fmt: skip


@pytest.mark.parametrize("kind", STRETCHED)
@torch.no_grad()
def test_a_row_says_the_same_beside_the_longest_that_is_taken(kind):
    """Frequencies of the first two kinds are others once any row is longer than 48 tokens."""
    rotary, most = STRETCHED[kind]
    tiny = tiny_family("llava-chatml", rope_parameters=rotary | {"rope_theta": 100.0}, max_position_embeddings=most)
    backbone, limit = tiny.backbone, 192 if kind == "yarn" else 48
    said = lambda asked: backbone.forward(backbone.run_below(backbone.encode(asked)))  # noqa: E731
    short, room = (
        Query(None, "what?", style="plain"),
        limit - int(backbone.encode([Query(None, "", style="plain")]).lengths),
    )
    long = Query(None, "." * room, style="plain")
    assert backbone.encode([long]).lengths.tolist() == [limit]
    alone = said([short])[0]
    torch.testing.assert_close(said([short, long])[0, : len(alone)], alone, atol=1e-5, rtol=0)
    with pytest.raises(InputError, match=f"needs {limit + 1} positions, but the model has {limit}"):
        backbone.encode([Query(None, long.prompt + ".", style="plain")])


LLAVA_QUERIES = [
    Query("one", "what is this?", "red cat"),
    Query(None, "what is an owl?", "an owl on the left"),
    Query("two", "a photo of", "owl", "plain"),
]
WINDOWS = {
    "mistral": {"text": "mistral", "sliding_window": 4},
    "mistral, wide": {"text": "mistral", "sliding_window": 64},
    "qwen2, upper layers": {
        "text": "qwen2", "sliding_window": 5, "use_sliding_window": True, "max_window_layers": 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("settings", WINDOWS.values(), ids=WINDOWS)
@torch.no_grad()
def test_a_sliding_window_is_hugging_faces(settings):
    tiny = tiny_family("llava", **settings)
    backbone, language = tiny.backbone, tiny.model.model.language_model
    batch = backbone.encode(LLAVA_QUERIES)

    def theirs(row, more=()):
        embedded = torch.cat([batch.embeddings[row, : batch.lengths[row]], backbone.embed(torch.tensor(more).long())])
        return tiny.model.lm_head(language(inputs_embeds=embedded[None]).last_hidden_state)[0]

    ours = backbone.forward(backbone.run_below(batch))
    kept = answer_logits(backbone, LLAVA_QUERIES, everywhere=True).logits.split(batch.lengths.tolist())
    for row, length in enumerate(batch.lengths.tolist()):
        torch.testing.assert_close(ours[row, :length], theirs(row), atol=1e-5, rtol=0)
        torch.testing.assert_close(kept[row], theirs(row), atol=1e-5, rtol=0)
    asked = [Query(query.image, query.prompt, None, query.style) for query in LLAVA_QUERIES]
    batch = backbone.encode(asked)
    written = generate(backbone, asked, [[], [5, 6], []], None, max_new_tokens=5)
    for row, answer in enumerate(written):
        for place, token in enumerate(answer):
            logits = theirs(row, answer[:place])[-1]
            assert float(logits.max() - logits[token]) < 1e-4


def test_logits_that_are_no_numbers_name_layer_and_dtype(make_backbone):
    backbone = make_backbone("minigpt4")
    backbone.decoder.layers[2].part("mlp.down_proj").weight.data.fill_(float("nan"))
    with pytest.raises(InputError, match=r"from layer 2 of 6 on, in float32, at question 'what is this \?' about"):
        answer_logits(backbone, QUERIES)
    with pytest.raises(InputError, match="not numbers"):
        generate(backbone, QUERIES, [[] for _ in QUERIES], None, 3)
    backbone.decoder.head.weight.data.fill_(float("inf"))
    backbone.decoder.layers[2].part("mlp.down_proj").weight.data.zero_()
    with pytest.raises(InputError, match="from the projection onto the vocabulary on"):
        answer_logits(backbone, QUERIES)
