"""A part of the configuration: a language model that judges, from texts alone, whether an answer is right."""

from string import Formatter
from typing import Annotated, Literal

from pydantic import field_validator

from unike_lib.config.base import Count, Section, setting
from unike_lib.config.paths import UserPath

PLACES = ("question", "answers", "given")
PROMPT = (
    "Question: {question}\nRight answer: {answers}\nGiven answer: {given}\n"
    "Do both answers mean the same? Reply yes or no."
)


class JudgeConfig(Section):
    """A local causal language model that judges the records' texts; off by default, and no edit runs again."""

    folder: Annotated[str | None, UserPath("folder")] = setting(
        None, "Folder of a causal language model and its tokenizer (save_pretrained); null: no judge.", "ours"
    )
    prompt: str = setting(
        PROMPT,
        "What it is asked: {question}, {answers} (accepted ones, joined by 'or') and {given}, once each.",
        "ours",
    )
    batch_size: Count = setting(16, "Prompts of equal length per pass.", "ours")
    dtype: Literal["float32", "bfloat16", "float16"] = setting("float32", "Dtype of its weights.", "ours")
    device: str = setting("cpu", "Torch device: cpu, mps or cuda.", "ours", pattern=r"^(cpu|mps|cuda(:0)?)$")

    @field_validator("prompt")
    @classmethod
    def _places(cls, prompt: str) -> str:
        expected = "expected {question}, {answers} and {given} once each, and other braces doubled"
        try:
            parts = [part[1:] for part in Formatter().parse(prompt) if part[1] is not None]
        except ValueError as error:
            raise ValueError(f"{expected}; found {error}") from None
        if sorted(parts) != sorted((name, "", None) for name in PLACES):
            raise ValueError(f"{expected}; found {', '.join(f'{{{name}}}' for name, *_ in parts) or 'none'}")
        return prompt
