"""Settings of the methods whose editor is trained before any edit: MEND, KE, SERAC."""

from typing import ClassVar, Literal

from pydantic import model_validator

from unike_lib.section import (
    FIRST_LOOK,
    Count,
    Entry,
    Fraction,
    MethodSection,
    Original,
    Positive,
    given,
    on_backbone,
    setting,
)

TRAINED = ("mend", "ke", "serac")  # methods whose editor is trained before any edit
TRAINED_ON_TEXT = ("serac",)  # those of them whose training does not run the backbone
# Their settings that the training does not read.
IN_EDITING_ALONE = {"strength", "scope_radius", "mixture", "positions"}
_NO_FACTOR = "no such factor"


class NetworkMethod(MethodSection):
    """A network that writes weight changes of the last layers' FFN matrices: shared by MEND and KE.

    It is trained once per backbone, on the method-training edits of both tasks (Reading).
    """

    layers: Count = setting(3, "FFNs of so many last layers are edited.", original=Original("MMEdit", equation=True))
    swapped: Fraction = setting(
        0.5,
        "Share of training edits with another answer of the split as their target.",
        "ours",
        original=Original("MMEdit", 0.0),
    )
    together: Count = setting(
        4,
        "Training edits of a batch whose changes add up, in every second step.",
        "ours",
        original=Original("MMEdit", 1),
    )
    strength: float = setting(
        1.0,
        "Factor on the written change, in editing alone.",
        "tuned",
        original=Original(_NO_FACTOR, 1.0, equation=True),
        ge=0,
    )
    steps: Count = setting(800, "Most optimiser steps.", "ours", original=Original("MMEdit", 30000))
    batch: Count = setting(8, "Training edits per step.", "ours")
    learning_rate: Positive = setting(1.0e-4, "Of the editor's weights.", "ours")
    check_every: Count = setting(100, "Steps between two checks on development edits.", "ours")
    patience: Count = setting(3, "Checks in a row without a better objective that end the training.", "ours")

    @model_validator(mode="after")
    def _batches_are_whole(self) -> "NetworkMethod":
        if self.batch % self.together:
            raise ValueError(f"together: expected a divisor of the batch {self.batch}, found {self.together}")
        return self


class MendMethod(NetworkMethod):
    """MEND: gradient factors through a shared low-rank MLP."""

    method: Literal["mend"]
    batch: Count = setting(8, "Training edits per step.", "ours", original=Original("MMEdit", 1))
    learning_rate: Positive = setting(
        1.0e-4, "Adam learning rate.", "ours", FIRST_LOOK, original=Original("MEND", 1.0e-6)
    )
    rank: Count = setting(64, "Rank of the MLP's layers.", "ours", original=Original("MEND", 1920))
    edit_rate: Positive = setting(
        3.0e-3, "Learned edit learning rates at the start.", "ours", FIRST_LOOK, original=Original("MEND", 1.0e-4)
    )
    edit_rate_step: Positive = setting(
        3.0e-4, "Adam learning rate of those rates.", "ours", original=Original("MEND", 1.0e-4)
    )
    accumulation: Count = setting(1, "Batches per step.", "ours", original=Original("MEND", 2))
    clip: Positive = setting(100.0, "Largest norm of a step's gradient.", original=Original("MEND"))
    edit_weight: float = setting(
        1.0, "Loss weight of the edit itself.", "tuned", original=Original("MMEdit", 0.0), ge=0
    )
    text_weight: float = setting(
        0.3, "Loss weight of the rephrased text.", "ours", FIRST_LOOK, original=Original("MMEdit", 0.1), ge=0
    )
    image_weight: float = setting(
        0.3, "Loss weight of the rephrased image.", "ours", FIRST_LOOK, original=Original("MMEdit", 0.1), ge=0
    )
    locality_weight: float = setting(1.0, "Loss weight of text and image locality.", original=Original("MMEdit"), ge=0)
    entries: ClassVar = {
        "mend": Entry(
            "A trained MLP turns the factors of the edit's gradient into a weight change.",
            on_backbone(
                "minigpt4-smol",
                given("ours", "the best of 200 there was step 100", steps=100)
                | given("ours", batch=4, check_every=50)
                | given("tuned", edit_weight=0.1, strength=1.0),
            ),
        )
    }
    search: ClassVar = {"edit_weight": [0.1, 0.3, 1.0], "strength": [0.5, 1.0, 2.0, 4.0]}


class KeMethod(NetworkMethod):
    """KE: an LSTM over the edit's text writes masks for its gradient."""

    method: Literal["ke"]
    swapped: Fraction = setting(
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
        original=Original(_NO_FACTOR, 1.0, equation=True),
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
    entries: ClassVar = {
        "ke": Entry(
            "A trained LSTM over the edit's text writes masks for the edit's gradient.",
            on_backbone(
                "minigpt4-smol",
                given("ours", "minutes on a laptop; 200: 0.01 better there", steps=100)
                | given("ours", batch=4, check_every=50)
                | given("tuned", scale=400.0, strength=1.0),
            ),
        )
    }
    search: ClassVar = {"scale": [100.0, 400.0, 1600.0], "strength": [0.5, 1.0, 2.0, 4.0]}


class SeracMethod(MethodSection):
    """SERAC: stored edits, a scope classifier, a counterfactual language model; both trained on the method split."""

    method: Literal["serac"]
    width: Count = setting(128, "Hidden width of both models.", "ours")
    heads: Count = setting(4, "Attention heads of both models.", "ours")
    scope_layers: Count = setting(
        2, "Layers of the scope classifier (DistilBERT: 6).", "ours", original=Original("SERAC", 6)
    )
    counterfactual_layers: Count = setting(
        2, "Layers of the counterfactual model (OPT-125M: 12).", "ours", original=Original("MMEdit", 12)
    )
    steps: Count = setting(600, "Most optimiser steps of each model.", "ours")
    rows: int = setting(16, "Training edits per step.", "ours", ge=2)
    learning_rate: Positive = setting(
        1.0e-3, "AdamW learning rate.", "ours", "no pretrained models", original=Original("SERAC", 1.0e-5)
    )
    check: Count = setting(50, "Steps between looks at the development edits.", "ours")
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
        original=Original(_NO_FACTOR, 1.0, equation=True),
    )
    entries: ClassVar = {
        "serac": Entry(
            "Stored edits, a scope classifier and a counterfactual model.",
            on_backbone(
                "minigpt4-smol",
                given("ours", "copying is learned more slowly over 49,152 tokens", steps=1200)
                | given("tuned", random_targets=0.75),
            ),
        )
    }
    search: ClassVar = {"random_targets": [0.25, 0.5, 0.75], "scope_radius": [0.3, 1.0, 3.0, 10.0]}

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> "SeracMethod":
        if self.width % self.heads:
            raise ValueError(f"heads: expected a divisor of the width {self.width}, found {self.heads}")
        return self
