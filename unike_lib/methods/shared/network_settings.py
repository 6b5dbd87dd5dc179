"""Settings of trained networks that write weight changes: shared by MEND and KE."""

from pydantic import model_validator

from unike_lib.config.base import Count, Fraction, Original, Positive, setting
from unike_lib.methods.shared.teach_end import TargetMethod, teach_end_setting

NO_FACTOR = "no such factor"


class NetworkMethod(TargetMethod):
    """A network that writes weight changes of the last layers' FFN matrices: shared by MEND and KE.

    It is trained once per backbone, on the method-training edits of both tasks (Reading).
    """

    teach_end: bool = teach_end_setting(False)
    layers: Count = setting(3, "FFNs of so many last layers are edited.", original=Original("MMEdit", equation=True))
    counterfactual_targets: Fraction = setting(
        0.5,
        "Share of training edits with another answer of the split as their target.",
        "ours",
        original=Original("MMEdit", 0.0),
    )
    edits_per_session: Count = setting(
        4,
        "Training edits of a batch whose changes add up, in every second step.",
        "ours",
        original=Original("MMEdit", 1),
    )
    strength: float = setting(
        1.0,
        "Factor on the written change, in editing alone.",
        "tuned",
        original=Original(NO_FACTOR, 1.0, equation=True),
        ge=0,
    )
    steps: Count = setting(800, "Most optimiser steps.", "ours", original=Original("MMEdit", 30000))
    batch_size: Count = setting(8, "Training edits per step.", "ours")
    learning_rate: Positive = setting(1.0e-4, "Of the editor's weights.", "ours")
    eval_every: Count = setting(100, "Steps between two checks on development edits.", "ours")
    patience: Count = setting(3, "Checks in a row without a better objective that end the training.", "ours")

    @model_validator(mode="after")
    def _batches_are_whole(self) -> "NetworkMethod":
        if self.batch_size % self.edits_per_session:
            raise ValueError(
                f"edits_per_session: expected a divisor of the batch {self.batch_size}, found {self.edits_per_session}"
            )
        return self
