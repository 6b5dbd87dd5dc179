"""Settings of methods that add neurons to a model which stays as it is: shared by T-Patcher and UniKE."""

from typing import Any, Literal

from unike_lib.config.base import Count, Original, Positive, setting
from unike_lib.methods.shared.teach_end import TargetMethod

INTRINSIC = ("intrinsic",)
MEMORY_LOSS = ("intrinsic", "memory_weight")
MEMORY_WEIGHT = Original("T-Patcher", 5.0, needs=INTRINSIC)


def memory_weight_setting(default: float) -> Any:
    """Return the weight of the memory loss as a setting; methods tune it apart."""
    return setting(default, "Weight of the memory loss.", "tuned", original=MEMORY_WEIGHT, ge=0)


class NeuronMethod(TargetMethod):
    """Extra FFN neurons with T-Patcher's losses: shared by T-Patcher and UniKE."""

    neurons: Count = setting(
        10, "Extra key-value pairs per layer, n_e.", original=Original("UniKE D.3", needs=INTRINSIC)
    )
    key_init: Literal["query", "random"] = setting(
        "query",
        "First keys: query: h / |h|^2; or random directions.",
        original=Original("T-Patcher", equation=True, needs=INTRINSIC),
    )
    activation_weight: float = setting(
        1.0, "Weight of the activation loss.", original=Original("T-Patcher", needs=INTRINSIC), ge=0
    )
    memory_weight: float = memory_weight_setting(0.001)
    memory_margin: float = setting(
        -3.0, "Unrelated states' activations go below this.", original=Original("T-Patcher", needs=MEMORY_LOSS)
    )
    difference_margin: float = setting(
        3.0, "Distance kept from the edit's own activation.", original=Original("T-Patcher", needs=MEMORY_LOSS)
    )
    activation_top: Count = setting(
        5,
        "Neurons, the least activated, in the activation loss.",
        original=Original("T-Patcher", needs=("intrinsic", "activation_weight")),
    )
    memory_top: Count = setting(
        1000, "Activations that the memory loss averages over.", original=Original("T-Patcher", needs=MEMORY_LOSS)
    )
    steps: Count = setting(40, "Optimiser steps per edit.", "tuned")
    learning_rate: Positive = setting(3.0e-2, "Adam learning rate.", "tuned", original=Original("T-Patcher", 1.0e-2))
