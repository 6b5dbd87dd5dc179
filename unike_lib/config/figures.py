"""Sections of the configuration about the figures: sweeps of one field at a time, spaces, qualitative examples."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from unike_lib.config.base import Count, Entry, Given, Once, Positive, Removable, Section, entries, given, setting
from unike_lib.config.problems import raise_problems
from unike_lib.types import TASKS, Task

Value = float | int | bool | str | None
Point = dict[str, Value]
# Names that other figures of results/figures/ have.
TAKEN = {
    "fig2a",
    "fig5a",
    "forgetting",
    "qualitative",
    "contact_sheet",
    "encoder_losses",
    "retention",
    "joint",
    "scope",
}
Grid = Annotated[dict[str, Annotated[tuple[Value, ...], Field(min_length=1), Once]], Removable()]


class SweepConfig(Section):
    """Some methods, of which one field at a time takes other values while all else stays."""

    shape: Literal["path", "lines", "dots", "differences"] = setting(
        ...,
        "path: generality over locality; lines: scores over a number (a word becomes a level line); dots: scores of "
        "words; differences: from the method as it is, edit by edit.",
    )
    vary: Annotated[dict[str, Grid], Removable(), Field(min_length=1)] = setting(
        ..., "Method, field, values; null takes an entry away."
    )
    backbones: Annotated[tuple[str, ...] | None, Once] = setting(None, "Null: those of all figures.", "ours")
    tasks: Annotated[tuple[Task, ...] | None, Once] = setting(None, "Null: those of all figures.", "ours")
    edits: Count | None = setting(None, "Evaluation edits per point; null: as in all figures.", "ours")

    def points(self, method: str) -> list[Point]:
        """Return what each point of a method changes, in order; where differences are drawn, nothing comes first."""
        unchanged: list[Point] = [{}] if self.shape == "differences" else []
        return unchanged + [{field: value} for field, values in self.vary[method].items() for value in values]


def _sweep(sentence: str, shape: str, vary: Any, source: str, note: str = "", **more: Any) -> Entry:
    values = given(source, note, shape=shape, **more)
    return Entry(sentence, values | {"vary": vary if isinstance(vary, Entry) else Given(vary, source, note)})


_WEIGHTS = {"memory_weight": [0.0, 0.01, 0.1, 1.0, 10.0]}
_FRONTIER = {
    "fine-tune": {"learning_rate": [5.0e-5, 2.0e-4, 5.0e-4, 2.0e-3, 5.0e-3]},
    "t-patcher": _WEIGHTS,
    "unike": _WEIGHTS,
}
_SHARES = Entry(
    values=given("paper", "Fig. 4b", unike={"alpha": [0.0, 0.2, 0.4, 0.6, 0.8, "dynamic"]})
    | {"unike-unscaled": Given({"alpha": ["dynamic"]}, "ours", "Eq. 7 unscaled, as a second level line")}
)
_ZETAS = {"unike": {"zeta": ["off", "random", "semantic", "truthfulness"]}}
_READINGS = {
    **{"alpha_convention": ["printed"], "alpha_operands": ["attention_outputs"], "attention": ["raw"]},
    **{"rotate_memory": [True], "h_pos": ["answer_mean"], "zeta_map": ["per_edit"], "memory_keys": ["encoded"]},
    **{"retrieval_temperature": [0.1], "key_init": ["random"], "activation_weight": [0.0], "memory_weight": [0.0]},
}
_TOP_KS = {"intrin-latent-ike": {"top_k": [8, 16, 24, 32, 40]}}
# The default run's. One entry more draws the paper's line of in-context examples in Fig. 4a: vary: {intrin-ike:
# {demonstrations: [8, 16, 24, 32, 40]}}.
SWEEPS = Entry(
    values={
        "frontier": _sweep(
            "What each method's main knob trades (presets/full.yaml has the other methods).",
            *("path", _FRONTIER, "ours"),
            backbones=["blip2-nano", "minigpt4-smol"],
        ),
        "fig4a": _sweep("Number of retrieved states.", "lines", _TOP_KS, "paper", "Fig. 4a"),
        "fig4b": _sweep("Fixed shares of h_know against Eq. 7.", "lines", _SHARES, "paper", "Fig. 4b"),
        "fig4c": _sweep("Directions added to the new values.", "dots", _ZETAS, "paper", "Fig. 4c"),
        "readings": _sweep(
            "Other readings of what the paper leaves open, and two losses switched off.",
            *("differences", {"unike": _READINGS}, "ours"),
        ),
    }
)


class SpacesConfig(Section):
    """Fig. 5a: t-SNE of held-out states in both encoder spaces, last edited layer."""

    triplets: int = setting(250, "Most held-out triplets drawn.", "ours", ge=2)
    perplexity: Positive = setting(
        30.0, "Of t-SNE (van der Maaten and Hinton 2008: 5 to 50).", "ours", "the paper names none"
    )


class FiguresConfig(Section):
    """What the figures and pages show, and of which backbones."""

    backbones: Annotated[tuple[str, ...], Once] = setting(
        ("minigpt4-smol",),
        "Backbones, a row of panels each.",
        "ours",
        "it passes the positive control on VQA, those trained from scratch do not",
        min_length=1,
    )
    tasks: Annotated[tuple[Task, ...], Once] = setting(TASKS, "Tasks, a panel each.", "paper", min_length=1)
    edits: Count | None = setting(20, "Evaluation edits per point of a sweep; null: all.", "ours")
    fig2a: Annotated[tuple[str, ...], Once] = setting(
        ("t-patcher", "ike", "intrin-ike", "unike"),
        "Methods as they are, generality against locality.",
        "paper",
        "Fig. 2a",
        min_length=1,
    )
    sweeps: Annotated[dict[str, SweepConfig], Removable()] = entries(
        SWEEPS, "A figure each, by name: what is varied; null takes an entry away."
    )
    fig5a: SpacesConfig = SpacesConfig()
    qualitative: Count = setting(3, "Edits shown per backbone and task of Table 1.", "ours")

    @field_validator("sweeps")
    @classmethod
    def _names_are_files(cls, sweeps: dict[str, SweepConfig]) -> dict[str, SweepConfig]:
        rule = f"small letters, digits, - and _; no _mmedit at the end; not {sorted(TAKEN)}"
        raise_problems(
            f"{name!r} cannot name a figure: {rule}"
            for name in sweeps
            if name in TAKEN or not re.fullmatch(r"[a-z0-9][a-z0-9_-]*(?<!_mmedit)", name)
        )
        return sweeps

    def sweep(self, name: str) -> SweepConfig:
        """Return a sweep with what it leaves to all figures filled in."""
        sweep = self.sweeps[name]
        shared = {"backbones": self.backbones, "tasks": self.tasks, "edits": self.edits}
        return sweep.model_copy(
            update={field: value for field, value in shared.items() if getattr(sweep, field) is None}
        )
