"""Settings of WISE."""

from typing import Literal

from pydantic import model_validator

from unike_lib.config.base import Count, Fraction, Original, Positive, setting
from unike_lib.methods.shared.teach_end import TargetMethod, learned_end

RELEASED = "WISE"


class WiseMethod(TargetMethod):
    """WISE: a side memory of one FFN matrix, taken by questions that it moves far enough."""

    teach_end: bool = learned_end(RELEASED)
    layer: int | None = setting(
        None,
        "Layer of the matrix, from the end: -5 is the fifth last; null: the first edited one; never the last.",
        "ours",
        original=Original(RELEASED, -5),
        le=-2,
    )
    steps: Count = setting(10, "Gradient steps per edit.", original=Original(RELEASED))
    learning_rate: Positive = setting(1.0, "Rate of a gradient step.", original=Original(RELEASED))
    weight_decay: float = setting(
        1.0e-5, "Decay of the memory's own entries towards 0.", original=Original(RELEASED), ge=0
    )
    mask_ratio: Positive = setting(
        0.2, "Share of the matrix that a memory may change, drawn at random.", original=Original(RELEASED), le=1
    )
    clamp: Positive = setting(1.0, "The most that an entry of the matrix may change.", original=Original(RELEASED))
    alpha: float = setting(5.0, "Unrelated questions: largest distance.", original=Original(RELEASED), ge=0)
    beta: float = setting(20.0, "The edit's own question: least distance.", original=Original(RELEASED), ge=0)
    gamma: float = setting(10.0, "Least difference between both.", original=Original(RELEASED), ge=0)
    act_ratio: Fraction = setting(
        0.4, "A question takes a memory from this share of the edits' least distance on.", original=Original(RELEASED)
    )
    unrelated: Literal["text", "both"] = setting(
        "text",
        "Unrelated questions of an edit, from the method split: text: one without a picture; both: one with, too.",
        original=Original(RELEASED, equation=True),
    )
    distances: Literal["last", "released"] = setting(
        "last",
        "last: of an edit's final memory, all questions by the mean over tokens; released: before its last step, and "
        "questions of over 100 tokens go by their largest.",
        "ours",
        original=Original(RELEASED, "released", equation=True),
    )
    retrieve: bool = setting(
        True,
        "Take the memory that moves the question farthest; false: merge all full ones.",
        original=Original(RELEASED),
    )
    save_every: Count = setting(500, "Edits per memory.", original=Original(RELEASED))
    merge_every: Count = setting(
        1000, "Edits whose memories are merged to one; with retrieve.", original=Original(RELEASED)
    )
    density: Positive = setting(0.53, "Share of a memory that a merge keeps.", original=Original(RELEASED), le=1)

    @model_validator(mode="after")
    def _whole_memories_are_merged(self) -> "WiseMethod":
        if self.merge_every % self.save_every:
            raise ValueError(
                f"merge_every: expected a multiple of save_every {self.save_every}, found {self.merge_every}"
            )
        return self
