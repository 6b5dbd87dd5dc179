"""Steering: a vector per session, learned on the edit alone, is added behind one layer to every token of the prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.decoder import DecoderLayer
from unike_lib.backbones.edit import PassContext
from unike_lib.config.base import Count, MethodSection, Positive, setting
from unike_lib.editing.editor import EditResult, edit_loss, request_trunk
from unike_lib.editing.optimise import descend, failures
from unike_lib.editing.patch import Part, Patch
from unike_lib.method import Method
from unike_lib.types import EditRequest


class SteerSettings(MethodSection):
    layer: int = setting(-2, "Layer whose output is moved, counted from the end.", "ours", lt=0)
    steps: Count = setting(20, "Optimiser steps per edit.", "ours")
    learning_rate: Positive = setting(0.05, "Adam learning rate.", "ours")


@dataclass(frozen=True)
class Steering(Part):
    """What edits leave behind: vectors [session, d]."""

    layer: int
    vectors: Tensor

    @property
    def first_layer(self) -> int:
        return self.layer

    def tensors(self) -> dict[str, Tensor]:
        return {"vectors": self.vectors}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "Steering":
        return Steering(self.layer, tensors["vectors"])

    def append(self, more: "Steering") -> "Steering":
        return Steering(self.layer, self.vectors + more.vectors)

    def revert(self, ok: Tensor, previous: "Steering | None") -> "Steering":
        return Steering(self.layer, torch.where(ok[:, None], self.vectors, previous.vectors if previous else 0.0))

    def block(self, layer: DecoderLayer, hidden: Tensor, context: PassContext) -> Tensor:
        if layer.index != self.layer:
            return hidden
        rows = self.vectors.repeat_interleave(len(hidden) // len(self.vectors), 0)[:, None]  # session by session
        return hidden + context.within("prompt", hidden.shape[1])[..., None] * rows.to(hidden.dtype)


@dataclass(frozen=True)
class Steer:
    backbone: Backbone
    settings: SteerSettings

    def start(self, sessions: int) -> Patch:
        return Patch(sessions)

    def edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        layer = len(self.backbone.decoder.layers) + self.settings.layer
        rows = request_trunk(self.backbone, requests, layer)  # what lies below the edit is run once
        vectors = torch.zeros(len(requests), self.backbone.width, device=self.backbone.device, requires_grad=True)
        optimiser = torch.optim.Adam([vectors], lr=self.settings.learning_rate)
        losses = lambda: edit_loss(self.backbone, rows, previous.append(Steering(layer, vectors)))  # noqa: E731
        finite = descend([vectors], losses, optimiser, self.settings.steps)
        return EditResult(previous.append(Steering(layer, vectors.detach())).revert(finite, previous), failures(finite))


def build(settings: SteerSettings, backbone: Backbone, sources: object, seed: int) -> Steer:
    return Steer(backbone, settings)


METHOD = Method(
    "steer", "Steering", SteerSettings, build, kind="intrinsic", first_layer=lambda settings: settings.layer
)
