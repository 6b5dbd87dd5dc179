"""Files of hidden states: h_sem, h_pos, h_neg of triplets at the edited layers, and FFN inputs (UniKE 3.3)."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from unike_lib.io import check_fields, read_table, reading
from unike_lib.types import InputError

VALUE_COLUMNS = {"last": "h_pos", "answer_mean": "h_pos_mean"}
STATE_COLUMNS = ("h_sem", "h_pos", "h_pos_mean", "h_neg")


def states_schema(width: int) -> pa.Schema:
    """Return the Parquet schema: one row per triplet and layer; states as float32 lists of length d."""
    state = pa.list_(pa.float32(), width)
    return pa.schema([("id", pa.string()), ("layer", pa.int32()), *((name, state) for name in STATE_COLUMNS)])


def read_states(path: Path) -> dict[int, dict[str, Tensor]]:
    """Return layer -> column -> states [triplet, d], in triplet order.

    Raises:
        InputError: the file is missing, broken, empty, or holds a state that is not finite.
    """
    layers: dict[int, dict[str, list[np.ndarray]]] = {}
    with reading(path, "Parquet file of hidden states"), pq.ParquetFile(path) as file:
        check_fields(path, file.schema_arrow.names, ("id", "layer", *STATE_COLUMNS))
        width = file.schema_arrow.field("h_sem").type.list_size
        for piece in file.iter_batches():
            layer_ids = piece.column("layer").to_numpy()
            for layer in np.unique(layer_ids):
                chosen = layer_ids == layer
                store = layers.setdefault(int(layer), {name: [] for name in STATE_COLUMNS})
                for name in STATE_COLUMNS:
                    states = piece.column(name).flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
                    store[name].append(states[chosen])
    if not layers:
        raise InputError(f"{path}: no hidden states")
    result = {
        layer: {name: torch.from_numpy(np.concatenate(parts)) for name, parts in store.items()}
        for layer, store in layers.items()
    }
    for layer, columns in result.items():
        for name, states in columns.items():
            if not torch.isfinite(states).all():
                record = int((~torch.isfinite(states).all(1)).nonzero()[0])
                raise InputError(f"{path}: layer {layer}, triplet {record}: field '{name}' is not finite")
    return result


def read_ffn_inputs(path: Path) -> dict[int, Tensor]:
    """Return layer -> FFN inputs [state, d]."""
    table = read_table(path)
    check_fields(path, table.columns, ("layer", "ffn_input"))
    return {
        int(str(layer)): torch.from_numpy(np.stack(group["ffn_input"].to_list()))
        for layer, group in table.groupby("layer")
    }
