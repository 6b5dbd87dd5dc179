"""Every setting of a run: what it does, and where its value comes from, as the settings' classes say."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args, get_origin

from unike_lib.config.base import About, Entry, Given, Original, Section, about, setting_text, source_text
from unike_lib.config.run import Config, default_values
from unike_lib.method import method_of

CHANGED = "changed"  # the source of a value that is neither the default run's nor the original's


@dataclass(frozen=True)
class Setting:
    """A setting of a run, or a mapping of settings.

    path: its names, from the outermost section on; value: as YAML has it; sentence: what it does; source, note: where
    its value comes from (one of `SOURCES`, or `CHANGED`); changed: the default run has another value or none; kind: the
    section that it is a field of, where it is one; original: what its method's original has.
    """

    path: tuple[str, ...]
    value: Any
    sentence: str = ""
    source: str = ""
    note: str = ""
    changed: bool = False
    kind: type[Section] | None = None
    original: Original | None = None

    @property
    def is_leaf(self) -> bool:
        """Whether it is a setting, not a mapping of settings."""
        return not isinstance(self.value, Mapping) or not self.value

    @property
    def said(self) -> str:
        """Where its value comes from, and the original's where that is another: "tuned (T-Patcher: 5)"."""
        return source_text(self.source, self.note, self.original, self.value)


@dataclass(frozen=True)
class _Place:
    """What is known of a mapping: its class, or that of its entries (`by_name`; None: methods); its part of the default
    run, in values and as an entry; what is known and said of it."""

    kind: type[Section] | None
    values: Any
    by_name: bool = False
    entry: Entry | Given | None = None
    about: About = field(default_factory=About)
    sentence: str = ""


def setting_rows(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every setting of a run with the source of its value, for a page.

    Args:
        values: the validated configuration of the run, overlays included.

    Returns:
        Per setting: `section` (first key, "general" of single settings), `setting` (path), `value`, `source` (where the
        value comes from, and the original's where that is another), `note` (what the setting does), `changed`: the
        default run has another value or none.
    """
    return [
        {
            "section": setting.path[0] if len(setting.path) > 1 else "general",
            "setting": ".".join(setting.path),
            "value": setting_text(setting.value),
            "source": setting.said,
            "note": setting.sentence,
            "changed": setting.changed,
        }
        for setting in settings_of(values)
        if setting.is_leaf
    ]


def settings_of(values: Mapping[str, Any]) -> Iterator[Setting]:
    """Yield every mapping and every setting of a run's values (`Config.model_dump(mode="json")`), in order."""

    def walk(holder: Mapping[str, Any], place: _Place, path: tuple[str, ...]) -> Iterator[Setting]:
        for name, value in holder.items():
            inner = _inside(place, name, value, values["methods"])
            kind = None if place.by_name or place.kind is None or name not in place.kind.model_fields else place.kind
            setting = Setting((*path, name), value, inner.sentence, kind=kind)
            yield _sourced(setting, inner) if setting.is_leaf else setting
            if not setting.is_leaf:
                yield from walk(value, inner, setting.path)

    return walk(values, _Place(Config, default_values()), ())


def _inside(place: _Place, name: str, value: Any, methods: dict[str, Any]) -> _Place:
    """Return the place of a value in a mapping."""
    entry = place.entry.values.get(name) if isinstance(place.entry, Entry) else place.entry
    values = place.values.get(name, ...) if isinstance(place.values, Mapping) else ...
    inner = replace(place, values=values, entry=entry)
    if place.by_name:
        kind = place.kind or method_of(methods, name).settings
        return replace(inner, kind=kind, by_name=False, sentence=entry.sentence if isinstance(entry, Entry) else "")
    if place.kind is None:
        return inner
    if name not in place.kind.model_fields:  # of a method's entry: what differs on backbones, or what it is like
        return replace(inner, by_name=True, about=About(), sentence="")
    known, info = about(place.kind, name), place.kind.model_fields[name]
    section = next((each for each in _classes(info.annotation) if issubclass(each, Section)), None)
    return _Place(
        section,
        info.default if inner.values is ... and not info.is_required() else inner.values,
        get_origin(info.annotation) is dict and (section is not None or name == "methods"),
        known.entry if entry is None else entry,
        known if known.source else replace(known, source=place.about.source, note=place.about.note),
        info.description or (section.__doc__ or "").splitlines()[0] if section or info.description else "",
    )


def _classes(annotation: Any) -> Iterator[type]:
    """Yield the classes that an annotation names."""
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for each in get_args(annotation):
        yield from _classes(each)


def _sourced(setting: Setting, place: _Place) -> Setting:
    """Return a setting with the source of its value."""
    default = list(place.values) if isinstance(place.values, tuple) else place.values
    known = place.entry if isinstance(place.entry, Given) else place.about
    original = place.about.original
    if setting.value == default:
        setting = replace(setting, source=known.source, note=known.note)
        # A row of the paper's is an original of its own.
        return setting if known is place.entry and known.source == "paper" else replace(setting, original=original)
    if original is not None and original.has(setting.value):
        return replace(setting, source=original.place[0], note=original.place[1], changed=True)
    return replace(setting, source=CHANGED, changed=True, original=original)
