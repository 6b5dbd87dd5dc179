"""Sections of the configuration about the figures: sweeps of one field at a time, spaces, qualitative examples."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from unike_lib.section import Count, Positive, Section
from unike_lib.types import Task

Value = float | int | bool | str | None
Point = dict[str, Value]
# Names that other figures of results/figures/ have.
TAKEN = {"fig2a", "fig5a", "forgetting", "qualitative", "contact_sheet", "encoder_losses"}


def _present(entries: Any) -> Any:
    """Drop entries that are null: an overlay, which is merged, takes an entry away so."""
    if not isinstance(entries, Mapping):
        return entries
    return {name: entry for name, entry in entries.items() if entry is not None}


Grid = Annotated[dict[str, Annotated[tuple[Value, ...], Field(min_length=1)]], BeforeValidator(_present)]


class SweepConfig(Section):
    """Some methods, of which one field at a time takes other values while all else stays."""

    shape: Literal["path", "lines", "dots", "differences"] = Field(
        description="path: generality over locality; lines: scores over a number; dots: scores of named values; "
        "differences: from the method as it is, edit by edit."
    )
    vary: Annotated[dict[str, Grid], BeforeValidator(_present), Field(min_length=1)] = Field(
        description="Method -> field -> values; null takes an entry away."
    )
    backbones: tuple[str, ...] | None = Field(None, description="Null: those of all figures.")
    tasks: tuple[Task, ...] | None = Field(None, description="Null: those of all figures.")
    edits: Count | None = Field(None, description="Evaluation edits a point; null: as in all figures.")

    def points(self, method: str) -> list[Point]:
        """Return what each point of a method changes, in order; where differences are drawn, nothing comes first."""
        unchanged: list[Point] = [{}] if self.shape == "differences" else []
        return unchanged + [{field: value} for field, values in self.vary[method].items() for value in values]


class SpacesConfig(Section):
    """Fig. 5a: t-SNE of held-out states in both encoder spaces (settings ours; the paper names none)."""

    triplets: int = Field(250, ge=2, description="Most held-out triplets drawn.")
    perplexity: Positive = Field(30.0, description="Of t-SNE (van der Maaten and Hinton 2008: 5 to 50).")


class FiguresConfig(Section):
    """What the figures and pages show, and of which backbones."""

    backbones: tuple[str, ...] = Field(min_length=1)
    tasks: tuple[Task, ...] = Field(("vqa", "caption"), min_length=1)
    edits: Count | None = Field(None, description="Evaluation edits a point of a sweep; null: all.")
    fig2a: tuple[str, ...] = Field(min_length=1, description="Methods, as they are.")
    sweeps: Annotated[dict[str, SweepConfig], BeforeValidator(_present)] = Field(
        description="Figure name -> what is varied; null takes an entry away."
    )
    fig5a: SpacesConfig = SpacesConfig()
    qualitative: Count = Field(3, description="Edits shown a backbone and task of Table 1.")

    @field_validator("sweeps")
    @classmethod
    def _names_are_files(cls, sweeps: dict[str, SweepConfig]) -> dict[str, SweepConfig]:
        for name in sweeps:
            if name in TAKEN or not re.fullmatch(r"[a-z0-9][a-z0-9_-]*(?<!_mmedit)", name):
                rule = f"small letters, digits, - and _; no _mmedit at the end; not {sorted(TAKEN)}"
                raise ValueError(f"{name!r} cannot name a figure: {rule}")
        return sweeps

    def sweep(self, name: str) -> SweepConfig:
        """Return a sweep with what it leaves to all figures filled in."""
        sweep = self.sweeps[name]
        shared = {"backbones": self.backbones, "tasks": self.tasks, "edits": self.edits}
        return sweep.model_copy(
            update={field: value for field, value in shared.items() if getattr(sweep, field) is None}
        )
