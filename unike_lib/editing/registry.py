"""From a method's settings to its editor: one line a method."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unike_lib.backbones.base import Backbone
from unike_lib.config import Config
from unike_lib.editing.editor import Editor, NoEdit
from unike_lib.editing.fine_tune import FineTune
from unike_lib.editing.tpatcher import TPatcher
from unike_lib.editing.unike import Unike
from unike_lib.methods import BaseMethod, FineTuneMethod, TPatcherMethod, UnikeMethod, resolve_method

MethodSettings = BaseMethod | FineTuneMethod | TPatcherMethod | UnikeMethod


@dataclass(frozen=True)
class EditorSources:
    """Files that editors read besides the backbone; a method reads those that it needs.

    knowledge: the backbone's folder with encoders, memory and FFN inputs.
    """

    knowledge: Path


def build_editor(settings: MethodSettings, backbone: Backbone, sources: EditorSources, seed: int) -> Editor:
    """Return the editor of a method.

    Args:
        settings: from `methods.resolve_method`.
        backbone: the frozen model.
        sources: the files that editors read.
        seed: for random parts; every session draws its own, so batches do not matter.
    """
    match settings:
        case FineTuneMethod():
            return FineTune(backbone, settings)
        case TPatcherMethod():
            return TPatcher.from_knowledge(backbone, settings, sources.knowledge, seed)
        case UnikeMethod():
            return Unike.from_knowledge(backbone, settings, sources.knowledge, seed)
        case _:
            return NoEdit()


def editor_of_variant(
    config: Config,
    names: tuple[str, str],
    backbone: Backbone,
    sources: EditorSources,
    overrides: Mapping[str, Any] | None = None,
) -> Editor:
    """Return the editor of a (method variant, backbone) of the configuration, with some of its settings overridden."""
    settings = resolve_method(config.methods, *names, overrides=dict(overrides or {}))
    return build_editor(settings, backbone, sources, config.seed)
