"""Train a language projection and low-rank factors on composed rows, from checkpoint to checkpoint."""

import itertools
import logging
import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from unike_lib.backbones.pretrain_language import LanguageTrainer, layouts
from unike_lib.backbones.pretrain_qformer import attribute_labels
from unike_lib.backbones.pretrain_text import Teacher
from unike_lib.backbones.tower import Blip2WithTower
from unike_lib.config import SmolConfig
from unike_lib.io import read_table, read_tensors, write_tensors
from unike_lib.types import InputError

WARM_UP = 0.05
UNNAMED_WEIGHT, UNNAMED_TOKENS = 0.3, 2
RIDGE = 1.0e-3
LOG_FIELDS = ("step", "loss", "rate")

logger = logging.getLogger(__name__)


class ConnectorTrainer(LanguageTrainer):
    """A `LanguageTrainer` with the settings of a pretrained language model."""

    config: SmolConfig


def train_connector(
    trainer: ConnectorTrainer, teacher: Teacher, factors: dict[str, Tensor], checkpoint: Path, mark: str
) -> Tensor:
    """Train projection and factors; return the log [step, (step, loss, rate)].

    Args:
        trainer: gives the loss.
        teacher: gives the rows; drawn again from the start after a break, so that the same rows follow.
        factors: low-rank factors by name.
        checkpoint: file that the state is kept in.
        mark: fingerprint of the training; a checkpoint with another one is ignored.
    """
    config = trainer.config
    state = TrainingState(trainer, factors)
    log = state.resume(checkpoint, mark)
    bar = tqdm(total=config.steps, initial=len(log), desc="connector", unit="step")
    for step, layout in itertools.islice(enumerate(layouts(teacher, config)), len(log), None):
        share = rate_at(step / config.steps)
        loss = trainer.loss(layout)
        state.step(loss, share)
        log = torch.cat([log, torch.tensor([[step, loss.item(), share * config.rate]])])
        bar.update()
        if (step + 1) % config.checkpoint == 0:
            state.save(checkpoint, log, mark)
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
        projection = {f"projection.{n}": p for n, p in trainer.model.language_projection.named_parameters()}
        self.generator = trainer.generator
        self.parameters: dict[str, Any] = {**projection, **factors}
        config = trainer.config
        groups = [
            {"params": list(projection.values()), "lr": config.projection_rate, "peak": config.projection_rate},
            {"params": list(factors.values()), "lr": config.rate, "peak": config.rate},
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

    def save(self, path: Path, log: Tensor, mark: str) -> None:
        """Write everything that the next step depends on."""
        tensors = {"log": log, "generator": self.generator.get_state()}
        for name, parameter in self.parameters.items():
            tensors[f"value.{name}"] = parameter
            tensors |= {f"{key}.{name}": value for key, value in self.optimizer.state[parameter].items()}
        write_tensors(path, tensors, mark)

    def resume(self, path: Path, mark: str) -> Tensor:
        """Read what `save` wrote for the same training, if anything; return the log so far."""
        try:
            tensors = read_tensors(path, mark)
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
def first_projection(
    model: Blip2WithTower, outputs: Tensor, scenes: pd.DataFrame, benchmark: Path, tokenizer: Any
) -> None:
    """Start the language projection in closed form: each Q-Former output maps near a mix of word embeddings.

    A colour, a layout and a thing whose name is taught map to the mean embedding of the words' tokens; a thing whose
    name is not taught to the mean of random tokens, so that its name cannot leak. Weighted ridge regression over the
    mean outputs of the classes.

    Args:
        model: gets its `language_projection` set.
        outputs: clean and noised Q-Former outputs [version, image, query, d].
        scenes: training scenes, in the order of the outputs.
        benchmark: folder with training.parquet.
        tokenizer: of the language model.
    """
    labels = attribute_labels(scenes)
    words = _class_words(read_table(benchmark / "training.parquet"), scenes, labels)
    embed: Any = model.language_model.get_input_embeddings()
    codes, targets, weights = [], [], []
    for query in range(labels.shape[1]):
        for label in labels[:, query].unique().tolist():
            word = words.get((query, label))
            ids = (
                tokenizer(" " + word, add_special_tokens=False)["input_ids"]
                if word
                else _random_ids(len(tokenizer), label)
            )
            codes.append(outputs[0, labels[:, query] == label, query].mean(0))
            targets.append(embed(torch.tensor(ids)).mean(0))
            weights.append(1.0 if word else UNNAMED_WEIGHT)
    rows = torch.cat([torch.stack(codes), torch.ones(len(codes), 1)], dim=1).double()
    scale = embed.weight.norm(dim=1).mean()
    goal = torch.nn.functional.normalize(torch.stack(targets), dim=1).double() * scale
    weighted = rows * torch.tensor(weights, dtype=rows.dtype)[:, None]
    gram = weighted.T @ rows
    solution = torch.linalg.solve(
        gram + RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype), weighted.T @ goal
    )
    model.language_projection.weight.copy_(solution[:-1].T)
    model.language_projection.bias.copy_(solution[-1])


def _class_words(lessons: pd.DataFrame, scenes: pd.DataFrame, labels: Tensor) -> dict[tuple[int, int], str]:
    """Return the words of a (query, class): taught names, colours, layouts, and of the empty slot."""
    left, right, background, layout = range(labels.shape[1])
    empty = int(labels[:, left].max())
    words = {(left, empty): "nothing", (right, empty): "nothing"}
    words |= {(layout, index): word for index, word in enumerate(("left", "right", "both"))}
    shown: Any = scenes.set_index("image")[["left", "right", "background"]].to_dict("index")
    for image, relation, answer in zip(lessons["image"], lessons["relation"], lessons["answer"], strict=True):
        if relation == "background":
            words[background, shown[image]["background"]] = answer
        elif relation == "naming":
            thing = max(shown[image]["left"], shown[image]["right"])
            words[left, thing] = words[right, thing] = answer
    return words


def _random_ids(vocabulary: int, label: int) -> list[int]:
    """Return tokens that stand for a thing without a taught name, the same in both slots."""
    generator = torch.Generator().manual_seed(label)
    return torch.randint(vocabulary, (UNNAMED_TOKENS,), generator=generator).tolist()
