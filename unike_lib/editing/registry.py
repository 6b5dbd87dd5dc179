"""From a method's settings to its editor: one line a method."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from torch import Tensor

from unike_lib.backbones.base import Backbone
from unike_lib.benchmark.mmedit import read_cases
from unike_lib.editing.editor import Editor, NoEdit
from unike_lib.editing.fine_tune import FineTune
from unike_lib.editing.hypernetwork import load_network
from unike_lib.editing.ike import Ike
from unike_lib.editing.ke import build_ke, train_ke
from unike_lib.editing.mend import build_mend, train_mend
from unike_lib.editing.serac import Serac, load_router
from unike_lib.editing.serac_training import train_serac
from unike_lib.editing.tpatcher import TPatcher
from unike_lib.editing.training import Split
from unike_lib.editing.unike import Unike
from unike_lib.io import read_tensors, write_tensors
from unike_lib.methods import (
    ContextSettings,
    FineTuneMethod,
    IkeMethod,
    MethodSettings,
    TPatcherMethod,
    UnikeMethod,
)
from unike_lib.trained_methods import IN_EDITING_ALONE, KeMethod, MendMethod, SeracMethod
from unike_lib.types import EditCase, InputError


@dataclass(frozen=True)
class EditorSources:
    """Files that editors read besides the backbone; a method reads those that it needs.

    knowledge: the backbone's folder with encoders, memory and FFN inputs; demonstrations: the method-training split,
    a file a task, whose text-only questions come from `text_locality` as in `read_cases`; trained: the tensors of a
    method that is trained before it edits.
    """

    knowledge: Path
    demonstrations: tuple[Path, ...] = ()
    text_locality: str | None = None
    trained: Path | None = None


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
            editor = Unike.from_knowledge(backbone, settings, sources.knowledge, seed)
            return replace(editor, ike=_ike(settings, backbone, sources)) if settings.in_context else editor
        case MendMethod():
            return load_network(build_mend(backbone, settings, seed), sources.trained, backbone, settings.strength)
        case KeMethod():
            return load_network(build_ke(backbone, settings, seed), sources.trained, backbone, settings.strength)
        case IkeMethod():
            return _ike(settings, backbone, sources)
        case SeracMethod():
            if sources.trained is None:
                raise InputError("serac: expected a file of trained models (sources.trained), found none")
            return Serac(load_router(settings, backbone, read_tensors(sources.trained)))
        case _:
            return NoEdit()


def train_editor(
    settings: MethodSettings, backbone: Backbone, cases: Sequence[EditCase], dev: Sequence[EditCase], seed: int
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
        case SeracMethod():
            return train_serac(settings, backbone, cases, dev, seed)
        case _:
            raise InputError(f"method {settings.method!r}: there is nothing to train before an edit")


def _ike(settings: ContextSettings, backbone: Backbone, sources: EditorSources) -> Ike:
    """Return in-context editing with the method-training split as its store of demonstrations."""
    cases = [case for path in sources.demonstrations for case in read_cases(path, None, sources.text_locality)]
    if not cases:
        raise InputError("ike: expected files of training edits to take demonstrations from, found none")
    return Ike.from_cases(backbone, settings, cases)


def editor_builder(
    settings_of: Callable[[Mapping[str, Any]], MethodSettings],
    backbone: Backbone,
    sources: EditorSources,
    seed: int,
    training: Sequence[EditCase] = (),
    stopping: Sequence[EditCase] = (),
) -> Callable[[Mapping[str, Any]], Editor]:
    """Return what builds a method's editors, given settings that override its own.

    Args:
        settings_of: the method's settings, given those that override them.
        backbone: the frozen model.
        sources: the files that editors read.
        seed: for random parts and trainings.
        training: edits to train an editor on, unless one is trained that differs in nothing but IN_EDITING_ALONE; none:
            what a method that is trained needs is in `sources`.
        stopping: development edits to stop such a training by.
    """
    known: dict[str, dict[str, Tensor]] = {}

    def editor_of(overrides: Mapping[str, Any]) -> Editor:
        settings = settings_of(overrides)
        if not training:
            return build_editor(settings, backbone, sources, seed)
        of_training = settings.model_dump_json(exclude=IN_EDITING_ALONE)
        if of_training not in known:
            known[of_training], _ = train_editor(settings, backbone, training, stopping, seed)
        with TemporaryDirectory() as folder:
            write_tensors(Path(folder) / "trained", known[of_training], "of one trial")
            return build_editor(settings, backbone, replace(sources, trained=Path(folder) / "trained"), seed)

    return editor_of
