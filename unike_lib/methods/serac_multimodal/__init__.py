"""A SERAC whose scope reads text and picture (the form of MSCKE, Zeng et al. 2024): e = [text; picture].

    d_i^2 = |t_i - t|^2 + |v_i - v|^2,   s_i = exp(-c d_i^2),   the nearest edit answers if s > 0.5,

with t from SERAC's text encoder and v from the backbone's own visual tokens through a linear map; c = 1 / scope_radius.
Edits, the second model and how it has its say are SERAC's. Source: arXiv 2411.12790; zeng-zhen/FGVEdit 8cd6cd4,
easyeditor/trainer/algs/MSCKE.py.

Readings, where the released code is otherwise: the two halves are joined as they are (its `cat`; its `dot` mixes the
pictures of all stored edits, so that an edit's score hangs on what else is stored); edit and question are both read
without the answer, so that an edit is at distance 0 of its own question; an edit may be without a picture.
"""

from unike_lib.config.base import Entry, given, on_backbone, variant
from unike_lib.method import Method
from unike_lib.methods.serac_multimodal.settings import SeracMultimodalMethod

SHIPPED = (
    given("ours", "as wide as CLIP's text tower and OPT-125M, which MSCKE takes", width=768, heads=12)
    | given(
        "MSCKE",
        scope_layers=12,
        counterfactual_layers=12,
        steps=50000,
        learning_rate=1.0e-5,
        random_targets=0.0,
        scope_radius=1.0,
    )
    | given("ours", "few looks at small steps", eval_every=1000)
)

METHOD = Method(
    name="serac-multimodal",
    title="SERAC, multimodal scope",
    kind="other",  # not in the paper
    settings=SeracMultimodalMethod,
    build="unike_lib.methods.serac_multimodal.editor:build",
    first_layer=lambda settings: 0,
    train="unike_lib.methods.serac_multimodal.training:train",
    editing_alone=frozenset({"scope_radius", "mixture", "positions"}),
    search={"random_targets": [0.25, 0.5, 0.75], "scope_radius": [0.3, 1.0, 3.0, 10.0]},
    entries={
        "serac-multimodal": Entry(
            "SERAC behind a scope that reads text and picture.",
            {
                "by_backbone": Entry(
                    values={
                        "blip2-nano": Entry(values=given("tuned", scope_radius=3.0)),
                        "minigpt4-smol": Entry(
                            values=given("ours", "as SERAC there", steps=1200)
                            | given("tuned", random_targets=0.75, scope_radius=10.0)
                        ),
                    }
                )
            },
        ),
        "serac-multimodal-shipped": variant(
            "serac-multimodal",
            "Depth, steps and rate of MSCKE's code; from nothing in place of CLIP and OPT-125M, so not its results.",
            SHIPPED | on_backbone("minigpt4-smol", SHIPPED),
        ),
    },
)
