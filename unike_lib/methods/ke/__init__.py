"""KE (De Cao et al. 2021): a trained network reads the edit and writes masks for its gradient."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from unike_lib.method import Method
from unike_lib.methods.ke.settings import KeMethod
from unike_lib.section import Entry, given, on_backbone

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from unike_lib.backbones.backbone import Backbone
    from unike_lib.editing.building import EditorSources
    from unike_lib.editing.editor import Editor
    from unike_lib.types import EditCase


def build(settings: KeMethod, backbone: "Backbone", sources: "EditorSources", seed: int) -> "Editor":
    """Return the editor with its trained network."""
    from unike_lib.methods.ke.network import build_ke
    from unike_lib.methods.shared.hypernetwork import load_network

    return load_network(build_ke(backbone, settings, seed), sources, backbone, settings.strength)


def train(
    settings: KeMethod, backbone: "Backbone", cases: Sequence["EditCase"], dev: Sequence["EditCase"], seed: int
) -> tuple[dict[str, "Tensor"], "pd.DataFrame"]:
    """Train the network on method-training edits, stopped by development edits."""
    from unike_lib.methods.ke.network import train_ke
    from unike_lib.methods.shared.network_training import Split

    return train_ke(backbone, settings, Split(cases, dev), seed)


METHOD = Method(
    name="ke",
    title="KE",
    kind="intrinsic",
    settings=KeMethod,
    build=build,
    first_layer=lambda settings: -settings.layers,
    train=train,
    editing_alone=frozenset({"strength"}),
    search={"scale": [100.0, 400.0, 1600.0], "strength": [0.5, 1.0, 2.0, 4.0]},
    entries={
        "ke": Entry(
            "A trained LSTM over the edit's text writes masks for the edit's gradient.",
            on_backbone(
                "minigpt4-smol",
                given("ours", "minutes on a laptop; 200: 0.01 better there", steps=100)
                | given("ours", batch=4, check_every=50)
                | given("tuned", scale=400.0, strength=1.0),
            ),
        )
    },
)
