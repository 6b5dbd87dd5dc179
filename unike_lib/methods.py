"""Settings of the editing methods with their variants in the default run; how a variant's name becomes settings."""

from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError

from unike_lib.neuron_methods import IkeMethod, TPatcherMethod, UnikeMethod
from unike_lib.section import Count, Entry, MethodSection, Original, Positive, given, setting
from unike_lib.trained_methods import KeMethod, MendMethod, SeracMethod


class BaseMethod(MethodSection):
    """No edit: the unedited backbone."""

    method: Literal["base"]
    entries: ClassVar = {"base": Entry("The unedited backbone.")}


class FineTuneMethod(MethodSection):
    """FT: the last layer's FFN matrices, AdamW, edit loss only."""

    method: Literal["fine-tune"]
    steps: Count = setting(90, "Optimiser steps per edit.", "tuned", original=Original("VLKEB", 15))
    learning_rate: Positive = setting(
        1.5e-3, "AdamW learning rate.", "tuned", original=Original("VLKEB", 1.0e-4, last=2.0e-4)
    )
    weight_decay: float = setting(0.0, "AdamW decay of the weight change.", "ours", ge=0)
    entries: ClassVar = {
        "fine-tune": Entry(
            "The last layer's FFN matrices, AdamW.",
            given("tuned", by_backbone={"minigpt4-smol": {"steps": 60, "learning_rate": 2.0e-4}}),
        )
    }
    search: ClassVar = {"learning_rate": [2.0e-4, 5.0e-4, 2.0e-3, 3.0e-3], "steps": [15, 30, 60]}


MethodSettings = (
    BaseMethod | FineTuneMethod | TPatcherMethod | UnikeMethod | MendMethod | KeMethod | IkeMethod | SeracMethod
)
Method = Annotated[MethodSettings, Field(discriminator="method")]
METHOD: TypeAdapter[Method] = TypeAdapter(Method)
# The methods' settings by the method's name.
KINDS: dict[str, type[MethodSettings]] = {
    get_args(kind.model_fields["method"].annotation)[0]: kind for kind in get_args(MethodSettings)
}
# The variants of the default run, and the values that the search tries.
VARIANTS = Entry(values={name: entry for kind in KINDS.values() for name, entry in kind.entries.items()})
GRIDS = {
    method: {field: tuple(values) for field, values in kind.search.items()}
    for method, kind in KINDS.items()
    if kind.search
}


def default_methods() -> dict[str, dict[str, Any]]:
    """Return the entries of the default run: methods with all of their settings, and variants of them."""
    found = {}
    for method, kind in KINDS.items():
        fields = {name: field.default for name, field in kind.model_fields.items() if name != "method"}
        for name, entry in kind.entries.items():
            found[name] = entry.plain if "like" in entry.values else {"method": method, **fields, **entry.plain}
    return found


def kind_of(methods: dict[str, Any], entry: dict[str, Any]) -> type[MethodSettings]:
    """Return the class of an entry's settings, its own or that of the entry which it is like."""
    return KINDS[entry["method"] if "method" in entry else methods[entry["like"]]["method"]]


def resolve_method(
    methods: dict[str, dict[str, Any]], name: str, backbone: str | None = None, overrides: dict[str, Any] | None = None
) -> MethodSettings:
    """Return the settings of a method variant.

    An entry may name another by `like` and say what differs; `by_backbone: {<backbone>: {...}}` says what differs on a
    backbone.

    Args:
        methods: the entries by name.
        name: the variant.
        backbone: whose differences apply; None: no backbone's.
        overrides: fields that come last.

    Raises:
        ValueError: unknown name, unknown field, or a value out of bounds; the message names the variant.
    """
    if name not in methods:
        raise ValueError(f"methods: unknown method {name!r}; known: {sorted(methods)}")
    settings = dict(methods[name])
    parent = settings.pop("like", None)
    settings = _on_backbone(name, settings, backbone)
    if parent is not None:
        if not isinstance(parent, str) or parent == name or parent not in methods or "like" in methods[parent]:
            raise ValueError(f"methods.{name}: like: {parent!r} must be an entry without 'like'")
        settings = {**_on_backbone(parent, methods[parent], backbone), **settings}
    try:
        return METHOD.validate_python({**settings, **(overrides or {})})
    except ValidationError as error:
        raise ValueError(f"methods.{name}: {_first_problem(error)}") from None


def _on_backbone(name: str, entry: dict[str, Any], backbone: str | None) -> dict[str, Any]:
    """Return an entry's own fields with those of one backbone over them."""
    own = {field: value for field, value in entry.items() if field != "by_backbone"}
    changes = entry.get("by_backbone", {})
    if not isinstance(changes, dict) or not all(isinstance(each, dict) for each in changes.values()):
        raise ValueError(f"methods.{name}: by_backbone: expected {{backbone: {{field: value}}}}, found {changes!r}")
    return {**own, **changes.get(backbone, {})}


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    field = ".".join(str(part) for part in problem["loc"] if part not in KINDS)
    return f"{field}: {problem['msg']}" if field else problem["msg"]
