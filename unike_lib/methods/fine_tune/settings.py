"""Settings of fine-tuning."""

from unike_lib.config.base import Count, Original, Positive, setting
from unike_lib.methods.shared.scope_settings import ScopeSettings
from unike_lib.methods.shared.teach_end import TargetMethod


class FineTuneMethod(ScopeSettings, TargetMethod):
    """FT: the last layer's FFN matrices, AdamW, edit loss only."""

    steps: Count = setting(90, "Optimiser steps per edit.", "tuned", original=Original("VLKEB", 15))
    learning_rate: Positive = setting(
        1.5e-3, "AdamW learning rate.", "tuned", original=Original("VLKEB", 1.0e-4, last=2.0e-4)
    )
    weight_decay: float = setting(0.0, "AdamW decay of the weight change.", "ours", ge=0)
