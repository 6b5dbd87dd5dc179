"""Parts that keep their edits apart, so that each acts as far as a row is in the scope of that edit."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from unike_lib.backbones.edit import PassContext
from unike_lib.editing.patch import Part


class PerEdit(Part, ABC):
    """A part whose tensors say which edit they are of, in the order of editing.

    A hook goes by `PassContext.shares_at`: one column is the share of all edits alike; None: all act wholly.
    """

    @property
    @abstractmethod
    def edits(self) -> int:
        """How many edits each session has."""


def meant(shares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows that mean an edit [n], which edit that is [n], and how far [n], of shares [row, edit].

    A row means one edit at most: cost does not grow with the number of edits.
    """
    largest, edits = shares.max(1)
    rows = (largest > 0).nonzero()[:, 0]
    return rows, edits[rows], largest[rows]


@dataclass(frozen=True)
class GivenShares(Part):
    """Shares that are known before a pass, the same for all rows of a session: those of an edit being made.

    layers: which layer each holds for; None: for all. values [session, space, edit]; one edit: all alike.
    """

    layers: tuple[int | None, ...]
    values: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """Return the shares."""
        return {"values": self.values}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> "GivenShares":
        """Return these shares."""
        return replace(self, values=tensors["values"])

    def revert(self, ok: Tensor, previous: "GivenShares | None") -> "GivenShares":
        """Return the shares as they are: they hold while an edit is made."""
        return self

    def begin(self, context: PassContext) -> None:
        """Write the shares of all rows."""
        rows = self.values.repeat_interleave(len(context.last_prompt) // len(self.values), 0)
        context.shares |= {layer: rows[:, place] for place, layer in enumerate(self.layers)}
