"""The configuration's part about backbones: family, origin, and how they are run."""

import math
from collections.abc import Iterator
from string import Formatter
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from unike_lib.config.base import Count, Entry, Original, Section, given, setting
from unike_lib.config.paths import UserPath
from unike_lib.config.problems import raise_problems
from unike_lib.family import FAMILIES, find_family
from unike_lib.registry import EntryName


class OriginalConfig(Section):
    """Files of an original checkpoint, converted once into a `save_pretrained` folder."""

    qformer: Annotated[str, UserPath("file")] = setting(
        ..., "BLIP-2's file (.pth): Q-Former, layer norm, projection; or all of LAVIS's model."
    )
    vision: Annotated[str | None, UserPath("file")] = setting(
        None, "EVA-ViT-g's file (eva_vit_g.pth); null: inside `qformer`.", "ours"
    )
    projection: Annotated[str | None, UserPath("file")] = setting(
        None, "MiniGPT-4's file with llama_proj; null: inside `qformer`.", "ours"
    )
    language_model: Annotated[str, UserPath("model")] = setting(
        ..., "Folder or hub id of the language model (OPT-2.7B, Vicuna-7B v0)."
    )


class BackboneConfig(Section):
    """A backbone by family and origin."""

    family: Annotated[str, EntryName(*FAMILIES)] = setting(
        ..., "Architecture and input layout; embedded backbones are blip2 or minigpt4; or path/to/file.py:FAMILY."
    )
    folder: Annotated[str | None, UserPath("model")] = setting(
        None, "Folder made by save_pretrained, or hub id; null: trained here.", "ours"
    )
    language_model: Literal["smollm2-135m"] | None = setting(
        None, "Where folder is null: the pretrained model to build on (90 MB); null: a tiny one from scratch.", "ours"
    )
    original: OriginalConfig | None = setting(
        None, "Where folder is null: files of an original checkpoint to convert (presets/checkpoints.yaml).", "ours"
    )
    image_size: Count | None = setting(
        None,
        "Side of pictures in pixels; null: as the folder or the files say.",
        "ours",
        original=Original("MMEdit", 364),
    )
    layers: Literal["last_four"] | Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = setting(
        "last_four",
        "Edited layers, E, one after another: [20, 21, 22, 23].",
        original=Original("UniKE 4.1", equation=True),
    )
    vqa_prompt: str = setting("Question: {} Short answer:", "Template around a VQA question.", "MMEdit")
    text_locality: Annotated[str | None, UserPath("file", ("general",))] = setting(
        None,
        "Questions without a picture (T-Loc): null: the benchmark's; general: plain facts; or a JSON file.",
        "ours",
    )
    max_triplets: Count = setting(
        20000, "Most triplets that are collected.", "ours", original=Original("UniKE D.3", 15000, last=math.inf)
    )
    edits: Count | None = setting(
        None, "Most evaluation edits per cell on this backbone; null: evaluation.edits decides alone.", "ours"
    )
    training_edits: Count | None = setting(
        None, "Edits per task that MEND and KE are trained on; null: all of the method-training split.", "ours"
    )
    shards: Count = setting(
        1, "Jobs that share the edits of a cell, in whole sessions; more where one takes hours.", "ours"
    )
    keep_frozen: bool = setting(
        False,
        "Keep on disk what the layers make of every question (SmolLM2-135M: 55 KB per token); speed only.",
        "ours",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = setting("float32", "Dtype of the frozen weights.", "ours")
    device: str = setting(
        "cpu",
        "Torch device: cpu, mps or cuda (a job sees one GPU, its number 0); auto: all cards that the job sees.",
        "ours",
        pattern=r"^(cpu|mps|cuda(:0)?|auto)$",
    )

    @property
    def made_here(self) -> bool:
        """Whether the workflow trains this backbone: neither a folder nor an original checkpoint is named."""
        return self.folder is None and self.original is None

    @model_validator(mode="after")
    def _one_origin(self) -> "BackboneConfig":
        raise_problems(self._misfits())
        return self

    def _misfits(self) -> Iterator[str]:
        """Yield what does not fit together."""
        named = [name for name in ("folder", "language_model", "original") if getattr(self, name) is not None]
        if "original" in named and len(named) > 1:
            yield f"{named[0]}: expected null, because original names the files of a checkpoint to convert"
        family = find_family(self.family)
        q_former = family.q_former
        if self.original is not None and not q_former:
            yield f"original: expected null, because {self.family} is not converted: name a folder or hub id"
        elif self.folder is None and not q_former:
            yield f"folder: expected a folder or hub id, because no {self.family} backbone is trained here"
        if self.image_size is not None and (self.made_here or not family.any_size):
            yield "image_size: expected null: it is for checkpoints of BLIP-2, MiniGPT-4 and Qwen2-VL"

    @field_validator("layers")
    @classmethod
    def _one_after_another(cls, layers: str | tuple[int, ...]) -> str | tuple[int, ...]:
        if not isinstance(layers, str) and layers != tuple(range(layers[0], layers[0] + len(layers))):
            raise ValueError(
                f"expected layers one after another, each once, such as [20, 21, 22, 23]; found {[*layers]}"
            )
        return layers

    @field_validator("vqa_prompt")
    @classmethod
    def _one_slot(cls, prompt: str) -> str:
        expected = "expected exactly one {} for the question, and other braces doubled"
        try:
            parts = [part[1:] for part in Formatter().parse(prompt) if part[1] is not None]
        except ValueError as error:
            raise ValueError(f"{expected}; found {prompt!r} ({error})") from None
        if parts != [("", "", None)]:
            raise ValueError(f"{expected}; found {prompt!r}")
        return prompt


_LAPTOP = given("ours", "minutes on a laptop; presets/full.yaml: 800", max_triplets=300) | given(
    "ours", "minutes on a laptop; presets/full.yaml: 100", edits=20
)
# The default run's.
BACKBONES = Entry(
    values={
        "blip2-nano": Entry("OPT decoder behind a Q-Former, BLIP-2's input layout.", given("ours", family="blip2")),
        "minigpt4-nano": Entry(
            "Llama decoder behind a Q-Former, MiniGPT-4's input layout.", given("ours", family="minigpt4")
        ),
        "minigpt4-smol": Entry(
            "SmolLM2-135M-Instruct behind a Q-Former, MiniGPT-4's input layout.",
            _LAPTOP
            | given("ours", family="minigpt4", language_model="smollm2-135m", text_locality="general")
            | given("ours", "the positive control's window (results/positive_control.md)", layers=[20, 21, 22, 23])
            | given(
                "ours",
                "frozen layers run once for all methods; 4.3 GB on disk with presets/full.yaml",
                keep_frozen=True,
            ),
        ),
        "minigpt4-smol-last4": Entry(
            "The same weights with the paper's choice of layers.",
            _LAPTOP
            | given("ours", family="minigpt4", text_locality="general")
            | given("ours", folder="results/stages/backbones/minigpt4-smol"),
        ),
    }
)
