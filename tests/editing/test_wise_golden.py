"""WISE against values of its original: zjunlp/EasyEdit 14cea82, models/wise, run unchanged (*.safetensors)."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import silu
from transformers import LlamaConfig, LlamaForCausalLM

from unike_lib.backbones.batch import IGNORED, Batch
from unike_lib.backbones.decoder import Decoder
from unike_lib.backbones.edit import PassContext
from unike_lib.editing.editor import edit_loss
from unike_lib.editing.patch import Patch
from unike_lib.methods.wise import editor as wise
from unike_lib.methods.wise.formulas import dense, distances, margin_loss, route, ties
from unike_lib.methods.wise.memories import SideMemories
from unike_lib.methods.wise.settings import WiseMethod

GOLDEN = load_file(Path(__file__).with_name("wise_golden.safetensors"))
MARGINS = (5.0, 20.0, 10.0)
EVERYWHERE = 10**9  # edits of one memory: none is ever full
# Least distances of the side memory and of closed ones, and what the original took: 0 is the side memory.
ROUTES = {
    "route_memory_wins": ([20.0, 8.0, 8.0], [6.741275153656056, 13.931312450380949, 40.12667362540022], 2),
    "route_memory_farther_but_closed": (
        [5.0, 500.0, 4.0],
        [11.107779353357445, 21.83270547964278, 9.950704483990888],
        0,
    ),
    "route_merged_and_side": ([10.0, 10.0], [7.582133688940523, 26.64397983546641], 1),
    "route_below_threshold": ([20.0], [0.6531758810864561], -1),
    "route_batch_of_two_no_memory": ([12.0], [12.070598605493993], 0),
}
MATRIX = "in.w.model.layers.1.mlp.down_proj.weight"
LEAST = {"edit_two_in_a_row": 5.134374141693115, "edit_multimodal_ten_steps": 10.413066864013672}


def of(case):
    return {name.split("/")[1]: value for name, value in GOLDEN.items() if name.startswith(case + "/")}


def everywhere(rows):
    return torch.ones(rows.shape[:2], dtype=torch.bool)


@pytest.mark.parametrize("case", ["distance_mean", "distance_masked", "distance_over_100_tokens"])
def test_a_distance_is_the_originals(case):
    known = of(case)
    where = known["in.mask"].bool() if "in.mask" in known else everywhere(known["in.side"])
    far = distances(known["in.side"], known["in.original"], where, silu, case == "distance_over_100_tokens")
    torch.testing.assert_close(far, known["out.distance"].view(far.shape), atol=1e-6, rtol=0)
    short = distances(known["in.side"][:, :100], known["in.original"][:, :100], where[:, :100], silu, True)
    torch.testing.assert_close(
        short, distances(known["in.side"], known["in.original"], where & (where.cumsum(1) <= 100), silu)
    )


@pytest.mark.parametrize("case", ["margin_all_three_terms_open", "margin_three_edit_rows", "margin_all_closed"])
def test_the_margins_and_their_gradient_are_the_originals(case):
    known = of(case)
    side = known["in.side"].requires_grad_(True)
    far = distances(side, known["in.original"], everywhere(side), silu)
    loss = margin_loss(far[None, :-1], far[None, -1:], *MARGINS)
    torch.testing.assert_close(loss[0].to(known["out.loss"].dtype), known["out.loss"], atol=1e-6, rtol=0)
    loss.sum().backward()
    torch.testing.assert_close(side.grad, known.get("out.grad_side", torch.zeros_like(side)), atol=1e-6, rtol=0)


def test_a_merge_is_the_originals():
    known = of("merge_ties_two")
    changes = torch.stack([(known[name] - known["in.base"]).flatten()[None] for name in ("in.t0", "in.t1")])
    merged = known["in.base"] + ties(changes, 0.53, 64).view(8, 8)
    torch.testing.assert_close(merged, known["out.merged"], atol=1e-6, rtol=0)


def layer_of(weight, bias=None):
    """A layer of which nothing but the matrix and the non-linearity is asked."""
    linear = torch.nn.Linear(*weight.T.shape, bias=bias is not None)
    linear.weight.data = weight.float()
    if bias is not None:
        linear.bias.data = bias.float()
    names = SimpleNamespace(down="down")
    return SimpleNamespace(index=0, names=names, part=lambda name: linear, activate=silu)


@pytest.mark.parametrize("case", ROUTES)
def test_a_question_takes_what_the_original_takes(case):
    known, (least, expected, taken) = of(case), ROUTES[case]
    matrices = [
        known[name] for name in ("in.side_weight", "in.memory_0", "in.memory_1", "in.merged_weight") if name in known
    ]
    x, weight = known["in.x"], known["in.weight"]
    far = torch.stack([distances(x @ each.T, x @ weight.T, everywhere(x), silu) for each in matrices], 1)
    torch.testing.assert_close(far[0], torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)
    assert route(far, 0.4 * torch.tensor([least]).expand(len(x), -1), torch.zeros(len(x)).long()).tolist() == [
        taken
    ] * len(x)
    output = x @ ([*matrices, weight][taken]).T
    torch.testing.assert_close(output, known["out.y"], atol=1e-6, rtol=0)
    # The part: earlier memories first, the side memory last; each row is a session's only one.
    order, rows = [*range(1, len(matrices)), 0], len(x)
    values = tuple((matrices[each] - weight).flatten().float().expand(rows, -1) for each in order)
    places = (torch.arange(weight.numel()),) * len(order)
    settings = WiseMethod(method="wise", save_every=3, merge_every=3 * EVERYWHERE)
    smallest = torch.tensor([[least[each] for each in order]] * rows)
    counts = torch.full((rows,), 3 * (len(order) - 1) + 1)
    part = SideMemories(layer_of(weight), settings, places, smallest, counts, values)
    added = part.weight(0, "down", x.float(), PassContext(torch.full((rows,), x.shape[1] - 1)))
    torch.testing.assert_close((x.float() @ weight.float().T + added).double(), known["out.y"], atol=1e-4, rtol=0)


def test_a_bias_is_no_distance_though_it_was():
    """The original drops the layer's bias in the side branch alone: of an untouched memory, d is above 0."""
    known = of("route_bias_counts_as_distance")
    x, weight, bias = known["in.x"], known["in.weight"], known["in.bias"]
    theirs = distances(x @ known["in.side_weight"].T, x @ weight.T + bias, everywhere(x), silu)
    torch.testing.assert_close(theirs, torch.tensor([2.574284098672093], dtype=torch.float64), atol=1e-6, rtol=0)
    settings = WiseMethod(method="wise")
    change = (known["in.side_weight"] - weight).flatten().float()[None]
    part = SideMemories(
        layer_of(weight, bias),
        settings,
        (torch.arange(weight.numel()),),
        torch.zeros(1, 1),
        torch.ones(1).long(),
        (change,),
    )
    added = part.weight(0, "down", x.float(), PassContext(torch.tensor([x.shape[1] - 1])))
    torch.testing.assert_close(added, (x @ (known["in.side_weight"] - weight).T).float(), atol=1e-5, rtol=0)
    untouched = SideMemories(part.layer, settings, part.places, torch.full((1, 1), 1e-3), part.counts, (change * 0,))
    context = PassContext(torch.tensor([x.shape[1] - 1]))
    untouched.weight(0, "down", x.float(), context)
    assert context.kept_by(untouched, 0)["taken"].tolist() == [-1]


def tiny_llama(known, make_backbone):
    """The original's model: whole, and behind a backbone whose edits are made before its layer 1."""
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, attn_implementation="eager", pad_token_id=0,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    model.load_state_dict(
        {name.removeprefix("in.w."): value for name, value in known.items() if name.startswith("in.w.")}
    )
    backbone = make_backbone("minigpt4")
    backbone.decoder = Decoder(model, model.lm_head)
    return model, backbone


def entering(model, ids, mask):
    """What enters the matrix in Hugging Face's own pass, padding on the left and all."""
    seen, module = [], model.model.layers[1].mlp.down_proj
    hook = module.register_forward_hook(lambda module, inputs, outputs: seen.append((inputs[0], outputs)))
    model(input_ids=ids, attention_mask=mask)
    hook.remove()
    return [
        wise.Inputs(h[None], out[None], torch.ones(1, len(h), dtype=torch.bool))
        for h, out in zip(*seen[0], strict=True)
    ]


def laid_out(model, ids, last, targets):
    """A row as a backbone lays it out, without padding."""
    lengths = torch.tensor([len(ids)])
    return Batch(model.model.embed_tokens(ids)[None], targets[None], torch.tensor([last]), lengths)


@pytest.mark.parametrize("decay_everywhere", [True, False])
@pytest.mark.parametrize("case", LEAST)
def test_whole_edits_are_the_originals(case, decay_everywhere, make_backbone, monkeypatch):
    """With its decay outside the mask, which moves the rest a little; without, entries there stay as they are."""
    known = of(case)
    model, backbone = tiny_llama(known, make_backbone)
    if case == "edit_two_in_a_row":  # the original's text class divides by one position too many
        monkeypatch.setattr(wise, "edit_loss", lambda *arguments: 0.75 * edit_loss(*arguments))
    mask, weight = known["in.gradient_mask_0"].flatten().bool(), known[MATRIX].flatten()
    places, close = mask.nonzero()[:, 0], 1e-3
    if decay_everywhere:
        places, close = torch.arange(len(mask)), 1e-4
        masked = lambda values, *rest: dense(torch.where(mask, values, values.detach()), *rest)  # noqa: E731
        monkeypatch.setattr(wise, "dense", masked)
    steps, edits = (4, 2) if case == "edit_two_in_a_row" else (10, 1)
    settings = WiseMethod(method="wise", steps=steps, distances="released", teach_end=False)
    editor = wise.Wise(backbone, settings, backbone.decoder.layers[1], (), 0)
    values, least = torch.zeros(1, len(places)), torch.tensor([torch.inf])
    for number in range(edits):
        values, far, finite = editor.descend(*asked(known, number, model, backbone), values, places)
        least = torch.minimum(least, far)
        side, expected = weight.clone(), known[f"out.side_weight_{number}"].flatten()
        side[places] += values[0]
        torch.testing.assert_close(side, expected, atol=close, rtol=0)
        assert finite.all() and (side != weight)[mask].all() and (expected != weight)[~mask].any()
        assert (side != weight)[~mask].any() == decay_everywhere
    torch.testing.assert_close(least[0].item(), LEAST[case], atol=10 * close, rtol=0)
    memory = SideMemories(editor.layer, settings, (places,), least[None], torch.tensor([1]), (values,))
    query = known["in.query_ids"][0]
    batch = laid_out(model, query, len(query) - 1, torch.full_like(query, IGNORED))
    said = backbone.forward(backbone.run_below(batch, 1), Patch(1, (memory,)))
    torch.testing.assert_close(said, known["out.query_logits"], atol=10 * close, rtol=0)


def asked(known, number, model, backbone):
    """The edit's row in front of the layer, and what enters the matrix in the edit's and in the unrelated one."""
    ids, attended = known[f"in.input_ids_{number}"], known[f"in.attention_mask_{number}"]
    real, labels = ids[0][attended[0].bool()], known[f"in.labels_{number}"][0][attended[0].bool()]
    targets = torch.cat([labels[1:], torch.tensor([IGNORED])])
    last = int((targets != IGNORED).nonzero()[0])
    trunk = backbone.run_below(laid_out(model, real, last, targets), 1)
    return trunk, *entering(model, ids, attended)


def test_a_route_by_hand():
    """Side memory at its threshold; a memory must be farther, not as far; an untouched side memory is number 2 of 2."""
    far = torch.tensor([[2.0, 2.0], [2.0, 3.0], [2.0, 3.0], [1.0, 0.5], [3.0, 1.0], [0.0, 0.0]])
    thresholds = torch.tensor([[2.0, 1.0], [2.0, 1.0], [2.0, 3.0], [2.0, 0.1], [2.0, 0.1], [torch.inf, torch.inf]])
    side = torch.tensor([0, 0, 0, 0, 2, 2])
    assert route(far, thresholds, side).tolist() == [0, 1, 0, -1, 0, -1]


def test_margins_by_hand():
    """Of two sessions; in the second, one row of two is far enough."""
    own, unrelated = torch.tensor([[1.0, 3.0], [2.0, 30.0]]), torch.tensor([[4.0], [7.0]])
    expected = [(4 - 2 + 10) + 0 + (20 - 2), (7 - 2 + 10) + (7 - 5) + (20 - 2)]
    torch.testing.assert_close(margin_loss(own, unrelated, 5.0, 20.0, 10.0), torch.tensor(expected).float())


def test_a_merge_by_hand():
    """The largest of each stay; the sign of the sum decides; the rest of that sign is averaged."""
    changes = torch.tensor([[[4.0, -1.0, 2.0, 0.5]], [[-1.2, -3.0, 1.0, -0.5]], [[-1.5, 2.0, 0.5, 0.0]]])
    torch.testing.assert_close(ties(changes, 1.0, 4), torch.tensor([[4.0, -2.0, 3.5 / 3, 0.5]]))
    torch.testing.assert_close(ties(changes, 0.5, 4), torch.tensor([[4.0, -3.0, 2.0, 0.0]]))
