"""From a method's settings to its editor: the method's room says how."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.benchmark.cases import read_cases
from unike_lib.config.base import MethodSection
from unike_lib.editing.editor import Editor
from unike_lib.io import read_tensors
from unike_lib.knowledge.encoders import Encoder, LayerEncoders, load_encoders
from unike_lib.knowledge.memory import Memory, load_memory
from unike_lib.knowledge.scope import Scope, load_scope
from unike_lib.knowledge.states import read_ffn_inputs
from unike_lib.method import find_method
from unike_lib.types import EditCase, InputError


@dataclass(frozen=True)
class EditorSources:
    """What editors read besides the backbone; a method reads what it needs.

    knowledge: the backbone's folder with encoders, memory and FFN inputs; demonstrations: files of the method-training
    split, one per task, whose text-only questions come from `text_locality` as in `read_cases`; trained: the tensors of
    a method that is trained before it edits, or their file.
    """

    knowledge: Path
    demonstrations: tuple[Path, ...] = ()
    text_locality: str | None = None
    trained: Path | Mapping[str, Tensor] | None = None

    def ffn_inputs(self, device: torch.device) -> dict[int, Tensor]:
        """Return layer -> unrelated FFN inputs [state, d], on a device."""
        inputs = read_ffn_inputs(self.knowledge / "ffn_inputs.parquet")
        return {layer: states.to(device) for layer, states in inputs.items()}

    def encoders(self) -> dict[int, LayerEncoders]:
        """Return the contrastive encoders of every edited layer."""
        return load_encoders(self.knowledge / "encoders.safetensors")

    def memory(self, h_pos: str, encoders: Mapping[int, Encoder] | None = None) -> Memory:
        """Return the key-value memory (`load_memory`)."""
        return load_memory(self.knowledge / "memory.safetensors", h_pos, encoders)

    def scope(self) -> Scope:
        """Return where the backbone's semantic scope lies (`knowledge.scope`)."""
        return load_scope(self.knowledge / "scope.safetensors")

    def method_split(self) -> list[EditCase]:
        """Return the edits of the method-training split.

        Raises:
            InputError: there are none.
        """
        cases = [case for path in self.demonstrations for case in read_cases(path, None, self.text_locality)]
        if not cases:
            raise InputError("editor: expected files of method-training edits, found none (the method's `needs`)")
        return cases

    def trained_tensors(self) -> Mapping[str, Tensor]:
        """Return the tensors of the method's training.

        Raises:
            InputError: there are none, or their file is broken.
        """
        if self.trained is None:
            raise InputError("editor: expected a trained editor, found no file")
        return read_tensors(self.trained) if isinstance(self.trained, Path) else self.trained

    @property
    def trained_name(self) -> str:
        """How messages name those tensors."""
        return str(self.trained) if isinstance(self.trained, Path) else "the trained editor"


def build_editor(settings: MethodSection, backbone: Backbone, sources: EditorSources, seed: int) -> Editor:
    """Return the editor of a method.

    Args:
        settings: from `method.resolve_method`.
        backbone: the frozen model.
        sources: the files that editors read.
        seed: for random parts; every session draws its own, so batches do not matter.
    """
    editor: Editor = find_method(settings.method).editor(settings, backbone, sources, seed)
    return editor


def train_editor(
    settings: MethodSection, backbone: Backbone, cases: Sequence[EditCase], dev: Sequence[EditCase], seed: int
) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Train the editor of a method; return its weights and the course of its training.

    Args:
        settings: from `method.resolve_method`.
        backbone: the frozen model.
        cases: method-training edits.
        dev: development edits: the training stops where it is best on them.
        seed: for the first weights and the order of the edits.

    Raises:
        InputError: a split is empty, a record lacks a probe, a loss is not finite, or the method has nothing to train.
    """
    method = find_method(settings.method)
    if method.train is None:
        raise InputError(f"method {method.name!r}: there is nothing to train before an edit")
    trained: tuple[dict[str, Tensor], pd.DataFrame] = method.trained(settings, backbone, cases, dev, seed)
    return trained


def editor_builder(
    settings_of: Callable[[Mapping[str, Any]], MethodSection],
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
        training: edits to train an editor on, unless one is trained that differs in nothing but what training does not
            read; none: what a method that is trained needs is in `sources`.
        stopping: development edits to stop such a training by.
    """
    known: dict[str, dict[str, Tensor]] = {}

    def editor_of(overrides: Mapping[str, Any]) -> Editor:
        settings = settings_of(overrides)
        if not training:
            return build_editor(settings, backbone, sources, seed)
        of_training = settings.model_dump_json(exclude=set(find_method(settings.method).editing_alone))
        if of_training not in known:
            known[of_training], _ = train_editor(settings, backbone, training, stopping, seed)
        return build_editor(settings, backbone, replace(sources, trained=known[of_training]), seed)

    return editor_of
