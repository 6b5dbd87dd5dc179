"""Records made up for the tests of reporting."""

import numpy as np
import pandas as pd

from unike_lib.types import PROBE_KINDS

BACKBONES = ("left", "right")
TASKS = ("vqa", "caption")
METHODS = ("base", "fine-tune", "t-patcher", "unike", "unike-paper")

VARIANTS = {
    "only-intrin": {"like": "unike", "latent": False, "zeta": "off"},
    "only-latent-ike": {"like": "unike", "intrinsic": False},
    "intrin-latent-ike": {"like": "unike", "zeta": "off"},
}


def with_tables(config, **tables):
    """Return a configuration with other tables in the place of some."""
    return config.model_copy(update={"tables": config.tables | tables})


def make_records(cell, edits=12, shift=0.0, generated=True, k=1, **fields):
    """Return records of one cell with reproducible scores that differ by criterion; neighbours share a fact.

    Sessions hold k edits, the last what is left over.
    """
    backbone, task, method = cell
    rng = np.random.default_rng([sum(map(ord, "".join(cell))), edits, k][: 2 + (k > 1)])
    rows = []
    for edit in range(edits):
        for kind in PROBE_KINDS:
            token = float(np.clip(rng.uniform(0.2, 1) + shift, 0, 1))
            scores = {"token": token, "mmedit": token * 0.9, "exact": float(token > 0.7)}
            soon = token**0.5 if kind == "rel" and k > 1 else float("nan")
            right_after = {f"{criterion}_right_after": soon for criterion in ("token", "mmedit", "exact")}
            rows.append(
                {
                    "backbone": backbone,
                    "task": task,
                    "method": method,
                    "k": k,
                    "seed": 3,
                    "session": edit // k,
                    "position": edit % k,
                    "case": f"{task}-{edit}",
                    "facts": [f"fact {edit // 2}", f"own {edit}"],
                    "kind": kind,
                    "status": "failed: not finite" if method == "unike" and edit == 1 else "ok",
                    **scores,
                    **right_after,
                    "generated": scores["exact"] if generated else float("nan"),
                    "normalised": scores["exact"] if generated else float("nan"),
                    "target": "red",
                    "aliases": [],
                    "text_before": "blue" if generated else "",
                    "cut": False,
                    "edit_seconds": 0.5,
                    "edit_bytes": 1000.0,
                    "peak_mb": 200.0,
                    **fields,
                }
            )
    return pd.DataFrame(rows)


GAINS = {
    "none": {"none": 0.0},
    "context": {"same fact": 1.0, "other fact": 0.1},
    "latent": {"same fact": 1.0, "other fact": 0.1},
    "window": {"same fact": 0.5, "other fact": 0.0},
}
LAYERS = {"none": ["none"], "context": ["all", "edited"], "latent": ["edited"], "window": ["2-5", "4-7"]}
PARTS = {"verdict": ["none", "context", "latent"], "scan": ["none", "window"]}
ALPHAS = {"none": [0.0], "context": [0.0], "latent": [0.2, 0.4], "window": [0.4]}


def control_scores(backbone, edits=12, **changes):
    """Return scores of the positive control: mean log-probabilities -2 + gain, a bit more at alpha 0.4 and in 2-5."""
    rows = []
    for part, test in [(part, test) for part, tests in PARTS.items() for test in tests]:
        for memory, gain in {**GAINS[test], **changes.get(test, {})}.items():
            for layers, alpha in [(layers, alpha) for layers in LAYERS[test] for alpha in ALPHAS[test]]:
                bonus = 0.001 * (memory == "same fact") * ((alpha == 0.4) + (layers == "2-5"))
                condition = {"part": part, "test": test, "memory": memory, "layers": layers, "alpha": alpha}
                # The noise of a task's edits sums to zero, so that mean differences are exact.
                noise = 0.2 * np.random.default_rng(len(rows)).permutation(np.linspace(-1, 1, edits))
                rows += [
                    {
                        "backbone": backbone,
                        "task": task,
                        "case": f"{task}-{part}-{edit}",
                        "facts": [f"{task} {part} fact {edit // 2}"],
                        **condition,
                        "token": float(gain > 0.5),
                        "exact": 0.0,
                        "log_probability": -2 + gain + bonus + noise[edit] * (test != "none"),
                    }
                    for task in TASKS
                    for edit in range(edits)
                ]
    return pd.DataFrame(rows)
