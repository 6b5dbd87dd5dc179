"""FT: the FFN matrices of the last layer are trained on the edit alone (MMEdit, VLKEB)."""

from unike_lib.config.base import Entry, given, variant
from unike_lib.method import Method
from unike_lib.methods.fine_tune.settings import FineTuneMethod
from unike_lib.methods.shared.scope_settings import with_scope

METHOD = Method(
    name="fine-tune",
    title="FT",
    kind="fine-tuning",
    settings=FineTuneMethod,
    build="unike_lib.methods.fine_tune.editor:build",
    needs=with_scope,
    first_layer=lambda settings: -1,
    search={"learning_rate": [2.0e-4, 5.0e-4, 1.5e-3], "steps": [15, 30, 60, 90]},
    entries={
        "fine-tune": Entry(
            "The last layer's FFN matrices, AdamW.",
            given("tuned", by_backbone={"minigpt4-smol": {"steps": 60, "learning_rate": 2.0e-4}}),
        ),
        "fine-tune-scope": variant(
            "fine-tune",
            "Not FT's: every edit's change of the weights stands behind the semantic scope.",
            given("ours", scope="semantic"),
        ),
    },
)
