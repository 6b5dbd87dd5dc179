"""WISE (Wang et al. 2024): edits go to a side memory, and a question takes it if it moves the layer far enough.

S is a copy of W, the down-projection of one FFN. An edit descends on its cross-entropy with S in the place of W, and on

    max(0, d_out - d_in + gamma) + max(0, d_out - alpha) + max(0, beta - d_in),    d = mean |act(S h) - act(W h)|,

with d_in of the edit's question and d_out of an unrelated one; a random part of S may change. A question with d of at
least act_ratio times the least d_in of all edits is answered by S, every other by W. After many edits there are several
memories: the farthest answers, or they are merged (TIES). Source: arXiv 2405.14768; zjunlp/EasyEdit 14cea82,
easyeditor/models/wise.

Readings, where the released code is otherwise: a row is routed by itself; the side memory keeps the layer's bias;
decay acts on entries that may change, alone; distances are of the question and never read an answer; a failed edit is
none; unrelated questions come from the method split, never from a probe.
"""

from unike_lib.config.base import Entry, given, variant
from unike_lib.method import Method
from unike_lib.methods.wise.settings import WiseMethod

METHOD = Method(
    name="wise",
    title="WISE",
    kind="other",  # not in the paper
    settings=WiseMethod,
    build="unike_lib.methods.wise.editor:build",
    needs=("method_split",),
    asks_pictures=lambda settings: settings.unrelated == "both",
    first_layer=lambda settings: settings.layer,
    search={"learning_rate": [0.3, 1.0, 3.0], "steps": [5, 10, 30, 70]},
    entries={
        "wise": Entry(
            "A side memory of one FFN matrix behind a gate of distances, masked gradient descent.",
            given(
                "tuned",
                by_backbone={"blip2-nano": {"steps": 70, "learning_rate": 3.0}, "minigpt4-smol": {"steps": 70}},
            ),
        ),
        "wise-shipped": variant(
            "wise",
            "WISE with the values that EasyEdit ships for multimodal models.",
            given(
                "WISE",
                layer=-5,
                steps=10,
                learning_rate=1.0,
                unrelated="text",
                distances="released",
                teach_end=False,
            ),
        ),
    },
)
