"""M-ORE: gradient steps on one factor of low-rank pairs, through a projector that spares what earlier edits use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import IGNORED, Prepared
from unike_lib.backbones.oom import oom_as_input_error
from unike_lib.editing.building import EditorSources
from unike_lib.editing.editor import EditResult, answer_loss, request_trunk
from unike_lib.editing.optimise import failures
from unike_lib.editing.patch import Patch
from unike_lib.methods.m_ore.pairs import Pairs, Place, drawn_bases
from unike_lib.methods.m_ore.settings import MoreMethod
from unike_lib.methods.m_ore.writing import Codes, written
from unike_lib.types import EditRequest, InputError


def build(settings: MoreMethod, backbone: Backbone, sources: EditorSources, seed: int) -> "More":
    """Draw the bases and return the editor.

    Raises:
        InputError: the layers of the pairs lie on several devices.
    """
    chosen = [(layer, name) for layer in backbone.editable[-settings.layers :] for name in layer.names.ffn_matrices]
    cards = sorted({str(layer.device) for layer, _ in chosen})
    if len(cards) > 1:
        raise InputError(f"layers: the last {settings.layers} layers lie on {', '.join(cards)}; expected one device")
    shapes = {(layer.index, name): layer.part(name).weight.shape for layer, name in chosen}
    widths = {place: shape[1] for place, shape in shapes.items()}
    bases = drawn_bases(widths, settings.rank, settings.basis, seed)
    bases = {place: basis.to(backbone.device) for place, basis in bases.items()}
    return More(backbone, settings, bases, {place: shape[0] for place, shape in shapes.items()})


@dataclass(frozen=True)
class More:
    """The editor; bases: A [rank, in] by matrix, widths: of the matrices' outputs."""

    backbone: Backbone
    settings: MoreMethod
    bases: Mapping[Place, Tensor]
    widths: Mapping[Place, int]

    def start(self, sessions: int) -> Patch:
        """Return the identity."""
        return Patch(sessions)

    def edit(self, requests: Sequence[EditRequest], previous: Patch) -> EditResult:
        """Install one request per session; it goes on from the pairs that earlier edits left."""
        first = min(layer for layer, _ in self.bases)
        trunk = request_trunk(self.backbone, requests, first, teach_end=self.settings.teach_end)
        pairs = previous.part(Pairs)
        if pairs is None:
            pairs = Pairs.unedited(self.bases, self.widths, self.settings.scale, len(requests))
        finite = torch.ones(len(requests), dtype=torch.bool, device=self.backbone.device)
        for _ in range(self.settings.steps):
            losses, gradients, codes = self._backward(trunk, previous, pairs)
            finite = finite & torch.isfinite(losses)
            pairs = written(pairs, gradients, codes, self.settings)
        for value in pairs.tensors().values():
            finite = finite & torch.isfinite(value).flatten(1).all(1)
        return EditResult(previous.append(pairs).revert(finite, previous), failures(finite))

    def _backward(self, trunk: Prepared, previous: Patch, pairs: Pairs) -> tuple[Tensor, dict[Place, Tensor], Codes]:
        """Return the edits' losses [session], their gradients by B [session, out, rank], and the codes of the pass."""
        batch = trunk.batch
        wanted, read = batch.targets != IGNORED, batch.answered
        if self.settings.shared_rank:
            read = read | batch.context().within("picture", read.shape[1])
        outputs = {place: value.detach().requires_grad_(True) for place, value in pairs.outputs.items()}
        codes = Codes(self.bases, batch.lengths, self.settings.key_tokens == "predicting")
        patch = previous.append(replace(pairs, outputs=outputs)).append(codes)
        with torch.enable_grad():
            tail = self.backbone.tail(
                trunk, patch, read
            )  # the last FFN's codes are read at more tokens than logits are
            assert tail.context.positions is not None
            asked = replace(tail, mask=tail.mask & wanted.gather(1, tail.context.positions))
            losses = answer_loss(self.backbone.read(asked, patch), batch.targets, self.backbone.stop_tokens)
            with oom_as_input_error(losses):
                gradients = torch.autograd.grad(losses.sum(), list(outputs.values()))
        return losses.detach(), dict(zip(outputs, gradients, strict=True)), codes
