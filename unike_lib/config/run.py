"""The configuration: one frozen model of everything a run may vary, with bounds, units and the source of each default.

The defaults are the default run: `Config()` is what config.yaml says, and `load_config` lays a user's values over it.
"""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from unike_lib.config.backbones import BACKBONES, BackboneConfig
from unike_lib.config.base import About, Count, Entry, Fraction, Positive, Removable, Section, entries, setting
from unike_lib.config.benchmark import BenchmarkConfig
from unike_lib.config.evaluation import EvaluationConfig, PositiveControlConfig, StatisticsConfig, TuningConfig
from unike_lib.config.figures import FiguresConfig
from unike_lib.config.judge import JudgeConfig
from unike_lib.config.knowledge import KnowledgeConfig
from unike_lib.config.retention import RetentionConfig
from unike_lib.config.tables import TABLES, TableConfig, made_tables
from unike_lib.method import default_entries, default_methods, method_of, resolve_method
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
    shipped: bool = setting(True, "Use the library's weights where benchmark and settings are theirs.", "ours")


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
        if "admission" in dict(values):
            raise ValueError("admission: this section has a new name: write positive_control: {...}")
        benchmark = dict(values).get("benchmark")
        if isinstance(benchmark, dict) and "hops" in benchmark:
            raise ValueError("benchmark.hops: this setting is gone, leave it out: all hops are asked in one run")
        for name in TABLES.values.keys() & dict(values):
            raise ValueError(f"{name}: tables are entries of `tables`: write tables: {{{name}: ...}}")
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
    def _names_exist(self) -> "Config":
        for place, names in self.shown.items():
            _require(f"{place}.backbones: unknown backbone", names, self.backbones)
        for name, table in self.tables.items():
            _require(f"tables.{name}.methods: unknown method", table.methods, self.methods)
        _require("tuning.grids: unknown method", self.tuning.grids, self.methods)
        _require("retention.backbones: unknown backbone", self.retention.backbones or (), self.backbones)
        _require("retention.methods: unknown method", self.retention.methods or (), self.methods)
        _require("figures.fig2a: unknown method", self.figures.fig2a, self.methods)
        for name, sweep in self.figures.sweeps.items():
            _require(f"figures.sweeps.{name}.vary: unknown method", sweep.vary, self.methods)
        return self

    @model_validator(mode="after")
    def _tasks_exist(self) -> "Config":
        asked = {f"tables.{name}": table.single_tasks for name, table in self.tables.items()}
        asked["figures"] = self.figures.tasks
        for name, sweep in self.figures.sweeps.items():
            asked[f"figures.sweeps.{name}"] = sweep.tasks or ()
        for place, tasks in asked.items():
            _require(f"{place}.tasks: benchmark.files has no task", tasks, self.benchmark.tasks)
        return self

    @model_validator(mode="after")
    def _positive_control_tests_unike(self) -> "Config":
        name = self.positive_control.method
        _require("positive_control.method: unknown method", [name], self.methods)
        if resolve_method(self.methods, name).method != "unike":
            raise ValueError(f"positive_control.method: expected a variant of unike, not {name!r}")
        return self

    @model_validator(mode="after")
    def _judge_has_answers(self) -> "Config":
        written = self.evaluation.generate and "normalised" in self.evaluation.criteria
        if self.judge.folder is not None and not written:
            raise ValueError("judge.folder: expected null, or evaluation.generate and the criterion normalised")
        return self

    @model_validator(mode="after")
    def _backbones_fit_the_benchmark(self) -> "Config":
        made = [name for name, backbone in self.backbones.items() if backbone.made_here]
        asked = {place: [name for name in names if name in made] for place, names in self.shown.items()}
        asked = {place: names for place, names in asked.items() if names}
        if not self.benchmark.embedded and asked:
            first = next(iter(asked.values()))[0]
            places = ", ".join(f"{place} ({', '.join(names)})" for place, names in asked.items())
            raise ValueError(
                f"backbones.{first}.folder: expected a folder or hub id, because backbones trained here know the "
                f"embedded benchmark only, benchmark.annotations names another, and such backbones are in {places}"
            )
        return self

    @model_validator(mode="after")
    def _methods_resolve(self) -> "Config":
        for name, entry in self.methods.items():
            for backbone in (None, *self.backbones):
                resolve_method(self.methods, name, backbone)
            _require(f"methods.{name}.by_backbone: unknown backbone", entry.get("by_backbone", {}), self.backbones)
        for place, vary in {f"figures.sweeps.{name}.vary": s.vary for name, s in self.figures.sweeps.items()}.items():
            for name, grid in vary.items():
                method = method_of(self.methods, name)
                if method.train is not None:
                    problem = f"{place}.{name}: a sweep does not train editors anew (tuning.grids does); field"
                    _require(problem, grid, method.editing_alone)
        grids = [self.tuning.grids, *(sweep.vary for sweep in self.figures.sweeps.values())]
        for name, grid in (each for entry in grids for each in entry.items()):
            for field, values in grid.items():
                for value in values:
                    resolve_method(self.methods, name, overrides={field: value})
        return self


def _require(problem: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in set(known):
            raise ValueError(f"{problem} {name!r}; known: {sorted(known)}")


def load_config(values: dict[str, Any], source: str = "config.yaml") -> Config:
    """Validate a configuration: the default run with these values over it, as Snakemake lays one file over another.

    Raises:
        InputError: names the source, the field and what was expected, for every problem found.
    """
    try:
        return Config.model_validate(laid_over(default_values(), values))
    except ValidationError as error:
        problems = [_problem(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()]
        raise InputError(f"{source}: " + "; ".join(problems)) from None


def default_values() -> dict[str, Any]:
    """Return the default run as YAML has it."""
    return Config().model_dump(mode="json")


def laid_over(base: Any, values: Any) -> Any:
    """Lay values over others: mappings are merged, everything else is replaced."""
    if not isinstance(base, dict) or not isinstance(values, dict):
        return values
    return base | {name: laid_over(base.get(name), value) for name, value in values.items()}


def _problem(place: str, message: str) -> str:
    """Return "field: what is wrong" in one line; checks across fields name their field themselves."""
    problem = f"{place}: {message}" if place else message.removeprefix("Value error, ")
    return " ".join(problem.splitlines())
