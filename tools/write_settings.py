"""Write config.yaml, config.schema.json and docs/settings.md from the settings' classes: make config."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from unike_lib.config.base import SOURCES, Section, setting_text
from unike_lib.config.run import Config, default_values
from unike_lib.config.setting_list import Setting, settings_of
from unike_lib.method import default_methods, method_of, methods

ROOT = Path(__file__).parents[1]
WIDTH, COLUMN = 140, 36  # of a line; the column in which comments begin at most
HEADER = """\
# yaml-language-server: $schema=config.schema.json
# The default run: the embedded benchmark, a small embedded backbone in each of the paper's two roles, and as few edits
# as a first look needs. presets/full.yaml asks for all methods and more edits.
# Made by `make config` from the settings' classes in unike_lib, where the defaults are. Your own values: lay a file
# with them over this one (--configfile mine.yaml), or change them here. docs/settings.md says what each may be.
# In brackets: where a value is from, and the original's where that is another.
{sources}
# An unknown field, a value out of bounds or an unknown name is an error before any job starts.
# Relative paths start from the working folder. Write 1.0e-6, not 1e-6 (YAML reads the latter as text).
"""
PAGE = """\
# Settings

Made by `make config` from the settings' classes; `config.yaml` has the same in short. A file laid over it
(`--configfile mine.yaml`) names only what differs: mappings are merged, everything else is replaced. Editors that know
JSON schemas complete and check such a file whose first line is
`# yaml-language-server: $schema=config.schema.json`.

A source says where the default is from; in brackets stands the original's value where that is another.

| Source | What it is |
|---|---|
{sources}
"""


def main() -> None:
    """Write the three files."""
    for name, text in written().items():
        (ROOT / name).write_text(text, encoding="utf-8")


def written() -> dict[str, str]:
    """Return the files' texts by their paths below the repository."""
    return {
        "config.yaml": config_text(),
        "config.schema.json": json.dumps(schema(), indent=1) + "\n",
        "docs/settings.md": page_text(),
    }


def yaml_value(value: Any) -> str:
    """Return a value in one line of YAML; numbers below 0.001 as 1.0e-4."""
    if isinstance(value, list):
        return f"[{', '.join(map(yaml_value, value))}]"
    if isinstance(value, float):
        mantissa, _, exponent = f"{value:e}".partition("e")
        small = 0 < abs(value) < 0.001
        return f"{float(mantissa)}e{int(exponent)}" if small else repr(value)
    text = setting_text(value)
    safe = not isinstance(value, str) or (not set(text) & set(",[]{}#:") and yaml.safe_load(text) == text)
    return text if safe else json.dumps(value)


def described() -> Iterator[tuple[Setting, str, str]]:
    """Yield every setting of the default run with its sentence and source, each where it is not said already."""
    seen: set[tuple[type[Section], str]] = set()
    sentences: dict[tuple[str, ...], str] = {}
    for setting in settings_of(default_values()):
        path, kind = setting.path, setting.kind
        sentences[path] = setting.sentence
        sentence = "" if sentences.get(path[:-1]) == setting.sentence else setting.sentence
        source = setting.said if setting.is_leaf else ""
        if kind is not None:
            known = (kind, path[-1]) in seen
            seen.add((kind, path[-1]))
            usual = kind.model_fields[path[-1]].default == setting.value and path[0] != "methods"
            sentence, source = ("", "" if usual else source) if known else (sentence, source)
        yield setting, sentence, source


def config_text() -> str:
    """Return config.yaml."""
    names = "; ".join(f"{name} ({meaning})" for name, meaning in SOURCES.items())
    lines = [HEADER.format(sources="\n".join(wrapped(f"Sources: {names}.", "# ", 120)))]
    for setting, sentence, source in described():
        depth = len(setting.path) - 1
        if depth == 0 and not setting.is_leaf:
            lines.append("")
        value = f" {yaml_value(setting.value)}" if setting.is_leaf else ""
        line = f"{'  ' * depth}{setting.path[-1]}:{value or (' {}' if setting.value == {} else '')}"
        note = " ".join(filter(None, (sentence.removesuffix("."), f"[{source}]" if source else "")))
        whole = f"{line.ljust(COLUMN - 2)}  # {note}" if note else line
        if len(whole) > WIDTH:
            lines += wrapped(note, f"{'  ' * depth}# ", WIDTH)
            whole = line
        lines.append(whole)
    return "\n".join(lines) + "\n"


def wrapped(text: str, before: str, width: int) -> list[str]:
    """Return a comment in lines of at most this width."""
    return textwrap.wrap(text, width, initial_indent=before, subsequent_indent=before, break_on_hyphens=False)


def schema() -> dict[str, Any]:
    """Return the JSON schema of a file that is laid over config.yaml: nothing is required in it."""
    whole = Config.model_json_schema()
    definitions = whole["$defs"]
    kinds = {name: method.settings for name, method in methods().items()}
    for method, kind in kinds.items():
        own = kind.model_json_schema()
        definitions |= own.pop("$defs", {})
        reference = {"$ref": f"#/$defs/{kind.__name__}"}
        own["properties"]["method"] = {"const": method}
        own["properties"] |= {
            "like": {"type": "string", "description": f"A variant of {method} whose settings this one has."},
            "by_backbone": {"type": "object", "additionalProperties": reference},
        }
        definitions[kind.__name__] = own
    variants, entries = whole["properties"]["methods"], default_methods()
    references = {name: {"$ref": f"#/$defs/{method_of(entries, name).settings.__name__}"} for name in entries}
    variants["properties"] = references
    known = [{"$ref": f"#/$defs/{kind.__name__}"} for kind in kinds.values()]
    users = {"type": "object", "properties": {"method": {"pattern": r"\.py:\w+$"}}, "required": ["method"]}
    variants["additionalProperties"] = {"anyOf": [*known, users]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | _pruned(whole)


def _pruned(part: Any) -> Any:
    """Return a schema without what completion has no use for: titles, required fields, defaults that are mappings."""
    if isinstance(part, list):
        return [_pruned(each) for each in part]
    if not isinstance(part, dict):
        return part
    dropped = {"title", "required", "minProperties"} | ({"default"} if isinstance(part.get("default"), dict) else set())
    return {
        name: {key: _pruned(each) for key, each in value.items()} if name in ("properties", "$defs") else _pruned(value)
        for name, value in part.items()
        if name not in dropped
    }


def allowed(part: Mapping[str, Any]) -> str:
    """Return what a field may be, in words, from its JSON schema."""
    if "anyOf" in part:
        return " or ".join(allowed(each) for each in part["anyOf"])
    if "enum" in part or "const" in part:
        return ", ".join(f"`{setting_text(each)}`" for each in part.get("enum", [part.get("const")]))
    kind = part.get("type", "object")
    if kind == "array":
        return f"list: {allowed(part['items'])}"
    words = {"integer": "whole number", "number": "number", "boolean": "`true`, `false`", "string": "text"}
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    limits = [f"{word} {part[key]:g}" for key, word in bounds.items() if key in part]
    limits += ["even"] if "multipleOf" in part else []
    limits += [f"`{part['pattern']}`"] if "pattern" in part else []
    return ", ".join([{"null": "`null`", "object": "mapping"}.get(kind) or words[kind], *limits])


def page_text() -> str:
    """Return docs/settings.md: a table per section, and per backbone and method."""
    sources = "\n".join(f"| {name} | {meaning} |" for name, meaning in SOURCES.items())
    lines = [PAGE.format(sources=sources)]
    schemas: dict[type[Section], Mapping[str, Any]] = {}
    heading: tuple[str, ...] = ("",)
    for setting, sentence, source in described():
        path, own = setting.path, headed(setting)
        if own != heading:
            heading = own
            lines += ["", f"{'#' * max(2, len(own) + 1)} {'.'.join(own) or 'General'}"]
            table = False
        if not setting.is_leaf:
            if path == own and sentence:
                lines += ["", sentence]
            continue
        if not (sentence or source):
            continue
        if not table:
            lines += ["", "| Setting | Default | Allowed | What it does | Source |", "|---|---|---|---|---|"]
            table = True
        may = ""
        if sentence and setting.kind is not None:
            known = schemas.setdefault(setting.kind, setting.kind.model_json_schema())
            may = allowed(known["properties"][path[-1]])
        name = ".".join(path[len(own) :])
        cells = [f"`{name}`", f"`{yaml_value(setting.value)}`", may, sentence, source]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def headed(setting: Setting) -> tuple[str, ...]:
    """Return the heading that a setting stands below: its section, or its backbone or method."""
    depth = 2 if setting.path[0] in ("backbones", "methods") else 1
    return setting.path[:depth] if len(setting.path) > depth or not setting.is_leaf else setting.path[:0]


if __name__ == "__main__":
    main()
