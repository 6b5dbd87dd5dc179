"""GRACE (Hartvigsen et al. 2023): a codebook beside one FFN matrix, whose values replace its output near their keys.

    output(q) = v_a  if |q - k_a| <= r_a, with a the nearest key;  W q  otherwise

q is what enters the FFN's down-projection at the last prompt token of the question that is asked. Each edit adds a key
with a value that is trained on its answer; or, near an older key, splits the room between both or widens the older one.

Sources: the equation and the cases as in zjunlp/EasyEdit 14cea82 (`models/grace/GRACE.py`), its multimodal settings.
BalancEdit (Guo et al. 2025): radii between the distances to rephrasings and to unrelated questions.

Readings. Each question is keyed at its own last prompt token, not at the edit's prompt length. Answers are the same if
their token ids are, and every key is compared by its own answer. Another answer to the same question takes the place of
the older one. What of BalancEdit is used are the radii, each set once, when its edit is made; the rephrasings and the
unrelated questions are those of the method-training split.
"""

from unike_lib.config.base import Entry, given, variant
from unike_lib.method import Method
from unike_lib.methods.grace.settings import GraceMethod

METHOD = Method(
    name="grace",
    title="GRACE",
    kind="other",  # not in the paper
    settings=GraceMethod,
    build="unike_lib.methods.grace.editor:build",
    needs=lambda settings: ("method_split",) if settings.radius == "balanced" else (),
    asks_pictures=lambda settings: settings.radius == "balanced",
    first_layer=lambda settings: settings.layer,
    search={"initial_radius": [0.3, 1.0, 3.0, 10.0], "steps": [20, 50, 100]},
    entries={
        "grace": Entry(
            "A codebook of values beside one FFN matrix, Adam.",
            given(
                "tuned",
                by_backbone={
                    "blip2-nano": {"initial_radius": 10.0},
                    "minigpt4-smol": {"initial_radius": 3.0, "steps": 100},
                },
            ),
        ),
        "grace-balanced": variant(
            "grace",
            "Radii between rephrasings and unrelated questions, as in BalancEdit.",
            given("ours", radius="balanced"),
        ),
    },
)
