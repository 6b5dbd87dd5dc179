"""Settings of LiveEdit."""

from pydantic import model_validator

from unike_lib.config.base import Count, Fraction, Original, Positive, setting
from unike_lib.methods.shared.teach_end import TargetMethod, teach_end_setting


class LiveEditMethod(TargetMethod):
    """LiveEdit: low-rank experts behind one layer, chosen by picture and weighed by text.

    The network that makes them is trained once per backbone, on the method-training edits of both tasks (Reading).
    """

    teach_end: bool = teach_end_setting(False)
    layer: int | None = setting(
        None,
        "Layer that experts stand behind, counted from the end (-1: the last); null: the backbone's first edited one.",
        "ours",
        original=Original("LiveEdit", -11),
        le=-1,
    )
    width: Count = setting(256, "Width of features.", "ours", original=Original("LiveEdit", 1024))
    heads: Count = setting(8, "Heads of each attention.", original=Original("LiveEdit"))
    rank: Count = setting(4, "Rank of an expert.", original=Original("LiveEdit"))
    strength: float = setting(
        1.0,
        "Factor on what experts add, in editing alone.",
        "ours",
        original=Original("no such factor", 1.0, equation=True),
        ge=0,
    )
    counterfactual_targets: Fraction = setting(
        0.5,
        "Share of training edits with another answer of the split as their target.",
        "ours",
        original=Original("LiveEdit", 0.0),
    )
    steps: Count = setting(800, "Most Adam steps.", "ours")
    batch_size: Count = setting(8, "Training edits per step.", original=Original("LiveEdit"), ge=2)
    learning_rate: Positive = setting(1.0e-4, "Adam learning rate.", original=Original("LiveEdit"))
    cut_after: Count = setting(
        10000, "Steps after which the learning rate is a tenth of that.", original=Original("LiveEdit")
    )
    eval_every: Count = setting(100, "Steps between two checks on development edits.", "ours")
    patience: Count = setting(3, "Checks in a row without a better objective that end the training.", "ours")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "LiveEditMethod":
        if self.width % self.heads:
            raise ValueError(f"heads: expected a divisor of the width {self.width}, found {self.heads}")
        return self
