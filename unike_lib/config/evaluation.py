"""A part of the configuration: what is recorded of edits, the positive control, the search of settings, intervals."""

from typing import Annotated

from pydantic import field_validator

from unike_lib.config.base import Count, Fraction, Once, Section, setting
from unike_lib.config.figures import Value
from unike_lib.criterion import CRITERIA, find_criteria
from unike_lib.method import default_grids
from unike_lib.records import record_schema
from unike_lib.registry import EntryName


class EvaluationConfig(Section):
    """Sessions and what is recorded of them."""

    edits: Count | None = setting(None, "Evaluation edits per cell; null: all.", "ours")
    sessions: Count = setting(
        40, "Sessions edited side by side, and most questions per pass when scored; speed only (rounding).", "ours"
    )
    generate: bool = setting(True, "Also score greedy answers, before and after each edit.", "ours")
    tiers: bool = setting(
        True, "Also ask the tiers of locality that a search in the data finds; needs generate.", "ours"
    )
    criteria: tuple[Annotated[str, EntryName(*CRITERIA)], ...] = setting(
        ("token", "mmedit", "exact", "generated", "normalised"),
        "Criteria by which answers are scored: names, or path/to/file.py:CRITERION; token and mmedit are needed.",
        "ours",
    )
    max_new_tokens: Count = setting(
        32, "Longest generated answer, tokens.", "ours", "captions take up to 24 of SmolLM2's"
    )

    @field_validator("criteria")
    @classmethod
    def _needed(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Tables, figures, claims and the search of settings go by `token` and `mmedit`."""
        criteria = find_criteria(names)
        found = [each.name for each in criteria]
        if found[:1] != ["token"] or "mmedit" not in found or len({*found}) < len(found):
            raise ValueError(f"expected token first, mmedit, and each criterion once; found {', '.join(found)}")
        columns = record_schema(criteria).names
        files = ("differences", "markdown", "edits", "cost", "protocol")
        for name in found:
            if columns.count(name) > 1 or name in files:
                raise ValueError(f"criterion {name!r}: the name is taken by a column of records or a file of tables")
        return names

    def without_generation(self) -> "EvaluationConfig":
        """Return the same settings for runs that are judged by answer tokens alone."""
        return self.model_copy(update={"generate": False})


class PositiveControlConfig(Section):
    """Positive control: can a backbone show UniKE at all? On development edits."""

    method: str = setting("unike", "UniKE variant whose memory, attention and top_k are tested.", "ours")
    items: int = setting(20, "Development edits per task behind the verdict.", "ours", "presets/full.yaml: 40", ge=2)
    alphas: Annotated[tuple[Fraction, ...], Once] = setting(
        (0.1, 0.2, 0.4, 0.6, 0.8), "Fixed shares of h_know.", "ours", min_length=1
    )
    visible_points: int = setting(5, "Layers from which on a context becomes visible, in the scan.", "ours", ge=2)
    window_items: int = setting(
        20, "Other development edits per task, in the scans over layers; no fact, no picture is in both.", "ours", ge=2
    )
    window_step: Count = setting(2, "Layers between the starts of two windows of four.", "ours")
    window_alphas: Annotated[tuple[Fraction, ...], Once] = setting(
        (0.2, 0.4), "Fixed shares of h_know in the windows.", "ours", min_length=1
    )

    @property
    def candidates(self) -> int:
        """Development edits per task among which both are found; an edit with facts of both kinds is for neither."""
        return 2 * (self.items + self.window_items)


class TuningConfig(Section):
    """Search on development edits: every method gets the same number of trials."""

    trials: Count = setting(12, "Settings tried per method.", "ours")
    edits: Count = setting(
        40, "Development edits per task and trial; they stop the training of MEND, KE and SERAC too.", "ours"
    )
    grids: dict[str, dict[str, Annotated[tuple[Value, ...], Once]]] = setting(
        default_grids(),
        "Values tried per method and field; where editors are trained, one per value of the first field.",
        "ours",
    )


class StatisticsConfig(Section):
    """Intervals."""

    confidence: float = setting(0.95, "Confidence of all intervals.", "ours", gt=0, lt=1)
