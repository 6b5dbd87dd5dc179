"""Settings of the methods whose editor is trained before any edit: MEND, KE, SERAC."""

from typing import Literal

from pydantic import Field, model_validator

from unike_lib.section import Count, Fraction, Positive, Section

TRAINED = ("mend", "ke", "serac")  # methods whose editor is trained before any edit
TRAINED_ON_TEXT = ("serac",)  # those of them whose training does not run the backbone
# Their settings that the training does not read.
IN_EDITING_ALONE = {"strength", "scope_radius", "mixture", "positions"}


class TrainedMethod(Section):
    """Editors that are trained once a backbone, on the method-training edits of both tasks (Reading)."""

    steps: Count = Field(description="Optimiser steps at most.")
    batch: Count = Field(description="Training edits a step.")
    learning_rate: Positive = Field(description="Of the editor's weights.")
    check_every: Count = Field(description="Steps between two checks on development edits (ours).")
    patience: Count = Field(description="Checks in a row without a better objective that end the training (ours).")


class NetworkMethod(TrainedMethod):
    """A network that writes weight changes of the last layers' FFN matrices: shared by MEND and KE."""

    layers: Count = Field(3, description="FFNs of so many last layers are edited (MMEdit: 3).")
    swapped: Fraction = Field(0.5, description="Share of training edits with another answer as their target (ours).")
    together: Count = Field(
        1, description="Training edits of a batch that are made together in every second step (ours)."
    )
    strength: float = Field(1.0, ge=0, description="Factor on what is written, in editing alone (ours).")

    @model_validator(mode="after")
    def _batches_are_whole(self) -> "NetworkMethod":
        if self.batch % self.together:
            raise ValueError(f"together: expected a divisor of the batch {self.batch}, found {self.together}")
        return self


class MendMethod(NetworkMethod):
    """MEND: gradient factors through a shared low-rank MLP."""

    method: Literal["mend"]
    steps: Count = Field(800, description="Ours (MMEdit: 30K of one edit).")
    batch: Count = Field(8, description="Ours (MMEdit: 1).")
    learning_rate: Positive = Field(1.0e-4, description="Adam; tuned: development edits (MEND: 1e-6).")
    check_every: Count = Field(100, description="Ours.")
    patience: Count = Field(3, description="Ours.")
    rank: Count = Field(64, description="Rank of the IDMLP's layers; ours (MEND: 1920).")
    edit_rate: Positive = Field(3.0e-3, description="Learned edit learning rates at the start; tuned (MEND: 1e-4).")
    edit_rate_step: Positive = Field(3.0e-4, description="Adam learning rate of those rates; ours (MEND: 1e-4).")
    accumulation: Count = Field(1, description="Batches a step; ours (MEND: 2, of one edit each).")
    clip: Positive = Field(100.0, description="Largest norm of a step's gradient (MEND: 100).")
    edit_weight: float = Field(
        0.3, ge=0, description="Loss weight of the edit itself; tuned (MMEdit: not in the loss)."
    )
    text_weight: float = Field(0.3, ge=0, description="Loss weight of the rephrased text; tuned (MMEdit: 0.1).")
    image_weight: float = Field(0.3, ge=0, description="Loss weight of the rephrased image; tuned (MMEdit: 0.1).")
    locality_weight: float = Field(1.0, ge=0, description="Loss weight of text and image locality (MMEdit: 1).")


class KeMethod(NetworkMethod):
    """KE: an LSTM over the edit's text writes masks for its gradient."""

    method: Literal["ke"]
    swapped: Fraction = Field(0.8, description="As for MEND; tuned: development edits.")
    steps: Count = Field(600, description="Ours (VLKEB: 30K).")
    batch: Count = Field(8, description="Ours.")
    learning_rate: Positive = Field(3.0e-4, description="RMSprop (De Cao et al.: 3e-4).")
    check_every: Count = Field(100, description="Ours.")
    patience: Count = Field(3, description="Ours.")
    hidden: Count = Field(128, description="Hidden width of the LSTM, a direction, and of the conditioners (De Cao).")
    condition: Count = Field(1024, description="Width of the condition (De Cao et al.: 1024).")
    scale: Positive = Field(100.0, description="Bound of the factor on a change; tuned: development edits (De Cao: 1).")
    margin: Positive = Field(0.03, description="Locality divergence allowed at the start, nats; tuned (De Cao: 1e-3).")
    margin_factor: float = Field(0.8, gt=0, le=1, description="Shrinks the margin at a check (De Cao et al.: 0.8) ...")
    margin_accuracy: Fraction = Field(0.9, description="... where edits are right above this share (De Cao: 0.9).")
    margin_floor: Positive = Field(1.0e-7, description="Least margin, nats (VLKEB: 1e-7).")
    multiplier_rate: Positive = Field(0.1, description="RMSprop rate of the constraint's multiplier (De Cao: 0.1).")


class SeracMethod(Section):
    """SERAC: stored edits, a scope classifier, a counterfactual language model; both trained on the method split."""

    method: Literal["serac"]
    width: Count = Field(128, description="Hidden width of both models (ours).")
    heads: Count = Field(4, description="Attention heads of both models (ours).")
    scope_layers: Count = Field(2, description="Layers of the scope classifier (SERAC: DistilBERT's 6).")
    counterfactual_layers: Count = Field(2, description="Layers of the counterfactual model (MMEdit: OPT-125M's 12).")
    steps: Count = Field(600, description="Most optimiser steps of each model (ours).")
    rows: int = Field(16, ge=2, description="Training edits a step (ours).")
    learning_rate: Positive = Field(1.0e-3, description="AdamW learning rate (SERAC: Adam 1e-5, pretrained models).")
    check: Count = Field(50, description="Steps between looks at the development edits (ours).")
    patience: Count = Field(6, description="Looks without progress until training stops (ours).")
    random_targets: Fraction = Field(0.5, description="Share of training targets made of random tokens (ours).")
    scope_radius: Positive = Field(1.0, description="Squared distance that counts as 1, in editing alone (ours).")
    mixture: Literal["soft", "hard"] = Field(
        "soft",
        description="soft: both models' probabilities are mixed by the scope score (MMEdit, as shipped); hard: above "
        "0.5 the counterfactual model alone answers, else the backbone alone (SERAC). In editing alone.",
    )
    positions: Literal["all", "answer"] = Field(
        "all",
        description="Where it has a say: at every position of a row (MMEdit), or from the last prompt token on (ours). "
        "In editing alone.",
    )
    leak_answer: bool = Field(
        False,
        description="The classifier reads question and answer, as released by MMEdit; off: question only (SERAC).",
    )

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> "SeracMethod":
        if self.width % self.heads:
            raise ValueError(f"heads: expected a divisor of the width {self.width}, found {self.heads}")
        return self
