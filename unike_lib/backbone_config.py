"""The configuration's part about backbones: family, origin, and how they are run."""

from typing import Literal

from pydantic import Field, model_validator

from unike_lib.section import Count, Section


class OriginalConfig(Section):
    """Files of an original checkpoint, converted once into a `save_pretrained` folder."""

    qformer: str = Field(description="BLIP-2's file (.pth): Q-Former, layer norm, projection; or all of LAVIS's model.")
    vision: str | None = Field(None, description="EVA-ViT-g's file (eva_vit_g.pth); null: inside `qformer`.")
    projection: str | None = Field(None, description="MiniGPT-4's file with llama_proj; null: inside `qformer`.")
    language_model: str = Field(description="Folder or hub id of the language model (OPT-2.7B, Vicuna-7B v0).")


class BackboneConfig(Section):
    """A backbone by family and origin."""

    family: Literal["blip2", "minigpt4", "smolvlm", "idefics3", "llava", "qwen2-vl"] = Field(
        description="Architecture and input layout; embedded backbones are blip2 or minigpt4."
    )
    folder: str | None = Field(None, description="save_pretrained folder or hub id; null: train an embedded one.")
    language_model: Literal["smollm2-135m"] | None = Field(
        None, description="folder: null only: the pretrained LM to build on; null: a tiny one is trained from scratch."
    )
    original: OriginalConfig | None = Field(
        None, description="folder: null only: files of an original checkpoint to convert; null: nothing is converted."
    )
    image_size: Count | None = Field(
        None, description="Side of pictures in pixels (MMEdit: 364); null: as the folder or the files say."
    )
    layers: Literal["last_four"] | tuple[int, ...] = Field(
        "last_four", description="Edited layers E (paper: last four)."
    )
    vqa_prompt: str = Field("Question: {} Short answer:", description="Template around a VQA question (MMEdit).")
    text_locality: str | None = Field(
        None,
        description="Text-only questions (T-Loc): null: the benchmark's; general: the packaged plain facts; or a JSON "
        "file whose records have loc and loc_ans (ours; a backbone with a pretrained LM knows the real world).",
    )
    max_triplets: Count = Field(20000, description="Upper bound on triplets (paper: more than 15K).")
    edits: Count | None = Field(
        None, description="Most evaluation edits a cell on this backbone; null: evaluation.edits decides alone."
    )
    training_edits: Count | None = Field(
        None, description="Edits a task that MEND and KE are trained on; null: all of the method-training split."
    )
    shards: Count = Field(1, description="Jobs that share the edits of a cell of Tables 1 to 4, in whole sessions.")
    keep_frozen: bool = Field(
        False,
        description="Keep on disk what the layers make of every question (SmolLM2-135M: 55 KB a token); speed only.",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="Dtype of the frozen weights.")
    device: str = Field(
        "cpu",
        pattern=r"^(cpu|mps|cuda(:0)?|auto)$",
        description="Torch device of the model: cpu, mps or cuda (a job sees one GPU, which is number 0 to it); auto: "
        "spread over all cards that the job sees.",
    )

    @property
    def made_here(self) -> bool:
        """Whether the workflow trains this backbone: neither a folder nor an original checkpoint is named."""
        return self.folder is None and self.original is None

    @model_validator(mode="after")
    def _one_origin(self) -> "BackboneConfig":
        named = [name for name in ("folder", "language_model", "original") if getattr(self, name) is not None]
        if "original" in named and len(named) > 1:
            raise ValueError(f"{named[0]}: expected null, because original names the files of a checkpoint to convert")
        q_former = self.family in ("blip2", "minigpt4")
        if self.original is not None and not q_former:
            raise ValueError(
                f"original: expected null, because {self.family} is not converted: name a folder or hub id"
            )
        if self.folder is None and not q_former:
            raise ValueError(f"folder: expected a folder or hub id, because no {self.family} backbone is trained here")
        if self.image_size is not None and (self.made_here or self.family in ("smolvlm", "idefics3", "llava")):
            raise ValueError("image_size: expected null: it is for checkpoints of BLIP-2, MiniGPT-4 and Qwen2-VL")
        return self

    @model_validator(mode="after")
    def _one_slot(self) -> "BackboneConfig":
        if self.vqa_prompt.count("{}") != 1:
            raise ValueError("vqa_prompt: expected exactly one {} for the question")
        return self
