"""Settings of UniKE."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from unike_lib.config.base import Count, Fraction, Original, Positive, setting
from unike_lib.methods.ike.settings import ContextSettings
from unike_lib.methods.shared.neuron_settings import INTRINSIC, MEMORY_LOSS, NeuronMethod, memory_weight_setting

# At 7B.
RELEASED_STEPS = Original("released", 10, needs=INTRINSIC)
RELEASED_RATE = Original("released", 7.5e-4, needs=INTRINSIC)
_LATENT = ("latent",)


class UnikeMethod(ContextSettings, NeuronMethod):
    """UniKE: extra neurons, zeta, and the latent in-context shift."""

    memory_weight: float = memory_weight_setting(0.003)
    steps: Count = setting(30, "Optimiser steps per edit.", "tuned", original=RELEASED_STEPS)
    learning_rate: Positive = setting(3.0e-2, "Adam learning rate.", "tuned", original=RELEASED_RATE)
    intrinsic: bool = setting(
        True, "Train extra neurons; false: only Latent-IKE.", original=Original("UniKE Eq. 3", equation=True)
    )
    latent: bool = setting(
        True, "Latent in-context shift; false: only Intrin.", original=Original("UniKE Eq. 2", equation=True)
    )
    in_context: bool = setting(
        False,
        "IKE's context in front of the question (Intrin + IKE, latent off).",
        original=Original("UniKE 3.2", equation=True),
    )
    demonstrations: int = setting(
        6,
        "Demonstrations before the new fact, with in_context.",
        "ours",
        original=Original("UniKE Fig. 4a", 8, last=40, needs=("in_context",)),
        ge=0,
    )
    top_k: Count = setting(
        40, "Retrieved states per query and layer.", original=Original("UniKE 4.1", equation=True, needs=_LATENT)
    )
    memory_keys: Literal["h_sem", "encoded"] = setting(
        "h_sem",
        "What a query is compared with: h_sem, or encoded: Enc_sem(h_pos).",
        original=Original("UniKE 3.2", equation=True, needs=_LATENT),
    )
    retrieval_temperature: Positive | None = setting(
        None,
        "Adds cosine(query, key) / this to the attention logits of a slot; null: attention alone.",
        original=Original("UniKE Eq. 2", equation=True, needs=_LATENT),
    )
    edit_slots: bool = setting(
        False,
        "Each session's own edits become memory slots too; false: triplets only.",
        original=Original("UniKE 3.2", equation=True, needs=_LATENT),
    )
    shift_in_training: bool = setting(
        True,
        "The shift is active while the neurons are trained.",
        original=Original("UniKE 3.2", equation=True, needs=("intrinsic", "latent")),
    )
    alpha: Literal["dynamic"] | Fraction = setting(
        "dynamic",
        "Inclusion of h_know: Eq. 7; or fixed (Fig. 4b).",
        original=Original("UniKE Eq. 7", equation=True, needs=_LATENT),
    )
    alpha_scale: float = setting(
        1.0,
        "Factor on the dynamic alpha.",
        original=Original("UniKE Eq. 7", equation=True, needs=_LATENT),
        ge=0,
        le=2,
    )
    alpha_convention: Literal["text", "printed"] = setting(
        "text",
        "text: a' = (1 - alpha) a + alpha h_know; printed: Eq. 7 as printed.",
        "paper",
        "3.3 and Fig. 4b",
        original=Original("UniKE Eq. 7, unlike its 3.3 and Fig. 4b", "printed", equation=True, needs=_LATENT),
    )
    alpha_operands: Literal["mixture", "attention_outputs"] = setting(
        "mixture",
        "What Sim compares: Enc_sem(mixture of h_pos) with s; or Enc_sem(h_know) with a.",
        "ours",
        "the space that Enc_sem is trained on",
        original=Original("UniKE Eq. 7", "attention_outputs", equation=True, needs=_LATENT),
    )
    attention: Literal["projected", "raw"] = setting(
        "projected",
        "projected: through the layer's W_q, W_k, W_v, W_o; raw: softmax(s H^T) H.",
        original=Original("UniKE App. A", equation=True, needs=_LATENT),
    )
    rotate_memory: bool = setting(
        False, "Rotary models: queries rotate by position, memory entries stand at 0.", "ours"
    )
    h_pos: Literal["last", "answer_mean"] = setting(
        "last",
        "Memory value: the last answer token's state, or the answer's mean.",
        original=Original("UniKE 3.3", equation=True, needs=_LATENT),
    )
    zeta: Literal["off", "random", "semantic", "truthfulness"] = setting(
        "truthfulness",
        "Direction added to the new values (Fig. 4c).",
        original=Original("UniKE Eq. 6", equation=True, needs=INTRINSIC),
    )
    zeta_map: Literal["fitted", "per_edit"] = setting(
        "fitted", "W_zeta: a ridge regression fitted once, or learned in each edit.", "ours"
    )
    beta: float = setting(0.1, "Editing scalar of Eq. 6.", "ours", "unstated in the paper", ge=0)

    rests_on: ClassVar = {
        "backbone": {"layers": (), "max_triplets": ("latent|zeta",)},
        "knowledge": {
            "memory_states": MEMORY_LOSS,
            "encoders.held_out": ("intrinsic", "zeta"),
            "encoders.learning_rate": ("latent|zeta",),
        },
    }

    def acts(self, name: str, needs: Sequence[str]) -> bool:
        """Whether a setting does anything beside these ones: a fixed alpha has no scale, only Eq. 7 has operands."""
        fixed = {"alpha_operands": self.alpha != "dynamic", "alpha_scale": not isinstance(self.alpha, str)}
        return not fixed.get(name, False) and super().acts(name, needs)
