"""LoRA against peft's own numbers, and against Hugging Face models whose modules really have the factors."""

from pathlib import Path

import pytest
import torch
from patches import trained_factors_of
from safetensors.torch import load_file
from taught import taught_losses
from test_half_precision import in_dtype
from test_sequences import BROKEN, SEQUENCES, assert_answers_like, close, edited, patched_logits, seeing_broken
from tiny_models import QUERIES, WIDTH, make_case
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from unike_lib.backbones.decoder import Decoder
from unike_lib.backbones.edit import PassContext
from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.editing.building import EditorSources
from unike_lib.editing.editor import answer_loss, edit_loss, request_trunk
from unike_lib.editing.patch import Patch
from unike_lib.method import default_methods, resolve_method
from unike_lib.methods.lora import METHOD
from unike_lib.methods.lora.editor import Lora, build, train
from unike_lib.methods.lora.factors import LoraFactors
from unike_lib.methods.lora.settings import LoraMethod
from unike_lib.methods.shared.low_rank import LowRank
from unike_lib.types import InputError

# What peft 0.21.2 gave for random numbers, and five steps of the loop of EasyEdit's `execute_multimodal_lora`
# (zjunlp/EasyEdit 14cea82, easyeditor/models/lora/lora_main.py; without dropout).
GOLDEN = load_file(Path(__file__).parent / "lora_golden.safetensors")
LOSSES = [4.515529155731201, 3.231081247329712, 2.968069314956665, 2.8924853801727295, 2.7206380367279053]
REQUESTS = [make_case(number, target).request for number, target in enumerate(["hot dog", "cat", "red owl left"])]


def settings(**values):
    return LoraMethod(method="lora", **{"rank": 3, "alpha": 6.0, "steps": 4, "learning_rate": 0.05, **values})


def golden(case):
    return {name.removeprefix(f"{case}/"): value for name, value in GOLDEN.items() if name.startswith(f"{case}/")}


def here(rows=1):
    return PassContext(torch.zeros(rows, dtype=torch.long))


@pytest.mark.parametrize(("rank", "alpha"), [(4, 8.0), (8, 32.0)])
def test_a_matrix_says_what_pefts_says(rank, alpha):
    """Forward, gradients of sum(y c), and the merged weight."""
    case = golden(f"r{rank}_alpha{alpha:g}")
    a, b = (case[f"in.f.lin.lora_{side}"].requires_grad_(True) for side in "AB")
    part = Lora(None, settings(rank=rank, alpha=alpha), 0).part({(0, "lin"): (a[None], b.T[None])})
    plain = nn.functional.linear(case["in.x"], case["in.w.lin.weight"], case.get("in.w.lin.bias"))
    y = plain + part.weight(0, "lin", case["in.x"], here(2))
    torch.testing.assert_close(y, case["out.y"], atol=1e-5, rtol=1e-5)
    (y * case["in.c"]).sum().backward()
    for side, factor in (("A", a), ("B", b)):
        torch.testing.assert_close(factor.grad, case[f"out.grad.lin.lora_{side}"], atol=1e-4, rtol=1e-5)
    factors = part.layers[0]["lin"]
    merged = case["in.w.lin.weight"] + (factors.outputs[0].T @ factors.inputs[0])
    torch.testing.assert_close(merged, case["out.merged.lin.weight"], atol=1e-5, rtol=1e-5)


def test_five_steps_are_those_of_easyedits_loop():
    """Queries and values of a Llama of three layers: losses, factors and logits behind the last step."""
    case, shipped = golden("steps"), resolve_method(default_methods(), "lora-easyedit")
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=4)).eval()
    model.requires_grad_(False)
    model.load_state_dict({name[5:]: value for name, value in case.items() if name.startswith("in.w.")})
    decoder, name = Decoder(model, model.lm_head), "model.layers.{}.{}.lora_{}"
    places = [(layer, decoder.names.attention_matrices[kind]) for layer in range(3) for kind in shipped.matrices]
    factors = {
        place: tuple(
            value[None].clone().requires_grad_(True)
            for value in (case["in.f." + name.format(*place, "A")], case["in.f." + name.format(*place, "B")].T)
        )
        for place in places
    }
    editor, losses = Lora(None, shipped, 0), []

    def logits():
        hidden = decoder.start(model.get_input_embeddings()(case["in.input_ids"]))
        patch = Patch(1, (editor.part(factors),))
        return decoder.logits(decoder.finish(decoder.run(hidden, range(3), patch, here())))

    def loss():
        targets = torch.cat([case["in.labels"][:, 1:], torch.full((1, 1), -100)], 1)
        found = answer_loss(logits()[targets >= 0], targets)
        losses.append(float(found.detach()))
        return found

    assert train(factors, loss, shipped).tolist() == [True]
    torch.testing.assert_close(losses, LOSSES, atol=1e-4, rtol=0)
    torch.testing.assert_close(logits(), case["out.logits"], atol=1e-3, rtol=0)
    for place, (a, b) in factors.items():
        torch.testing.assert_close(a[0], case["out." + name.format(*place, "A")], atol=1e-3, rtol=0)
        torch.testing.assert_close(b[0].T, case["out." + name.format(*place, "B")], atol=1e-3, rtol=0)


class WithFactors(nn.Linear):
    """A linear layer of a model with factors of its own."""

    def forward(self, inputs):
        return super().forward(inputs) + self.scale * (inputs @ self.a.T) @ self.b.T


def twin_of(backbone, editor, request):
    """Put an editor's first factors into a model's own modules; return their parameters."""
    parameters = []
    for (layer, name), (a, b) in editor.first_factors([request], Patch(1)).items():
        module = backbone.decoder.layers[layer].part(name)
        module.__class__, module.scale = WithFactors, 2.0
        module.a, module.b = nn.Parameter(a[0].detach()), nn.Parameter(b[0].T.detach().clone())
        parameters += [module.a, module.b]
    return parameters


RECIPES = {
    "attention of all layers, SGD": {"matrices": ("q", "v"), "layers": "all", "optimiser": "sgd", "decay": 0.5},
    "every kind, end learned": {"matrices": ("q", "k", "v", "o", "up", "down"), "weight_decay": 0.1},
    "FFN of the last layer": {"layers": "last", "teach_end": False},
}


@pytest.mark.parametrize("family", ["blip2", "minigpt4"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_edits_train_the_same_factors_on_as_a_plain_loop_does(make_backbone, cases, family, recipe):
    """Three edits in each of two sessions; the twin has the factors in Hugging Face's modules and trains one by one."""
    own = settings(**RECIPES[recipe], **({"learning_rate": 0.1} if "SGD" in recipe else {"learning_rate": 0.02}))
    if family == "minigpt4" and "every" in recipe:
        own = own.model_copy(update={"matrices": (*own.matrices, "gate")})
    backbone = make_backbone(family)
    editor = Lora(backbone, own, 0)
    patch = edited(editor, cases)
    for session, order in enumerate(SEQUENCES):
        twin = make_backbone(family)
        weights = twin_of(twin, editor, cases[order[0]].request)
        assert not any(weight.any() for weight in weights[1::2])
        for number in order:
            kind = torch.optim.SGD if own.optimiser == "sgd" else torch.optim.AdamW
            optimiser = kind(weights, lr=own.learning_rate, weight_decay=own.weight_decay)
            batch = twin.encode([cases[number].request.query])
            for step in range(4):
                optimiser.param_groups[0]["lr"] = own.learning_rate * own.decay**step
                optimiser.zero_grad()
                logits = twin.model.language_model(inputs_embeds=batch.embeddings).logits
                answer = twin.answer_ids(cases[number].request.target)
                taught_losses(logits[0], answer, own.teach_end).mean().backward()
                optimiser.step()
        with torch.no_grad():
            assert_answers_like(backbone, patch, session, twin, 5e-3)
            unedited = patched_logits(backbone, Patch(1), 0)
            assert not close(patched_logits(backbone, patch, session), unedited, 0.1)
            if not session:
                written = generate(twin, QUERIES, [[]] * 4, None, 4)
                assert generate(backbone, QUERIES, [[]] * 4, patch.select([session]), 4) == written
    ranks = {each.inputs.shape[1] for group in trained_factors_of(patch).values() for each in group.values()}
    assert ranks == {3} and len(trained_factors_of(patch)) == {"edited": 4, "last": 1, "all": 6}[own.layers]


def test_the_first_factors_are_those_of_peft_and_of_the_session(backbone):
    """A within 1 / sqrt(in), evenly, another for every matrix, request and seed; B zero: the model is as it was."""
    editor = Lora(backbone, settings(matrices=("q", "up", "down"), rank=16), 0)
    drawn = {place: a for place, (a, _) in editor.first_factors(REQUESTS[:2], Patch(2)).items()}
    for a in drawn.values():
        bound = a.shape[2] ** -0.5
        assert a.abs().max() <= bound and abs(a.mean()) < bound / 5
        torch.testing.assert_close(float(a.detach().std()), bound / 3**0.5, atol=0, rtol=0.1)
        assert not torch.equal(a[0], a[1])
    assert len(torch.unique(torch.stack([a[0, 0, :WIDTH] for a in drawn.values()]), dim=0)) == len(drawn)
    again = Lora(backbone, editor.settings, 1).first_factors(REQUESTS[:1], Patch(1))
    assert all(not torch.equal(again[place][0][0], a[0]) for place, a in drawn.items())
    start = Patch(2, (editor.part(editor.first_factors(REQUESTS[:2], Patch(2))),))
    assert torch.equal(answer_logits(backbone, QUERIES, start).logits, answer_logits(backbone, QUERIES).logits)


def test_a_failed_edit_leaves_the_factors_that_were(make_backbone, cases):
    """Also the first: the next edit of that session starts as if nothing had been asked."""
    backbone = seeing_broken(make_backbone("minigpt4"))
    editor = Lora(backbone, settings(), 0)
    first = editor.edit([BROKEN, REQUESTS[0]], editor.start(2))
    second = editor.edit([REQUESTS[1], BROKEN], first.patch)
    assert (first.failures, second.failures) == (("loss is not finite", None), (None, "loss is not finite"))
    assert close(patched_logits(backbone, first.patch, 0), patched_logits(backbone, Patch(1), 0), 0)
    alone = editor.edit([REQUESTS[1]], editor.start(1)).patch
    assert close(patched_logits(backbone, second.patch, 0), patched_logits(backbone, alone, 0), 1e-3)
    for name, value in first.patch.tensors().items():
        assert torch.equal(second.patch.tensors()[name][1], value[1]) and value[1].any() and not value[0].any()


def test_one_gradient_step_lowers_every_loss(backbone):
    editor = Lora(backbone, settings(steps=20, matrices=("q", "v", "down")), 0)
    patch = editor.edit(REQUESTS, editor.start(3)).patch
    trunk = request_trunk(backbone, REQUESTS)
    assert (edit_loss(backbone, trunk, patch) < edit_loss(backbone, trunk, None) - 0.5).all()


def test_half_precision_has_factors_in_float32(make_backbone):
    backbone = in_dtype(make_backbone("minigpt4"), torch.bfloat16)
    editor = Lora(backbone, settings(steps=20, matrices=("q", "down")), 0)
    outcome = editor.edit(REQUESTS, editor.start(3))
    trunk = request_trunk(backbone, REQUESTS)
    assert all(value.dtype == torch.float32 for value in outcome.patch.tensors().values())
    assert (edit_loss(backbone, trunk, outcome.patch) < edit_loss(backbone, trunk, None) - 0.5).all()


def test_matrices_that_a_backbone_has_not_are_named(make_backbone):
    with pytest.raises(InputError, match=r"has no \['gate'\]; expected some of \['q', 'k', 'v', 'o', 'up', 'down'\]"):
        build(settings(matrices=("gate", "up")), make_backbone("blip2"), EditorSources(Path()), 0)
    assert isinstance(build(settings(matrices=("gate",)), make_backbone("minigpt4"), EditorSources(Path()), 0), Lora)


def test_an_edit_that_stops_half_way_leaves_the_attention_as_it_was(backbone):
    before = answer_logits(backbone, QUERIES).logits
    wrong = LoraFactors.of(
        {(4, backbone.decoder.names.attention_matrices["q"]): LowRank(torch.ones(2, 1, 3), torch.ones(2, 1, 3))}
    )
    with pytest.raises(RuntimeError):
        answer_logits(backbone, QUERIES, Patch(2, (wrong,)))
    assert torch.equal(answer_logits(backbone, QUERIES).logits, before)
    assert not any(module._forward_hooks for module in backbone.model.modules())


def test_shipped_variants_have_the_originals_values():
    """EasyEdit 14cea82, hparams/LoRA/qwen3vl-4b.yaml; MemEIC d7563bc, one_lora (torch's AdamW decays by 0.01)."""
    both = {name: resolve_method(default_methods(), name) for name in METHOD.entries}
    easyedit, memeic = both["lora-easyedit"], both["lora-memeic"]
    for shipped in (easyedit, memeic):
        assert (shipped.rank, shipped.alpha, shipped.dropout, shipped.layers) == (8, 32, 0.1, "all")
        assert not shipped.teach_end and METHOD.first_layer(shipped) < -100
    assert (easyedit.matrices, easyedit.optimiser, easyedit.steps) == (("q", "v"), "sgd", 5)
    assert (easyedit.learning_rate, easyedit.decay, easyedit.weight_decay) == (0.1, 0.9, 0)
    assert (memeic.matrices, memeic.optimiser, memeic.steps) == (("up", "down"), "adamw", 10)
    assert (memeic.learning_rate, memeic.decay, memeic.weight_decay) == (1e-4, 1, 0.01)
    assert both["lora-scope"] == both["lora"].model_copy(update={"scope": "semantic"})
