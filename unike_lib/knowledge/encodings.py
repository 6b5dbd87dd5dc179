"""Held-out states of the last edited layer, encoded in both spaces, for pictures of them (UniKE Fig. 5a)."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import torch
from torch.nn.functional import normalize

from unike_lib.knowledge.encoder_training import held_out_split
from unike_lib.knowledge.encoders import ENCODED, load_encoders
from unike_lib.knowledge.states import read_states

ENCODING_SCHEMA = pa.schema(
    [
        ("layer", pa.int32()),
        ("space", pa.string()),
        ("state", pa.string()),
        ("along_zeta", pa.float32()),
        ("encoding", pa.list_(pa.float32())),
    ]
)
STATES = {"positive": "h_pos", "negative": "h_neg"}


@torch.no_grad()
def encode_held_out(states: Path, encoders: Path, held_out: float, seed: int, most: int) -> pd.DataFrame:
    """Return Enc_tru and Enc_sem of h_pos and h_neg: one row a space, state and held-out triplet.

    `along_zeta` is the cosine of an encoding with the space's own zeta. Held-out triplets are those that the encoders
    were not trained on (same share and seed), the first `most` of them.

    Raises:
        InputError: states or encoders are missing or broken.
    """
    trained = load_encoders(encoders)
    layer = max(trained)
    columns = read_states(states)[layer]
    held, _ = held_out_split(len(columns["h_pos"]), held_out, seed)
    parts = []
    for kind in ENCODED:
        encoder, zeta = getattr(trained[layer], kind), normalize(trained[layer].zetas[kind], dim=0)
        for state, column in STATES.items():
            encoded = encoder(columns[column][held[:most]])
            labels = {"layer": layer, "space": kind, "state": state}
            along = (normalize(encoded, dim=-1) @ zeta).numpy()
            parts.append(pd.DataFrame({**labels, "along_zeta": along, "encoding": list(encoded.numpy())}))
    return pd.concat(parts, ignore_index=True)
