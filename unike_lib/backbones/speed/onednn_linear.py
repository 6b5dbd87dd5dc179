"""Frozen float32 matrices in the layout that oneDNN multiplies fastest, for products of few rows on a CPU.

The library behind torch's linear layers brings a matrix into its own layout at every call. That costs as much as the
product where rows are few: an edit's session has some fifty tokens, an answer fifteen. Frozen matrices are laid out
once: forward and, for gradients by the input, transposed. That takes their memory again each.
"""

from collections.abc import Iterator
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from unike_lib.backbones.decoder import Decoder

SMALLEST = 2**18  # numbers of a matrix: smaller ones gain less than the call costs


def packing_helps(dtype: torch.dtype, device: str) -> bool:
    """Tell whether torch has such products for this dtype on this device."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return there and dtype == torch.float32 and device == "cpu"


def pack(decoder: Decoder) -> None:
    """Make the large linear layers of a decoder and its head compute with packed matrices."""
    for part in (*(layer.module for layer in decoder.layers), decoder.head):
        for module in _large(part):
            setattr(module, "forward", MethodType(_forward, module))  # noqa: B010  (mypy: a method)


def _large(part: Any) -> Iterator[Any]:
    return (module for module in part.modules() if type(module) is nn.Linear and module.weight.numel() >= SMALLEST)


class _Packed(torch.autograd.Function):
    """A linear layer over packed matrices; no gradient by them."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, module: Any) -> Tensor:
        """Return x W^T + b."""
        ctx.module = module
        return _product(inputs, _laid_out(module, "weight"), module.bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the gradient by x."""
        return _product(gradients[0], _laid_out(ctx.module, "transposed"), None), None


def _product(inputs: Tensor, packed: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, packed, bias, "none", [], "")
    return product


def _laid_out(module: Any, name: str) -> Tensor:
    """Return a module's packed matrix, made anew when its weight was written to."""
    version = module.weight._version
    if getattr(module, f"packed_{name}", (None,))[0] != version:
        weight = module.weight.detach()
        laid = torch.ops.mkldnn._reorder_linear_weight(weight if name == "weight" else weight.t().contiguous())
        setattr(module, f"packed_{name}", (version, laid))
    packed: Tensor = getattr(module, f"packed_{name}")[1]
    return packed


def _forward(self: Any, inputs: Tensor) -> Tensor:
    if not inputs.numel():
        return inputs.new_zeros(*inputs.shape[:-1], self.out_features)
    product: Tensor = _Packed.apply(inputs, self)
    return product
