"""Changes of weight matrices as factors: what a hypernetwork's edit leaves behind, never a full matrix a session."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def by_session(inputs: Tensor, matrices: Tensor) -> Tensor:
    """Multiply rows by their session's matrix: [row, token, in] x [session, in, out] -> [row, token, out].

    Rows are ordered by session, the same number for each.
    """
    sessions = matrices.shape[0]
    rows, tokens, width = inputs.shape
    if rows % sessions:
        raise ValueError(f"{rows} rows do not divide into {sessions} sessions")
    grouped = inputs.reshape(sessions, rows // sessions * tokens, width).to(matrices.dtype)
    return (grouped @ matrices).view(rows, tokens, -1).to(inputs.dtype)


@dataclass(frozen=True)
class LowRank:
    """Every session's change of one weight matrix, sum_r outputs_r inputs_r^T.

    outputs [session, rank, out]; inputs [session, rank, in]. A gradient has this form, with a rank a token: outputs are
    then the gradients delta at the matrix's output, inputs its input u.
    """

    outputs: Tensor
    inputs: Tensor

    @property
    def present(self) -> Tensor:
        """Which factors change anything: bool [session, rank]."""
        return (self.outputs != 0).any(-1) & (self.inputs != 0).any(-1)

    def apply(self, inputs: Tensor) -> Tensor:
        """Return what the change adds to the matrix's output, [row, token, out], for inputs [row, token, in].

        Computed in float32: what lies between the two products may be too large for half precision.
        """
        return by_session(by_session(inputs.float(), self.inputs.transpose(1, 2)), self.outputs).to(inputs.dtype)

    def grouped(self, sessions: int) -> "LowRank":
        """Return the sums over groups of so many sessions."""
        outputs, inputs = (part.unflatten(0, (-1, sessions)).flatten(1, 2) for part in (self.outputs, self.inputs))
        return LowRank(outputs, inputs)

    def scaled(self, factor: float) -> "LowRank":
        """Return the changes times a factor."""
        return LowRank(self.outputs * factor, self.inputs)

    def joined(self, more: "LowRank") -> "LowRank":
        """Return the sum of both changes."""
        return LowRank(torch.cat([self.outputs, more.outputs], 1), torch.cat([self.inputs, more.inputs], 1))

    def select(self, sessions: Sequence[int]) -> "LowRank":
        """Return the changes of some of the sessions, in the order given."""
        return LowRank(self.outputs[list(sessions)], self.inputs[list(sessions)])

    def kept(self, keep: Tensor, otherwise: "LowRank | None") -> "LowRank":
        """Return these changes where `keep` [session] holds, elsewhere those of `otherwise`, which come first here."""
        known = 0 if otherwise is None else otherwise.outputs.shape[1]
        earlier = torch.arange(self.outputs.shape[1], device=keep.device) < known
        mask = (keep[:, None] | earlier)[:, :, None]
        outputs, inputs = torch.nan_to_num(self.outputs), torch.nan_to_num(self.inputs)
        return LowRank(torch.where(mask, outputs, torch.zeros_like(outputs)), inputs)

    def compacted(self) -> "LowRank":
        """Return the same changes without the factors that are zero in every session."""
        present = self.present
        most = max(1, int(present.sum(1).max()))
        order = present.int().argsort(dim=1, descending=True, stable=True)[:, :most, None]
        mask = present.gather(1, order[:, :, 0])[:, :, None]
        parts = (part.gather(1, order.expand(-1, -1, part.shape[2])) * mask for part in (self.outputs, self.inputs))
        return LowRank(*parts)


Factors = Mapping[int, Mapping[str, LowRank]]
