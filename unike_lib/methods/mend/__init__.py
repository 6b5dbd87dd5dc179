"""MEND (Mitchell et al. 2022): a trained network turns the factors of an edit's gradient into a weight change."""

from unike_lib.config.base import Entry, given, on_backbone
from unike_lib.method import Method
from unike_lib.methods.mend.settings import MendMethod

METHOD = Method(
    name="mend",
    title="MEND",
    kind="intrinsic",
    settings=MendMethod,
    build="unike_lib.methods.mend.network:build",
    first_layer=lambda settings: -settings.layers,
    train="unike_lib.methods.mend.network:train",
    editing_alone=frozenset({"strength"}),
    search={"edit_weight": [0.1, 0.3, 1.0], "strength": [0.5, 1.0, 2.0, 4.0]},
    entries={
        "mend": Entry(
            "A trained MLP turns the factors of the edit's gradient into a weight change.",
            on_backbone(
                "minigpt4-smol",
                given("ours", "the best of 200 there was step 100", steps=100)
                | given("ours", batch_size=4, eval_every=50)
                | given("tuned", edit_weight=0.1, strength=1.0),
            ),
        )
    },
)
