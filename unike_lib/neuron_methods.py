"""Settings of the methods that add neurons or text to a model that stays as it is: T-Patcher, IKE and UniKE."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from unike_lib.section import (
    FIRST_LOOK,
    Count,
    Entry,
    Fraction,
    MethodSection,
    Original,
    Positive,
    as_original,
    given,
    on_backbone,
    setting,
    variant,
)

_INTRINSIC = ("intrinsic",)
_LATENT = ("latent",)
_MEMORY_LOSS = ("intrinsic", "memory_weight")
_MEMORY_WEIGHT = Original("T-Patcher", 5.0, needs=_INTRINSIC)


def _memory_weight(default: float) -> Any:
    return setting(default, "Weight of the memory loss.", "tuned", original=_MEMORY_WEIGHT, ge=0)


class NeuronMethod(MethodSection):
    """Extra FFN neurons with T-Patcher's losses: shared by T-Patcher and UniKE."""

    neurons: Count = setting(
        10, "Extra key-value pairs per layer, n_e.", original=Original("UniKE D.3", needs=_INTRINSIC)
    )
    key_init: Literal["query", "random"] = setting(
        "query",
        "First keys: query: h / |h|^2; or random directions.",
        original=Original("T-Patcher", equation=True, needs=_INTRINSIC),
    )
    activation_weight: float = setting(
        1.0, "Weight of the activation loss.", original=Original("T-Patcher", needs=_INTRINSIC), ge=0
    )
    memory_weight: float = _memory_weight(0.001)
    memory_margin: float = setting(
        -3.0, "Unrelated states' activations go below this.", original=Original("T-Patcher", needs=_MEMORY_LOSS)
    )
    difference_margin: float = setting(
        3.0, "Distance kept from the edit's own activation.", original=Original("T-Patcher", needs=_MEMORY_LOSS)
    )
    activation_top: Count = setting(
        5,
        "Neurons, the least activated, in the activation loss.",
        original=Original("T-Patcher", needs=("intrinsic", "activation_weight")),
    )
    memory_top: Count = setting(
        1000, "Activations that the memory loss averages over.", original=Original("T-Patcher", needs=_MEMORY_LOSS)
    )
    steps: Count = setting(40, "Optimiser steps per edit.", "tuned")
    learning_rate: Positive = setting(3.0e-2, "Adam learning rate.", "tuned", original=Original("T-Patcher", 1.0e-2))


class TPatcherMethod(NeuronMethod):
    """T-Patcher: neurons in the FFN of the edited layers."""

    method: Literal["t-patcher"]
    entries: ClassVar = {
        "t-patcher": Entry(
            "Extra neurons in the FFN of the edited layers, Adam.",
            given("tuned", by_backbone={"minigpt4-smol": {"steps": 10, "memory_weight": 0.3}}),
        )
    }
    search: ClassVar = {"learning_rate": [1.0e-2, 3.0e-2], "steps": [10, 20], "memory_weight": [0.003, 0.03, 0.3]}
    rests_on: ClassVar = {"backbone": {"layers": ()}, "knowledge": {"memory_states": ("memory_weight",)}}


class ContextSettings(MethodSection):
    """What goes in front of the question: shared by IKE and UniKE's Intrin + IKE."""

    demonstrations: int = setting(
        6, "Demonstrations before the new fact.", "tuned", original=Original("MMEdit", 32), ge=0
    )
    retriever: str = setting(
        "backbone",
        "What finds similar edits: backbone (its token embeddings), minilm (all-MiniLM-L6-v2, of the extra 'ike'), or "
        "a folder with such a model.",
        "ours",
        original=Original("MMEdit", "minilm", needs=("in_context",)),
        min_length=1,
    )
    prompt: Literal["mmedit", "wrapped"] = setting(
        "mmedit",
        "mmedit: demonstrations found by the fact's own, which is the last, no template; wrapped: by question and "
        "answer, with the template (ours).",
        original=Original("MMEdit", equation=True, needs=("in_context",)),
    )


class IkeMethod(ContextSettings):
    """IKE: demonstrations and the new fact in front of the question."""

    method: Literal["ike"]
    entries: ClassVar = {
        "ike": Entry("Demonstrations and the new fact in front of the question (paper: one edit only).")
    }
    search: ClassVar = {"demonstrations": [0, 1, 2, 3, 4, 5, 6, 8, 9, 12, 15, 18]}


# At 7B.
_STEPS = Original("released", 10, needs=_INTRINSIC)
_RATE = Original("released", 7.5e-4, needs=_INTRINSIC)


class UnikeMethod(ContextSettings, NeuronMethod):
    """UniKE: extra neurons, zeta, and the latent in-context shift."""

    method: Literal["unike"]
    memory_weight: float = _memory_weight(0.003)
    steps: Count = setting(30, "Optimiser steps per edit.", "tuned", original=_STEPS)
    learning_rate: Positive = setting(3.0e-2, "Adam learning rate.", "tuned", original=_RATE)
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
    alpha: Literal["dynamic", "scoped"] | Fraction = setting(
        "dynamic",
        "Inclusion of h_know: Eq. 7; fixed (Fig. 4b); scoped (ours): the retrieval's share on the session's own edits.",
        original=Original("UniKE Eq. 7", equation=True, needs=_LATENT),
    )
    scope_neurons: bool = setting(
        False,
        "The neurons' output is multiplied by the same share (ours), with alpha: scoped.",
        original=Original("UniKE Eq. 3", equation=True, needs=_INTRINSIC),
    )
    alpha_scale: float = setting(
        1.0,
        "Factor on the dynamic or scoped alpha.",
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
        original=Original("UniKE Eq. 6", equation=True, needs=_INTRINSIC),
    )
    zeta_map: Literal["fitted", "per_edit"] = setting(
        "fitted", "W_zeta: a ridge regression fitted once, or learned in each edit.", "ours"
    )
    beta: float = setting(0.1, "Editing scalar of Eq. 6.", "ours", "unstated in the paper", ge=0)

    entries: ClassVar = {
        "unike": Entry(
            "Extra neurons, zeta and the latent in-context shift.",
            given("tuned", by_backbone={"minigpt4-smol": {"steps": 10, "memory_weight": 0.1, "alpha_scale": 0.1}}),
        ),
        "unike-paper": variant(
            "unike",
            "What the paper and its code print, for 7B models.",
            as_original(steps=_STEPS, learning_rate=_RATE, memory_weight=_MEMORY_WEIGHT)
            | given("paper", "Eq. 7", alpha_scale=1.0),
        ),
        "unike-unscaled": variant(
            "unike", "What Eq. 7 gives is taken as it is (Fig. 4b).", given("paper", "Eq. 7", alpha_scale=1.0)
        ),
        "unike-scoped": variant(
            "unike",
            "Not the paper's: edits are memory entries, and only questions near them are shifted.",
            given("ours", edit_slots=True, retrieval_temperature=0.001, alpha="scoped", alpha_scale=0.6)
            | given("ours", h_pos="answer_mean", shift_in_training=False, zeta="off"),
        ),
        "unike-gated": variant(
            "unike",
            "Not the paper's: nothing is shifted; the same share opens the neurons.",
            given("ours", edit_slots=True, retrieval_temperature=0.0003, alpha="scoped", scope_neurons=True)
            | given("ours", alpha_scale=0.0, shift_in_training=False, zeta="off")
            | on_backbone(
                "minigpt4-smol",
                given("ours", FIRST_LOOK, steps=20, learning_rate=1.0e-2, memory_weight=0.01, alpha_scale=0.0),
            ),
        ),
        "only-intrin": variant("unike", "Extra neurons alone.", given("paper", "Table 4", latent=False, zeta="off")),
        "only-latent-ike": variant(
            "unike", "The latent shift alone, nothing is trained.", given("paper", "Table 4", intrinsic=False)
        ),
        "intrin-latent-ike": variant("unike", "Both, without zeta.", given("paper", "Table 4", zeta="off")),
        "intrin-ike": variant(
            "unike",
            "The intrinsic half, with IKE's context in place of the latent shift.",
            given("paper", "Table 4", latent=False, in_context=True)
            | on_backbone(
                "minigpt4-smol", given("ours", "half as many as IKE: every step runs behind them", demonstrations=3)
            ),
            {"zeta": Original("UniKE Table 4", "off")},
        ),
    }
    search: ClassVar = {"learning_rate": [1.0e-2, 3.0e-2], "memory_weight": [0.01, 0.1], "alpha_scale": [0.1, 0.3, 1.0]}
    rests_on: ClassVar = {
        "backbone": {"layers": (), "max_triplets": ("latent|zeta",)},
        "knowledge": {
            "memory_states": _MEMORY_LOSS,
            "encoders.held_out": ("intrinsic", "zeta"),
            "encoders.learning_rate": ("latent|zeta",),
        },
    }

    def acts(self, name: str, needs: Sequence[str]) -> bool:
        """Whether a setting does anything beside these ones: a fixed alpha has no scale, only Eq. 7 has operands."""
        fixed = {"alpha_operands": self.alpha != "dynamic", "alpha_scale": not isinstance(self.alpha, str)}
        return not fixed.get(name, False) and super().acts(name, needs)

    @model_validator(mode="after")
    def _scope_has_edits(self) -> "UnikeMethod":
        if self.scope_neurons and self.alpha != "scoped":
            raise ValueError("scope_neurons: true needs alpha: scoped")
        if self.alpha == "scoped" and not (self.edit_slots and self.retrieval_temperature):
            raise ValueError("alpha: scoped needs edit_slots: true and a retrieval_temperature")
        return self
