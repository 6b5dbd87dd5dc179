"""A question's prompt token by token, as `Backbone.encode` lays it out, without a model's weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText
from transformers.initialization import no_init_weights

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import IGNORED
from unike_lib.backbones.folder import opening
from unike_lib.backbones.tower import blip2_class
from unike_lib.backbones.visual import BESIDE
from unike_lib.family import Family
from unike_lib.types import Query

PICTURE = -1  # stands for a visual token's id
SIDE = 64  # pixels of a grey picture


@dataclass(frozen=True)
class PromptToken:
    """A token: its id and text; `PICTURE` is a visual one. `answered`: it belongs to the answer."""

    id: int
    text: str
    answered: bool = False

    def shown(self, visual: int | None) -> str:
        """Return how a line shows it; visual tokens, `visual` of them, are shown once."""
        if self.id == PICTURE:
            return f"<{visual or 'some'} visual tokens>"
        return f"[{self.text!r}:{self.id}]" if self.answered else f"{self.text!r}:{self.id}"


class _Listing(Backbone):
    """A backbone without weights whose embeddings are the tokens' ids."""

    device = torch.device("cpu")

    def embed(self, ids: Tensor) -> Tensor:
        """Return ids as they are, [..., 1]."""
        return ids[..., None].double()


def bare_model(folder: str, config: Any) -> Any:
    """Return the model that a config builds, with nothing allocated."""
    kind: Any = blip2_class(config.to_dict()) if config.model_type == "blip-2" else AutoModelForImageTextToText
    with opening(folder, "model"), torch.random.fork_rng(devices=[]), torch.device("meta"), no_init_weights():
        return kind.from_config(config) if hasattr(kind, "from_config") else kind(config)


def prompt_tokens(
    folder: str, config: Any, asked: tuple[Family, Any, str], query: Query, visual: int
) -> list[PromptToken]:
    """Return the tokens of a question and its answer; those of the picture as one.

    Args:
        folder: for messages.
        config: the model's.
        asked: the family, the tokenizer, and the template around questions.
        query: the question.
        visual: how many visual tokens a picture gives.
    """
    family, tokenizer, template = asked

    def images(names: Sequence[str]) -> Tensor:
        return torch.full((len(names), visual, 1), float(PICTURE), dtype=torch.double)

    batch = _Listing(bare_model(folder, config), tokenizer, family, images, None, template).encode([query])
    ids = [int(value) for value in batch.embeddings[0, :, 0].tolist()]
    answers = int((batch.targets[0] != IGNORED).sum())
    tokens = []
    for place, token in enumerate(ids):
        if token == PICTURE:
            if place == 0 or ids[place - 1] != PICTURE:
                tokens.append(PromptToken(PICTURE, ""))
        else:
            tokens.append(PromptToken(token, tokenizer.decode([token]), place >= len(ids) - answers))
    return tokens


def visual_tokens(folder: str, config: Any, processor: Any) -> int | None:
    """Return how many visual tokens a picture gives; None: only running the tower could tell."""
    if getattr(config, "num_query_tokens", None):  # a Q-Former's
        return int(config.num_query_tokens)
    with opening(folder, "image processor"):
        inputs = processor(images=[Image.new("RGB", (SIDE, SIDE), "grey")], return_tensors="pt")
    if "image_grid_thw" in inputs:
        merge = int(getattr(config.vision_config, "spatial_merge_size", 1))
        return int(inputs["image_grid_thw"].prod()) // merge**2
    pixels, model = inputs["pixel_values"].to("meta"), bare_model(folder, config)
    beside = {name: inputs[name] for name in BESIDE if name in inputs}
    try:
        found = model.get_image_features(pixels, **beside).pooler_output
    except RuntimeError:  # towers that look at the pixels cannot run without any
        return None
    tokens = found if isinstance(found, Tensor) else torch.cat(list(found))
    return tokens.shape[:-1].numel()
