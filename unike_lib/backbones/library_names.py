"""Names that transformers and PyTorch know (activations, kinds of rotary positions ...), without importing either.

Importing them takes longer than all else that is said of a wrong folder, so a name is looked up in the text of their
source. A name that the text does not have is unknown; one that stands there for another reason is let through, and the
library itself is asked when it is imported.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LibraryNames:
    """Names of one kind.

    package: whose they are; files: of its source, where they are written; long_known: one of them (a source that does
    not have it is written in another way, and nothing is said from it); ask: whether the imported package knows a name.
    """

    package: str
    files: tuple[str, ...]
    long_known: str
    ask: Callable[[str], bool]

    def know(self, value: Any) -> bool:
        """Tell whether a value is such a name; the package is asked only where it is imported already."""
        if not isinstance(value, str):
            return False
        if self.package in sys.modules:
            return self.ask(value)
        return self.has(value) or not self.has(self.long_known)

    def has(self, name: str) -> bool:
        """Tell whether the source has a name, in quotes or as one that is declared."""
        name = re.escape(name)
        return re.search(f'"{name}"|^{name}:', read_source(self.package, self.files), re.MULTILINE) is not None


@cache
def read_source(package: str, files: tuple[str, ...]) -> str:
    """Return the text of files of a package; those that are not there are left out."""
    spec = find_spec(package)
    roots = [Path(root) for root in (spec.submodule_search_locations if spec else None) or ()]
    found = [root / file for root in roots for file in files if (root / file).is_file()]
    return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in found)


def _is_activation(name: str) -> bool:
    from transformers.activations import ACT2FN

    return name in ACT2FN


def _is_rotary(name: str) -> bool:
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    return name in ROPE_INIT_FUNCTIONS


def _is_model_type(name: str) -> bool:
    from transformers import CONFIG_MAPPING

    return name in CONFIG_MAPPING


def _is_dtype(name: str) -> bool:
    import torch

    return isinstance(getattr(torch, name, None), torch.dtype)


ACTIVATIONS = LibraryNames("transformers", ("activations.py",), "gelu", _is_activation)
ROTARY_KINDS = LibraryNames("transformers", ("modeling_rope_utils.py",), "linear", _is_rotary)
MODEL_TYPES = LibraryNames(
    "transformers", ("models/auto/auto_mappings.py", "models/auto/configuration_auto.py"), "llama", _is_model_type
)
DTYPES = LibraryNames("torch", ("_C/__init__.pyi",), "float32", _is_dtype)
