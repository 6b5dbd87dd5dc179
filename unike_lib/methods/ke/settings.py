"""Settings of KE."""

from unike_lib.config.base import FIRST_LOOK, Count, Fraction, Original, Positive, setting
from unike_lib.methods.shared.network_settings import NO_FACTOR, NetworkMethod


class KeMethod(NetworkMethod):
    """KE: an LSTM over the edit's text writes masks for its gradient."""

    counterfactual_targets: Fraction = setting(
        0.8,
        "Share of training edits with another answer of the split as their target.",
        "ours",
        FIRST_LOOK,
        original=Original("MMEdit", 0.0),
    )
    strength: float = setting(
        2.0,
        "Factor on the written change, in editing alone.",
        "tuned",
        original=Original(NO_FACTOR, 1.0, equation=True),
        ge=0,
    )
    steps: Count = setting(600, "Most optimiser steps.", "ours", original=Original("VLKEB", 30000))
    learning_rate: Positive = setting(3.0e-4, "RMSprop learning rate.", original=Original("De Cao et al."))
    hidden: Count = setting(
        128, "Hidden width of the LSTM, per direction, and of the conditioners.", original=Original("De Cao et al.")
    )
    condition: Count = setting(1024, "Width of the condition.", original=Original("De Cao et al."))
    scale: Positive = setting(
        100.0, "Bound of the factor on a change.", "tuned", original=Original("De Cao et al.", 1.0, equation=True)
    )
    margin: Positive = setting(
        0.03,
        "Locality divergence allowed at the start, nats.",
        "ours",
        FIRST_LOOK,
        original=Original("De Cao et al.", 1.0e-3),
    )
    margin_factor: float = setting(
        0.8,
        "Shrinks the margin at a check where edits are right often enough (margin_accuracy).",
        original=Original("De Cao et al."),
        gt=0,
        le=1,
    )
    margin_accuracy: Fraction = setting(
        0.9, "Share of right edits above which the margin shrinks.", original=Original("De Cao et al.")
    )
    margin_floor: Positive = setting(1.0e-7, "Least margin, nats.", original=Original("VLKEB"))
    multiplier_rate: Positive = setting(
        0.1, "RMSprop learning rate of the constraint's multiplier.", original=Original("De Cao et al.")
    )
