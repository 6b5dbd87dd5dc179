"""Half-precision weights on a CPU that cannot multiply them: each matrix is widened to float32 while it is used.

With AVX2 and no AVX-512, torch multiplies bfloat16 and float16 matrices about seven times slower than float32 ones;
widening costs memory traffic once per pass, whatever the number of rows. Weights stay in half precision and frozen.
"""

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

FEWEST_ROWS = 4  # for fewer, widening the matrix costs more than it saves


def multiplies_slowly(dtype: torch.dtype, device: str) -> bool:
    """Tell whether products of matrices of this dtype are slow on the device."""
    half = dtype in (torch.bfloat16, torch.float16)
    return half and device == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"


def widen(model: nn.Module) -> None:
    """Make every linear layer of a model compute in float32; inputs, outputs and weights keep their dtype."""
    for module in model.modules():
        if type(module) is nn.Linear:
            setattr(module, "forward", MethodType(_forward, module))  # noqa: B010  (mypy: a method)


class _Widened(torch.autograd.Function):
    """A linear layer in float32 that keeps its narrow weights for the backward pass; no gradient by them."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return x W^T + b."""
        ctx.save_for_backward(weight)
        return linear(inputs.float(), weight.float(), None if bias is None else bias.float()).to(inputs.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient by x alone."""
        (weight,) = ctx.saved_tensors
        return (gradients[0].float() @ weight.float()).to(gradients[0].dtype), None, None


def _forward(self: Any, inputs: Tensor) -> Tensor:
    if inputs.shape[:-1].numel() < FEWEST_ROWS:
        return linear(inputs, self.weight, self.bias)
    widened: Tensor = _Widened.apply(inputs, self.weight, self.bias)
    return widened
