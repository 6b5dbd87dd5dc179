"""UniKE with a late scope (not the paper's): the unedited model's own late states say which edit a question means.

The paper's thesis, that semantics decide what is included and truthfulness how, with another semantic space: a state of
a later layer in place of h_sem of the edited ones. The share of an edit opens its own neurons and its memory entries.
"""

from unike_lib.config.base import Entry, given, variant
from unike_lib.method import Method
from unike_lib.methods.shared.scope_settings import with_scope
from unike_lib.methods.unike_scope.settings import UnikeScopeMethod


def needs(settings: UnikeScopeMethod) -> tuple[str, ...]:
    """Return what edits read: the scope, and neurons, directions and the memory, as far as they are on."""
    used = {
        "ffn_inputs": settings.intrinsic,
        "encoders": settings.reads_pool or settings.zeta != "off",
        "memory": settings.reads_pool,
    }
    return with_scope(settings, tuple(name for name, needed in used.items() if needed))


def reading(settings: UnikeScopeMethod) -> str:
    """Return which of the two is the paper's."""
    return (
        "UniKE is the paper's method; with a late scope it is this project's: each edit acts on questions that the "
        "unedited model itself, some layers later, takes for the same, as far as it does."
    )


METHOD = Method(
    name="unike-scope",
    title="UniKE, late scope",
    kind="other",  # not the paper's
    settings=UnikeScopeMethod,
    build="unike_lib.methods.unike_scope.editor:build",
    needs=needs,
    reading=reading,
    search={"learning_rate": [1.0e-2, 3.0e-2], "memory_weight": [3.0e-4, 0.01, 0.1], "edit_alpha": [0.1, 0.3]},
    entries={
        "unike-scope": Entry(
            "Not the paper's: UniKE behind the late state of the unedited model, edits as memory entries.",
            given(
                "tuned",
                by_backbone={"minigpt4-smol": {"steps": 20, "learning_rate": 1.0e-2, "memory_weight": 0.01}},
            ),
        ),
        "unike-scope-neurons": variant("unike-scope", "Neurons alone behind the scope.", given("ours", latent=False)),
        "unike-scope-latent": variant(
            "unike-scope", "Edits as memory entries alone behind the scope.", given("ours", intrinsic=False)
        ),
    },
)
