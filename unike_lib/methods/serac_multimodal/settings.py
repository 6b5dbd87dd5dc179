"""Settings of SERAC with a scope of text and picture."""

from typing import Literal

from unike_lib.config.base import Count, Original, Positive, setting
from unike_lib.methods.serac.settings import SeracMethod


class SeracMultimodalMethod(SeracMethod):
    """SERAC whose scope classifier reads the picture, too; each half of its vectors is as wide as the models."""

    scope_layers: Count = setting(
        2, "Layers of the scope's text encoder (CLIP: 12).", "ours", original=Original("MSCKE", 12)
    )
    counterfactual_layers: Count = setting(
        2, "Layers of the counterfactual model (OPT-125M: 12).", "ours", original=Original("MSCKE", 12)
    )
    learning_rate: Positive = setting(
        1.0e-3, "AdamW learning rate.", "ours", "no pretrained models", original=Original("MSCKE", 1.0e-5)
    )
    mixture: Literal["soft", "hard"] = setting(
        "hard",
        "hard: above a scope score of 0.5 the second model alone, else the first; soft: probabilities mixed by it.",
        original=Original("MSCKE", equation=True),
    )
    positions: Literal["all", "answer"] = setting(
        "all",
        "Where the second model has a say: all of a row; answer: from the last prompt token on (ours).",
        original=Original("MSCKE", equation=True),
    )
    leak_answer: bool = setting(
        False, "The scope reads answers too; MSCKE's reads the edit's alone.", "ours", "an edit is its own question"
    )
    scope_radius: Positive = setting(
        1.0, "Squared distance that counts as 1, in editing alone.", original=Original("MSCKE", equation=True)
    )
