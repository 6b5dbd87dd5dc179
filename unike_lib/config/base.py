"""What the configuration is made of: strict sections, and settings that say what they do and where they come from.

A setting is declared once, by `setting`: default, bounds, one sentence, source, and the original's value where one is
known. An entry by name of the default run (a backbone, a method variant, a table) is an `Entry` beside its class.
config.yaml, config.schema.json and docs/settings.md are made from these (`make config`).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PrivateAttr,
    TypeAdapter,
    ValidationInfo,
    field_validator,
)
from pydantic_core import CoreSchema, core_schema

from unike_lib.config.problems import no_switch
from unike_lib.config.sources import SOURCES

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


def _once(values: Any) -> Any:
    """Refuse a value that stands twice in a list."""
    twice = [value for index, value in enumerate(values or ()) if value in values[:index]]
    if twice:
        raise ValueError(f"expected each once; {', '.join(map(setting_text, dict.fromkeys(twice)))} is there twice")
    return values


Once = AfterValidator(_once)  # annotates a list without repetitions

FIRST_LOOK = "a first look at development edits"


class UndeclaredError(Exception):
    """A script reads what its rule does not declare."""


class Section(BaseModel):
    """A part of the configuration: immutable, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    _rule: str = PrivateAttr("")

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_switch(cls, value: Any, info: ValidationInfo) -> Any:
        return no_switch(cls.model_fields[str(info.field_name)].annotation, value)

    @classmethod
    def declared(cls, values: Mapping[str, Any], rule: str) -> Self:
        """Return a section that has the fields which a rule declares, and no others: it has no defaults.

        Each value is validated as its field says. Checks across fields are made where all fields are there.

        Args:
            values: by field, as in JSON.
            rule: named in the error of whoever reads another field.

        Raises:
            UndeclaredError: on reading a field that is not among the values; or a value is of no field.
        """
        if values.keys() == cls.model_fields.keys():
            return cls.model_validate(values)
        checked: dict[str, Any] = {}
        for name, value in values.items():
            if name not in cls.model_fields:
                raise UndeclaredError(f"rule {rule} declares field '{name}' of {cls.__name__}, which has no such field")
            field = cls.model_fields[name]
            kind: Any = Annotated[field.annotation, field]
            checked[name] = TypeAdapter(kind).validate_python(value)
        section: Any = cls.model_construct(set(checked), **checked)
        for name in cls.model_fields.keys() - checked.keys():
            section.__dict__.pop(name, None)
        section._rule = rule
        return section

    if not TYPE_CHECKING:  # or mypy would let every name pass

        def __getattr__(self, name: str) -> Any:
            if name in type(self).model_fields:
                raise UndeclaredError(f"rule {self._rule} does not declare field '{name}' of {type(self).__name__}")
            return super().__getattr__(name)


@dataclass(frozen=True)
class Original:
    """A setting's value in the original.

    source: where that is said; value: `...` where it is the setting's default; equation: another value changes what is
    computed, not only how far or how long; last: all numbers from `value` to this one are the original's; needs:
    settings of the method that must be on, or the setting does nothing ("latent|zeta": one of both).
    """

    source: str
    value: Any = ...
    equation: bool = False
    last: float | None = None
    needs: tuple[str, ...] = ()

    def has(self, value: Any) -> bool:
        """Whether a setting has the original's value."""
        if self.last is None:
            return bool((tuple(value) if isinstance(value, list) else value) == self.value)
        return bool(self.value <= value <= self.last)

    @property
    def text(self) -> str:
        """The value as text: "10", "0.0001 to 0.0002", "15000 or more"."""
        first = shown(self.value)
        if self.last is None:
            return first
        return f"{first} or more" if math.isinf(self.last) else f"{first} to {shown(self.last)}"

    @property
    def place(self) -> tuple[str, str]:
        """Label of the source, and where in it: ("paper", "Eq. 7") of "UniKE Eq. 7"."""
        words = self.source.replace("UniKE", "paper", 1)
        label = next((label for label in SOURCES if words.startswith(label)), "ours")
        return label, words.removeprefix(label).strip()


@dataclass(frozen=True)
class Given:
    """A value of an entry of the default run, and where it comes from."""

    value: Any
    source: str
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """An entry by name of the default run: what it is, and its values; what it leaves out is as the class says.

    originals: the original's value of settings that the entry does not name; paper: the row of the paper's tables that
    it stands for.
    """

    sentence: str = ""
    values: Mapping[str, "Given | Entry"] = field(default_factory=dict)
    originals: Mapping[str, Original] = field(default_factory=dict)
    paper: str = ""

    @property
    def plain(self) -> dict[str, Any]:
        """The values alone."""
        return {name: each.value if isinstance(each, Given) else each.plain for name, each in self.values.items()}


@dataclass(frozen=True)
class About:
    """What is known of a field's default: its source, words on it, the original's value, default entries by name."""

    source: str = ""
    note: str = ""
    original: Original | None = None
    entry: Entry | None = None

    def __call__(self, schema: dict[str, Any]) -> None:
        """Let an editor's completion show the source of the default."""
        if self.source and "default" in schema:
            said = source_text(self.source, self.note, self.original, schema["default"])
            schema["description"] = f"{schema['description']} Default: {said}."


class MethodSection(Section):
    """Settings of an editing method.

    method: its name, or the address of its manifest, "path/to/file.py:METHOD"; rests_on: settings outside of it that
    its rows rest on, by place, each with what must be on (`Original`).
    """

    method: str
    rests_on: ClassVar[Mapping[str, Mapping[str, tuple[str, ...]]]] = {}

    def acts(self, name: str, needs: Sequence[str]) -> bool:
        """Whether a setting does anything beside these ones, given what must be on."""
        groups = (need.split("|") for need in needs)
        return all(any(getattr(self, each, True) not in (False, "off", 0) for each in group) for group in groups)


def setting(
    default: Any, sentence: str, source: str = "", note: str = "", original: Original | None = None, **bounds: Any
) -> Any:
    """Return a field with its default (`...`: none), one sentence and the default's source; None: the original's.

    Raises:
        ValueError: the source is unknown.
    """
    if original is not None:
        original = replace(original, value=default) if original.value is ... else original
        if not source and original.has(default):
            source, note = original.place
    if source not in SOURCES and default is not ...:
        raise ValueError(f"{sentence}: expected a source, one of {list(SOURCES)}, found {source!r}")
    about = About(source, note, original)
    return Field(default, description=sentence, json_schema_extra=about, **bounds)


def entries(entry: Entry, sentence: str, **bounds: Any) -> Any:
    """Return a field whose default is made of entries by name, or of values that each have a source."""
    return Field(
        default_factory=lambda: entry.plain,
        validate_default=True,
        description=sentence,
        json_schema_extra=About(entry=entry),
        **bounds,
    )


def given(source: str, note: str = "", **values: Any) -> dict[str, Given | Entry]:
    """Return values of an entry that have the same source."""
    return {name: Given(value, source, note) for name, value in values.items()}


def as_original(**originals: Original) -> dict[str, Given | Entry]:
    """Return values of an entry that are the originals'."""
    return {name: Given(original.value, *original.place) for name, original in originals.items()}


def on_backbone(name: str, values: Mapping[str, Given | Entry]) -> dict[str, Given | Entry]:
    """Return values of an entry that hold on one backbone."""
    return {"by_backbone": Entry(values={name: Entry(values=values)})}


def variant(like: str, sentence: str, values: Mapping[str, Given | Entry], **known: Any) -> Entry:
    """Return an entry of a method that differs from another in some values; `known`: further fields of `Entry`."""
    return Entry(sentence, {"like": Given(like, ""), **values}, **known)


def about(kind: type[BaseModel], name: str) -> About:
    """Return what is known of a field of a section; nothing if nobody says."""
    known = kind.model_fields[name].json_schema_extra if name in kind.model_fields else None
    return known if isinstance(known, About) else About()


def source_text(source: str, note: str, original: Original | None, value: Any) -> str:
    """Return for example "tuned (T-Patcher: 5)", "paper, Eq. 7" or "ours: unstated in the paper"."""
    text = (": " if source in ("tuned", "ours") else ", ").join(filter(None, (source, note)))
    if original is not None and not original.has(value):
        text += f" ({original.source}: {original.text})"
    return text


def setting_text(value: Any) -> str:
    """Return a setting's value as text, as YAML writes it: 0.5, 40, true, null, dynamic."""
    return value if isinstance(value, str) else json.dumps(value)


def shown(value: Any) -> str:
    """Return a value as text; layers one after another as "20 to 23"."""
    if isinstance(value, float):
        return f"{value:g}"
    if not isinstance(value, tuple):
        return setting_text(value)
    if len(value) > 1 and isinstance(value[0], int) and value == tuple(range(value[0], value[-1] + 1)):
        return f"{value[0]} to {value[-1]}"
    return ", ".join(map(setting_text, value))


class Removable:
    """Annotates a mapping whose entries an overlay, which is merged, takes away by null."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_present, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core)
        each = schema.get("additionalProperties")
        return schema | {"additionalProperties": {"anyOf": [each, {"type": "null"}]}} if each else schema


def _present(values: Any) -> Any:
    return {name: each for name, each in values.items() if each is not None} if isinstance(values, Mapping) else values
