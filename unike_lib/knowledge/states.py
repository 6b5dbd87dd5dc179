"""Files of hidden states: h_sem, h_pos, h_neg of triplets at the edited layers, and FFN inputs (UniKE 3.3)."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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
    with reading(path, "Parquet file of hidden states"):
        table = pq.read_table(path)
        check_fields(path, table.column_names, ("id", "layer", *STATE_COLUMNS))
        layers = sorted(table["layer"].unique().to_pylist())
        result = {layer: _states_in(table.filter(pc.field("layer") == layer)) for layer in layers}
    if not result:
        raise InputError(f"{path}: no hidden states")
    for layer, columns in result.items():
        for name, states in columns.items():
            if not torch.isfinite(states).all():
                record = int((~torch.isfinite(states).all(1)).nonzero()[0])
                raise InputError(f"{path}: layer {layer}, triplet {record}: field '{name}' is not finite")
    return result


def _states_in(rows: pa.Table) -> dict[str, Tensor]:
    """Return column -> states [row, d]."""
    flat = {name: rows[name].combine_chunks().flatten().to_numpy(zero_copy_only=False) for name in STATE_COLUMNS}
    return {name: torch.tensor(values).view(len(rows), -1) for name, values in flat.items()}


def read_ffn_inputs(path: Path) -> dict[int, Tensor]:
    """Return layer -> FFN inputs [state, d]."""
    table = read_table(path)
    check_fields(path, table.columns, ("layer", "ffn_input"))
    return {
        int(str(layer)): torch.from_numpy(np.stack(group["ffn_input"].to_list()))
        for layer, group in table.groupby("layer")
    }
