"""Rows of queries on their way through a backbone: laid out, behind the frozen layers, in front of the last FFN."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unike_lib.backbones.edit import PassContext, Trace
from unike_lib.backbones.kv_cache import KVCache

Answers = Sequence[Sequence[int]]  # token ids, row by row
IGNORED = -100  # where no token is to be predicted
END = -200  # where an answer is to end: any of the backbone's stop tokens is right


def sees_pictures(picture: Tensor, tokens: int) -> Tensor:
    """Return which tokens (last axis) each token sees, bool [row, token, token]: all up to itself, and its own picture.

    picture [row, 2]: as in `Batch`.
    """
    places = torch.arange(tokens, device=picture.device)
    inside = (places >= picture[:, :1]) & (places < picture.sum(1, keepdim=True))
    return (places <= places[:, None]) | (inside[:, :, None] & inside[:, None, :])


@dataclass(frozen=True)
class Batch:
    """Queries laid out as rows, padded on the right.

    embeddings [row, token, d]; targets [row, token]: the answer token to be predicted AT each position (already
    shifted), -100 elsewhere; at the last answer token -200 where the end is to be predicted too (`with_end`);
    last_prompt [row]: the token after which the answer starts; lengths [row], in tokens; positions [3, row, token] of a
    model whose visual tokens have places on a grid, None: 0, 1, 2 ...; picture [row, 2]: the first visual token of each
    row, and how many there are (0 without a picture); unedited [row, layer, d]: as in `PassContext`; sees, bool [row,
    token, token]: which tokens (last axis) each token attends to, None: all up to itself.
    """

    embeddings: Tensor
    targets: Tensor
    last_prompt: Tensor
    lengths: Tensor
    positions: Tensor | None = None
    picture: Tensor | None = None
    unedited: Tensor | None = None
    sees: Tensor | None = None

    def context(self, trace: Trace | None = None) -> PassContext:
        """Return what an edit knows of a pass over these rows."""
        return PassContext(self.last_prompt, trace, self.picture, unedited=self.unedited)

    @property
    def mask(self) -> Tensor:
        """Which positions are not padding: bool [row, token]."""
        return torch.arange(self.embeddings.shape[1], device=self.lengths.device) < self.lengths[:, None]

    @property
    def answered(self) -> Tensor:
        """Where an answer token, or what follows the answer, is predicted: bool [row, token]."""
        positions = torch.arange(self.embeddings.shape[1], device=self.lengths.device)
        return self.mask & (positions >= self.last_prompt[:, None])

    def with_end(self) -> "Batch":
        """Return the same rows, of which the end of the answer is to be predicted too, at its last token."""
        targets = self.targets.clone()
        targets[torch.arange(len(targets), device=targets.device), self.lengths - 1] = END
        return replace(self, targets=targets)

    def suffix(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return what rows have behind so many tokens each [row]: embeddings [row, token, d], and which are real."""
        positions = torch.arange(self.embeddings.shape[1], device=tokens.device)
        where = self.mask & (positions >= tokens[:, None])
        parts = self.embeddings[where].split(where.sum(1).tolist())
        padded = torch.nn.utils.rnn.pad_sequence(list(parts), batch_first=True)
        return padded, torch.arange(padded.shape[1], device=tokens.device) < where.sum(1)[:, None]


@dataclass(frozen=True)
class Prepared:
    """States entering layer `first`, [row, token, d], with the batch they came from.

    past: keeps keys and values of the pass, those of the layers below `first` included; None: none are kept.
    """

    hidden: Tensor
    batch: Batch
    first: int
    past: KVCache | None = None

    def with_unedited(self, states: Tensor) -> "Prepared":
        """Return the same rows, of which is known what the unedited model makes of them (`PassContext.unedited`)."""
        if self.past is not None:
            self.past.context.unedited = states
        return replace(self, batch=replace(self.batch, unedited=states))

    def with_end(self) -> "Prepared":
        """Return the same states; the end of every answer is to be predicted too."""
        return replace(self, batch=self.batch.with_end())


@dataclass(frozen=True)
class Tail:
    """What is left to do where logits are read: the last layer's FFN, the final norm, the projection.

    states [row, read, d] enter that FFN, each row's positions read first, in their order; mask [row, read] says which
    are such.
    """

    states: Tensor
    mask: Tensor
    context: PassContext
