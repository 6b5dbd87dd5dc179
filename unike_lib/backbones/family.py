"""A family of multimodal models as data: what a new one takes (README.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class InputForm:
    """How a family lays out its input: [start token] before <visual tokens> after, [start token] framed prompt, answer.

    `before_image`, `after_image` and the framed prompt are tokenised each by itself; `with_image` and `text_only` frame
    the prompt ({}) as one text, chat marks included. `start_token_before_prompt`: the framed prompt also gets the start
    token that the tokenizer itself puts in front of a text; none where the tokenizer puts none. `answer_prefix` depends
    on the tokenizer, not on the family: `tokenizer.answer_prefix` says which.
    """

    before_image: str = ""
    after_image: str = ""
    with_image: str = "{}"
    text_only: str = "{}"
    start_token_with_image: bool = False
    start_token_text_only: bool = False
    start_token_before_prompt: bool = False
    answer_prefix: str = ""


@dataclass(frozen=True)
class Family:
    """A family of multimodal models as data: how its input is laid out and where its parts lie.

    `model_types` are the values of `model_type` in config.json that fit; `decoder` and `head` are dotted paths from the
    whole model to its language model and to the projection onto the vocabulary; `image_settings` override the saved
    settings of the image processor, so that every picture gives the same number of visual tokens.

    `square`: where a tower takes pictures of any shape (Qwen2-VL), the side in pixels of the square that they are
    resized to; the visual tokens then lie on a square grid, whose rows and columns are their rotary positions.
    """

    form: InputForm
    model_types: tuple[str, ...]
    decoder: str = "language_model"
    head: str = "language_model.lm_head"
    image_settings: Mapping[str, Any] = field(default_factory=dict)
    square: int | None = None
