"""Settings that name a user's files and folders, and whether those are there.

A path is taken as it is written, from the working folder on; `~` is the home folder, and nothing else is expanded.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

MADE = "results/"  # what rules write, a user's settings may name before it is there
HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class UserPath:
    """Annotates a setting that names a path, or several: what must be there; `words`: values that name none."""

    kind: Literal["file", "folder", "model"]
    words: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._written, handler(source))

    def _written(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(self._written, value))
        if value is None or value in self.words:
            return value
        if not value.strip() or re.search(r"[{}\0\n]", value):
            raise ValueError(f"expected a path (of the working folder, or ~/...) without braces; found {value!r}")
        return os.path.expanduser(value.rstrip("/") or "/")

    def problem(self, path: str) -> str | None:
        """Return what is wrong with a path, or None."""
        if path.startswith(MADE) or (self.kind == "model" and not os.path.exists(path) and self._on_the_hub(path)):
            return None
        found, expected = Path(path), "file" if self.kind == "file" else "folder"
        if not os.path.exists(path):
            hint = "; variables are not expanded" if "$" in path else ""
            start = "" if found.is_absolute() else f", seen from {os.getcwd()}"
            return f"{path}: no such {expected}{start}{hint}"
        if found.is_dir() != (expected == "folder"):
            return f"{path}: expected a {expected}, found a {'folder' if found.is_dir() else 'file'}"
        if not os.access(path, os.R_OK):
            return f"{path}: expected a {expected} that can be read; its permissions do not allow it"
        return None

    @staticmethod
    def _on_the_hub(path: str) -> bool:
        """Whether a path that is not there can be a model's name on the hub."""
        return bool(HUB_ID.fullmatch(path)) and not os.path.isdir(path.partition("/")[0])
