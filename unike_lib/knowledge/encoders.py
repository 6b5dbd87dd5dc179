"""The contrastive encoders that split semantics from truthfulness, as they are used (UniKE 3.3)."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from torch import Tensor, nn

from unike_lib.io import first_line, read_tensors
from unike_lib.types import InputError

ENCODED = ("truthfulness", "semantic")


class Encoder(nn.Module):
    """An MLP from hidden states [..., d] to representations [..., width], with GELU between its linear layers."""

    def __init__(self, width_in: int, hidden: int, width_out: int, layers: int) -> None:
        super().__init__()
        widths = [width_in, *[hidden] * (layers - 1), width_out]
        steps: list[nn.Module] = []
        for before, after in pairwise(widths):
            steps += [nn.Linear(before, after), nn.GELU()]
        self.net = nn.Sequential(*steps[:-1])

    def forward(self, states: Tensor) -> Tensor:
        """Return the representations."""
        return self.net(states)


@dataclass(frozen=True)
class LayerEncoders:
    """What is learned of one layer: both encoders; for each space zeta [width] and the fitted W_zeta [width, d]."""

    truthfulness: Encoder
    semantic: Encoder
    zetas: dict[str, Tensor]
    maps: dict[str, Tensor]


def load_encoders(path: Path) -> dict[int, LayerEncoders]:
    """Read the encoders of every layer; raise InputError if the file is broken or incomplete."""
    tensors = read_tensors(path)
    result = {}
    for layer in layers_in(path, tensors):
        try:
            built = {kind: _rebuild(tensors, f"{layer}.{kind}.") for kind in ENCODED}
            zetas = {kind: tensors[f"{layer}.zeta.{kind}"] for kind in ENCODED}
            maps = {kind: tensors[f"{layer}.map.{kind}"] for kind in ENCODED}
        except (KeyError, IndexError) as error:
            raise InputError(f"{path}: layer {layer}: entry {error} is missing") from None
        except RuntimeError as error:
            raise InputError(
                f"{path}: layer {layer}: not an encoder; delete the file, so that it is made anew ({first_line(error)})"
            ) from None
        result[layer] = LayerEncoders(built["truthfulness"], built["semantic"], zetas, maps)
    return result


def layers_in(path: Path, names: Iterable[str]) -> list[int]:
    """Return the layers of entries named "<layer>.<what>"; raise InputError, naming the file, if there are others."""
    layers = set()
    for name in names:
        layer = name.split(".")[0]
        if not layer.isdecimal():
            raise InputError(f"{path}: expected entries '<layer>.<name>', found {name!r}")
        layers.add(int(layer))
    if not layers:
        raise InputError(f"{path}: no entries")
    return sorted(layers)


def _rebuild(tensors: dict[str, Tensor], prefix: str) -> Encoder:
    state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    weights = [value for name, value in state.items() if name.endswith("weight")]
    first, last = weights[0], weights[-1]
    encoder = Encoder(first.shape[1], first.shape[0], last.shape[0], len(weights))
    encoder.load_state_dict(state)
    return encoder.eval().requires_grad_(False)
