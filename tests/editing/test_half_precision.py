"""Every editor on a backbone in bfloat16 and float16: edits run, and most decisions are those of float32."""

from dataclasses import replace

import pytest
import torch
from test_editors import EDITORS, unike
from test_hypernetworks import EDITORS as NETWORK_EDITORS
from tiny_models import FAMILIES, WIDTH, make_case, tiny_images, tiny_model, tiny_tokenizer
from torch.nn.functional import cosine_similarity

from unike_lib.backbones.backbone import Backbone
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import run_edits
from unike_lib.methods.serac.editor import Serac, SeracModels
from unike_lib.methods.serac.settings import SeracMethod
from unike_lib.methods.shared.low_rank import LowRank

TARGETS = ["hot dog", "cat", "red owl left"]  # sessions of two and of one
SETTINGS = EvaluationConfig(sessions=2, max_new_tokens=3)
SERAC = SeracMethod(method="serac", width=16, heads=2, scope_layers=1, counterfactual_layers=1)


def scoped(backbone):
    """A small temperature: cosines / 0.0003 are far beyond what bfloat16 resolves."""
    editor = unike(backbone, edit_slots=True, shift_in_training=False)
    return replace(editor, shift=replace(editor.shift, retrieval_temperature=3e-4))


def serac(backbone):
    torch.manual_seed(0)
    return Serac(SeracModels.untrained(backbone, SERAC))


ALL = {**EDITORS, **NETWORK_EDITORS, "unike with entries": scoped, "serac": serac}


def in_dtype(backbone, dtype):
    """The same weights rounded; rotary frequencies stay, as when a folder is loaded in its dtype."""
    for parameter in backbone.model.parameters():
        parameter.data = parameter.data.to(dtype)
    return backbone


@pytest.fixture(
    scope="module", params=[("blip2", torch.float16), ("minigpt4", torch.bfloat16)], ids=["blip2", "minigpt4"]
)
def both(request):
    """The backbone in float32 and in half precision, each with its answers before any edit; editors change neither."""
    family, dtype = request.param
    question, asked = "question : {} short answer :", [make_case(i, t) for i, t in enumerate(TARGETS)]
    make = lambda: Backbone(  # noqa: E731
        tiny_model(family), tiny_tokenizer(), FAMILIES[family], tiny_images, (2, 3, 4, 5), question
    )
    pair = make(), in_dtype(make(), dtype)
    return asked, [(backbone, answer_before(backbone, asked, SETTINGS)) for backbone in pair]


@pytest.mark.parametrize("name", ALL)
def test_sessions_in_half_precision_decide_as_in_single(both, name):
    asked, pair = both
    single, half = (run_edits(backbone, ALL[name](backbone), {2: asked}, before, SETTINGS) for backbone, before in pair)
    assert [score.status for score in half] == [score.status for score in single] == ["ok"] * len(half)
    same = [one.scores["token"] == other.scores["token"] for one, other in zip(single, half, strict=True)]
    assert sum(same) / len(same) >= 0.8
    alphas = torch.tensor([[one.alpha, other.alpha] for one, other in zip(single, half, strict=True)])
    assert torch.equal(alphas.isnan()[:, 0], alphas.isnan()[:, 1])


@torch.no_grad()
def test_weights_over_slots_follow_the_temperature_in_bfloat16(make_backbone):
    """Two slots whose cosines differ by 0.0003 at temperature 0.0003: softmax gives e to one, whatever the dtype."""
    backbone = in_dtype(make_backbone("minigpt4"), torch.bfloat16)
    layer = backbone.decoder.layers[-1]
    slots = torch.randn(1, 1, WIDTH, generator=torch.Generator().manual_seed(0)).expand(1, 2, WIDTH).bfloat16()
    bias = torch.tensor([[0.9003, 0.9]]) / 3e-4
    _, weights = layer.attend(torch.ones(1, 1, WIDTH).bfloat16(), slots, None, bias)
    torch.testing.assert_close(weights[0, 0], torch.tensor([1.0, 0.0]).softmax(0), atol=1e-3, rtol=0)


def test_low_rank_changes_are_multiplied_in_float32():
    """u x is beyond float16's 65504 here, the whole change is not."""
    factors = LowRank(torch.full((1, 1, 2), 1e-4), torch.full((1, 1, 8), 100.0))
    inputs = torch.full((1, 1, 8), 200.0, dtype=torch.float16)
    torch.testing.assert_close(factors.apply(inputs), torch.full((1, 1, 2), 16.0, dtype=torch.float16))


def test_alpha_is_a_cosine_in_float32(make_backbone):
    backbone = in_dtype(make_backbone("minigpt4", (2, 3, 4, 5)), torch.bfloat16)
    shift = unike(backbone).shift
    known, inputs = (torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(seed)).bfloat16() for seed in (1, 2))
    alpha = shift._dynamic(3, (known, inputs), (known, inputs))
    expected = cosine_similarity(shift.encoders[3](known.float()), inputs.float(), dim=-1).clamp(min=0)
    assert alpha.dtype == torch.float32
    torch.testing.assert_close(alpha, expected)
