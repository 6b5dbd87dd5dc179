"""KE (De Cao et al. 2021): a trained network reads the edit and writes masks for its gradient."""

from unike_lib.config.base import Entry, given, on_backbone
from unike_lib.method import Method
from unike_lib.methods.ke.settings import KeMethod

METHOD = Method(
    name="ke",
    title="KE",
    kind="intrinsic",
    settings=KeMethod,
    build="unike_lib.methods.ke.network:build",
    first_layer=lambda settings: -settings.layers,
    train="unike_lib.methods.ke.network:train",
    editing_alone=frozenset({"strength"}),
    search={"scale": [100.0, 400.0, 1600.0], "strength": [0.5, 1.0, 2.0, 4.0]},
    entries={
        "ke": Entry(
            "A trained LSTM over the edit's text writes masks for the edit's gradient.",
            on_backbone(
                "minigpt4-smol",
                given("ours", "minutes on a laptop; 200: 0.01 better there", steps=100)
                | given("ours", batch_size=4, eval_every=50),
            ),
        )
    },
)
