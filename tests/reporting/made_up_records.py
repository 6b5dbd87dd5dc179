"""Records made up for the tests of reporting."""

import numpy as np
import pandas as pd

from unike_lib.types import PROBE_KINDS

BACKBONES = ("left", "right")
TASKS = ("vqa", "caption")
METHODS = ("base", "fine-tune", "t-patcher", "unike", "unike-paper")


def make_records(cell, edits=12, shift=0.0, generated=True, **fields):
    """Return records of one cell with reproducible scores that differ by criterion; neighbours share a fact."""
    backbone, task, method = cell
    rng = np.random.default_rng([sum(map(ord, "".join(cell))), edits])
    rows = []
    for edit in range(edits):
        for kind in PROBE_KINDS:
            token = float(np.clip(rng.uniform(0.2, 1) + shift, 0, 1))
            scores = {"token": token, "mmedit": token * 0.9, "exact": float(token > 0.7)}
            rows.append(
                {
                    "backbone": backbone,
                    "task": task,
                    "method": method,
                    "k": 1,
                    "seed": 3,
                    "session": edit,
                    "position": 0,
                    "case": f"{task}-{edit}",
                    "facts": [f"fact {edit // 2}", f"own {edit}"],
                    "kind": kind,
                    "status": "failed: not finite" if method == "unike" and edit == 1 else "ok",
                    **scores,
                    "generated": scores["exact"] if generated else float("nan"),
                    **fields,
                }
            )
    return pd.DataFrame(rows)
