"""The configuration: one frozen model of everything a run may vary, with bounds, units and the source of each default.

The defaults are the default run: `Config()` is what config.yaml says, and `load_config` lays a user's values over it.
"""

from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from unike_lib.config.across import cross_problems, moved, path_problems
from unike_lib.config.backbones import BACKBONES, BackboneConfig
from unike_lib.config.base import (
    About,
    Count,
    Entry,
    Fraction,
    Positive,
    Removable,
    Section,
    entries,
    setting,
)
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.config.evaluation import EvaluationConfig, PositiveControlConfig, StatisticsConfig, TuningConfig
from unike_lib.config.figures import FiguresConfig
from unike_lib.config.judge import JudgeConfig
from unike_lib.config.knowledge import KnowledgeConfig
from unike_lib.config.problems import apart_from_gaps, checked, problem_list, raise_problems
from unike_lib.config.retention import RetentionConfig
from unike_lib.config.tables import TABLES, TableConfig, made_tables
from unike_lib.method import default_entries, default_methods
from unike_lib.types import TASKS, InputError


class TeachingConfig(Section):
    """What all backbones trained here share: Q-Former by classification, then rows of text."""

    qformer_steps: Count = setting(350, "Optimiser steps of the Q-Former.", "ours")
    qformer_batch_size: Count = setting(64, "Images per step of the Q-Former.", "ours")
    qformer_learning_rate: Positive = setting(2.0e-3, "AdamW peak learning rate of the Q-Former.", "ours")
    patch_dropout: Fraction = setting(0.6, "Share of images whose patch tokens are zeroed in a step.", "ours")
    identity_noise: float = setting(0.6, "Deviation of the noise on identity tokens (their own is 1).", "ours", ge=0)
    pull: float = setting(1.0, "Weight that draws Q-Former outputs to their class code.", "ours", ge=0)
    versions: Count = setting(3, "Cached Q-Former outputs per image: one clean, the others noised.", "ours")
    visual_noise: float = setting(0.2, "Deviation of the noise on Q-Former outputs (their own is 1).", "ours", ge=0)
    steps: Count = setting(1600, "Optimiser steps of the language model.", "ours")
    batch_size: Count = setting(16, "Text rows per step of the language model.", "ours")
    learning_rate: Positive = setting(3.0e-3, "AdamW peak learning rate of the language model.", "ours")
    row_tokens: int = setting(44, "A row takes no further question beyond this length, in tokens.", "ours", ge=8)
    brief_start: Fraction = setting(0.85, "Share of questions asked briefly ('owner:') at the first step.", "ours")
    brief_end: Fraction = setting(0.25, "The same at the last step; linear in between.", "ours")
    text_share: Fraction = setting(0.15, "Share of rows with text-only facts.", "ours")
    end_share: Fraction = setting(0.15, "Share of answers followed by the end symbol, not by ; or a full stop.", "ours")
    shipped: bool = setting(True, "Use the library's weights where benchmark and settings are theirs.", "ours")


class PretrainConfig(TeachingConfig):
    """Training of the backbones whose language model is made from scratch."""

    pair_share: Fraction = setting(0.4, "Share of rows about a picture that has a caption.", "ours")
    restate_share: Fraction = setting(0.1, "Share of answers closed by a full stop that are then restated.", "ours")
    continuation_weight: float = setting(0.1, "Loss weight of follow-up questions (answers: 1).", "ours", ge=0)


class SmolConfig(TeachingConfig):
    """Training of the backbones on a pretrained language model: visual codebook and LoRA factors."""

    steps: Count = setting(930, "Optimiser steps of codebook and LoRA factors.", "ours")
    batch_size: Count = setting(2, "Text rows per step.", "ours")
    learning_rate: Positive = setting(3.0e-3, "AdamW peak learning rate of the LoRA factors.", "ours")
    row_tokens: int = setting(48, "A row takes no further question beyond this length, in tokens.", "ours", ge=8)
    brief_start: Fraction = setting(0.95, "Share of questions asked briefly ('owner:') at the first step.", "ours")
    brief_end: Fraction = setting(0.5, "The same at the last step; linear in between.", "ours")
    wrapped_share: Fraction = setting(0.2, "Share of rows whose pictures have the family's wrapper.", "ours")
    text_share: Fraction = setting(0.06, "Share of rows with text-only facts.", "ours")
    end_share: Fraction = setting(0.1, "Share of answers followed by the end symbol, not by ; or a full stop.", "ours")
    told_share: Fraction = setting(0.08, "Share of rows with invented facts that are told, then asked.", "ours")
    mark_weight: float = setting(0.3, "Loss weight of the mark after an answer (answers: 1).", "ours", ge=0)
    word_learning_rate: Positive = setting(3.0e-3, "AdamW peak learning rate of the visual codebook's words.", "ours")
    rank: Count = setting(16, "Rank of the LoRA factors (Hu et al. 2022).", "ours")
    first_layer: int = setting(0, "First decoder layer with LoRA factors.", "ours", ge=0)
    last_layer: int = setting(19, "Last one; the layers above, which read the context, are kept.", "ours", ge=0)
    checkpoint: Count = setting(100, "Optimiser steps between checkpoints.", "ours")


class Config(Section):
    """A complete run."""

    seed: int = setting(0, "Seed of drawings, splits, and the training of what edits read.", "ours", ge=0)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = setting(
        (0,),
        "Seeds of the edits (new neurons, editors to train, order in cross-task sessions); tables average over them.",
        "ours",
        min_length=1,
    )
    threads: Count = setting(1, "Torch threads per job; --cores runs several jobs at once.", "ours")
    benchmark: BenchmarkConfig = BenchmarkConfig()
    pretrain: PretrainConfig = PretrainConfig()
    smol: SmolConfig = SmolConfig()
    backbones: dict[str, BackboneConfig] = entries(BACKBONES, "Backbones by name.", min_length=1)
    knowledge: KnowledgeConfig = KnowledgeConfig()
    methods: dict[str, dict[str, Any]] = Field(
        default_factory=default_methods,
        min_length=1,
        description="Method variants by name: a method with its settings, or `like: <variant>` and what differs; "
        "`by_backbone` says what differs on a backbone.",
        json_schema_extra=About(entry=Entry(values=default_entries())),
    )
    evaluation: EvaluationConfig = EvaluationConfig()
    positive_control: PositiveControlConfig = PositiveControlConfig()
    tables: Annotated[dict[str, TableConfig], Removable()] = entries(
        TABLES, "A table each, by name: its cells, or what it averages; null takes an entry away."
    )
    figures: FiguresConfig = FiguresConfig()
    retention: RetentionConfig = RetentionConfig()
    judge: JudgeConfig = JudgeConfig()
    tuning: TuningConfig = TuningConfig()
    statistics: StatisticsConfig = StatisticsConfig()

    def first_table(self, several: bool) -> str | None:
        """Return the first table of one-step editing alone, or of sessions of several edits alone; None: no such."""
        ks = {name: [k for _, k in table.settings] for name, table in self.tables.items()}
        return next((name for name, found in ks.items() if found and all((k > 1) == several for k in found)), None)

    @property
    def shown(self) -> dict[str, tuple[str, ...]]:
        """The backbones of each table and figure, by the section that names them."""
        sweeps = self.figures.sweeps.items()
        return {
            **{f"tables.{name}": table.backbones for name, table in self.tables.items()},
            "figures": self.figures.backbones,
            **{f"figures.sweeps.{name}": sweep.backbones for name, sweep in sweeps if sweep.backbones is not None},
        }

    @model_validator(mode="before")
    @classmethod
    def _sections_have_moved(cls, values: Any) -> Any:
        raise_problems(moved(dict(values)).values())
        return values

    @field_validator("tables")
    @classmethod
    def _tables_can_be_made(cls, tables: dict[str, TableConfig], info: ValidationInfo) -> dict[str, TableConfig]:
        return made_tables(tables, info.data["benchmark"].tasks if "benchmark" in info.data else TASKS)

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("expected every seed once")
        return seeds

    @model_validator(mode="after")
    def _fits_together(self, info: ValidationInfo) -> "Config":
        """Check across sections, unless the context says that this comes later."""
        if not info.context:
            raise_problems(cross_problems(self))
        return self


def load_config(values: dict[str, Any], source: str = "config.yaml", files: bool = False) -> Config:
    """Validate a configuration: the default run with these values over it, as Snakemake lays one file over another.

    Args:
        values: what differs from the default run.
        source: where they come from.
        files: look for the files and folders that they name, too.

    Raises:
        InputError: names the source, the field and what was expected, for every problem found.
    """
    default, gone = default_values(), moved(values)
    values = laid_over(default, values)
    for *path, last in gone:
        (values[path[0]] if path else values).pop(last)
    config, found, gaps = checked(lambda each: Config.model_validate(each, context={"alone": True}), values, default)
    problems = [*gone.values(), *found]
    if config is not None:
        later = [*cross_problems(config), *(path_problems(config) if files else ())]
        problems += apart_from_gaps(dict.fromkeys(later), gaps)
    if config is None or problems:
        raise InputError(f"{source}: {problem_list(problems)}")
    return config


def default_values() -> dict[str, Any]:
    """Return the default run as YAML has it."""
    return Config().model_dump(mode="json")


def laid_over(base: Any, values: Any) -> Any:
    """Lay values over others: mappings are merged, everything else is replaced."""
    if not isinstance(base, dict) or not isinstance(values, dict):
        return values
    return base | {name: laid_over(base.get(name), value) for name, value in values.items()}
