"""What a backbone asks a cache of the states below the first edited layer; this one has nothing."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from unike_lib.backbones.batch import Batch, Prepared
from unike_lib.backbones.kv_cache import KVCache
from unike_lib.types import Query


class NoCache:
    """Every state is computed anew; `speed.state_cache.StateCache` keeps some, in memory or on disk."""

    def remembering(self, on: bool = True) -> AbstractContextManager[None]:
        """Keep what `Backbone.prepare` returns until the outermost such context ends; off: not in this one."""
        return nullcontext()

    def recall(self, queries: Sequence[Query], first: int) -> Prepared | None:
        """Return the rows of queries at layer `first`, if they are remembered."""
        return None

    def remember(self, queries: Sequence[Query], prepared: Prepared) -> None:
        """Keep the rows of queries, within `remembering`."""

    def entering(self, queries: Sequence[Query], batch: Batch, first: int) -> Tensor | None:
        """Return the states that enter layer `first`, [row, token, d]; None if they are not kept."""
        return None

    def prompt_states(self, query: Query, layers: Sequence[int]) -> Tensor | None:
        """Return s = LN1(h) at a question's last prompt token, [layer, d]; None if it is not kept."""
        return None

    def remember_prompt_states(self, query: Query, layers: Sequence[int], states: Tensor) -> None:
        """Keep them as long as the process lives."""

    def begin(self, queries: Sequence[Query], batch: Batch, past: KVCache, first: int) -> tuple[Tensor, int] | None:
        """Return states [row, token, d] and the layer, at most `first`, that they enter; None if they are not kept.

        `past` gets the keys and values of the layers below.
        """
        return None
