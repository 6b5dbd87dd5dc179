"""T-Patcher (Huang et al. 2023): new neurons for one mistake, kept silent on unrelated states."""

from unike_lib.config.base import Entry, given, variant
from unike_lib.method import Method
from unike_lib.methods.shared.scope_settings import with_scope
from unike_lib.methods.t_patcher.settings import TPatcherMethod

METHOD = Method(
    name="t-patcher",
    title="T-Patcher",
    kind="intrinsic",
    settings=TPatcherMethod,
    build="unike_lib.methods.t_patcher.editor:build",
    needs=lambda settings: with_scope(settings, ("ffn_inputs",)),
    search={"learning_rate": [1.0e-2, 3.0e-2], "steps": [10, 40], "memory_weight": [0.001, 0.03, 0.3]},
    entries={
        "t-patcher": Entry(
            "Extra neurons in the FFN of the edited layers, Adam.",
            given("tuned", by_backbone={"minigpt4-smol": {"steps": 10, "memory_weight": 0.3}}),
        ),
        "t-patcher-scope": variant(
            "t-patcher", "Not T-Patcher's: neurons behind the semantic scope.", given("ours", scope="semantic")
        ),
    },
)
