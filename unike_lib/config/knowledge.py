"""The configuration's part about what UniKE and T-Patcher know of a backbone: triplets, states, encoders, memory."""

from unike_lib.config.base import Count, Original, Positive, Section, setting


class EncoderConfig(Section):
    """Contrastive encoders (UniKE 3.3, Eq. 4-5)."""

    layers: int = setting(3, "Linear layers of each MLP.", "ours", "several in the paper", ge=2, le=4)
    hidden: Count = setting(256, "Hidden width.", "ours")
    truth_width: Count = setting(64, "Output width of Enc_tru.", "ours")
    learning_rate: Positive = setting(1.0e-4, "Adam learning rate.", original=Original("UniKE D.3"))
    temperature: Positive = setting(
        0.1, "Of the similarity: s = cosine / temperature.", "ours", "unstated in the paper"
    )
    batch_size: int = setting(256, "Triplets per step; the sums of Eq. 4-5 run over them.", "ours", ge=2)
    steps: Count = setting(300, "Optimiser steps per layer.", "ours")
    held_out: float = setting(
        0.1,
        "Share of triplets kept for the encoders' checks.",
        "ours",
        original=Original("UniKE Eq. 6, zeta over all triplets", 0.0, equation=True),
        gt=0,
        lt=0.9,
    )
    ridge: Positive = setting(1.0, "Strength of the ridge regression for W_zeta.", "ours")


class ScopeConfig(Section):
    """The semantic scope: which layer knows a question again."""

    edits: Count = setting(40, "Pool edits per task whose rephrasings and localities set its thresholds.", "ours")
    keys: Count = setting(150, "Pool edits per task, those included, that a question may be nearer to.", "ours")


class KnowledgeConfig(Section):
    """Triplets, hidden states, encoders, memory."""

    memory_states: Count = setting(
        1000, "FFN inputs per layer behind the memory losses.", "ours", original=Original("T-Patcher", 40000)
    )
    encoders: EncoderConfig = EncoderConfig()
    scope: ScopeConfig = ScopeConfig()
