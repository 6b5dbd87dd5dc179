"""T-Patcher (Huang et al. 2023): neurons for one mistake, kept silent on unrelated states by a memory loss."""

from collections.abc import Sequence
from dataclasses import dataclass

from unike_lib.backbones.backbone import Backbone
from unike_lib.editing.building import EditorSources
from unike_lib.editing.editor import Editor, EditResult, request_trunk
from unike_lib.editing.optimise import failures
from unike_lib.editing.patch import Patch
from unike_lib.methods.shared.neuron_training import NeuronSource, NeuronTrainer
from unike_lib.methods.shared.semantic_scope import behind_scope
from unike_lib.methods.t_patcher.settings import TPatcherMethod
from unike_lib.types import EditRequest


def build(settings: TPatcherMethod, backbone: Backbone, sources: EditorSources, seed: int) -> Editor:
    """Read the unrelated FFN inputs and return the editor."""
    trainer = NeuronTrainer(backbone, settings, sources.ffn_inputs(backbone.device), seed)
    return behind_scope(settings, TPatcher(trainer), backbone, sources)


@dataclass(frozen=True)
class TPatcher:
    """New neurons in the FFNs of the edited layers, trained by cross-entropy, activation and memory losses."""

    trainer: NeuronTrainer

    def start(self, sessions: int) -> Patch:
        """Return the identity."""
        return Patch(sessions)

    def edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        """Install one request per session; earlier neurons stay frozen beside the new ones."""
        trunk = request_trunk(self.trainer.backbone, requests, teach_end=self.trainer.settings.teach_end)
        neurons = NeuronSource(self.trainer.new_neurons(requests, trunk, previous))
        finite = self.trainer.train(neurons.parameters, trunk, previous, neurons)
        return EditResult(previous.append(neurons.detached()).revert(finite, previous), failures(finite))
