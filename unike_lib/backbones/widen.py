"""Half-precision weights on a CPU that cannot multiply them: each matrix is widened to float32 while it is used.

Without AVX-512, torch multiplies bfloat16 and float16 matrices about seven times slower than float32 ones; widening
costs memory traffic once a pass, whatever the number of rows. Weights stay in half precision.
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
    return half and device == "cpu" and "AVX512" not in torch.backends.cpu.get_cpu_capability()


def widen(model: nn.Module) -> None:
    """Make every linear layer of a model compute in float32; inputs, outputs and weights keep their dtype."""
    for module in model.modules():
        if type(module) is nn.Linear:
            setattr(module, "forward", MethodType(_forward, module))  # noqa: B010  (mypy: a method)


def _forward(self: Any, inputs: Tensor) -> Tensor:
    if inputs.shape[:-1].numel() < FEWEST_ROWS:
        return linear(inputs, self.weight, self.bias)
    bias = None if self.bias is None else self.bias.float()
    return linear(inputs.float(), self.weight.float(), bias).to(inputs.dtype)
