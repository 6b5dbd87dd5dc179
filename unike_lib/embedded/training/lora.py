"""Low-rank changes of frozen linear maps (LoRA, Hu et al. 2022): trained beside the weights, then merged into them."""

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoraLinear(nn.Module):
    """y = W x + B A x, W [out, in] frozen, A [rank, in] and B [out, rank] trained; B starts at zero.

    A starts with rows of unit expected length, so that one learning rate fits every width.
    """

    def __init__(self, linear: nn.Linear, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = linear.requires_grad_(False)
        inward, outward = linear.in_features, linear.out_features
        self.a = nn.Parameter(torch.randn(rank, inward, generator=generator) * inward**-0.5)
        self.b = nn.Parameter(torch.zeros(outward, rank))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return y [..., out] of x [..., in]."""
        return self.linear(inputs) + F.linear(F.linear(inputs, self.a), self.b)


def attach(language_model: Any, layers: Iterable[int], rank: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Put a `LoraLinear` around every linear map of some layers of a Llama-family model; return its factors by name."""
    chosen = set(layers)
    for index, layer in enumerate(language_model.model.layers):
        for block in (layer.self_attn, layer.mlp) if index in chosen else ():
            for name in TARGETS:
                if hasattr(block, name):
                    setattr(block, name, LoraLinear(getattr(block, name), rank, generator))
    return {
        f"{name}.{part}": getattr(module, part)
        for name, module in language_model.named_modules()
        if isinstance(module, LoraLinear)
        for part in ("a", "b")
    }


@torch.no_grad()
def merge(language_model: nn.Module, factors: dict[str, Tensor]) -> None:
    """Add B A to the linear maps of a plain model, given the factors that `attach` named."""
    for name in sorted({key.rpartition(".")[0] for key in factors}):
        linear: Any = language_model.get_submodule(name)
        linear.weight += factors[f"{name}.b"].float() @ factors[f"{name}.a"].float()
