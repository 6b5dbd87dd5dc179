"""The part of the configuration that says which benchmark is edited: the embedded one, or a user's files."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from unike_lib.config.base import Once, Removable, Section, setting
from unike_lib.config.paths import UserPath
from unike_lib.config.problems import raise_problems
from unike_lib.registry import EntryName
from unike_lib.types import TASKS, Task

PictureReading = Literal["faithful", "plain"]
# Where dialects are found: package, name of the entry, entry points of other packages (`registry.find_entry`).
FORMATS = ("unike_lib.benchmark.formats", "DIALECT", "unike.formats")

NO_BRACES = r"^[^{}]+$"  # Snakemake would take them for wildcards


class FilesConfig(Section):
    """The two files of a task."""

    train: str | None = setting(
        ...,
        "Edits that are divided into pool, method and development edits; null: none, for methods that need none.",
        pattern=NO_BRACES,
    )
    eval: str = setting(..., "Edits that are evaluated.", pattern=NO_BRACES)


MMEDIT_FILES: dict[Task, FilesConfig] = {
    "vqa": FilesConfig(train="vqa_train.json", eval="vqa_eval.json"),
    "caption": FilesConfig(train="caption_train_edit.json", eval="caption_eval_edit.json"),
}


class BenchmarkConfig(Section):
    """The benchmark: the embedded one, or a folder of files in a dialect that is known."""

    annotations: Annotated[str | None, UserPath("folder")] = setting(
        None, "Folder of a benchmark's files; null: the embedded benchmark.", "ours"
    )
    images: Annotated[str | None, UserPath("folder")] = setting(
        None, "Folder that image paths in those files start from.", "ours"
    )
    rephrased_images: Annotated[str | None, UserPath("folder")] = setting(
        None, "Folder that paths of rephrased images start from; null: the same.", "ours"
    )
    format: Annotated[str, EntryName(*FORMATS)] = setting(
        "mmedit", "Dialect of these files: a name (docs/benchmarks.md), or path/to/file.py:DIALECT.", "ours"
    )
    files: Annotated[dict[Task, FilesConfig], Removable(), Field(min_length=1)] = setting(
        MMEDIT_FILES,
        "The files of each task in `annotations`; null takes a task away (VLKEB has no captions).",
        "MMEdit",
    )
    missing: Literal["error", "skip"] = setting(
        "error",
        "Records with missing or unreadable images, or texts that a backbone's tokenizer cannot take: error refuses to "
        "run, skip leaves them out (for texts: of this backbone).",
        "ours",
    )
    pictures: PictureReading = setting(
        "faithful",
        "How pictures are read. faithful: upright, scaled from more than 8 bits, transparency laid on white; plain: "
        "MMEdit's bare conversion to RGB, to compare with its numbers.",
        "ours",
    )
    strict_locality: bool = setting(
        False,
        "Leave out of all training what shares a locality probe with the evaluation; false: keep and count it.",
        "ours",
    )
    shared_edits: Literal["keep", "drop_pictures", "drop"] = setting(
        "drop_pictures",
        "Edits that the evaluation shares are counted and said; drop_pictures leaves out of all training those of a "
        "shared picture, drop those of a shared fact, too.",
        "ours",
    )
    triplet_sources: Annotated[tuple[str, ...], Once, UserPath("file")] = setting(
        (), "JSONL files (image, question, answer) whose questions join the pool for triplets.", "ours"
    )
    concepts: int = setting(160, "Pictured concepts of the embedded benchmark.", "ours", ge=12)

    @property
    def embedded(self) -> bool:
        """Whether the benchmark is the embedded one."""
        return self.annotations is None

    @property
    def title(self) -> str | None:
        """What tables and pages call the user's benchmark: the name of its folder; None: the embedded one."""
        return None if self.annotations is None else Path(self.annotations).resolve().name or self.annotations

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that the benchmark has, in the order of `TASKS`."""
        return TASKS if self.embedded else tuple(task for task in TASKS if task in self.files)

    @property
    def trains(self) -> bool:
        """Whether there are edits beside those that are evaluated: without them there is no positive control."""
        return self.embedded or all(self.files[task].train for task in self.tasks)

    @property
    def image_roots(self) -> list[str]:
        """The user's image folders: all images, then rephrased ones where they lie elsewhere."""
        return list(dict.fromkeys(root for root in (self.images, self.rephrased_images) if root is not None))

    @model_validator(mode="after")
    def _complete(self) -> "BenchmarkConfig":
        problems = []
        if (self.annotations is None) != (self.images is None):
            problems.append("annotations, images: name both folders, or neither")
        if self.embedded and (self.triplet_sources or self.rephrased_images):
            problems.append("triplet_sources, rephrased_images: only for a benchmark of your own (annotations)")
        raise_problems(problems)
        return self
