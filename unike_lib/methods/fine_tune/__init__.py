"""FT: the FFN matrices of the last layer are trained on the edit alone (MMEdit, VLKEB)."""

from typing import TYPE_CHECKING

from unike_lib.method import Method
from unike_lib.methods.fine_tune.settings import FineTuneMethod
from unike_lib.section import Entry, given

if TYPE_CHECKING:
    from unike_lib.backbones.backbone import Backbone
    from unike_lib.editing.building import EditorSources
    from unike_lib.editing.editor import Editor


def build(settings: FineTuneMethod, backbone: "Backbone", sources: "EditorSources", seed: int) -> "Editor":
    """Return the editor."""
    from unike_lib.methods.fine_tune.editor import FineTune

    return FineTune(backbone, settings)


METHOD = Method(
    name="fine-tune",
    title="FT",
    kind="fine-tuning",
    settings=FineTuneMethod,
    build=build,
    first_layer=lambda settings: -1,
    search={"learning_rate": [2.0e-4, 5.0e-4, 2.0e-3, 3.0e-3], "steps": [15, 30, 60]},
    entries={
        "fine-tune": Entry(
            "The last layer's FFN matrices, AdamW.",
            given("tuned", by_backbone={"minigpt4-smol": {"steps": 60, "learning_rate": 2.0e-4}}),
        )
    },
)
