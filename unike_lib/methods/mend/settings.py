"""Settings of MEND."""

from unike_lib.config.base import FIRST_LOOK, Count, Original, Positive, setting
from unike_lib.methods.shared.network_settings import NetworkMethod


class MendMethod(NetworkMethod):
    """MEND: gradient factors through a shared low-rank MLP."""

    batch_size: Count = setting(8, "Training edits per step.", "ours", original=Original("MMEdit", 1))
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
