"""Figures of the contrastive encoders."""

import numpy as np
import pandas as pd
import pytest
from made_up_records import BACKBONES

from unike_lib.config.figures import SpacesConfig
from unike_lib.io import write_table
from unike_lib.reporting.encoder_figures import draw_encoder_losses, draw_spaces, truth_order
from unike_lib.types import InputError


def outputs(folder, name):
    return {kind: folder / f"{name}.{kind}" for kind in ("pdf", "png", "csv")}


def encodings(path, count=20):
    """Two spaces of eight numbers: in the first, positive and negative states lie on opposite sides."""
    rng = np.random.default_rng(0)
    rows = []
    for space, distance in (("truthfulness", 6.0), ("semantic", 0.0)):
        for state, side in (("positive", 1), ("negative", -1)):
            vectors = rng.normal(size=(count, 8))
            vectors[:, 0] += side * distance
            rows += [
                {"layer": 3, "space": space, "state": state, "along_zeta": vector[0], "encoding": vector}
                for vector in vectors
            ]
    write_table(path, pd.DataFrame(rows), "fingerprint")
    return path


def test_spaces_keep_apart_what_is_apart(tmp_path):
    files = {"left": encodings(tmp_path / "e.parquet")}
    settings = SpacesConfig(perplexity=5.0)
    draw_spaces(files, outputs(tmp_path, "a"), settings, 0)
    points = pd.read_csv(tmp_path / "a.csv")
    assert len(points) == 80 and set(points["layer"]) == {3}
    truth = points[points["space"] == "truthfulness"]
    middles = truth.groupby("state")[["x", "y"]].mean()
    spread = truth.groupby("state")[["x", "y"]].std().to_numpy().mean()
    assert np.linalg.norm(middles.loc["positive"] - middles.loc["negative"]) > 2 * spread
    draw_spaces(files, outputs(tmp_path, "b"), settings, 0)
    for kind in ("pdf", "png", "csv"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_truth_order_counts_pairs():
    points = pd.DataFrame({"state": ["positive", "positive", "negative", "negative"], "along_zeta": [3, 1, 2, 0]})
    assert truth_order(points) == 3 / 4


def test_too_few_states_for_the_perplexity(tmp_path):
    files = {"left": encodings(tmp_path / "e.parquet", count=2)}
    with pytest.raises(InputError, match=r"4 states; figures\.fig5a\.perplexity 30 needs more"):
        draw_spaces(files, outputs(tmp_path, "a"), SpacesConfig(), 0)


def write_losses(path, **columns):
    rows = [{"epoch": epoch, **{name: 1 / (1 + epoch) for name in columns}} for epoch in range(4)]
    pd.concat([pd.DataFrame(rows).assign(layer=layer) for layer in (2, 3)]).to_csv(path, index=False)
    return path


def test_encoder_losses(tmp_path):
    losses = {name: write_losses(tmp_path / f"{name}.csv", truthfulness=1, semantic=1) for name in BACKBONES}
    draw_encoder_losses(losses, outputs(tmp_path, "losses"))
    assert len(pd.read_csv(tmp_path / "losses.csv")) == 2 * 2 * 4
    assert (tmp_path / "losses.png").stat().st_size > 5000
    write_losses(losses["right"], truthfulness=1)
    with pytest.raises(InputError, match=r"right\.csv: a row without a value"):
        draw_encoder_losses(losses, outputs(tmp_path, "losses"))
    losses["right"].write_text("epoch,truthfulness\n0,1\n")
    with pytest.raises(InputError, match=r"right\.csv: no column layer"):
        draw_encoder_losses(losses, outputs(tmp_path, "losses"))
    with pytest.raises(InputError, match="nothing given"):
        draw_encoder_losses({}, outputs(tmp_path, "losses"))
