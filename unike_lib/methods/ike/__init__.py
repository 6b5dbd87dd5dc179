"""IKE: demonstrations and the new fact in front of the question (Zheng et al. 2023, as in MMEdit)."""

from unike_lib.config.base import Entry, given
from unike_lib.method import Method
from unike_lib.methods.ike.settings import IkeMethod

METHOD = Method(
    name="ike",
    title="IKE",
    kind="external",
    settings=IkeMethod,
    build="unike_lib.methods.ike.editor:build",
    needs=("method_split",),
    first_layer=lambda settings: 0,
    search={"demonstrations": [0, 1, 2, 3, 4, 5, 6, 8, 9, 12, 15, 18]},
    entries={
        "ike": Entry(
            "Demonstrations and the new fact in front of the question (paper: one edit only).",
            given("tuned", by_backbone={"minigpt4-smol": {"demonstrations": 0}}),
        )
    },
)
