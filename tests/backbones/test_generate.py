"""Greedy writing of answers: which rows are still run."""

import pytest
import torch
from patches import patch_of
from tiny_models import QUERIES, WIDTH

from unike_lib.backbones import generate as module
from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.methods.shared.neurons import Neurons


@pytest.mark.parametrize(
    "left", [{1: [0], 2: [3]}, {1: [0, 2], 2: [1]}, {2: [0, 1, 2, 3]}, {0: [0, 1, 2, 3], 1: [2], 2: [3]}]
)
def test_only_as_many_rows_a_session_are_run_as_have_most_to_write(backbone, monkeypatch, left):
    """Three sessions of four questions: all drafts but those of some rows are what will be written."""
    torch.manual_seed(0)
    gated = {"up": torch.randn(3, WIDTH, 2), "up_bias": torch.randn(3, 2)}
    parts = {"keys": torch.randn(3, WIDTH, 2), "key_bias": torch.randn(3, 2), "values": torch.randn(3, 2, WIDTH)}
    parts |= gated if backbone.decoder.names.gate else {}
    patch, rows = patch_of(3, {backbone.layers[0]: Neurons(**parts)}), QUERIES[:4] * 3
    monkeypatch.setattr(type(backbone), "stop_tokens", frozenset())
    expected = generate(backbone, rows, [[]] * 12, patch, 6)
    alone = [generate(backbone, QUERIES[:4], [[]] * 4, patch.select([session]), 6) for session in range(3)]
    assert expected == [answer for answers in alone for answer in answers]
    drafts = [[] if row % 4 in left.get(row // 4, []) else answer for row, answer in enumerate(expected)]
    run, forward_with_cache = [], module.forward_with_cache
    monkeypatch.setattr(
        module, "forward_with_cache", lambda *args: (run.append(len(args[1])), forward_with_cache(*args))[1]
    )
    assert generate(backbone, rows, drafts, patch, 6) == expected
    assert run == [len(left) * max(map(len, left.values()))] * 5


@torch.no_grad()
def test_a_draft_that_goes_wrong_behind_what_was_asked_changes_nothing(backbone, monkeypatch):
    """What is asked has no answer yet; each draft is right for two tokens. Against Hugging Face's own full passes."""
    monkeypatch.setattr(type(backbone), "stop_tokens", frozenset())
    expected, batch = [], backbone.encode(QUERIES, [[]] * 4)
    for row, length in enumerate(batch.lengths.tolist()):
        written: list[int] = []
        while len(written) < 6:
            parts = [batch.embeddings[row, :length], backbone.embed(torch.tensor(written, dtype=torch.long))]
            logits = backbone.model.language_model(inputs_embeds=torch.cat(parts)[None]).logits
            written.append(int(logits[0, -1].argmax()))
        expected.append(written)
    drafts = [[*answer[:2], (answer[2] + 1) % 8 + 9, 12, 13] for answer in expected]
    for guesses in (drafts, [answer[:2] for answer in expected], expected):
        asked = answer_logits(backbone, QUERIES, None, [[]] * 4)
        assert generate(backbone, QUERIES, guesses, None, 6, asked) == expected
