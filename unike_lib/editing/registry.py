"""From a method's settings to its editor: one line a method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from unike_lib.backbones.base import Backbone
from unike_lib.config import Config
from unike_lib.editing.editor import Editor, NoEdit
from unike_lib.editing.fine_tune import FineTune
from unike_lib.editing.hypernetwork import load_network
from unike_lib.editing.ke import build_ke, train_ke
from unike_lib.editing.mend import build_mend, train_mend
from unike_lib.editing.tpatcher import TPatcher
from unike_lib.editing.training import Split
from unike_lib.editing.unike import Unike
from unike_lib.methods import (
    FineTuneMethod,
    KeMethod,
    MendMethod,
    Method,
    TPatcherMethod,
    UnikeMethod,
    resolve_method,
)
from unike_lib.types import EditCase, InputError


@dataclass(frozen=True)
class EditorSources:
    """Files that editors read besides the backbone; a method reads those that it needs.

    knowledge: the backbone's folder with encoders, memory and FFN inputs; trained: the weights of the method's editor.
    """

    knowledge: Path
    trained: Path | None = None


def build_editor(settings: Method, backbone: Backbone, sources: EditorSources, seed: int) -> Editor:
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
        case MendMethod():
            return load_network(build_mend(backbone, settings, seed), sources.trained, backbone)
        case KeMethod():
            return load_network(build_ke(backbone, settings, seed), sources.trained, backbone)
        case _:
            return NoEdit()


def train_editor(
    settings: Method, backbone: Backbone, cases: Sequence[EditCase], dev: Sequence[EditCase], seed: int
) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Train the editor of a method; return its weights and the course of its training.

    Args:
        settings: from `methods.resolve_method`.
        backbone: the frozen model.
        cases: method-training edits.
        dev: development edits: the training stops where it is best on them.
        seed: for the first weights and the order of the edits.

    Raises:
        InputError: a split is empty, a record lacks a probe, a loss is not finite, or the method has nothing to train.
    """
    split = Split(cases, dev)
    match settings:
        case MendMethod():
            return train_mend(backbone, settings, split, seed)
        case KeMethod():
            return train_ke(backbone, settings, split, seed)
        case _:
            raise InputError(f"method {settings.method!r}: there is nothing to train before an edit")


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
