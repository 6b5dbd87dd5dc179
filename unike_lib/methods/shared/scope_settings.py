"""Settings of methods that may stand behind a semantic scope: each edit acts on questions near to its own alone."""

from typing import Any, Literal

from pydantic import model_validator

from unike_lib.config.base import MethodSection, Original, setting

_SCOPED = ("scope",)


def scope_setting(default: str) -> Any:
    """Return whether a method stands behind the scope, as a setting."""
    return setting(
        default,
        "On which questions an edit acts: none: on all; semantic: on those near to its own.",
        "ours",
        original=Original("the originals", "none", equation=True),
    )


class ScopeSettings(MethodSection):
    """A method whose edits may act on questions near to their own alone.

    Reading: near is what the UNEDITED model takes for the same: the cosine of its states at the last prompt token.
    """

    scope: Literal["none", "semantic"] = scope_setting("none")
    semantic_state: Literal["late", "paper", "trained"] = setting(
        "late",
        "late: the state at semantic_layer; paper: h_sem of each edited layer; trained: a map of the first of them.",
        "ours",
    )
    semantic_layer: int | None = setting(
        None, "Layer of the late state; null: the one chosen on development edits (results/scope.csv).", "ours", ge=0
    )
    rivals: Literal["none", "pool"] = setting(
        "pool", "pool: a question that is nearer to one of the pool's questions means no edit.", "ours"
    )
    text_rival: bool = setting(
        True, "A question that is nearer to an edit's own question without its picture means no edit.", "ours"
    )
    gate: Literal["per_edit", "any"] = setting(
        "per_edit", "per_edit: the edit that is meant opens its own part; any: it opens those of all edits.", "ours"
    )

    @model_validator(mode="after")
    def _layer_is_of_the_late_state(self) -> "ScopeSettings":
        if self.semantic_layer is not None and self.semantic_state != "late":
            raise ValueError(f"semantic_layer: {self.semantic_layer} needs semantic_state: late")
        return self


def with_scope(settings: ScopeSettings, needs: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return what edits read besides the backbone, what the scope reads included."""
    return (*needs, "scope") if settings.scope == "semantic" else needs
