"""UniKE (NeurIPS 2024): intrinsic and external editing as key-value memories in the same layers."""

from unike_lib.config.base import Entry, Original, as_original, given, on_backbone, variant
from unike_lib.method import Method
from unike_lib.methods.shared.neuron_settings import MEMORY_WEIGHT
from unike_lib.methods.shared.teach_end import MMEDIT
from unike_lib.methods.unike.settings import RELEASED_RATE, RELEASED_STEPS, UnikeMethod


def needs(settings: UnikeMethod) -> tuple[str, ...]:
    """Return what edits read: neurons, directions, the memory, and demonstrations, as far as they are on."""
    used = {
        "ffn_inputs": settings.intrinsic,
        "encoders": settings.latent or settings.zeta != "off",
        "memory": settings.latent,
        "method_split": settings.in_context,
    }
    return tuple(name for name, needed in used.items() if needed)


def reading(settings: UnikeMethod) -> str | None:
    """Return how the memory loss is read where it acts behind the shift."""
    if settings.intrinsic and settings.latent and settings.memory_weight:
        return "UniKE's memory loss sees states that were taken without the latent shift; its neurons act behind it."
    return None


METHOD = Method(
    name="unike",
    title="UniKE",
    kind="unified",
    settings=UnikeMethod,
    build="unike_lib.methods.unike.editor:build",
    needs=needs,
    reading=reading,
    search={"learning_rate": [1.0e-2, 3.0e-2], "memory_weight": [0.003, 0.1], "alpha_scale": [0.1, 0.3, 1.0]},
    entries={
        "unike": Entry(
            "Extra neurons, zeta and the latent in-context shift.",
            given("tuned", by_backbone={"minigpt4-smol": {"steps": 10, "memory_weight": 0.1, "alpha_scale": 0.1}}),
        ),
        "unike-paper": variant(
            "unike",
            "What the paper and its code print, for 7B models.",
            as_original(
                steps=RELEASED_STEPS, learning_rate=RELEASED_RATE, memory_weight=MEMORY_WEIGHT, teach_end=MMEDIT
            )
            | given("paper", "Eq. 7", alpha_scale=1.0),
            paper="UniKE",
        ),
        "unike-unscaled": variant(
            "unike", "What Eq. 7 gives is taken as it is (Fig. 4b).", given("paper", "Eq. 7", alpha_scale=1.0)
        ),
        "only-intrin": variant(
            *("unike", "Extra neurons alone.", given("paper", "Table 4", latent=False, zeta="off")),
            paper="only Intrin",
        ),
        "only-latent-ike": variant(
            *("unike", "The latent shift alone, nothing is trained.", given("paper", "Table 4", intrinsic=False)),
            paper="only Latent-IKE",
        ),
        "intrin-latent-ike": variant(
            *("unike", "Both, without zeta.", given("paper", "Table 4", zeta="off")), paper="Intrin+Latent-IKE"
        ),
        "intrin-ike": variant(
            "unike",
            "The intrinsic half, with IKE's context in place of the latent shift.",
            given("paper", "Table 4", latent=False, in_context=True)
            | on_backbone(
                "minigpt4-smol", given("ours", "half as many as IKE: every step runs behind them", demonstrations=3)
            ),
            originals={"zeta": Original("UniKE Table 4", "off")},
            paper="Intrin+IKE",
        ),
    },
)
