"""SERAC (Mitchell et al. 2022): stored edits, a scope classifier and a counterfactual model."""

from unike_lib.config.base import Entry, given
from unike_lib.method import Method
from unike_lib.methods.serac.settings import SeracMethod

METHOD = Method(
    name="serac",
    title="SERAC",
    kind="external",
    settings=SeracMethod,
    build="unike_lib.methods.serac.editor:build",
    first_layer=lambda settings: 0,
    train="unike_lib.methods.serac.training:train_serac",
    trains_on_text=True,
    editing_alone=frozenset({"scope_radius", "mixture", "positions"}),
    search={"random_targets": [0.25, 0.5, 0.75], "scope_radius": [0.3, 1.0, 3.0, 10.0]},
    entries={
        "serac": Entry(
            "Stored edits, a scope classifier and a counterfactual model.",
            {
                "by_backbone": Entry(
                    values={
                        "blip2-nano": Entry(values=given("tuned", scope_radius=3.0)),
                        "minigpt4-smol": Entry(
                            values=given("ours", "copying is learned more slowly over 49,152 tokens", steps=1200)
                            | given("tuned", random_targets=0.75, scope_radius=3.0)
                        ),
                    }
                )
            },
        )
    },
)
