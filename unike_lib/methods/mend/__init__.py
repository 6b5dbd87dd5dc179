"""MEND (Mitchell et al. 2022): a trained network turns the factors of an edit's gradient into a weight change."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unike_lib.method import Method
from unike_lib.methods.mend.settings import MendMethod
from unike_lib.section import Entry, given, on_backbone

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from unike_lib.backbones.backbone import Backbone
    from unike_lib.editing.building import EditorSources
    from unike_lib.editing.editor import Editor
    from unike_lib.types import EditCase


def build(settings: MendMethod, backbone: "Backbone", sources: "EditorSources", seed: int) -> "Editor":
    """Return the editor with its trained network."""
    from unike_lib.methods.mend.network import build_mend
    from unike_lib.methods.shared.hypernetwork import load_network

    return load_network(build_mend(backbone, settings, seed), sources, backbone, settings.strength)


def train(
    settings: MendMethod, backbone: "Backbone", cases: Sequence["EditCase"], dev: Sequence["EditCase"], seed: int
) -> tuple[dict[str, "Tensor"], "pd.DataFrame"]:
    """Train the network on method-training edits, stopped by development edits."""
    from unike_lib.methods.mend.network import train_mend
    from unike_lib.methods.shared.network_training import Split

    return train_mend(backbone, settings, Split(cases, dev), seed)


METHOD = Method(
    name="mend",
    title="MEND",
    kind="intrinsic",
    settings=MendMethod,
    build=build,
    first_layer=lambda settings: -settings.layers,
    train=train,
    editing_alone=frozenset({"strength"}),
    search={"edit_weight": [0.1, 0.3, 1.0], "strength": [0.5, 1.0, 2.0, 4.0]},
    entries={
        "mend": Entry(
            "A trained MLP turns the factors of the edit's gradient into a weight change.",
            on_backbone(
                "minigpt4-smol",
                given("ours", "the best of 200 there was step 100", steps=100)
                | given("ours", batch=4, check_every=50)
                | given("tuned", edit_weight=0.1, strength=1.0),
            ),
        )
    },
)
