"""What editing keeps in a GPU's memory: a sum of terms, each counted from shapes; no model is made.

    .venv/bin/python -m bench.memory_sum        # the tables of docs/performance.md

`tests/test_memory_sum.py` compares the terms with the tensors of a tiny model, and the tables with the document.
"""

import json
from functools import cache

import torch
from transformers import Blip2Config, Blip2ForConditionalGeneration

from tools.random_models import geometry
from unike_lib.front.memory_sum import HALF, PAPER, STEPPED, Setting, graph, knowledge, learned
from unike_lib.methods.fine_tune.editor import OPTIMISER_BYTES
from unike_lib.reporting.markdown import markdown_table

GB = 1e9
SESSIONS = (1, 8, 32)
METHODS = ("fine-tune", "ke", "t-patcher", "mend", "unike")


def weights(config: Blip2Config) -> int:
    """Bytes of the frozen model in bfloat16, vision included."""
    return _weights(config.to_json_string())


@cache
def _weights(config: str) -> int:
    """As `weights`; making a model takes a while, even without memory for it."""
    with torch.device("meta"):
        model = Blip2ForConditionalGeneration(Blip2Config.from_dict(json.loads(config)))
    return HALF * sum(parameter.numel() for parameter in model.parameters())


def total(config: Blip2Config, method: str, sessions: int, setting: Setting = PAPER) -> int:
    """Bytes at the peak of an edit of so many sessions."""
    own = learned(config, method, setting)
    if method == "fine-tune":
        # Few sessions are trained at once, beside the changes of those before; at the end there are 2.5 of all changes:
        # as trained, as kept, and zeros in the place of one of two matrices.
        at_once = min(sessions, max(1, OPTIMISER_BYTES // own))
        training = at_once * (own + graph(config, method, setting)) + (sessions - at_once) * own // STEPPED
        return weights(config) + max(training, int(2.5 * sessions * own / STEPPED))
    return weights(config) + knowledge(config, method, setting) + sessions * (own + graph(config, method, setting))


def table(name: str) -> str:
    """Return the sum for one of the paper's backbones as Markdown, in GB."""
    config, rows = geometry(name), []
    frozen = weights(config)
    for method in METHODS:
        terms = [term(config, method, PAPER) for term in (knowledge, learned, graph)]
        sums = [total(config, method, count) for count in SESSIONS]
        rows.append([method, *(f"{value / GB:.2f}" for value in (frozen, *terms)), *(f"{s / GB:.1f}" for s in sums)])
    header = ["method", "model", "knowledge", "learned, a session", "graph, a session"]
    return markdown_table([*header, *(f"B = {count}" for count in SESSIONS)], rows)


if __name__ == "__main__":
    for backbone in ("blip2-opt-2.7b", "minigpt4-vicuna-7b"):
        print(f"### {backbone}\n\n{table(backbone)}\n")
