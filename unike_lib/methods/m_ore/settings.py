"""Settings of M-ORE and of ScopeEdit, which splits its ranks."""

from typing import Literal

from unike_lib.config.base import Count, Original, Positive, setting
from unike_lib.methods.shared.teach_end import TargetMethod, learned_end


class MoreMethod(TargetMethod):
    """M-ORE: low-rank pairs beside the last layers' FFN matrices, a few gradient steps per edit."""

    teach_end: bool = learned_end("M-ORE")
    layers: Count = setting(
        12,
        "Pairs stand in so many last layers, or in all that can be edited.",
        original=Original("M-ORE", equation=True),
    )
    rank: Count = setting(32, "Rank of a pair: the rows of A.", "ours", original=Original("M-ORE", 512))
    basis: Literal["orthogonal", "xavier"] = setting(
        "orthogonal",
        "How A is drawn: with orthogonal rows, or as Xavier's normal numbers.",
        original=Original("ScopeEdit"),
    )
    scale: Positive = setting(2.0, "Factor s on what a pair adds, alpha / r.", original=Original("M-ORE"))
    top_k: Count = setting(7, "Layers that an edit writes: those of the largest gradients.", original=Original("M-ORE"))
    steps: Count = setting(5, "Gradient steps per edit, one backward pass each.", original=Original("M-ORE"))
    learning_rate: Positive = setting(0.1, "Step size eta.", original=Original("M-ORE"))
    damping: Positive = setting(
        1.0, "lambda: how slowly the room along an edit's code shrinks.", original=Original("ScopeEdit", last=2000.0)
    )
    key_tokens: Literal["target", "predicting"] = setting(
        "target",
        "Whose mean code an edit claims: target: of the target's tokens; predicting: of those that predict them.",
        original=Original("M-ORE", equation=True),
    )
    split: Literal["none", "scope"] = setting(
        "none",
        "none: M-ORE; scope: ScopeEdit, a part of the ranks is shared and written through a gate.",
        original=Original("M-ORE", equation=True),
    )
    shared_share: float = setting(
        0.125, "Share of the ranks that is shared.", original=Original("ScopeEdit", last=0.1875), gt=0, lt=1
    )
    shared_layers: Count = setting(
        6, "Of the written layers, those whose shared ranks are.", original=Original("ScopeEdit")
    )
    shared_learning_rate: Positive = setting(
        1.0, "Step size of the shared ranks.", original=Original("ScopeEdit", 0.5, last=1.0)
    )
    shared_damping: Positive = setting(1.0, "lambda of the shared ranks.", original=Original("ScopeEdit"))
    gate_threshold: float = setting(
        0.2,
        "tau: the cosine of text and picture where the gate is half open.",
        original=Original("ScopeEdit"),
        ge=-1,
        le=1,
    )
    gate_slope: Positive = setting(10.0, "beta: how steeply the gate opens there.", original=Original("ScopeEdit"))

    @property
    def shared_rank(self) -> int:
        """How many of the ranks, the last ones, are shared."""
        return min(self.rank, max(1, round(self.rank * self.shared_share))) if self.split == "scope" else 0
