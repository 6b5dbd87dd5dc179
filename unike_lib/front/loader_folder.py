"""An edit that runs beside a model's weights, as a folder with what runs it: `load.py`, tensors, a file per part."""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from unike_lib.backbones.decoder import Decoder
from unike_lib.editing import beside
from unike_lib.editing.standalone import Standalone
from unike_lib.types import InputError

# Files that are copied name each other as they lie here; in the folder they lie side by side.
OURS = re.compile(r"^from unike_lib\.(?:\w+\.)*(\w+) import", re.MULTILINE)


def write_loader(folder: Path, parts: Sequence[Standalone], decoder: Decoder, below: str, base: dict[str, Any]) -> None:
    """Write the folder's files.

    Args:
        folder: to write into.
        parts: of the edit, in their order.
        decoder: of the model: where its parts lie.
        below: the path of the language model in the model that is loaded, with a point behind it.
        base: what the edit stands beside: base, inside (the folder itself), class, dtype.

    Raises:
        InputError: two parts bring different files of one name.
    """
    names = asdict(decoder.names)
    known = {id(module): name for name, module in decoder.model.named_modules()}
    matrices = [*decoder.names.attention_matrices.values(), *filter(None, (names["gate"], names["up"], names["down"]))]
    tensors: dict[str, Tensor] = {}
    about = base | {"stack": f"{below}{known[id(decoder.stack)]}".rstrip("."), "names": names, "matrices": matrices}
    about["parts"] = []
    for number, part in enumerate(parts):
        for file in part.files:
            _copy(file, folder / file.name)
        about["parts"].append({"file": part.files[0].stem, "class": part.name, "settings": dict(part.settings)})
        for name, value in part.tensors.items():
            tensors[f"{number}.{name}"] = value.detach().cpu().contiguous().clone()
    _copy(Path(beside.__file__), folder / "load.py")
    save_file(tensors, folder / "edit.safetensors", metadata={"format": "pt"})
    (folder / "edit.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _copy(file: Path, to: Path) -> None:
    text = OURS.sub(r"from \1 import", file.read_text(encoding="utf-8"))
    if to.exists() and to.read_text(encoding="utf-8") != text:
        raise InputError(f"edit: two of its parts bring a file {to.name}; expected files of different names")
    to.write_text(text, encoding="utf-8")
