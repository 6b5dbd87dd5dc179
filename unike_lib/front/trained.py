"""A trained editor (MEND, SERAC, LiveEdit ...) as a folder of its own, which another run of the same backbone opens.

editor.safetensors   what was trained, with the fingerprint of its backbone
editor.json          the method's settings, and which backbone it edits
README.md            a card
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from pydantic import ValidationError

from unike_lib import __version__
from unike_lib.backbones.checkpoint import whole_folder
from unike_lib.config.base import MethodSection
from unike_lib.config.problems import field_problems
from unike_lib.io import check_fields, check_new, read_json, read_tensors, write_json
from unike_lib.method import find_method, method_of, resolve_method
from unike_lib.runtime import check_made_with
from unike_lib.types import InputError

if TYPE_CHECKING:
    from unike_lib.front.model import Model

TENSORS, ABOUT = "editor.safetensors", "editor.json"
FIELDS = ("name", "settings", "backbone", "mark")


class TrainedEditor(NamedTuple):
    """An opened folder: the variant's name, its settings, the file of its tensors."""

    name: str
    settings: dict[str, Any]
    file: Path

    def resolved(self, overrides: dict[str, Any]) -> MethodSection:
        """Return the settings, some of them overridden; raise InputError if one is wrong."""
        values = self.settings | overrides
        try:
            return find_method(str(values.get("method"))).settings.model_validate(values)
        except ValidationError as error:
            raise InputError(f"{self.file.parent / ABOUT}: {'; '.join(field_problems(error, values))}") from None


def export_trained(model: "Model", file: Path, folder: Path) -> None:
    """Write a trained editor as a folder.

    Args:
        model: the backbone that it was trained for.
        file: results/stages/editors/BACKBONE/VARIANT.safetensors, which the workflow wrote.
        folder: to make; there must be none of this name, or an empty one.

    Raises:
        InputError: the variant is unknown or not trained, the file is damaged, or it is another backbone's.
    """
    check_new(folder)
    name = file.stem
    try:
        if method_of(model.config.methods, name).train is None:
            raise InputError(f"{file}: expected the file of a method that is trained, and {name!r} is not")
        settings = resolve_method(model.config.methods, name, model.name)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{file}: {error}") from None
    read_tensors(file)
    check_made_with(model.mark, model.folder, [file])
    about = {"name": name, "settings": settings.model_dump(mode="json"), "backbone": model.name, "mark": model.mark}
    with whole_folder(folder) as made:
        shutil.copyfile(file, made / TENSORS)
        write_json(made / ABOUT, about | {"made by": f"UniKE {__version__}"})
        (made / "README.md").write_text(_card(model, about), encoding="utf-8")


def read_trained(model: "Model", folder: Path) -> TrainedEditor:
    """Return a trained editor that `export_trained` wrote, for a model that it was trained for.

    Raises:
        InputError: the folder is incomplete or damaged, or the editor is another backbone's.
    """
    about = read_json(folder / ABOUT)
    if not isinstance(about, dict):
        raise InputError(f"{folder / ABOUT}: expected an object, found {type(about).__name__}")
    check_fields(folder / ABOUT, about, FIELDS)
    read_tensors(folder / TENSORS)
    if about["mark"] != model.mark:
        raise InputError(
            f"{folder}: trained for backbone {about['backbone']!r} of fingerprint {about['mark']}; {model.folder} has "
            f"{model.mark}: expected the same files, opened with the same family, dtype and image_size"
        )
    check_made_with(model.mark, model.folder, [folder / TENSORS])
    editor = TrainedEditor(str(about["name"]), dict(about["settings"]), folder / TENSORS)
    editor.resolved({})
    return editor


def _card(model: "Model", about: dict[str, Any]) -> str:
    from unike_lib.front.model_card import base_of, licence_of

    header = {**licence_of(model), "base_model": base_of(model), "tags": ["knowledge-editing", about["name"]]}
    opened = ", ".join(f"{name} {getattr(model.section, name)}" for name in ("family", "dtype", "image_size"))
    settings = "\n".join(f"| `{name}` | {value} |" for name, value in about["settings"].items())
    return f"""---
{yaml.safe_dump(header, sort_keys=False)}---

# A trained editor: {about["name"]} for {base_of(model)}

It edits the backbone with the fingerprint `{about["mark"]}` ({opened}).

```python
import unike_lib as unike

model = unike.load("folder of the backbone", family="{model.section.family}")
method = model.open_editor("this folder")
edit = model.edit(image="photo.jpg", question="What animal is this?", answer="lynx", method=method)
```

| setting | value |
|---|---|
{settings}
"""
