"""The part of the configuration that says which benchmark is edited: the embedded one, or a user's files."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from unike_lib.registry import find_entry
from unike_lib.section import Section
from unike_lib.types import TASKS, Task

# Where dialects are found: package, name of the entry, entry points of other packages (`registry.find_entry`).
FORMATS = ("unike_lib.benchmark.formats", "DIALECT", "unike.formats")


class FilesConfig(Section):
    """The two files of a task."""

    train: str = Field(min_length=1, description="Edits that are divided into pool, method and development edits.")
    eval: str = Field(min_length=1, description="Edits that are evaluated.")


def _present(files: Any) -> Any:
    """Drop tasks that are null: an overlay, which is merged, takes a task away so."""
    return {task: pair for task, pair in files.items() if pair is not None} if isinstance(files, dict) else files


def _found(name: str) -> str:
    find_entry(name, *FORMATS)
    return name


MMEDIT_FILES: dict[Task, FilesConfig] = {
    "vqa": FilesConfig(train="vqa_train.json", eval="vqa_eval.json"),
    "caption": FilesConfig(train="caption_train_edit.json", eval="caption_eval_edit.json"),
}


class BenchmarkConfig(Section):
    """The benchmark: the embedded one, or a folder of files in a dialect that is known."""

    annotations: str | None = Field(None, description="Folder of a benchmark's files; null: the embedded benchmark.")
    images: str | None = Field(None, description="Folder that image paths in the annotations start from.")
    rephrased_images: str | None = Field(
        None, description="Folder that paths of rephrased images start from; null: the same (MMEdit's rephrase root)."
    )
    format: Annotated[str, AfterValidator(_found)] = Field(
        "mmedit", description="Dialect of these files: a name (mmedit, vlkeb), or path/to/file.py:DIALECT."
    )
    files: Annotated[dict[Task, FilesConfig], BeforeValidator(_present), Field(min_length=1)] = Field(
        MMEDIT_FILES, description="Task -> its files in `annotations` (MMEdit's names); null takes a task away (VLKEB)."
    )
    missing: Literal["error", "skip"] = Field(
        "error", description="Records whose images are missing: refuse to run, or leave them out and say so (ours)."
    )
    strict_locality: bool = Field(
        False,
        description="Leave records out of pool, method training and development that share a locality probe with the "
        "evaluation; false: keep what the files share, and count it (ours; the embedded benchmark shares none).",
    )
    hops: int = Field(1, ge=1, le=4, description="Which portability questions (port_new) are asked (VLKEB: 1 to 4).")
    triplet_sources: tuple[str, ...] = Field(
        (), description="JSONL files (image, question, answer) whose questions join the pool (ours)."
    )
    concepts: int = Field(160, ge=12, description="Embedded: number of pictured concepts (ours).")

    @property
    def embedded(self) -> bool:
        """Whether the benchmark is the embedded one."""
        return self.annotations is None

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that the benchmark has, in the order of `TASKS`."""
        return TASKS if self.embedded else tuple(task for task in TASKS if task in self.files)

    @property
    def image_roots(self) -> list[str]:
        """The user's image folders: all images, then rephrased ones where they lie elsewhere."""
        return list(dict.fromkeys(root for root in (self.images, self.rephrased_images) if root is not None))

    @model_validator(mode="after")
    def _complete(self) -> "BenchmarkConfig":
        if (self.annotations is None) != (self.images is None):
            raise ValueError("annotations, images: name both folders, or neither")
        if self.embedded and (self.triplet_sources or self.rephrased_images):
            raise ValueError("triplet_sources, rephrased_images: only for a benchmark of your own (annotations)")
        return self
