"""SERAC (Mitchell et al. 2022): stored edits, a scope classifier and a counterfactual model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unike_lib.method import Method
from unike_lib.methods.serac.settings import SeracMethod
from unike_lib.section import Entry, given, on_backbone

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from unike_lib.backbones.backbone import Backbone
    from unike_lib.editing.building import EditorSources
    from unike_lib.editing.editor import Editor
    from unike_lib.types import EditCase


def build(settings: SeracMethod, backbone: "Backbone", sources: "EditorSources", seed: int) -> "Editor":
    """Return the editor with its two trained models."""
    from unike_lib.methods.serac.editor import Serac, load_router

    return Serac(load_router(settings, backbone, sources.trained_tensors()))


def train(
    settings: SeracMethod, backbone: "Backbone", cases: Sequence["EditCase"], dev: Sequence["EditCase"], seed: int
) -> tuple[dict[str, "Tensor"], "pd.DataFrame"]:
    """Train both models on method-training edits, stopped by development edits."""
    from unike_lib.methods.serac.training import train_serac

    return train_serac(settings, backbone, cases, dev, seed)


METHOD = Method(
    name="serac",
    title="SERAC",
    kind="external",
    settings=SeracMethod,
    build=build,
    first_layer=lambda settings: 0,
    train=train,
    trains_on_text=True,
    editing_alone=frozenset({"scope_radius", "mixture", "positions"}),
    search={"random_targets": [0.25, 0.5, 0.75], "scope_radius": [0.3, 1.0, 3.0, 10.0]},
    entries={
        "serac": Entry(
            "Stored edits, a scope classifier and a counterfactual model.",
            on_backbone(
                "minigpt4-smol",
                given("ours", "copying is learned more slowly over 49,152 tokens", steps=1200)
                | given("tuned", random_targets=0.75),
            ),
        )
    },
)
