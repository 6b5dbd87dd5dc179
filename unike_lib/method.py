"""What an editing method says of itself, and how methods, their variants and their settings are found.

A method is one room below `methods/` (or one file, or an installed package: entry points "unike.methods") with a
manifest METHOD. What the workflow, the reports and the benches know of methods is derived from these.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, Literal

from pydantic import ValidationError

from unike_lib.config.base import Entry, MethodSection
from unike_lib.config.problems import ProblemsError, field_problems
from unike_lib.registry import find_entries, find_entry
from unike_lib.types import InputError

# build: (settings, backbone, EditorSources, seed) -> Editor; train: (settings, backbone, method-training edits,
# development edits, seed) -> tensors and the course of the training. A room names them by address, "module:function",
# because planning a run needs no torch.
Function = str | Callable[..., Any]
# Where methods are found: package, name of the manifest, entry points of other packages (`registry.find_entry`).
METHODS = ("unike_lib.methods", "METHOD", "unike.methods")
EVERY_LAYER = -10_000  # of `Method.first_layer`: no decoder has more layers
Kind = Literal["unedited", "fine-tuning", "intrinsic", "external", "unified", "other"]


@dataclass(frozen=True)
class Method:
    """An editing method.

    name, title: in the configuration, and in tables; kind: its class in the paper (4.1); settings: their class.
    build: makes the editor; train: trains it once before any edit (None: nothing is trained); trains_on_text: the
    training does not run the backbone; editing_alone: settings that the training does not read.
    needs: what edits read besides the backbone, or a function of the settings that says so: "ffn_inputs", "encoders",
    "memory" (files of the backbone's knowledge), "method_split" (edits to train on or to show).
    asks_pictures: of the settings: whether an edit asks the backbone questions of the method split with their pictures.
    first_layer: of the settings: the first layer that an edit acts in. None: the backbone's first edited one; -3: the
    third from the end (EVERY_LAYER: the first of all); 0: none. Frozen states are kept where edits begin.
    reading: of the settings: a sentence on how numbers of a row are read where the originals leave it open, or None.
    search: setting -> values that the search on development edits tries; entries: variants in the default run.
    """

    name: str
    title: str
    settings: type[MethodSection]
    build: Function
    kind: Kind = "other"
    needs: tuple[str, ...] | Callable[[Any], tuple[str, ...]] = ()
    first_layer: Callable[[Any], int | None] = lambda settings: None
    asks_pictures: Callable[[Any], bool] = lambda settings: False
    train: Function | None = None
    trains_on_text: bool = False
    editing_alone: frozenset[str] = frozenset()
    reading: Callable[[Any], str | None] = lambda settings: None
    search: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    entries: Mapping[str, Entry] = field(default_factory=dict)

    def editor(self, *arguments: Any) -> Any:
        """Return the editor: call `build`."""
        return _called(self.build, *arguments)

    def trained(self, *arguments: Any) -> Any:
        """Train the editor: call `train`."""
        return _called(self.train, *arguments)

    def needs_of(self, settings: MethodSection) -> tuple[str, ...]:
        """Return what edits with such settings read besides the backbone."""
        return self.needs(settings) if callable(self.needs) else self.needs


def _called(function: Function | None, *arguments: Any) -> Any:
    if not isinstance(function, str):
        assert function is not None
        return function(*arguments)
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)(*arguments)


@cache
def methods() -> Mapping[str, Method]:
    """Return every method by name: the rooms, then those that installed packages bring."""
    return find_entries(*METHODS, Method)


def find_method(name: str) -> Method:
    """Return a method by its name, or by its address "path/to/file.py:METHOD".

    Raises:
        InputError: there is no such method.
    """
    method: Method = methods().get(name) or find_entry(name, *METHODS, Method)
    return method


def default_entries() -> dict[str, Entry]:
    """Return the variants of the default run by name."""
    return {name: entry for method in methods().values() for name, entry in method.entries.items()}


def default_grids() -> dict[str, dict[str, tuple[Any, ...]]]:
    """Return what the search on development edits tries by default, by method."""
    found = {name: method.search for name, method in methods().items() if method.search}
    return {name: {field: tuple(values) for field, values in search.items()} for name, search in found.items()}


def default_methods() -> dict[str, dict[str, Any]]:
    """Return the entries of the default run: methods with all of their settings, and variants of them."""
    found = {}
    for method in methods().values():
        own = {name: info.default for name, info in method.settings.model_fields.items() if name != "method"}
        fields = {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}  # as in YAML
        for name, entry in method.entries.items():
            found[name] = entry.plain if "like" in entry.values else {"method": method.name, **fields, **entry.plain}
    return found


def method_of(entries: Mapping[str, Any], name: str) -> Method:
    """Return the method of an entry of the configuration, its own or that of the entry which it is like.

    Raises:
        ValueError: no such entry or method; the message names the entry.
    """
    if name not in entries:
        raise ValueError(f"methods: unknown method {name!r}; known: {sorted(entries)}")
    parent = entries[name].get("like", name)
    known = isinstance(parent, str) and parent in entries and "like" not in entries[parent]
    if not known or (parent == name and "like" in entries[name]):
        raise ValueError(f"methods.{name}: like: {parent!r} must be an entry without 'like'")
    try:
        return find_method(entries[parent].get("method"))
    except (InputError, TypeError) as error:
        raise ValueError(f"methods.{name}: method: {error}") from None


def paper_row(entries: Mapping[str, Any], name: str) -> str:
    """Return the row of the paper's tables that a variant stands for: its method's, or what its default entry names."""
    if "like" not in entries[name]:
        return method_of(entries, name).title
    default = default_entries().get(name)
    return default.paper if default else ""


def row_title(entries: Mapping[str, Any], name: str) -> str:
    """Return how tables name a variant: "UniKE", "only Intrin (only-intrin)", "variant (mine)"."""
    row, method = paper_row(entries, name), method_of(entries, name)
    return row if name == method.name else f"{row or 'variant'} ({name})"


def resolve_method(
    entries: dict[str, dict[str, Any]], name: str, backbone: str | None = None, overrides: dict[str, Any] | None = None
) -> MethodSection:
    """Return the settings of a method variant.

    An entry may name another by `like` and say what differs; `by_backbone: {<backbone>: {...}}` says what differs on a
    backbone.

    Args:
        entries: the variants by name.
        name: the variant.
        backbone: whose differences apply; None: no backbone's.
        overrides: fields that come last.

    Raises:
        ValueError: unknown name, unknown field, or a value out of bounds; the message names the variant.
    """
    kind = method_of(entries, name).settings
    settings = dict(entries[name])
    parent = settings.pop("like", None)
    settings = _on_backbone(name, settings, backbone)
    if parent is not None:
        settings = {**_on_backbone(parent, entries[parent], backbone), **settings}
    try:
        return kind.model_validate(values := {**settings, **(overrides or {})})
    except ValidationError as error:
        raise ProblemsError([f"methods.{name}: {each}" for each in field_problems(error, values)]) from None


def _on_backbone(name: str, entry: dict[str, Any], backbone: str | None) -> dict[str, Any]:
    """Return an entry's own fields with those of one backbone over them."""
    own = {field: value for field, value in entry.items() if field != "by_backbone"}
    changes = entry.get("by_backbone", {})
    if not isinstance(changes, dict) or not all(isinstance(each, dict) for each in changes.values()):
        raise ValueError(f"methods.{name}: by_backbone: expected {{backbone: {{field: value}}}}, found {changes!r}")
    return {**own, **changes.get(backbone, {})}
