"""The channel probe on a backbone whose channel is open by construction, and against a loop."""

import pytest
import torch

from unike_lib.evaluation.channel import probe_channel


def test_rows_and_the_unedited_score(backbone, cases):
    table = probe_channel(backbone, cases).set_index(["memory", "alpha"])
    assert len(table) == 7
    total = 0.0
    for case in cases:
        batch = backbone.encode([case.request.query])
        logits = backbone.model.language_model(inputs_embeds=batch.embeddings).logits[0].log_softmax(-1)
        asked = batch.targets[0] >= 0
        total += float(logits[asked].gather(1, batch.targets[0][asked][:, None]).mean())
    assert table.loc[("none", 0.0), "log_probability"] == pytest.approx(total / len(cases), abs=1e-5)


def test_other_facts_differ_from_the_same_fact(backbone, cases):
    table = probe_channel(backbone, cases).set_index(["memory", "alpha"])["log_probability"]
    assert table["same fact", 0.8] != table["other fact", 0.8]


def test_two_equal_facts_make_same_and_other_equal(backbone, cases):
    """With one and the same question twice, the other fact is the same fact."""
    table = probe_channel(backbone, [cases[0], cases[0]]).set_index(["memory", "alpha"])
    same, other = (torch.tensor(table.loc[name, "log_probability"].tolist()) for name in ("same fact", "other fact"))
    torch.testing.assert_close(same, other)
