"""Contrastive losses against loops over Eq. 4-5, the ridge map against its objective, training on a known world."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import cosine_similarity
from tqdm import tqdm

from unike_lib.config import EncoderConfig
from unike_lib.io import table_writer, write_tensors
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
    return math.exp(float(cosine_similarity(a, b, dim=0)) / temperature)


def test_truthfulness_loss_is_equation_4():
    positive, negative = torch.randn(5, 7), torch.randn(5, 7)
    total = 0.0
    for own, other in ((positive, negative), (negative, positive)):
        for anchor in own:
            same = sum(s(anchor, h, 0.3) for h in own)
            total -= math.log(same / (same + sum(s(anchor, h, 0.3) for h in other)))
    assert float(truthfulness_loss(positive, negative, 0.3)) == pytest.approx(total / 10, rel=1e-5)


def test_semantic_loss_is_equation_5():
    anchors, positive, negative = torch.randn(3, 4, 6)
    total = 0.0
    for i in range(4):
        own = s(anchors[i], positive[i], 0.2) + s(anchors[i], negative[i], 0.2)
        every = sum(s(anchors[i], positive[j], 0.2) + s(anchors[i], negative[j], 0.2) for j in range(4))
        total -= math.log(own / every)
    assert float(semantic_loss(anchors, positive, negative, 0.2)) == pytest.approx(total / 4, rel=1e-5)


def test_fit_map_minimises_the_ridge_objective():
    inputs, outputs = torch.randn(30, 4), torch.randn(30, 5)
    weights = fit_map(inputs, outputs, 2.0).requires_grad_(True)
    objective = ((inputs @ weights - outputs) ** 2).sum() + 2.0 * (weights**2).sum()
    objective.backward()
    assert weights.grad.abs().max() < 1e-4


def write_states(path, count=120, width=16, layers=(2, 3)):
    """A world with a truth direction and a question identity: encoders can find both."""
    generator = torch.Generator().manual_seed(0)
    meaning = torch.randn(count, width, generator=generator)
    meaning[:, 0] = 0
    truth = torch.zeros(width).index_fill(0, torch.tensor(0), 2.0)
    mixing = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
    h_pos, h_neg = meaning @ mixing + truth, meaning @ mixing - truth
    columns = {"h_sem": meaning, "h_pos": h_pos, "h_pos_mean": h_pos, "h_neg": h_neg}
    with table_writer(path, states_schema(width), "mark") as writer:
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
    config = EncoderConfig(learning_rate=3e-3, steps=300, batch=64, hidden=32, truth_width=8)
    train_encoders(tmp_path / "states.parquet", tmp_path, config, seed=1)
    checks = pd.read_csv(tmp_path / "encoder_checks.csv")
    losses = pd.read_csv(tmp_path / "encoder_losses.csv")
    assert checks["layer"].tolist() == [2, 3]
    assert (checks["truth_auc"] > 0.95).all()
    assert (checks["semantic_recall_at_1"] > checks["raw_recall_at_1"] + 0.3).all()
    first, last = (losses[losses["epoch"] == e][["truthfulness", "semantic"]].mean() for e in (0, 59))
    assert (last < first).all()
    encoders = load_encoders(tmp_path / "encoders.safetensors")[3]
    direction = encoders.zetas["truthfulness"] @ encoders.maps["truthfulness"]
    assert float(cosine_similarity(direction, torch.eye(16)[0], dim=0)) > 0.9


def test_training_ends_when_progress_bars_are_off(tmp_path, monkeypatch):
    monkeypatch.setattr(encoder_training, "tqdm", functools.partial(tqdm, disable=True))
    write_states(tmp_path / "states.parquet")
    train_encoders(tmp_path / "states.parquet", tmp_path, EncoderConfig(steps=5, batch=16), seed=1)
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
    write_tensors(tmp_path / "e.safetensors", {"2.zeta.semantic": torch.zeros(1)}, "mark")
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
