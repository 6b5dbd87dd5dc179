"""How a part of an edit runs in a folder without this project (`front/export.py` writes it, `beside.py` runs it)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Standalone:
    """A class that does what a part of one session does, in files that need torch alone.

    files: copied beside `load.py`; they may import names from each other. The first has the class `name`, which gets
    `tensors` and `settings` (of what JSON holds) and has those hooks of a part that it needs: `begin(now)`,
    `attention(layer, inputs, outputs, now)`, `weight(layer, name, inputs, now)`, `ffn(layer, inputs, outputs, now)`;
    `reads`: layers whose unedited states at the last prompt token it asks for. `beside.py` says what `layer` and `now`
    are.
    """

    files: tuple[Path, ...]
    name: str
    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Any] = field(default_factory=dict)
