"""Figures of the contrastive encoders: their training curves, and their two spaces (Fig. 5a)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import style
from matplotlib.figure import Figure
from scipy.stats import mannwhitneyu
from sklearn.manifold import TSNE

from unike_lib.config.figures import SpacesConfig
from unike_lib.io import read_table
from unike_lib.reporting.plotting import STYLE, legend_below, make_panels, save_figure
from unike_lib.types import InputError

STATES = {"positive": ("C0", "o", "C0"), "negative": ("C1", "^", "white")}
ENCODING_COLUMNS = ["layer", "space", "state", "along_zeta", "encoding"]


def draw_encoder_losses(losses: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Draw the training curves of the contrastive encoders: a panel a backbone and loss, a line a layer.

    Args:
        losses: backbone -> CSV file with the columns layer, epoch, and one column a loss.
        outputs: `pdf`, `png` -> figure paths; `csv` -> path of the plotted numbers.

    Raises:
        InputError: no files, a file without one of the columns, or files with different losses.
    """
    curves = pd.concat([_read_losses(name, path) for name, path in losses.items()]) if losses else pd.DataFrame()
    if curves.empty:
        raise InputError("encoder losses: nothing given, expected one CSV with rows a backbone")
    named = [str(column) for column in curves if column not in {"backbone", "layer", "epoch"}]
    gaps = curves[curves[named].isna().any(axis=1)]
    if len(gaps):
        path = losses[gaps["backbone"].iloc[0]]
        raise InputError(f"{path}: a row without a value, expected {', '.join(named)} in every row")
    with style.context(STYLE, after_reset=True):
        save_figure(_losses_figure(curves, named), curves, outputs)


def draw_spaces(encodings: Mapping[str, Path], outputs: Mapping[str, Path], settings: SpacesConfig, seed: int) -> None:
    """Draw t-SNE of held-out positive and negative states, a panel a backbone and encoder space (Fig. 5a).

    Vectors are scaled to unit length first, as the encoders' losses compare them by cosine. Beside each picture stands
    a number that no projection bends: the share of (positive, negative) pairs that lie in the right order along zeta
    (AUC, 0.5 by chance).

    Args:
        encodings: backbone -> Parquet file from `knowledge.encodings`.
        outputs: `pdf`, `png` -> figure paths; `csv` -> path of the coordinates.
        settings: perplexity.
        seed: of t-SNE.

    Raises:
        InputError: a file without one of the columns, or fewer states than the perplexity needs.
    """
    parts = []
    for name, path in encodings.items():
        table = read_table(path)
        missing = [column for column in ENCODING_COLUMNS if column not in table]
        if missing:
            raise InputError(f"{path}: no column {', '.join(missing)}; expected {', '.join(ENCODING_COLUMNS)}")
        for _, part in table.groupby("space", sort=False):
            if len(part) <= settings.perplexity:
                raise InputError(
                    f"{path}: {len(part)} states; figures.fig5a.perplexity {settings.perplexity:g} needs more"
                )
            parts.append(_laid_out(part, settings.perplexity, seed).assign(backbone=name))
    points = pd.concat(parts, ignore_index=True)
    with style.context(STYLE, after_reset=True):
        save_figure(_spaces_figure(points), points, outputs)


def truth_order(points: pd.DataFrame) -> float:
    """Return the share of (positive, negative) pairs in which the positive state lies further along zeta."""
    sides = [points.loc[points["state"] == state, "along_zeta"].to_numpy() for state in STATES]
    return float(mannwhitneyu(*sides).statistic) / (len(sides[0]) * len(sides[1]))


def _laid_out(part: pd.DataFrame, perplexity: float, seed: int) -> pd.DataFrame:
    vectors = np.stack(part["encoding"].to_list())
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    places = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(vectors)
    return part.drop(columns="encoding").assign(x=places[:, 0], y=places[:, 1])


def _spaces_figure(points: pd.DataFrame) -> Figure:
    backbones, spaces = points["backbone"].unique(), points["space"].unique()
    figure, axes = make_panels(len(backbones), len(spaces), shared=False, height=2.9)
    for row, backbone in enumerate(backbones):
        for column, space in enumerate(spaces):
            panel = axes[row][column]
            chosen = points[(points["backbone"] == backbone) & (points["space"] == space)]
            for state, (colour, marker, face) in STATES.items():
                part = chosen[chosen["state"] == state]
                panel.plot(
                    part["x"],
                    part["y"],
                    linestyle="none",
                    marker=marker,
                    markersize=3,
                    markeredgewidth=0.6,
                    color=colour,
                    markerfacecolor=face,
                    label=f"{state} states",
                )
            auc = f"AUC along zeta {truth_order(chosen):.2f}"
            panel.set_title(f"{backbone}, layer {chosen['layer'].iloc[0]}\n{space} space, {auc}")
            panel.margins(0.04)
            panel.set_xticks([])
            panel.set_yticks([])
    legend_below(figure)
    return figure


def _losses_figure(curves: pd.DataFrame, named: Sequence[str]) -> Figure:
    backbones = list(curves["backbone"].unique())
    layers = sorted(curves["layer"].unique())
    figure, axes = make_panels(len(backbones), len(named), shared=False)
    for row, backbone in enumerate(backbones):
        for column, loss in enumerate(named):
            panel = axes[row][column]
            for layer, curve in curves[curves["backbone"] == backbone].groupby("layer"):
                panel.plot(curve["epoch"], curve[loss], color=f"C{layers.index(layer)}", label=f"layer {layer}")
            panel.set_title(f"{backbone}, {loss.replace('_', ' ')}")
        axes[row][0].set_ylabel("loss, nats")
    for panel in axes[-1]:
        panel.set_xlabel("epoch")
    legend_below(figure)
    return figure


def _read_losses(backbone: str, path: Path) -> pd.DataFrame:
    curve = pd.read_csv(path)
    missing = [column for column in ("layer", "epoch") if column not in curve]
    if missing or curve.shape[1] < 3:
        raise InputError(f"{path}: no column {', '.join(missing) or 'with a loss'}; expected layer, epoch and losses")
    curve.insert(0, "backbone", backbone)
    return curve
