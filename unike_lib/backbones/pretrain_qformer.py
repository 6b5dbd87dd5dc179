"""Teach the Q-Former to see: one query an attribute, supervised by classification, before any language.

Queries: what stands left, what stands right, the background colour, the layout (left only, right only, both). Every
concept is supervised, also those whose name is never taught: the eyes know the thing, the language model does not
know what it is called.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Blip2ForConditionalGeneration

from unike_lib.backbones.tower import TowerShape
from unike_lib.config import PretrainConfig

ATTRIBUTES = ("left", "right", "background", "layout")
QUERY_STD = 0.5  # queries that start alike stay alike
TEMPERATURE = 0.1


@dataclass(frozen=True)
class SeenImages:
    """Reduced tower features and attribute labels of the training images.

    patches [image, tile, grid^2, patch_width], identities [image, tile, n_d], labels [image, attribute].
    """

    patches: Tensor
    identities: Tensor
    labels: Tensor

    @property
    def classes(self) -> tuple[int, ...]:
        """Number of classes of each attribute."""
        return tuple(int(count) + 1 for count in self.labels.max(0).values)


class Augmenter:
    """Makes the Q-Former rely on the identity token but not on its last digit, so that it carries over to a new artist.

    For a share of the images all patch tokens are zeroed (without them the drawing style is hard to see); the identity
    token is blurred with Gaussian noise.
    """

    def __init__(self, config: PretrainConfig, generator: torch.Generator):
        self.config = config
        self.generator = generator

    def __call__(self, patches: Tensor, identities: Tensor) -> tuple[Tensor, Tensor]:
        """Return altered copies of patch and identity features."""
        kept = torch.rand(len(patches), generator=self.generator) >= self.config.patch_dropout
        noise = torch.randn(identities.shape, generator=self.generator)
        return patches * kept[:, None, None, None], identities + self.config.identity_noise * noise


def query_outputs(model: Blip2ForConditionalGeneration, tokens: Tensor) -> Tensor:
    """Run the Q-Former on tower tokens [batch, token, width] -> [batch, query, d], as `get_image_features` does."""
    mask = torch.ones(tokens.shape[:2], dtype=torch.long)
    queries = model.query_tokens.expand(len(tokens), -1, -1)
    outputs = model.qformer(query_embeds=queries, encoder_hidden_states=tokens, encoder_attention_mask=mask)
    return outputs.last_hidden_state  # type: ignore[no-any-return]


class AttributeHeads(nn.Module):
    """Codebooks of things (one for both slots), background colours and layouts; logits are cosines over a temperature."""

    def __init__(self, things: Tensor, others: tuple[int, ...]):
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
