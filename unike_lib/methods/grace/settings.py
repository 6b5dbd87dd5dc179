"""Settings of GRACE."""

from typing import Literal

from unike_lib.config.base import Count, Fraction, Original, Positive, setting
from unike_lib.methods.shared.teach_end import TargetMethod, learned_end


class GraceMethod(TargetMethod):
    """GRACE: a codebook beside the down-projection of one layer's FFN."""

    teach_end: bool = learned_end("EasyEdit")
    layer: int | None = setting(
        None,
        "Layer of the codebook, counted from the end (-1: the last); null: the backbone's first edited one.",
        "ours",
        original=Original("EasyEdit", -10),
        le=-1,
    )
    steps: Count = setting(20, "Adam steps per edit.", original=Original("EasyEdit"))
    learning_rate: Positive = setting(1.0, "Adam learning rate of a value.", original=Original("EasyEdit"))
    radius: Literal["fixed", "balanced"] = setting(
        "fixed",
        "fixed: every edit starts with initial_radius; balanced: with one between the distance of its rephrasings and "
        "that of unrelated questions.",
        original=Original("EasyEdit", equation=True),
    )
    initial_radius: Positive = setting(1.0, "Radius of a new edit where it is fixed.", original=Original("EasyEdit"))
    balance: Fraction = setting(
        0.25,
        "Share of the distance of rephrasings in a balanced radius.",
        original=Original("BalancEdit", 0.05, last=0.35),
    )
    replaces: Literal["last", "prompt", "all"] = setting(
        "last",
        "Tokens whose output is replaced: last: the last prompt token; prompt: those before it; all.",
        original=Original("EasyEdit", equation=True),
    )
