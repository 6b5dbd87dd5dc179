"""Extraction of hidden states: triplets to h_sem, h_pos, h_neg; pool questions to FFN inputs; streamed to Parquet."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor
from tqdm import tqdm

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import Batch
from unike_lib.backbones.edit import Trace
from unike_lib.backbones.kv_cache import KVCache, forward_with_cache
from unike_lib.io import table_writer, write_table
from unike_lib.knowledge.states import STATE_COLUMNS, states_schema
from unike_lib.knowledge.triplets import Triplet, read_triplets
from unike_lib.types import EditCase, Query, beside_alike, kinds_of_all

POOL_KINDS: tuple[str, ...] = ("rel", "t_loc")
ROWS = 64


def extract_states(backbone: Backbone, triplets: Path, out: Path, fingerprint: str) -> None:
    """Write h_sem, h_pos, h_pos_mean, h_neg of every triplet and edited layer, one row group per batch of triplets.

    `s` = LN1(h) is recorded: h_sem at the last prompt token, h_pos and h_neg at the last token of Q + A_pos and of
    Q + A_neg; h_pos_mean is the mean over the tokens of A_pos.
    """
    table = read_triplets(triplets)
    with table_writer(out, states_schema(backbone.width), fingerprint) as writer:
        for start in tqdm(range(0, len(table), ROWS), desc="states", unit="batch"):
            rows = table[start : start + ROWS]
            states = _states_of(backbone, rows)
            for layer in backbone.layers:
                columns = states[layer]
                ids = pa.array([t.id for t in rows])
                arrays = [ids, pa.array([layer] * len(rows), pa.int32())]
                arrays += [_fixed_lists(columns[name]) for name in STATE_COLUMNS]
                writer.write_table(pa.Table.from_arrays(arrays, schema=writer.schema))


@torch.no_grad()
def _states_of(backbone: Backbone, triplets: Sequence[Triplet]) -> dict[int, dict[str, Tensor]]:
    """Return layer -> STATE_COLUMNS [triplet, d]; both answers are run behind one pass of the question."""
    positive, negative = (
        backbone.encode([Query(t.image, t.prompt, getattr(t, answer), t.style) for t in triplets])
        for answer in ("positive", "negative")
    )
    past = KVCache(positive.context(Trace()), positive.positions, positive.sees)
    of_positive = _attention_inputs(backbone, past, positive.embeddings, positive.mask)
    prompt = positive.last_prompt + 1
    past.mask &= torch.arange(past.mask.shape[1], device=prompt.device) < prompt[:, None]
    fresh, real = negative.suffix(prompt)
    past.context.trace = Trace()
    of_negative = _attention_inputs(backbone, past, fresh, real)
    last = torch.arange(len(real), device=real.device), real.sum(1) - 1
    return {
        layer: states_of_answers(positive, of_positive[layer]) | {"h_neg": of_negative[layer][last]}
        for layer in backbone.layers
    }


def _attention_inputs(backbone: Backbone, past: KVCache, embeddings: Tensor, real: Tensor) -> dict[int, Tensor]:
    """Return layer -> s = LN1(h) [row, token, d] of tokens behind `past`, up to the last edited layer."""
    last = backbone.layers[-1]
    hidden = forward_with_cache(backbone.decoder, embeddings, past, real, layers=range(last))
    inputs = {} if past.context.trace is None else past.context.trace.attention_inputs
    return inputs | {last: backbone.decoder.layers[last].attention_input(hidden)}


@torch.no_grad()
def _ffn_inputs(backbone: Backbone, queries: Sequence[Query]) -> tuple[Tensor, dict[int, Tensor]]:
    """Return where answers are predicted, bool [row, token], and layer -> q = LN2(x) [row, token, d].

    The layers are the edited ones; nothing behind the last of them is run.
    """
    batch, trace = backbone.encode(queries), Trace()
    layers = range(backbone.layers[0], backbone.layers[-1] + 1)
    hidden, context = backbone.run_below(batch).hidden, batch.context(trace)
    masks = backbone.decoder.masks(hidden, batch.sees, batch.positions, batch.mask)
    backbone.decoder.through(hidden, layers, masks, context=context)
    return batch.answered, trace.ffn_inputs


def states_of_answers(batch: Batch, states: Tensor) -> dict[str, Tensor]:
    """Return h_sem, h_pos and h_pos_mean [row, d] of questions with their answers.

    Args:
        batch: the questions and answers.
        states: s = LN1(h) of a layer, [row, token, d].
    """
    rows = torch.arange(len(states), device=states.device)
    positions = torch.arange(states.shape[1], device=states.device)
    answer = (positions > batch.last_prompt[:, None]) & batch.mask
    return {
        "h_sem": states[rows, batch.last_prompt],
        "h_pos": states[rows, batch.lengths - 1],
        "h_pos_mean": (states * answer[..., None]).sum(1) / answer.sum(1, keepdim=True),
    }


def _fixed_lists(states: Tensor) -> pa.Array:
    flat = states.float().cpu().numpy().reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), states.shape[1])


def extract_ffn_inputs(backbone: Backbone, cases: Sequence[EditCase], limit: int, out: Path, fingerprint: str) -> None:
    """Write up to `limit` FFN inputs q = LN2(x) per layer, for the memory losses of T-Patcher and UniKE.

    They come from the pool's edited and text-only questions, at the last prompt token and the answer tokens, evenly
    spaced over the pool.

    Reading: they are the unedited backbone's, without UniKE's latent shift, although UniKE's neurons act behind it. So
    the memory loss sees other states of an unrelated question than those that reach the neurons later.
    """
    step = max(1, len(cases) * len(POOL_KINDS) // limit)
    spaced = cases[::step]
    asked = [case.query(kind) for case in spaced for kind in kinds_of_all(spaced, POOL_KINDS)]
    unique = sorted(set(asked), key=beside_alike)  # text-only ones are few
    kept: dict[int, dict[Query, Tensor]] = {layer: {} for layer in backbone.layers}
    for start in tqdm(range(0, len(unique), ROWS), desc="ffn inputs", unit="batch"):
        part = unique[start : start + ROWS]
        where, inputs = _ffn_inputs(backbone, part)
        for layer in backbone.layers:
            states = inputs[layer][where].float().cpu().split(where.sum(1).tolist())
            kept[layer] |= zip(part, states, strict=True)
    rows = []
    for layer, by_question in kept.items():
        states = torch.cat([by_question[query] for query in asked])
        even = torch.linspace(0, len(states) - 1, min(limit, len(states))).long()
        rows += [(layer, state) for state in states[even].numpy()]
    table = pd.DataFrame(rows, columns=["layer", "ffn_input"])
    schema = pa.schema([("layer", pa.int32()), ("ffn_input", pa.list_(pa.float32(), backbone.width))])
    write_table(out, table, fingerprint, schema)
