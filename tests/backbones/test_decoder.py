"""Decoders that the tiny backbones do not show, masks of a batch's own, and what a trace holds."""

import pytest
import torch
from tiny_models import QUERIES
from transformers import OPTConfig, OPTForCausalLM

from unike_lib.backbones.decoder import Decoder
from unike_lib.backbones.edit import Trace
from unike_lib.types import InputError

SIZES = {
    "vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2, "ffn_dim": 24, "num_attention_heads": 2,
    "max_position_embeddings": 16, "dropout": 0.0, "init_std": 0.5,
}  # fmt: skip


@torch.no_grad()
def test_opt_with_projections_at_both_ends_is_hugging_faces():
    """OPT-350M's word embeddings are narrower than its layers."""
    torch.manual_seed(0)
    model = OPTForCausalLM(OPTConfig(word_embed_proj_dim=8, **SIZES)).eval()
    decoder, ids = Decoder(model, model.lm_head), torch.tensor([[4, 5, 6, 7, 8]])
    hidden = decoder.run(decoder.start(model.get_input_embeddings()(ids)), range(2))
    torch.testing.assert_close(decoder.logits(decoder.finish(hidden)), model(ids).logits, atol=2e-6, rtol=1e-5)


def test_post_norm_models_are_refused():
    model = OPTForCausalLM(OPTConfig(do_layer_norm_before=False, **SIZES))
    with pytest.raises(InputError, match="post-norm"):
        Decoder(model, model.lm_head)


@torch.no_grad()
def test_what_a_token_does_not_see_has_no_part_in_it(backbone):
    """A token that all later ones must not see, against Hugging Face's own mask of tokens."""
    decoder, batch = backbone.decoder, backbone.encode(QUERIES[:1])
    tokens, hidden = batch.embeddings.shape[1], 2
    seen = torch.ones(1, tokens, dtype=torch.long)
    seen[0, hidden] = 0
    places = torch.arange(tokens)[None]
    sees = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    sees[hidden + 1 :, hidden] = False
    states = decoder.run(decoder.start(batch.embeddings), range(len(decoder.layers)), sees=sees[None])
    ours = decoder.logits(decoder.finish(states))
    theirs = backbone.model.language_model(
        inputs_embeds=batch.embeddings, attention_mask=seen, position_ids=places
    ).logits
    others = [token for token in range(tokens) if token != hidden]
    torch.testing.assert_close(ours[:, others], theirs[:, others], atol=5e-6, rtol=1e-5)


def test_logits_are_float32_whatever_the_weights(backbone):
    backbone.model.to(torch.bfloat16)
    assert backbone.decoder.logits(torch.zeros(3, backbone.width, dtype=torch.bfloat16)).dtype == torch.float32


def test_the_trace_holds_what_attention_reads(backbone):
    seen, trace = {}, Trace()
    layer = backbone.decoder.layers[-1]
    handle = layer.attention.register_forward_pre_hook(
        lambda module, arguments, keywords: seen.update(keywords), with_kwargs=True
    )
    backbone.forward(backbone.run_below(backbone.encode(QUERIES)), trace=trace)
    handle.remove()
    torch.testing.assert_close(trace.attention_inputs[layer.index], seen["hidden_states"], atol=0, rtol=0)
