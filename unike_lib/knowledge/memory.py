"""The external key-value memory: unit-length h_sem as keys, h_pos as values, a layer each (UniKE 3.2)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from unike_lib.io import fingerprint_of, read_tensors, write_tensors
from unike_lib.knowledge import exact_search
from unike_lib.knowledge.encoders import Encoder, layers_in
from unike_lib.knowledge.states import VALUE_COLUMNS, read_states
from unike_lib.types import InputError


class Searched(Protocol):
    """What a latent shift reads of a memory: values by layer, and the slots that a query finds."""

    layers: tuple[int, ...]
    values: dict[int, Tensor]

    def __len__(self) -> int:
        """Return the number of slots."""

    def search(self, layer: int, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return ids and cosines [row, k] of the slots for each query [row, d], best first."""


class Memory:
    """Keys and values by layer, searched by cosine.

    Args:
        keys: layer -> h_sem [triplet, d]; scaled to unit length here.
        values: layer -> h_pos [triplet, d].

    Example:
        >>> memory = Memory({3: torch.eye(4)}, {3: torch.arange(16.0).view(4, 4)})
        >>> memory.search(3, torch.tensor([[0.0, 2.0, 1.0, 0.0]]), k=2)[0].tolist()
        [[1, 2]]
    """

    def __init__(self, keys: dict[int, Tensor], values: dict[int, Tensor]) -> None:
        self.values = values
        self.layers = tuple(sorted(keys))
        self.keys = {layer: normalize(keys[layer].float(), dim=-1) for layer in self.layers}

    def __len__(self) -> int:
        return len(self.keys[self.layers[0]])

    def search(self, layer: int, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return ids and cosines [row, k] of the keys with the highest cosine to each query [row, d], best first.

        k is cut to the number of entries.
        """
        return exact_search.search(self.keys[layer], normalize(queries.float(), dim=-1), min(k, len(self)))

    def to(self, device: torch.device) -> "Memory":
        """Move keys, values and the search to a device; ids and cosines of queries there never leave it."""
        self.keys = {layer: keys.to(device) for layer, keys in self.keys.items()}
        self.values = {layer: value.to(device) for layer, value in self.values.items()}
        return self


def build_memory(states: Path, out: Path) -> None:
    """Write keys and both kinds of values (last answer token, mean over the answer) of every layer."""
    table = read_states(states)
    tensors = {}
    for layer, group in table.items():
        tensors[f"{layer}.h_sem"] = group["h_sem"]
        for column in VALUE_COLUMNS.values():
            tensors[f"{layer}.{column}"] = group[column]
    write_tensors(out, tensors, fingerprint_of("memory", states))


def load_memory(path: Path, h_pos: str, encoders: Mapping[int, Encoder] | None = None) -> Memory:
    """Read a memory.

    Args:
        path: what `build_memory` wrote.
        h_pos: "last" or "answer_mean": which state serves as the value.
        encoders: layer -> Enc_sem; if given, the keys are Enc_sem(h_pos), else h_sem.

    Raises:
        InputError: the file is broken or incomplete.
    """
    tensors = read_tensors(path)
    layers = layers_in(path, tensors)
    column = VALUE_COLUMNS[h_pos]
    try:
        keys = {layer: tensors[f"{layer}.h_sem"] for layer in layers}
        values = {layer: tensors[f"{layer}.{column}"] for layer in layers}
    except KeyError as error:
        raise InputError(f"{path}: not a memory: entry {error} is missing") from None
    for layer in layers:
        if keys[layer].ndim != 2 or keys[layer].shape != values[layer].shape:
            found = f"{list(keys[layer].shape)} and {list(values[layer].shape)}"
            raise InputError(
                f"{path}: layer {layer}: expected keys and values of one shape [triplet, d], found {found}"
            )
    if encoders is not None:
        with torch.no_grad():
            keys = {layer: encoders[layer](value.float()) for layer, value in values.items()}
    return Memory(keys, values)
