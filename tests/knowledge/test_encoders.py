"""Contrastive losses against loops over Eq. 4-5, the ridge map against its objective, training on a known world."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cosine_similarity
from tqdm import tqdm

from unike_lib.config.knowledge import EncoderConfig
from unike_lib.io import read_tensors, table_writer, write_tensors
from unike_lib.knowledge import encoder_training
from unike_lib.knowledge.encoder_training import (
    fit_map,
    held_out_split,
    semantic_loss,
    train_encoders,
    truthfulness_loss,
)
from unike_lib.knowledge.encoders import load_encoders
from unike_lib.knowledge.encodings import encode_held_out
from unike_lib.knowledge.states import STATE_COLUMNS, states_schema
from unike_lib.types import InputError


def s(a, b, temperature):
    return (cosine_similarity(a, b, dim=0) / temperature).exp()


def equation_4(positive, negative, temperature):
    """UniKE Eq. 4, anchor by anchor, as printed: an anchor is among its own positives."""
    total = 0.0
    for own, other in ((positive, negative), (negative, positive)):
        for anchor in own:
            same = sum(s(anchor, h, temperature) for h in own)
            total = total - (same / (same + sum(s(anchor, h, temperature) for h in other))).log()
    return total / (2 * len(positive))


def equation_5(anchors, positive, negative, temperature):
    """UniKE Eq. 5, question by question."""
    total = 0.0
    for i, anchor in enumerate(anchors):
        own = s(anchor, positive[i], temperature) + s(anchor, negative[i], temperature)
        every = sum(s(anchor, h, temperature) for h in [*positive, *negative])
        total = total - (own / every).log()
    return total / len(anchors)


def test_both_losses_are_the_equations():
    positive, negative = torch.randn(2, 5, 7)
    torch.testing.assert_close(truthfulness_loss(positive, negative, 0.3), equation_4(positive, negative, 0.3))
    anchors, positive, negative = torch.randn(3, 4, 6)
    torch.testing.assert_close(
        semantic_loss(anchors, positive, negative, 0.2), equation_5(anchors, positive, negative, 0.2)
    )


def test_eq_4_by_hand():
    """Right answers at (1, 0), wrong ones at (0, 1), s = cosine: -log(2e / (2e + 2)) for each of the four anchors."""
    positive, negative = torch.tensor([[1.0, 0.0], [3.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 2.0]])
    expected = -math.log(2 * math.e / (2 * math.e + 2))
    assert float(truthfulness_loss(positive, negative, 1.0)) == pytest.approx(expected)


def test_fit_map_minimises_the_ridge_objective():
    inputs, outputs = torch.randn(30, 4), torch.randn(30, 5)
    weights = fit_map(inputs, outputs, 2.0).requires_grad_(True)
    objective = ((inputs @ weights - outputs) ** 2).sum() + 2.0 * (weights**2).sum()
    objective.backward()
    assert weights.grad.abs().max() < 1e-4


def write_states(path, count=120, width=16, layers=(2, 3), columns=None):
    """A world with a truth direction and a question identity, which encoders can find both; or the columns given."""
    generator = torch.Generator().manual_seed(0)
    meaning = torch.randn(count, width, generator=generator)
    meaning[:, 0] = 0
    truth = torch.zeros(width).index_fill(0, torch.tensor(0), 2.0)
    mixing = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
    h_pos, h_neg = meaning @ mixing + truth, meaning @ mixing - truth
    columns = columns or {"h_sem": meaning, "h_pos": h_pos, "h_pos_mean": h_pos, "h_neg": h_neg}
    with table_writer(path, states_schema(width), "fingerprint") as writer:
        for layer in layers:
            frame = pd.DataFrame({name: list(columns[name].numpy()) for name in STATE_COLUMNS})
            frame.insert(0, "layer", pd.Series([layer] * count, dtype="int32"))
            frame.insert(0, "id", [f"t{i}" for i in range(count)])
            writer.write_table(module_table(frame, writer.schema))
    return columns


def module_table(frame, schema):
    import pyarrow as pa

    return pa.Table.from_pandas(frame, schema=schema, preserve_index=False)


def test_training_separates_truth_and_finds_questions(tmp_path):
    write_states(tmp_path / "states.parquet")
    config = EncoderConfig(learning_rate=1e-2, steps=80, batch_size=64, hidden=32, truth_width=8)
    train_encoders(tmp_path / "states.parquet", tmp_path, config, seed=1)
    checks = pd.read_csv(tmp_path / "encoder_checks.csv")
    losses = pd.read_csv(tmp_path / "encoder_losses.csv")
    assert checks["layer"].tolist() == [2, 3]
    assert (checks["truth_auc"] > 0.95).all()
    assert (checks["semantic_recall_at_1"] > checks["raw_recall_at_1"] + 0.3).all()
    first, last = (losses[losses["epoch"] == e][["truthfulness", "semantic"]].mean() for e in (0, 39))
    assert (last < first).all()
    encoders = load_encoders(tmp_path / "encoders.safetensors")[3]
    direction = encoders.zetas["truthfulness"] @ encoders.maps["truthfulness"]
    assert float(cosine_similarity(direction, torch.eye(16)[0], dim=0)) > 0.9


def trained(folder, columns=None, count=12, layer=2, **settings):
    """Encoders of one layer trained in whole batches, on a world of which some columns are replaced."""
    known = write_states(folder / "states.parquet", count=count, layers=(layer,), columns=columns)
    config = EncoderConfig(
        **{"steps": 3, "hidden": 6, "truth_width": 5, "layers": 2, "learning_rate": 0.01, **settings}
    )
    train_encoders(folder / "states.parquet", folder, config, seed=3)
    return known, load_encoders(folder / "encoders.safetensors")[layer], config


def test_training_is_adam_on_the_sum_of_both_equations(tmp_path):
    """Three steps on all triplets but the held-out ones, against loops over Eq. 4 and 5 and torch's own Adam."""
    start = trained(tmp_path, count=8, learning_rate=1e-30, steps=1)[1]
    columns, found, config = trained(tmp_path, count=8, temperature=0.3)
    _, kept = held_out_split(8, config.held_out, 3)
    h_sem, h_pos, h_neg = (columns[name][kept] for name in ("h_sem", "h_pos", "h_neg"))
    truth, semantic = start.truthfulness.requires_grad_(True), start.semantic.requires_grad_(True)
    optimiser = torch.optim.Adam([*truth.parameters(), *semantic.parameters()], lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        loss = equation_4(truth(h_pos), truth(h_neg), 0.3) + equation_5(h_sem, semantic(h_pos), semantic(h_neg), 0.3)
        loss.backward()
        optimiser.step()
    for kind, twin in (("truthfulness", truth), ("semantic", semantic)):
        for name, weight in getattr(found, kind).state_dict().items():
            torch.testing.assert_close(weight, twin.state_dict()[name], atol=1e-3, rtol=0)


def test_zeta_is_a_difference_of_means_and_its_map_a_ridge_regression(tmp_path):
    """Over the triplets that the encoders are trained on; the regression by least squares with rows of the ridge."""
    columns, found, config = trained(tmp_path, ridge=0.7)
    _, kept = held_out_split(12, config.held_out, 3)
    h_pos, h_neg = columns["h_pos"][kept], columns["h_neg"][kept]
    for kind in ("truthfulness", "semantic"):
        positive, negative = getattr(found, kind)(h_pos), getattr(found, kind)(h_neg)
        torch.testing.assert_close(found.zetas[kind], positive.mean(0) - negative.mean(0), atol=1e-5, rtol=1e-4)
        rows = np.vstack([(positive - negative).double().numpy(), math.sqrt(0.7) * np.eye(positive.shape[1])])
        wanted = np.vstack([(h_pos - h_neg).double().numpy(), np.zeros((positive.shape[1], 16))])
        expected = np.linalg.lstsq(rows, wanted, rcond=None)[0]
        np.testing.assert_allclose(found.maps[kind].numpy(), expected, atol=1e-4, rtol=1e-3)


def test_held_out_triplets_teach_nothing(tmp_path):
    """Other states of the held-out triplets: the same encoders, zeta and map, byte for byte; of another: others."""
    columns, _, config = trained(tmp_path)
    held, kept = held_out_split(12, config.held_out, 3)
    weights = lambda: {  # noqa: E731
        name: value.numpy().tobytes() for name, value in read_tensors(tmp_path / "encoders.safetensors").items()
    }
    before = weights()
    for which, same in ((held, True), (kept[:1], False)):
        spoiled = {name: value.clone() for name, value in columns.items()}
        for value in spoiled.values():
            value[which] += 3 * torch.randn(len(which), 16, generator=torch.Generator().manual_seed(1))
        trained(tmp_path, spoiled)
        assert (weights() == before) == same


def test_checks_are_counted_on_held_out_triplets(tmp_path):
    """Every number of encoder_checks.csv by loops over pairs and questions."""
    columns, found, _ = trained(tmp_path, held_out=0.5)
    held, _ = held_out_split(12, 0.5, 3)
    h_sem, h_pos, h_neg = (columns[name][held] for name in ("h_sem", "h_pos", "h_neg"))
    check = pd.read_csv(tmp_path / "encoder_checks.csv").iloc[0]
    along = lambda states: [  # noqa: E731
        float(cosine_similarity(found.truthfulness(state), found.zetas["truthfulness"], dim=0)) for state in states
    ]
    pairs = [(p > n) + 0.5 * (p == n) for p in along(h_pos) for n in along(h_neg)]
    assert check["truth_auc"] == pytest.approx(sum(pairs) / len(pairs), rel=1e-5)
    for name, answers in (("raw", h_pos), ("semantic", found.semantic(h_pos))):
        near = [max(range(6), key=lambda j: float(cosine_similarity(q, answers[j], dim=0))) for q in h_sem]
        assert check[f"{name}_recall_at_1"] == pytest.approx(sum(i == j for i, j in enumerate(near)) / 6)
    assert (check["triplets"], check["held_out"], check["recall_pool"]) == (6, 6, 6)
    image = found.zetas["truthfulness"] @ found.maps["truthfulness"]
    assert check["zeta_norm"] == pytest.approx(float((image @ image).sqrt()), rel=1e-4)
    assert check["h_pos_norm"] == pytest.approx(sum(float((h @ h).sqrt()) for h in h_pos) / 6, rel=1e-4)
    centred = ((h_pos - h_pos.mean(0)) ** 2).sum() / (h_pos**2).sum()
    assert check["h_pos_variance_share"] == pytest.approx(float(centred), rel=1e-4)


def test_training_ends_when_progress_bars_are_off(tmp_path, monkeypatch):
    monkeypatch.setattr(encoder_training, "tqdm", functools.partial(tqdm, disable=True))
    write_states(tmp_path / "states.parquet")
    train_encoders(tmp_path / "states.parquet", tmp_path, EncoderConfig(steps=5, batch_size=16), seed=1)
    assert pd.read_csv(tmp_path / "encoder_losses.csv")["epoch"].max() == 0


def test_same_seed_same_weights(tmp_path):
    write_states(tmp_path / "states.parquet", layers=(2,))
    for name in ("a", "b"):
        train_encoders(tmp_path / "states.parquet", tmp_path / name, EncoderConfig(steps=5), seed=3)
    first, second = ((tmp_path / name / "encoders.safetensors").read_bytes() for name in ("a", "b"))
    assert first == second


def test_too_few_triplets_are_refused(tmp_path):
    write_states(tmp_path / "states.parquet", count=3, layers=(2,))
    with pytest.raises(InputError, match="3 triplets are too few"):
        train_encoders(tmp_path / "states.parquet", tmp_path, EncoderConfig(), seed=0)


def test_a_broken_file_is_named(tmp_path):
    write_tensors(tmp_path / "e.safetensors", {"2.zeta.semantic": torch.zeros(1)}, "fingerprint")
    with pytest.raises(InputError, match="layer 2"):
        load_encoders(tmp_path / "e.safetensors")


def test_encodings_are_of_held_out_triplets_in_both_spaces(tmp_path):
    columns = write_states(tmp_path / "states.parquet", count=40)
    train_encoders(tmp_path / "states.parquet", tmp_path, EncoderConfig(steps=5, held_out=0.25), seed=3)
    table = encode_held_out(tmp_path / "states.parquet", tmp_path / "encoders.safetensors", 0.25, 3, most=6)
    assert table.groupby(["layer", "space", "state"]).size().to_dict() == {
        (3, space, state): 6 for space in ("truthfulness", "semantic") for state in ("positive", "negative")
    }
    held, trained = held_out_split(40, 0.25, 3)
    assert sorted([*held.tolist(), *trained.tolist()]) == list(range(40)) and len(held) == 10
    encoders = load_encoders(tmp_path / "encoders.safetensors")[3]
    chosen = table[(table["space"] == "semantic") & (table["state"] == "negative")]
    expected = encoders.semantic(columns["h_neg"][held[:6]])
    assert torch.allclose(torch.tensor(np.stack(chosen["encoding"].to_list())), expected)
    along = cosine_similarity(expected, encoders.zetas["semantic"][None])
    assert torch.allclose(torch.tensor(chosen["along_zeta"].to_numpy()), along, atol=1e-5)
