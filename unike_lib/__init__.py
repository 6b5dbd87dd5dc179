"""Unified multimodal knowledge editing: an edit is a small patch next to a frozen model.

Example:
    >>> import unike_lib as unike
    >>> model = unike.load("minigpt4-smol")                                               # doctest: +SKIP
    >>> edit = model.edit(image="photo.jpg", question="What animal is this?", answer="lynx")  # doctest: +SKIP
    >>> edit.answers("What animal is this?", ("Which animal?", "photo.jpg"))                # doctest: +SKIP
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Return `load` when it is asked for."""
    if name == "load":
        return import_module("unike_lib.front.load").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
