"""Train the language projection and the decoder of an embedded backbone on cached Q-Former outputs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm
from transformers import Blip2ForConditionalGeneration

from unike_lib.config.run import TeachingConfig
from unike_lib.embedded.training.row_sampler import Composer, RowSampler, TokenRow

LOG_FIELDS = ("step", "loss", "rate")
SORTED_STEPS = 16  # batches that are drawn and sorted by length together


@dataclass(frozen=True)
class Layout:
    """A batch of rows as tensors.

    ids [row, token]; weights [row, token]: loss weight of predicting each token from the ones before; images [image
    shown]: rows of the feature table, in the order of the `<image>` tokens.
    """

    ids: Tensor
    weights: Tensor
    images: Tensor


def lay_out(rows: Sequence[TokenRow]) -> Layout:
    """Pad rows on the right into one batch."""
    width = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)  # <pad> is token 0
    weights = torch.zeros(len(rows), width)
    for index, row in enumerate(rows):
        ids[index, : len(row.ids)] = torch.tensor(row.ids)
        weights[index, : len(row.ids)] = torch.tensor(row.weights)
    images = torch.tensor([image for row in rows for image in row.images], dtype=torch.long)
    return Layout(ids, weights, images)


class LanguageTrainer:
    """Weighted next-token loss of a `Blip2ForConditionalGeneration` over rows.

    Of the model, `language_projection` and `language_model` are trained. `outputs` are cached Q-Former outputs
    [version, image, query, d]; a version is drawn for each use of an image. `generator` is the source of the noise.
    """

    def __init__(
        self,
        model: Blip2ForConditionalGeneration,
        outputs: Tensor,
        image_id: int,
        config: TeachingConfig,
        generator: torch.Generator,
    ) -> None:
        self.model, self.outputs, self.image_id = model, outputs, image_id
        self.config, self.generator = config, generator

    def embed(self, layout: Layout) -> Tensor:
        """Return input embeddings [row, token, d] with projected, lightly blurred visual tokens in place."""
        embeddings = self.model.language_model.get_input_embeddings()(layout.ids)
        version = torch.randint(len(self.outputs), layout.images.shape, generator=self.generator)
        seen = self.outputs[version, layout.images]
        seen = seen + self.config.visual_noise * torch.randn(seen.shape, generator=self.generator)
        visual = self.model.language_projection(seen).flatten(0, 1)
        return embeddings.masked_scatter((layout.ids == self.image_id)[..., None], visual)

    def loss(self, layout: Layout) -> Tensor:
        """Return the weighted mean of the next-token cross-entropies."""
        decoder: Any = self.model.language_model.model
        # Padding is on the right, so under the causal mask no real token sees it.
        hidden = decoder(inputs_embeds=self.embed(layout), use_cache=False).last_hidden_state
        wanted = layout.weights[:, 1:] > 0
        logits = self.model.language_model.lm_head(hidden[:, :-1][wanted])
        losses = F.cross_entropy(logits, layout.ids[:, 1:][wanted], reduction="none")
        weights = layout.weights[:, 1:][wanted]
        return (losses * weights).sum() / weights.sum()


def train_language_model(trainer: LanguageTrainer, composer: Composer) -> pd.DataFrame:
    """Train projection and decoder on composed rows; return the log (step, loss, rate)."""
    config, model = trainer.config, trainer.model
    parameters = [*model.language_projection.parameters(), *model.language_model.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps, pct_start=0.1
    )
    log = []
    for step, layout in enumerate(tqdm(layouts(composer, config), total=config.steps, desc="language model")):
        loss = trainer.loss(layout)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        log.append((step, loss.item(), schedule.get_last_lr()[0]))
        schedule.step()
    return pd.DataFrame(log, columns=list(LOG_FIELDS))


def layouts(sampler: RowSampler, config: TeachingConfig) -> Iterator[Layout]:
    """Yield one batch per step; rows of similar length go together, in a random order of batches."""
    for start in range(0, config.steps, SORTED_STEPS):
        sampler.at(start / config.steps)
        count = min(SORTED_STEPS, config.steps - start)
        rows = sorted((sampler.plain() for _ in range(count * config.batch_size)), key=lambda row: len(row.ids))
        batches = [rows[i : i + config.batch_size] for i in range(0, len(rows), config.batch_size)]
        sampler.rng.shuffle(batches)
        yield from (lay_out(batch) for batch in batches)
