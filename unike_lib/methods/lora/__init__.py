"""LoRA (Hu et al. 2022): low-rank factors beside frozen matrices, trained on the edit alone.

A matrix W of a chosen layer says W x + (alpha / r) B A x, A [r, in] random and B [out, r] zero at first; an edit trains
A and B by the cross-entropy of its answer. Later edits of a session train the same factors on.

Sources: peft 0.21.2 (the layer); EasyEdit's multimodal `execute_multimodal_lora` and MemEIC's `one_lora` (recipes).
"""

from unike_lib.config.base import Entry, given, variant
from unike_lib.method import EVERY_LAYER, Method
from unike_lib.methods.lora.settings import LoraMethod
from unike_lib.methods.shared.scope_settings import with_scope

METHOD = Method(
    name="lora",
    title="LoRA",
    kind="other",  # not in the paper
    settings=LoraMethod,
    build="unike_lib.methods.lora.editor:build",
    needs=with_scope,
    first_layer=lambda settings: {"edited": None, "last": -1, "all": EVERY_LAYER}[settings.layers],
    search={"learning_rate": [1.0e-3, 3.0e-3, 1.0e-2], "steps": [5, 10, 20, 40]},
    entries={
        "lora": Entry(
            "Low-rank factors beside the FFN matrices of the edited layers, AdamW.",
            given(
                "tuned",
                by_backbone={
                    "blip2-nano": {"steps": 40, "learning_rate": 1.0e-3},
                    "minigpt4-smol": {"steps": 5, "learning_rate": 3.0e-3},
                },
            ),
        ),
        "lora-easyedit": variant(
            "lora",
            "LoRA as EasyEdit ships it for multimodal models: queries and values of all layers, five steps of SGD.",
            given(
                "EasyEdit",
                matrices=["q", "v"],
                layers="all",
                dropout=0.1,
                optimiser="sgd",
                steps=5,
                learning_rate=0.1,
                decay=0.9,
                teach_end=False,
            ),
        ),
        "lora-memeic": variant(
            "lora",
            "LoRA as MemEIC ships it as a baseline (one_lora): the FFNs of all layers, ten small steps of AdamW.",
            given(
                "MemEIC", layers="all", dropout=0.1, steps=10, learning_rate=1.0e-4, weight_decay=0.01, teach_end=False
            ),
        ),
        "lora-scope": variant(
            "lora",
            "Not LoRA's: every edit has factors of its own, behind the semantic scope.",
            given("ours", scope="semantic"),
        ),
    },
)
