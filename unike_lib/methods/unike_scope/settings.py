"""Settings of UniKE with a late scope."""

from typing import Literal

from unike_lib.config.base import Count, Fraction, Original, Positive, setting
from unike_lib.methods.shared.neuron_settings import memory_weight_setting
from unike_lib.methods.shared.scope_settings import ScopeSettings, scope_setting
from unike_lib.methods.unike.settings import UnikeMethod


class UnikeScopeMethod(ScopeSettings, UnikeMethod):
    """UniKE whose edits each stand behind their own share of a question."""

    scope: Literal["none", "semantic"] = scope_setting("semantic")
    memory_of: Literal["pool", "edits", "both"] = setting(
        "edits",
        "What the latent shift retrieves: triplets of the pool, as in the paper; the session's edits; or both.",
        "ours",
        original=Original("UniKE 3.2", "pool", equation=True, needs=("latent",)),
    )
    edit_alpha: Fraction = setting(0.1, "Inclusion of an edit's memory entry where its share is 1.", "ours")
    memory_weight: float = memory_weight_setting(0.0003)
    steps: Count = setting(30, "Optimiser steps per edit.", "tuned")
    learning_rate: Positive = setting(3.0e-2, "Adam learning rate.", "tuned")

    @property
    def reads_pool(self) -> bool:
        """Whether the pool's memory is read."""
        return self.latent and self.memory_of != "edits"
