"""FT: train the FFN matrices of the last layer on the edit alone (MMEdit; settings from VLKEB)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import IGNORED
from unike_lib.editing.building import EditorSources
from unike_lib.editing.editor import Editor, EditResult, answer_loss, request_trunk
from unike_lib.editing.optimise import descend, failures
from unike_lib.editing.patch import Part, Patch
from unike_lib.methods.fine_tune.settings import FineTuneMethod
from unike_lib.methods.fine_tune.weight_changes import WeightChanges, WeightChangesPerEdit
from unike_lib.methods.shared.semantic_scope import behind_scope
from unike_lib.types import EditRequest

BYTES_A_NUMBER = 16  # of what AdamW trains: value, gradient and two moments in float32
OPTIMISER_BYTES = 4 * 10**9  # of a GPU
ON_CPU = 6  # jobs on CPUs share the memory of a machine: each takes a sixth of that


def build(settings: FineTuneMethod, backbone: Backbone, sources: EditorSources, seed: int) -> Editor:
    """Return the editor."""
    return behind_scope(settings, FineTune(backbone, settings), backbone, sources)


@dataclass(frozen=True)
class FineTune:
    """AdamW on the change of the last FFN's two matrices (OPT fc1, fc2; Llama up, down).

    Reading: weight decay acts on the change, not on the weight, so that no decay means no drift.
    """

    backbone: Backbone
    settings: FineTuneMethod

    def start(self, sessions: int) -> Patch:
        """Return the identity."""
        return Patch(sessions)

    def edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        """Install one request per session; changes add to those of earlier edits.

        So many sessions are trained at once as the optimiser has room for: whole matrices are large.
        """
        size = self._at_once
        starts = range(0, len(requests), size)
        parts = [
            self._train(requests[s : s + size], previous.select(range(s, min(s + size, len(requests))))) for s in starts
        ]
        trained = {name: torch.cat([changes[name] for changes, _ in parts]) for name in parts[0][0]}
        finite = torch.cat([part for _, part in parts])
        del parts
        layer = self.backbone.decoder.layers[-1].index
        patch = previous.append(self._part(layer, trained))
        return EditResult(patch.revert(finite, previous), failures(finite))

    def _part(self, layer: int, changes: Mapping[str, Tensor]) -> Part:
        """Return one edit's changes by matrix [session, out, in]; behind a scope, edits stay apart."""
        if self.settings.scope == "none":
            return WeightChanges({layer: changes})
        return WeightChangesPerEdit({layer: {name: change[:, None] for name, change in changes.items()}})

    @property
    def _at_once(self) -> int:
        layer = self.backbone.decoder.layers[-1]
        numbers = sum(layer.part(name).weight.numel() for name in layer.names.ffn_matrices)
        room = OPTIMISER_BYTES // (ON_CPU if self.backbone.device.type == "cpu" else 1)
        return max(1, room // (BYTES_A_NUMBER * numbers))

    def _train(self, requests: Sequence[EditRequest], previous: Patch) -> tuple[dict[str, Tensor], Tensor]:
        """Return the trained changes by matrix [session, out, in], and which sessions are finite, bool [session]."""
        layer = self.backbone.decoder.layers[-1]
        trunk = request_trunk(self.backbone, requests, layer.index, teach_end=self.settings.teach_end)
        targets = trunk.batch.targets
        tail = self.backbone.tail(trunk, previous, targets != IGNORED)  # nothing before the last FFN changes
        parameters, changes = [], {}
        for name in layer.names.ffn_matrices:  # trained as [session, in, out], so that no gradient is copied
            shape = layer.part(name).weight.T.shape
            parameters.append(torch.zeros(len(requests), *shape, device=self.backbone.device, requires_grad=True))
            changes[name] = parameters[-1].transpose(1, 2)
        optimiser = torch.optim.AdamW(
            parameters, lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay, fused=True
        )

        def losses() -> Tensor:
            logits = self.backbone.read(tail, previous.append(self._part(layer.index, changes)))
            return answer_loss(logits, targets, self.backbone.stop_tokens)

        finite = descend(parameters, losses, optimiser, self.settings.steps)
        return {name: torch.nan_to_num(change.detach()).contiguous() for name, change in changes.items()}, finite
