"""Low-rank factors: nothing at the start, the same as the merged weights, only where asked."""

import copy

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from unike_lib.embedded.training import lora

SIZES = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4}


def tiny():
    torch.manual_seed(1)
    return LlamaForCausalLM(LlamaConfig(num_hidden_layers=3, num_key_value_heads=2, **SIZES)).eval()


def test_factors_start_as_nothing_and_merge_into_what_they_did():
    plain, ids = tiny(), torch.arange(20)[None]
    before = plain(ids).logits
    changed = copy.deepcopy(plain)
    factors = lora.attach(changed, [0, 2], 3, torch.Generator().manual_seed(0))
    assert torch.equal(changed(ids).logits, before)
    with torch.no_grad():
        for name, value in factors.items():
            value.copy_(torch.randn(value.shape) * (0.1 if name.endswith(".b") else 1.0))
    lora.merge(plain, factors)
    after = changed(ids).logits
    assert (after - before).abs().max() > 0.1
    torch.testing.assert_close(plain(ids).logits, after)


def test_only_the_factors_of_the_chosen_layers_are_trained():
    model = tiny()
    factors = lora.attach(model, [1], 2, torch.Generator())
    assert len(factors) == 2 * len(lora.TARGETS)
    assert all(name.startswith("model.layers.1.") for name in factors)
    model.requires_grad_(False)
    for value in factors.values():
        value.requires_grad_(True)
    model(torch.arange(9)[None]).logits.logsumexp(-1).sum().backward()
    assert all(value.grad is not None for value in factors.values())
    assert all(value.grad is None for name, value in model.named_parameters() if name not in factors)
