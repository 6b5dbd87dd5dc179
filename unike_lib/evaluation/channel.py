"""Is the channel that UniKE reads open in a backbone? Latent states of the very fact asked for, and of another fact.

A memory state that holds the answer should make the answer likelier, and more so than the state of another fact. Where
it does not, retrieved hidden states cannot help, whatever else a method does.
"""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from unike_lib.backbones.base import IGNORED, Backbone
from unike_lib.backbones.decoder import Edit, Trace
from unike_lib.editing.latent import LatentShift
from unike_lib.editing.patch import Patch
from unike_lib.knowledge.memory import Memory
from unike_lib.types import EditCase, Query

ROWS = 64
ALPHAS = (0.2, 0.4, 0.8)


def probe_channel(backbone: Backbone, cases: Sequence[EditCase]) -> pd.DataFrame:
    """Return the share of answer tokens right and the mean log-probability of the answer [nats a token].

    One row a (memory, alpha). Memory "same fact" holds the state s of the last answer token of question + true answer,
    "other fact" that of the next case, one slot each, found by the question's own state and mixed in with a fixed
    alpha in the edited layers; "none" is the unedited model.
    """
    queries = [case.request.query for case in cases]
    keys, values = _states(backbone, queries)
    rolled = {layer: states.roll(1, 0) for layer, states in values.items()}
    rows = [{"memory": "none", "alpha": 0.0, "items": len(cases), **_score(backbone, queries, None)}]
    for name, memory in (("same fact", Memory(keys, values)), ("other fact", Memory(keys, rolled))):
        for alpha in ALPHAS:
            patch = Patch(1, shift=LatentShift(memory, {}, top_k=1, alpha=alpha))
            scores = _score(backbone, queries, patch)
            rows.append({"memory": name, "alpha": alpha, "items": len(cases), **scores})
    return pd.DataFrame(rows)


@torch.no_grad()
def _states(backbone: Backbone, queries: Sequence[Query]) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """Return h_sem and h_pos [case, d] of every edited layer."""
    keys: dict[int, list[Tensor]] = {layer: [] for layer in backbone.layers}
    values: dict[int, list[Tensor]] = {layer: [] for layer in backbone.layers}
    for start in range(0, len(queries), ROWS):
        batch, trace = backbone.encode(queries[start : start + ROWS]), Trace()
        backbone.head(backbone.trunk(batch), where=torch.zeros_like(batch.real), trace=trace)
        rows = torch.arange(len(batch.lengths), device=batch.lengths.device)
        for layer in backbone.layers:
            keys[layer].append(trace.attention_inputs[layer][rows, batch.last_prompt])
            values[layer].append(trace.attention_inputs[layer][rows, batch.lengths - 1])
    joined = [{layer: torch.cat(parts) for layer, parts in store.items()} for store in (keys, values)]
    return joined[0], joined[1]


@torch.no_grad()
def _score(backbone: Backbone, queries: Sequence[Query], patch: Edit | None) -> dict[str, float]:
    shares: list[Tensor] = []
    likelihoods: list[Tensor] = []
    for start in range(0, len(queries), ROWS):
        batch = backbone.encode(queries[start : start + ROWS])
        where = batch.targets != IGNORED
        logits, targets = backbone.head(backbone.trunk(batch), patch, where), batch.targets[where]
        counts = where.sum(1).tolist()
        shares += [part.double().mean() for part in (logits.argmax(-1) == targets).split(counts)]
        losses = cross_entropy(logits, targets, reduction="none")
        likelihoods += [-part.double().mean() for part in losses.split(counts)]
    return {"token": float(torch.stack(shares).mean()), "log_probability": float(torch.stack(likelihoods).mean())}
