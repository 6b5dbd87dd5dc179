"""Settings of SERAC."""

from typing import Literal

from pydantic import model_validator

from unike_lib.config.base import Count, Fraction, MethodSection, Original, Positive, setting
from unike_lib.methods.shared.network_settings import NO_FACTOR


class SeracMethod(MethodSection):
    """SERAC: stored edits, a scope classifier, a counterfactual language model; both trained on the method split."""

    width: Count = setting(128, "Hidden width of both models.", "ours")
    heads: Count = setting(4, "Attention heads of both models.", "ours")
    scope_layers: Count = setting(
        2, "Layers of the scope classifier (DistilBERT: 6).", "ours", original=Original("SERAC", 6)
    )
    counterfactual_layers: Count = setting(
        2, "Layers of the counterfactual model (OPT-125M: 12).", "ours", original=Original("MMEdit", 12)
    )
    steps: Count = setting(600, "Most optimiser steps of each model.", "ours")
    batch_size: int = setting(16, "Training edits per step.", "ours", ge=2)
    learning_rate: Positive = setting(
        1.0e-3, "AdamW learning rate.", "ours", "no pretrained models", original=Original("SERAC", 1.0e-5)
    )
    eval_every: Count = setting(50, "Steps between looks at the development edits.", "ours")
    patience: Count = setting(6, "Looks without progress until training stops.", "ours")
    random_targets: Fraction = setting(0.5, "Share of training targets made of random tokens.", "ours")
    mixture: Literal["soft", "hard"] = setting(
        "soft",
        "soft: probabilities mixed by the scope score; hard: above 0.5 the second model alone, else the first (SERAC).",
        original=Original("MMEdit", equation=True),
    )
    positions: Literal["all", "answer"] = setting(
        "all",
        "Where the second model has a say: all of a row; answer: from the last prompt token on (ours).",
        original=Original("MMEdit", equation=True),
    )
    leak_answer: bool = setting(
        False, "The classifier reads the answer too, as released by MMEdit.", original=Original("SERAC", equation=True)
    )
    scope_radius: Positive = setting(
        1.0,
        "Squared distance that counts as 1, in editing alone.",
        "ours",
        original=Original(NO_FACTOR, 1.0, equation=True),
    )

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> "SeracMethod":
        if self.width % self.heads:
            raise ValueError(f"heads: expected a divisor of the width {self.width}, found {self.heads}")
        return self
