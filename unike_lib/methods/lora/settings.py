"""Settings of LoRA."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from unike_lib.config.base import Count, Original, Positive, setting
from unike_lib.methods.shared.scope_settings import ScopeSettings
from unike_lib.methods.shared.teach_end import TargetMethod, learned_end


class LoraMethod(ScopeSettings, TargetMethod):
    """LoRA: low-rank factors beside frozen matrices, edit loss only."""

    rests_on: ClassVar = {"backbone": {"layers": ()}}

    teach_end: bool = learned_end("EasyEdit")
    rank: Count = setting(8, "Rank of the factors, r.", original=Original("EasyEdit"))
    alpha: Positive = setting(32.0, "The change is alpha / rank times B A.", original=Original("EasyEdit"))
    dropout: Annotated[float, Field(ge=0, lt=1)] = setting(
        0.0, "Share of a matrix's inputs that A does not see in a step of training.", "ours",
        original=Original("EasyEdit", 0.1),
    )  # fmt: skip
    matrices: tuple[Literal["q", "k", "v", "o", "up", "gate", "down"], ...] = setting(
        ("up", "down"),
        "Matrices with factors: of attention q, k, v, o; of the FFN up (OPT fc1), gate (Llama), down (fc2).",
        "MemEIC",
        original=Original("EasyEdit", ("q", "v"), equation=True),
        min_length=1,
    )
    layers: Literal["edited", "last", "all"] = setting(
        "edited",
        "edited: the backbone's edited layers; last: the last one; all: every layer that can be edited.",
        "ours",
        original=Original("EasyEdit", "all", equation=True),
    )
    optimiser: Literal["adamw", "sgd"] = setting(
        "adamw", "How factors are trained.", "MemEIC", original=Original("EasyEdit", "sgd")
    )
    steps: Count = setting(20, "Optimiser steps per edit.", "ours", original=Original("EasyEdit", 5))
    learning_rate: Positive = setting(
        5.0e-3, "Learning rate of the first step.", "ours", original=Original("EasyEdit", 0.1)
    )
    decay: Annotated[float, Field(gt=0, le=1)] = setting(
        1.0, "Factor on the learning rate after every step.", "ours", original=Original("EasyEdit", 0.9)
    )
    weight_decay: float = setting(0.0, "The optimiser's decay of the factors.", original=Original("EasyEdit"), ge=0)
