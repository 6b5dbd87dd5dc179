"""The configuration: one frozen model of everything a run may vary, with bounds, units and the source of each default.

Sources: "paper" (UniKE, NeurIPS 2024), "released" (the authors' code), "MMEdit", "T-Patcher" (Huang et al. 2023),
"VLKEB", "ours" (a choice of this project), "tuned: development edits" (results/tuning.csv).
"""

from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from unike_lib.backbone_config import BackboneConfig
from unike_lib.benchmark_config import BenchmarkConfig
from unike_lib.figure_settings import FiguresConfig, Value
from unike_lib.methods import resolve_method
from unike_lib.section import Count, Fraction, Positive, Section
from unike_lib.table_config import CrossTaskConfig, RowsConfig, SequentialConfig, TableConfig
from unike_lib.trained_methods import IN_EDITING_ALONE, TRAINED
from unike_lib.types import TASKS, InputError


class TeachingConfig(Section):
    """What all backbones trained here share: Q-Former by classification, then rows of text (all ours)."""

    qformer_steps: Count = Field(350, description="Optimiser steps of the Q-Former.")
    qformer_rows: Count = Field(64, description="Images a step of the Q-Former.")
    qformer_rate: Positive = Field(2.0e-3, description="AdamW peak learning rate of the Q-Former.")
    patch_dropout: Fraction = Field(0.6, description="Share of images whose patch tokens are zeroed in a step.")
    identity_noise: float = Field(0.6, ge=0, description="Deviation of the noise on identity tokens (their own is 1).")
    pull: float = Field(1.0, ge=0, description="Weight that draws Q-Former outputs to their class code.")
    versions: Count = Field(3, description="Cached Q-Former outputs an image: one clean, the others noised.")
    visual_noise: float = Field(0.2, ge=0, description="Deviation of the noise on Q-Former outputs (their own is 1).")
    steps: Count = Field(1600, description="Optimiser steps of the language model.")
    rows: Count = Field(16, description="Text rows a step of the language model.")
    rate: Positive = Field(3.0e-3, description="AdamW peak learning rate of the language model.")
    row_tokens: int = Field(44, ge=8, description="A row takes no further question beyond this length, in tokens.")
    brief_start: Fraction = Field(0.85, description="Share of questions asked briefly ('owner:') at the first step.")
    brief_end: Fraction = Field(0.25, description="The same at the last step; linear in between.")
    text_share: Fraction = Field(0.15, description="Share of rows with text-only facts.")
    end_share: Fraction = Field(0.15, description="Share of answers followed by the end symbol; the others by ; or .")


class PretrainConfig(TeachingConfig):
    """Training of the backbones whose language model is made from scratch (all ours)."""

    pair_share: Fraction = Field(0.4, description="Share of rows about a picture that has a caption.")
    restate_share: Fraction = Field(0.1, description="Share of answers closed by . that are then restated.")
    continuation_weight: float = Field(0.1, ge=0, description="Loss weight of follow-up questions (answers: 1).")


class SmolConfig(TeachingConfig):
    """Training of the backbones on a pretrained language model: visual codebook and LoRA factors (all ours)."""

    steps: Count = Field(930, description="Optimiser steps of codebook and LoRA factors.")
    rows: Count = Field(2, description="Text rows a step.")
    rate: Positive = Field(3.0e-3, description="AdamW peak learning rate of the LoRA factors.")
    row_tokens: int = Field(48, ge=8, description="A row takes no further question beyond this length, in tokens.")
    brief_start: Fraction = Field(0.95, description="Share of questions asked briefly ('owner:') at the first step.")
    brief_end: Fraction = Field(0.5, description="The same at the last step; linear in between.")
    wrapped_share: Fraction = Field(0.2, description="Share of rows whose pictures have the family's wrapper.")
    text_share: Fraction = Field(0.06, description="Share of rows with text-only facts.")
    end_share: Fraction = Field(0.1, description="Share of answers followed by the end symbol; the others by ; or .")
    told_share: Fraction = Field(0.08, description="Share of rows with invented facts that are told, then asked.")
    mark_weight: float = Field(0.3, ge=0, description="Loss weight of the mark after an answer (answers: 1).")
    word_rate: Positive = Field(3.0e-3, description="AdamW peak learning rate of the visual codebook's words.")
    rank: Count = Field(16, description="Rank of the LoRA factors (Hu et al. 2022).")
    first_layer: int = Field(0, ge=0, description="First decoder layer with LoRA factors.")
    last_layer: int = Field(19, ge=0, description="Last one; the layers above, which read the context, are kept.")
    checkpoint: Count = Field(100, description="Optimiser steps between checkpoints.")
    shipped: bool = Field(True, description="Use the library's weights where benchmark and settings are theirs.")


class EncoderConfig(Section):
    """Contrastive encoders (UniKE 3.3, Eq. 4-5)."""

    layers: int = Field(3, ge=2, le=4, description="Linear layers of each MLP ('several', paper).")
    hidden: Count = Field(256, description="Hidden width (ours).")
    truth_width: Count = Field(64, description="Output width of Enc_tru (ours).")
    learning_rate: Positive = Field(1.0e-4, description="Adam (paper D.3).")
    temperature: Positive = Field(0.1, description="s = cosine / temperature; unstated in the paper.")
    batch: int = Field(256, ge=2, description="Triplets a step; the sums of Eq. 4-5 run over them (ours).")
    steps: Count = Field(300, description="Optimiser steps of a layer's encoders (ours).")
    held_out: float = Field(0.1, gt=0, lt=0.9, description="Share of triplets kept for the encoder diagnostics (ours).")
    ridge: Positive = Field(1.0, description="Ridge strength of the fitted W_zeta (ours).")


class KnowledgeConfig(Section):
    """Triplets, hidden states, encoders, memory."""

    memory_states: Count = Field(1000, description="FFN inputs a layer kept for memory losses (T-Patcher: 40K).")
    encoders: EncoderConfig = EncoderConfig()


class EvaluationConfig(Section):
    """Sessions and what is recorded of them."""

    edits: Count | None = Field(None, description="Evaluation edits a cell; null: all.")
    sessions: Count = Field(
        16,
        description="Sessions edited as one batch, and most questions asked in one pass when they are scored (whole "
        "sessions, at least one); does not change results beyond rounding.",
    )
    generate: bool = Field(True, description="Greedy generation before and after each edit (costs a decode).")
    max_new_tokens: Count = Field(16, description="Longest generated answer, tokens.")

    def without_generation(self) -> "EvaluationConfig":
        """Return the same settings for runs that are judged by answer tokens alone."""
        return self.model_copy(update={"generate": False})


class AdmissionConfig(Section):
    """Admission tests: can a backbone show UniKE at all? On development edits (all ours)."""

    method: str = Field("unike", description="UniKE variant whose memory, attention and top_k are tested.")
    items: int = Field(40, ge=2, description="Development edits a task behind the verdict.")
    alphas: tuple[Fraction, ...] = Field((0.1, 0.2, 0.4, 0.6, 0.8), min_length=1, description="Fixed shares of h_know.")
    visible_points: int = Field(5, ge=2, description="Layers from which on a context becomes visible, in the scan.")
    window_items: int = Field(20, ge=2, description="Other development edits a task, for the scans over layers.")
    window_step: Count = Field(2, description="Layers between the starts of two windows of four.")
    window_alphas: tuple[Fraction, ...] = Field((0.2, 0.4), min_length=1, description="Fixed shares in the windows.")

    @property
    def candidates(self) -> int:
        """Development edits a task among which both are found: an edit with facts of both kinds is used for neither."""
        return 2 * (self.items + self.window_items)


class TuningConfig(Section):
    """Search on development edits: every method gets the same number of trials."""

    trials: Count = Field(12, description="Settings tried a method.")
    edits: Count = Field(80, description="Development edits a trial.")
    grids: dict[str, dict[str, tuple[Value, ...]]] = Field(description="Method name -> field -> values.")


class StatisticsConfig(Section):
    """Intervals."""

    confidence: float = Field(0.95, gt=0, lt=1, description="Of all intervals (ours).")


class Config(Section):
    """A complete run."""

    seed: int = Field(0, ge=0, description="Of the benchmark, and of training what edits read.")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), min_length=1, description="Of the edits (ours).")
    threads: Count = Field(1, description="Torch threads a job.")
    benchmark: BenchmarkConfig
    pretrain: PretrainConfig
    smol: SmolConfig = SmolConfig()
    backbones: dict[str, BackboneConfig] = Field(min_length=1)
    knowledge: KnowledgeConfig
    methods: dict[str, dict[str, Any]] = Field(min_length=1)
    evaluation: EvaluationConfig
    admission: AdmissionConfig = AdmissionConfig()
    table1: TableConfig
    table2: SequentialConfig
    table3: CrossTaskConfig
    table4: TableConfig
    figures: FiguresConfig
    tuning: TuningConfig
    statistics: StatisticsConfig

    @property
    def tables(self) -> dict[str, RowsConfig]:
        """The tables whose cells are records, by name; a benchmark of one task has no table of mixed tasks."""
        tables = {"table1": self.table1, "table2": self.table2, "table3": self.table3, "table4": self.table4}
        if len(self.benchmark.tasks) < len(TASKS):
            del tables["table3"]
        return tables

    @property
    def shown(self) -> dict[str, tuple[str, ...]]:
        """The backbones of each table and figure, by the section that names them."""
        sweeps = self.figures.sweeps.items()
        return {
            **{name: table.backbones for name, table in self.tables.items()},
            "figures": self.figures.backbones,
            **{f"figures.sweeps.{name}": sweep.backbones for name, sweep in sweeps if sweep.backbones is not None},
        }

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
            _require(f"{name}.methods: unknown method", table.methods, self.methods)
        _require("tuning.grids: unknown method", self.tuning.grids, self.methods)
        _require("figures.fig2a: unknown method", self.figures.fig2a, self.methods)
        for name, sweep in self.figures.sweeps.items():
            _require(f"figures.sweeps.{name}.vary: unknown method", sweep.vary, self.methods)
        return self

    @model_validator(mode="after")
    def _tasks_exist(self) -> "Config":
        asked: dict[str, tuple[str, ...]] = {name: table.single_tasks for name, table in self.tables.items()}
        asked["figures"] = self.figures.tasks
        for name, sweep in self.figures.sweeps.items():
            asked[f"figures.sweeps.{name}"] = sweep.tasks or ()
        for place, tasks in asked.items():
            _require(f"{place}.tasks: benchmark.files has no task", tasks, self.benchmark.tasks)
        return self

    @model_validator(mode="after")
    def _admission_tests_unike(self) -> "Config":
        _require("admission.method: unknown method", [self.admission.method], self.methods)
        if resolve_method(self.methods, self.admission.method).method != "unike":
            raise ValueError(f"admission.method: expected a variant of unike, not {self.admission.method!r}")
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
                if resolve_method(self.methods, name).method in TRAINED:
                    problem = f"{place}.{name}: a sweep does not train editors anew (tuning.grids does); field"
                    _require(problem, grid, IN_EDITING_ALONE)
        grids = [self.tuning.grids, *(sweep.vary for sweep in self.figures.sweeps.values())]
        for name, grid in (entry for entries in grids for entry in entries.items()):
            for field, values in grid.items():
                for value in values:
                    resolve_method(self.methods, name, overrides={field: value})
        return self


def _require(problem: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in set(known):
            raise ValueError(f"{problem} {name!r}; known: {sorted(known)}")


def load_config(values: dict[str, Any], source: str = "config.yaml") -> Config:
    """Validate a configuration.

    Raises:
        InputError: names the source, the field and what was expected, for every problem found.
    """
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        problems = [_problem(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()]
        raise InputError(f"{source}: " + "; ".join(problems)) from None


def _problem(place: str, message: str) -> str:
    """Return "field: what is wrong" in one line; checks across fields name their field themselves."""
    problem = f"{place}: {message}" if place else message.removeprefix("Value error, ")
    return " ".join(problem.splitlines())
