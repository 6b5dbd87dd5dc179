"""Training of the contrastive encoders, and the direction zeta (UniKE 3.3, Eq. 4-6)."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from unike_lib.config.knowledge import EncoderConfig
from unike_lib.io import atomic_path, fingerprint_of, write_tensors
from unike_lib.knowledge.encoders import ENCODED, Encoder, LayerEncoders
from unike_lib.knowledge.states import read_states
from unike_lib.types import InputError

RECALL_POOL = 200


def truthfulness_loss(positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """Return Eq. 4 averaged over anchors: representations of equal truthfulness attract, of opposite repel.

    positive, negative: Enc_tru(h_pos), Enc_tru(h_neg), [triplet, width]. s = cosine / temperature. As printed, an
    anchor counts among its own positives.
    """
    both = normalize(torch.cat([positive, negative]), dim=-1)
    similarity = both @ both.T / temperature
    count = len(positive)
    everything = similarity.logsumexp(1)
    same = torch.cat([similarity[:count, :count].logsumexp(1), similarity[count:, count:].logsumexp(1)])
    return (everything - same).mean()


def semantic_loss(anchors: Tensor, positive: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """Return Eq. 5 averaged over triplets: a question's raw h_sem attracts the encodings of its own two answers.

    anchors: h_sem [triplet, d]; positive, negative: Enc_sem(h_pos), Enc_sem(h_neg) [triplet, d].
    """
    unit = normalize(anchors, dim=-1)
    to_positive = unit @ normalize(positive, dim=-1).T / temperature
    to_negative = unit @ normalize(negative, dim=-1).T / temperature
    own = torch.stack([to_positive.diagonal(), to_negative.diagonal()]).logsumexp(0)
    everything = torch.cat([to_positive, to_negative], 1).logsumexp(1)
    return (everything - own).mean()


def fit_map(inputs: Tensor, outputs: Tensor, ridge: float) -> Tensor:
    """Return the ridge regression W [in, out] that minimises |inputs W - outputs|^2 + ridge |W|^2."""
    inputs64, outputs64 = inputs.double(), outputs.double()
    gram = inputs64.T @ inputs64 + ridge * torch.eye(inputs.shape[1], dtype=torch.float64)
    return torch.linalg.solve(gram, inputs64.T @ outputs64).to(inputs.dtype)


def train_encoders(states: Path, out: Path, config: EncoderConfig, seed: int) -> None:
    """Train both encoders of every layer; write `encoders.safetensors`, its losses and its checks into folder `out`.

    Raises:
        InputError: too few triplets for a batch and a held-out set.
    """
    tensors: dict[str, Tensor] = {}
    losses: list[pd.DataFrame] = []
    checks = []
    for layer, columns in read_states(states).items():
        held, kept = held_out_split(len(columns["h_sem"]), config.held_out, seed)
        if len(kept) < 2:
            raise InputError(
                f"{states}: {len(columns['h_sem'])} triplets are too few to train the encoders; "
                f"raise max_triplets, or bring more questions"
            )
        train = {name: value[kept] for name, value in columns.items()}
        test = {name: value[held] for name, value in columns.items()}
        encoders, curve = _train_layer(train, config, seed, f"encoders of layer {layer}")
        tensors |= _named(encoders, layer)
        losses.append(curve.assign(layer=layer))
        checks.append({"layer": layer, **_check(encoders, train, test)})
    write_tensors(out / "encoders.safetensors", tensors, fingerprint_of("encoders", states, config.model_dump(), seed))
    for name, frame in (("encoder_losses", pd.concat(losses)), ("encoder_checks", pd.DataFrame(checks))):
        with atomic_path(out / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False, float_format="%.6g")


def held_out_split(count: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the numbers of held-out triplets (at least two), and of those that encoders are trained on."""
    held = max(2, int(count * share))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[:held], order[held:]


def _train_layer(
    states: dict[str, Tensor], config: EncoderConfig, seed: int, title: str
) -> tuple[LayerEncoders, pd.DataFrame]:
    width = states["h_sem"].shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        truth = Encoder(width, config.hidden, config.truth_width, config.layers)
        semantic = Encoder(width, config.hidden, width, config.layers)
    optimiser = torch.optim.Adam([*truth.parameters(), *semantic.parameters()], lr=config.learning_rate)
    rows: list[dict[str, float]] = []
    bar, done = tqdm(total=config.steps, desc=title, unit="step"), 0
    while done < config.steps:
        epoch, sums = len(rows), [0.0, 0.0, 0]
        batches = _batches(len(states["h_sem"]), config.batch_size, seed + epoch)
        for batch in itertools.islice(batches, config.steps - done):
            h_sem, h_pos, h_neg = (states[name][batch] for name in ("h_sem", "h_pos", "h_neg"))
            loss1 = truthfulness_loss(truth(h_pos), truth(h_neg), config.temperature)
            loss2 = semantic_loss(h_sem, semantic(h_pos), semantic(h_neg), config.temperature)
            optimiser.zero_grad()
            (loss1 + loss2).backward()
            optimiser.step()
            sums = [sums[0] + loss1.item(), sums[1] + loss2.item(), sums[2] + 1]
        bar.update(sums[2])
        done += int(sums[2])
        rows.append({"epoch": epoch, "truthfulness": sums[0] / sums[2], "semantic": sums[1] / sums[2]})
    bar.close()
    return _with_zetas(truth, semantic, states, config.ridge), pd.DataFrame(rows)


def _batches(count: int, size: int, seed: int) -> Iterator[Tensor]:
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    for batch in order.split(size):
        if len(batch) > 1:
            yield batch


@torch.no_grad()
def _with_zetas(truth: Encoder, semantic: Encoder, states: dict[str, Tensor], ridge: float) -> LayerEncoders:
    """Return the encoders with zeta (Eq. 6) and W_zeta of each space.

    Reading: both are over the triplets that the encoders are trained on; Eq. 6 is over all. So the checks on held-out
    triplets say how well zeta tells apart what it has not seen.
    """
    zetas, maps = {}, {}
    for kind, encoder in zip(ENCODED, (truth, semantic), strict=True):
        difference = encoder(states["h_pos"]) - encoder(states["h_neg"])
        zetas[kind] = difference.mean(0)
        maps[kind] = fit_map(difference, states["h_pos"] - states["h_neg"], ridge)
    return LayerEncoders(truth.eval(), semantic.eval(), zetas, maps)


@torch.no_grad()
def _check(encoders: LayerEncoders, train: dict[str, Tensor], test: dict[str, Tensor]) -> dict[str, float]:
    """Return the held-out truthfulness AUC along zeta, recall@1 of Enc_sem and of raw states, and norms of zeta'."""
    unit = normalize(encoders.zetas["truthfulness"], dim=0)
    positive = normalize(encoders.truthfulness(test["h_pos"]), dim=-1) @ unit
    negative = normalize(encoders.truthfulness(test["h_neg"]), dim=-1) @ unit
    pairs = len(positive) * len(negative)
    zeta = encoders.zetas["truthfulness"] @ encoders.maps["truthfulness"]
    return {
        "triplets": len(train["h_sem"]),
        "held_out": len(test["h_sem"]),
        "truth_auc": float(mannwhitneyu(positive.numpy(), negative.numpy()).statistic) / pairs,
        "semantic_recall_at_1": _recall(test["h_sem"], encoders.semantic(test["h_pos"])),
        "raw_recall_at_1": _recall(test["h_sem"], test["h_pos"]),
        "recall_pool": min(RECALL_POOL, len(test["h_sem"])),
        "zeta_norm": float(zeta.norm()),
        "h_pos_norm": float(test["h_pos"].norm(dim=1).mean()),
        "h_pos_variance_share": float(1 - test["h_pos"].mean(0).norm() ** 2 / (test["h_pos"] ** 2).sum(1).mean()),
    }


def _recall(anchors: Tensor, encoded: Tensor) -> float:
    pool = min(RECALL_POOL, len(anchors))
    scores = normalize(anchors[:pool], dim=-1) @ normalize(encoded[:pool], dim=-1).T
    return float((scores.argmax(1) == torch.arange(pool)).float().mean())


def _named(encoders: LayerEncoders, layer: int) -> dict[str, Tensor]:
    tensors = {}
    for kind in ENCODED:
        for name, value in getattr(encoders, kind).state_dict().items():
            tensors[f"{layer}.{kind}.{name}"] = value
        tensors[f"{layer}.zeta.{kind}"] = encoders.zetas[kind]
        tensors[f"{layer}.map.{kind}"] = encoders.maps[kind]
    return tensors
