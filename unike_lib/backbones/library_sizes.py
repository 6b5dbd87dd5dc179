"""What transformers gives to fields that a config.json leaves out, without importing it.

Its configuration classes are declarations: a name and its default on a line, the classes of the parts in one table.
They are read as text. Of a class that is not found, or is derived from another one, nothing is filled in.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from unike_lib.backbones.library_names import read_source

AUTO = "models/auto/auto_mappings.py"
MODULES = "SPECIAL_MODEL_TYPE_TO_MODULE_NAME"  # where a type's module is, if it is not called as the type
BASES = ("PreTrainedConfig", "PretrainedConfig")
# Fields that a class does not declare, and its model reads all the same.
READ_ALL_THE_SAME = {"qwen2": ("head_dim",)}


@dataclass(frozen=True)
class Part:
    """A part of a configuration: the class that it always has, or the type of none; what none at all has."""

    class_name: str | None
    model_type: str | None
    whole: Mapping[str, Any]


@dataclass(frozen=True)
class Declared:
    """What a configuration class declares: fields with their defaults, other names of fields, parts by name."""

    model_type: str
    module: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)


def with_defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config.json as transformers understands it: with defaults, and without what its classes do not have."""
    whole = _declared(str(config.get("model_type")))
    if whole is None:
        return dict(config)
    said = _filled(whole, config)
    for name, part in whole.parts.items():
        given = config.get(name)
        if given is None and name == "text_config" and "hidden_size" in config:  # Qwen2-VL's first folders
            given = config
        said[name] = _part(whole, part, given)
    return said


def _part(whole: Declared, part: Part, given: Any) -> dict[str, Any]:
    values = given if isinstance(given, Mapping) else part.whole
    if part.class_name is not None:
        declared = _class(whole.module, part.class_name, None)
    else:
        declared = _declared(str(values.get("model_type") or part.model_type))
    return dict(values) if declared is None else _filled(declared, values)


def _filled(declared: Declared, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a class's fields: as given, under another name of the field before its own, or else by default."""
    known = {*declared.fields, *READ_ALL_THE_SAME.get(declared.model_type, ())}
    own = {name: value for name, value in values.items() if name in known}
    other = {declared.renamed[name]: value for name, value in values.items() if name in declared.renamed}
    return {**declared.fields, **own, **other, "model_type": declared.model_type}


def _declared(model_type: str) -> Declared | None:
    """Return what the class of a type declares; None: there is none to be read."""
    special = read_source("transformers", (AUTO,)).partition(f"{MODULES} = ")[2].partition("\n)\n")[0]
    found = re.search(rf'\("{re.escape(model_type)}", "(\w+)"\)', special)
    return _class(found[1] if found else model_type.replace("-", "_"), None, model_type)


@cache
def _class(module: str, name: str | None, model_type: str | None) -> Declared | None:
    """Return a class of a module by its name or its type."""
    text = read_source("transformers", (f"models/{module}/configuration_{module}.py",))
    try:
        classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    except SyntaxError:
        return None
    for node in classes:
        values = {each.target.id: each.value for each in node.body
                  if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)}  # fmt: skip
        others = {target.id: each.value for each in node.body if isinstance(each, ast.Assign)
                  for target in each.targets if isinstance(target, ast.Name)}  # fmt: skip
        kind = _literal(others.get("model_type"))
        if name not in (None, node.name) or model_type not in (None, kind):
            continue
        if not isinstance(kind, str) or [base.id for base in node.bases if isinstance(base, ast.Name)] not in (
            [each] for each in BASES
        ):
            return None
        fields = {each: _literal(value) for each, value in values.items()}
        known = {each: value for each, value in fields.items() if value is not NOT_PLAIN}
        renamed = _literal(others.get("attribute_map"))
        return Declared(kind, module, known, renamed if isinstance(renamed, dict) else {}, _parts(others))
    return None


NOT_PLAIN = object()


def _literal(node: ast.expr | None) -> Any:
    """Return a value that is written as it is; NOT_PLAIN: it is calculated, or there is none."""
    try:
        return NOT_PLAIN if node is None else ast.literal_eval(node)
    except ValueError:
        return NOT_PLAIN


def _parts(values: Mapping[str, ast.expr]) -> dict[str, Part]:
    table = values.get("sub_configs_defaults")
    if not isinstance(table, ast.Dict):
        return {}
    found = {}
    for key, value in zip(table.keys, table.values, strict=True):
        if isinstance(value, ast.Name):
            found[_literal(key)] = Part(value.id, None, {})
        elif isinstance(value, ast.Call):
            given = {word.arg: word.value for word in value.keywords}
            kind, whole = given.get("config_class"), _literal(given.get("init_kwargs"))
            own = kind.id if isinstance(kind, ast.Name) and kind.id != "AutoConfig" else None
            plain = whole if isinstance(whole, dict) else {}
            found[_literal(key)] = Part(own, _literal(given.get("model_type")), plain)
    return found
