"""FT: train the FFN matrices of the last layer on the edit alone (MMEdit; settings from VLKEB)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from unike_lib.backbones.base import Backbone
from unike_lib.editing.editor import Outcome, edit_loss, request_trunk
from unike_lib.editing.optimise import descend, failures
from unike_lib.editing.patch import Patch
from unike_lib.methods import FineTuneMethod
from unike_lib.types import EditRequest


@dataclass(frozen=True)
class FineTune:
    """AdamW on the change of the last FFN's two matrices (OPT fc1, fc2; Llama up, down).

    Reading: weight decay acts on the change, not on the weight, so that no decay means no drift.
    """

    backbone: Backbone
    settings: FineTuneMethod

    def start(self, sessions: int) -> Patch:
        """Return the identity."""
        return Patch.identity(sessions)

    def edit(self, requests: Sequence[EditRequest], onto: Patch) -> Outcome:
        """Install one request a session; changes add to those of earlier edits."""
        layer = self.backbone.decoder.layers[-1]
        trunk = request_trunk(self.backbone, requests, layer.index)  # nothing below changes
        changes = {
            name: torch.zeros(
                (len(requests), *layer.part(name).weight.shape), device=self.backbone.device, requires_grad=True
            )
            for name in layer.names.ffn_matrices
        }
        parameters = list(changes.values())
        optimiser = torch.optim.AdamW(
            parameters, lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay
        )

        def losses() -> torch.Tensor:
            return edit_loss(self.backbone, trunk, onto.with_deltas({layer.index: changes}))

        finite = descend(parameters, losses, optimiser, self.settings.steps)
        trained = {name: torch.nan_to_num(change.detach()) for name, change in changes.items()}
        return Outcome(onto.with_deltas({layer.index: trained}).kept(finite, onto), failures(finite))
