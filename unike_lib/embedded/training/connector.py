"""Train a visual codebook and low-rank factors on composed rows, from checkpoint to checkpoint."""

import itertools
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from unike_lib.config.run import SmolConfig
from unike_lib.embedded.training.language_model import LOG_FIELDS, LanguageTrainer, layouts
from unike_lib.embedded.training.qformer import attribute_labels
from unike_lib.embedded.training.row_sampler import RowSampler
from unike_lib.io import read_tensors, write_tensors
from unike_lib.types import InputError

WARM_UP = 0.05
UNNAMED_TOKENS = 2
LAYOUTS = ("left", "right", "both")

logger = logging.getLogger(__name__)


class ConnectorTrainer(LanguageTrainer):
    """A `LanguageTrainer` with the settings of a pretrained language model."""

    config: SmolConfig


def train_connector(
    trainer: ConnectorTrainer, sampler: RowSampler, factors: dict[str, Tensor], checkpoint: Path, fingerprint: str
) -> Tensor:
    """Train the codebook's words and the low-rank factors; return the log [step, (step, loss, rate)].

    A checkpoint with another fingerprint is ignored. After a break the rows are drawn again from the start, so that the
    same ones follow.
    """
    config = trainer.config
    state = TrainingState(trainer, factors)
    log = state.resume(checkpoint, fingerprint)
    bar = tqdm(total=config.steps, initial=len(log), desc="connector", unit="step")
    for step, layout in itertools.islice(enumerate(layouts(sampler, config)), len(log), None):
        share = rate_at(step / config.steps)
        loss = trainer.loss(layout)
        state.step(loss, share)
        log = torch.cat([log, torch.tensor([[step, loss.item(), share * config.learning_rate]])])
        bar.update()
        if (step + 1) % config.checkpoint == 0:
            state.save(checkpoint, log, fingerprint)
    bar.close()
    return log


def rate_at(progress: float) -> float:
    """Return the share of the peak learning rate at a point of the training, 0 to 1: linear warm-up, half a cosine."""
    if progress < WARM_UP:
        return (progress + 1.0e-3) / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


class TrainingState:
    """Parameters, AdamW moments and noise generator of a run, to be saved and loaded whole."""

    def __init__(self, trainer: ConnectorTrainer, factors: dict[str, Tensor]) -> None:
        projection = {"words": trainer.model.language_projection.words}
        self.generator = trainer.generator
        self.parameters: dict[str, Any] = {**projection, **factors}
        config = trainer.config
        groups = [
            {"params": list(projection.values()), "lr": config.word_learning_rate, "peak": config.word_learning_rate},
            {"params": list(factors.values()), "lr": config.learning_rate, "peak": config.learning_rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)

    def step(self, loss: Tensor, share: float) -> None:
        """Take one optimiser step at a share of the peak learning rates."""
        for group in self.optimizer.param_groups:
            group["lr"] = share * group["peak"]
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()

    def save(self, path: Path, log: Tensor, fingerprint: str) -> None:
        """Write everything that the next step depends on."""
        tensors = {"log": log, "generator": self.generator.get_state()}
        for name, parameter in self.parameters.items():
            tensors[f"value.{name}"] = parameter
            tensors |= {f"{key}.{name}": value for key, value in self.optimizer.state[parameter].items()}
        write_tensors(path, tensors, fingerprint)

    def resume(self, path: Path, fingerprint: str) -> Tensor:
        """Read what `save` wrote for the same training, if anything; return the log so far."""
        try:
            tensors = read_tensors(path, fingerprint)
        except InputError as error:
            logger.info("training from the start: %s", error)
            return torch.zeros(0, len(LOG_FIELDS))
        logger.info("training goes on after step %d", len(tensors["log"]))
        self.generator.set_state(tensors["generator"])
        for name, parameter in self.parameters.items():
            parameter.data.copy_(tensors[f"value.{name}"])
            keys = ("step", "exp_avg", "exp_avg_sq")
            self.optimizer.state[parameter] = {key: tensors[f"{key}.{name}"] for key in keys}
        return tensors["log"]


@torch.no_grad()
def fill_codebook(model: Any, outputs: Tensor, words: Sequence[str | None], labels: Tensor, tokenizer: Any) -> None:
    """Start the visual codebook: codes are mean Q-Former outputs, words the mean embeddings of a class's name.

    A class without a name (a thing whose name is not taught) starts as the mean of random tokens, so that its name
    cannot leak. All words have the mean length of the language model's embeddings.

    Args:
        model: its `language_projection` is a `Codebook`.
        outputs: clean Q-Former outputs [image, query, d].
        words: a name or None for each class.
        labels: class of each output [image, query].
        tokenizer: of the language model.
    """
    embed = model.language_model.get_input_embeddings()
    book = model.language_projection
    flat = labels.flatten()
    codes = torch.zeros(book.codes.shape).index_add_(0, flat, outputs.flatten(0, 1))
    book.codes.copy_(codes / flat.bincount(minlength=len(words)).clamp(min=1)[:, None])
    ids = [tokenizer(f" {w}")["input_ids"] if w else _random_ids(len(tokenizer), i) for i, w in enumerate(words)]
    means = torch.stack([embed(torch.tensor(tokens)).mean(0) for tokens in ids])
    book.words.copy_(F.normalize(means, dim=1) * embed.weight.norm(dim=1).mean())


def visual_classes(lessons: pd.DataFrame, scenes: pd.DataFrame) -> tuple[list[str | None], Tensor]:
    """Return one list of names for all classes, and the class [image, query] of each Q-Former output.

    Classes: things and the empty slot, the same for left and right; then colours; then layouts. A thing has a name if
    the lessons teach it.
    """
    labels = attribute_labels(scenes)
    empty, colours = int(labels[:, :2].max()), int(labels[:, 2].max()) + 1
    words: list[str | None] = [None] * empty + ["nothing"] + [None] * colours + list(LAYOUTS)
    labels[:, 2] += empty + 1
    labels[:, 3] += empty + 1 + colours
    rows = {image: row for row, image in enumerate(scenes["image"])}
    for image, relation, answer in zip(lessons["image"], lessons["relation"], lessons["answer"], strict=True):
        if relation == "background":
            words[int(labels[rows[image], 2])] = answer
        elif relation == "naming":
            words[int(labels[rows[image], :2].min())] = answer
    return words, labels


def _random_ids(vocabulary: int, label: int) -> list[int]:
    """Return tokens that stand for a thing without a taught name, the same in both slots."""
    generator = torch.Generator().manual_seed(label)
    return torch.randint(vocabulary, (UNNAMED_TOKENS,), generator=generator).tolist()
