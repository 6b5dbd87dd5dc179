"""Teach the Q-Former to see: one query per attribute, supervised by classification, before any language.

Every concept is supervised, also those whose name is never taught: the vision side knows the thing, the language model
does not know what it is called.
"""

import logging

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm
from transformers import Blip2ForConditionalGeneration

from unike_lib.backbones.tower import Blip2WithTower, TiledTower, TowerShape
from unike_lib.config.run import TeachingConfig
from unike_lib.embedded.training.tower_features import TowerFeatures

ATTRIBUTES = ("left", "right", "background", "layout")
QUERY_STD = 0.5  # queries that start alike stay alike
TEMPERATURE = 0.1
CACHE_ROWS = 512

logger = logging.getLogger(__name__)


def noised(
    patches: Tensor, identities: Tensor, config: TeachingConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return patch and identity features from which the Q-Former learns what carries over to a new artist.

    For a share of the images all patch tokens are zeroed (without them the drawing style is hard to see); the identity
    token is blurred with Gaussian noise, so that its last digit is not relied on.
    """
    kept = torch.rand(len(patches), generator=generator) >= config.patch_dropout
    noise = torch.randn(identities.shape, generator=generator)
    return patches * kept[:, None, None, None], identities + config.identity_noise * noise


def query_outputs(model: Blip2ForConditionalGeneration, tokens: Tensor) -> Tensor:
    """Run the Q-Former on tower tokens [batch, token, width] -> [batch, query, d], as `get_image_features` does."""
    mask = torch.ones(tokens.shape[:2], dtype=torch.long)
    queries = model.query_tokens.expand(len(tokens), -1, -1)
    outputs = model.qformer(query_embeds=queries, encoder_hidden_states=tokens, encoder_attention_mask=mask)
    return outputs.last_hidden_state


class AttributeHeads(nn.Module):
    """Codebooks of things (one for both slots), colours and layouts; logits are cosines over a temperature."""

    def __init__(self, things: Tensor, others: tuple[int, ...]) -> None:
        super().__init__()
        width = things.shape[1]
        books = [things.clone(), *(torch.randn(count, width) for count in others)]
        self.codes = nn.ParameterList([nn.Parameter(F.normalize(book, dim=-1)) for book in books])

    def forward(self, outputs: Tensor) -> list[Tensor]:
        """Return logits [batch, classes] for each attribute from query outputs [batch, attribute, d]."""
        books = (self.codes[0], *self.codes)
        return [
            F.normalize(outputs[:, index], dim=-1) @ F.normalize(codes, dim=-1).T / TEMPERATURE
            for index, codes in enumerate(books)
        ]

    def loss(self, outputs: Tensor, labels: Tensor, pull: float) -> Tensor:
        """Cross-entropy summed over attributes, plus `pull` times the cosine distance to the right code.

        The pull gathers the outputs of a class around its code, so an unfamiliar drawing that is recognised at all
        looks to the language model like the familiar ones.
        """
        total = outputs.new_zeros(())
        for index, logits in enumerate(self.forward(outputs)):
            right = logits.gather(1, labels[:, index : index + 1]) * TEMPERATURE
            total = total + F.cross_entropy(logits, labels[:, index]) + pull * (1 - right).mean()
        return total


@torch.no_grad()
def start_from_discriminants(model: Blip2ForConditionalGeneration, shape: TowerShape) -> None:
    """Let the value path of each cross-attention begin as a copy of the identity token's channels.

    The discriminants already name most drawings; from random maps the same took four times as many steps.
    """
    for layer in model.qformer.encoder.layer:
        value, dense = layer.crossattention.attention.value, layer.crossattention.output.dense
        window = slice(shape.patch_width, shape.patch_width + shape.identity_components)
        value.weight[:, window] = torch.eye(value.weight.shape[0], shape.identity_components)
        dense.weight.copy_(torch.eye(len(dense.weight)))


def attribute_labels(scenes: pd.DataFrame) -> Tensor:
    """Return labels [image, attribute] of scenes; an empty slot is a class of its own, the last."""
    left, right, background = (torch.tensor(scenes[name].to_numpy()).long() for name in ("left", "right", "background"))
    empty = int(torch.maximum(left, right).max()) + 1
    layout = torch.where(right < 0, 0, torch.where(left < 0, 1, 2))
    return torch.stack([left.where(left >= 0, empty), right.where(right >= 0, empty), background, layout], dim=1)


def train_qformer(
    model: Blip2WithTower, seen: TowerFeatures, config: TeachingConfig, generator: torch.Generator
) -> Tensor:
    """Train the queries and the Q-Former on reduced tower features, then cache their outputs.

    Returns:
        Outputs [version, image, query, d]: the first version from clean features, the others from noised ones.
    """
    tower: TiledTower = model.vision_model
    labels = attribute_labels(seen.scenes)
    nn.init.normal_(model.query_tokens, std=QUERY_STD)
    start_from_discriminants(model, tower.shape)
    heads = AttributeHeads(_centres(seen, labels, model.query_tokens.shape[-1]), _classes(labels))
    parameters = [model.query_tokens, *model.qformer.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=config.qformer_learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.qformer_learning_rate, total_steps=config.qformer_steps
    )
    for _ in tqdm(range(config.qformer_steps), desc="Q-Former", unit="step"):
        rows = torch.randint(len(labels), (config.qformer_batch_size,), generator=generator)
        tokens = tower.tokens(*noised(seen.patches[rows], seen.identities[rows], config, generator))
        loss = heads.loss(query_outputs(model, tokens), labels[rows], config.pull)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
    logger.info("Q-Former: last loss %.3f", loss.item())
    clean = seen.patches, seen.identities
    views = [clean, *(noised(*clean, config, generator) for _ in range(config.versions - 1))]
    return torch.stack([_cache(model, *view) for view in views])


def _classes(labels: Tensor) -> tuple[int, ...]:
    """Number of classes of the attributes after the two slots."""
    return tuple(int(count) + 1 for count in labels[:, 2:].max(0).values)


def _centres(seen: TowerFeatures, labels: Tensor, width: int) -> Tensor:
    """Mean identity token of each thing [class, width], cut or filled with zeros to the Q-Former's width."""
    things = labels[:, : seen.identities.shape[1]].flatten()
    identities = seen.identities.flatten(0, 1)[:, :width]
    sums = torch.zeros(int(things.max()) + 1, width)
    sums[:, : identities.shape[1]].index_add_(0, things, identities)
    return sums


@torch.no_grad()
def _cache(model: Blip2WithTower, patches: Tensor, identities: Tensor) -> Tensor:
    tower: TiledTower = model.vision_model
    parts = zip(patches.split(CACHE_ROWS), identities.split(CACHE_ROWS), strict=True)
    return torch.cat([query_outputs(model, tower.tokens(*part)) for part in parts])
