"""Packed matrices give what torch's linear layers give, forward and backward."""

import copy

import pytest
import torch
from tiny_models import QUERIES

from unike_lib.backbones.speed import onednn_linear
from unike_lib.backbones.speed.onednn_linear import pack, packing_helps
from unike_lib.types import Query

pytestmark = pytest.mark.skipif(not packing_helps(torch.float32, "cpu"), reason="torch has no oneDNN here")


@pytest.fixture
def twins(backbone, monkeypatch):
    """A backbone, and a copy that is packed beside its weights."""
    monkeypatch.setattr(onednn_linear, "SMALLEST", 1)
    other = copy.deepcopy(backbone)
    pack(other.decoder)
    return backbone, other


def test_logits_are_the_same_and_weights_stay(twins, monkeypatch):
    plain, ours = twins
    products, product = [], onednn_linear._product
    monkeypatch.setattr(onednn_linear, "_product", lambda *args: (products.append(args[0].shape), product(*args))[1])
    batch = plain.encode(QUERIES)
    logits = [each.forward(each.run_below(batch)) for each in twins]
    torch.testing.assert_close(*logits, atol=1e-5, rtol=1e-5)
    linear = [
        [m.weight.numel() for m in layer.module.modules() if type(m) is torch.nn.Linear]
        for layer in ours.decoder.layers
    ]
    assert len(products) == sum(map(len, linear)) + 1
    assert all(all(sizes) for sizes in linear)


def test_gradients_by_the_input_are_the_same(twins):
    batch = twins[0].encode(QUERIES)
    gradients = []
    for each in twins:
        hidden = each.run_below(batch).hidden.clone().requires_grad_(True)
        states = each.decoder.run(hidden, range(2, 6))
        each.decoder.logits(each.decoder.finish(states)).square().mean().backward()
        gradients.append(hidden.grad)
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-4)
    assert gradients[0].abs().max() > 1e-3


def test_a_weight_that_was_written_to_is_laid_out_anew(twins):
    plain, ours = twins
    batch = plain.encode([Query(None, "what is this ?", "cat")])
    before = ours.forward(ours.run_below(batch))
    with torch.no_grad():
        for each in twins:
            each.decoder.layers[-1].part(each.decoder.names.down).weight.mul_(3.0)
    after = ours.forward(ours.run_below(batch))
    torch.testing.assert_close(after, plain.forward(plain.run_below(batch)), atol=1e-5, rtol=1e-5)
    assert (after - before).abs().max() > 0.01


def test_no_rows_and_small_matrices_are_left_to_torch(twins, backbone, monkeypatch):
    assert twins[1].decoder.logits(torch.zeros(0, backbone.width)).shape[0] == 0
    monkeypatch.setattr(onednn_linear, "SMALLEST", 10**9)
    pack(backbone.decoder)
    assert not [m for m in backbone.model.modules() if "forward" in vars(m)]


def test_half_precision_and_other_devices_are_not_packed():
    assert not packing_helps(torch.bfloat16, "cpu")
    assert not packing_helps(torch.float32, "cuda")
