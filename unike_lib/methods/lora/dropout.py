"""Dropout whose numbers are those of a session, a step, a place and a token: batches and padding do not matter."""

import zlib
from dataclasses import dataclass

import torch
from torch import Tensor

from unike_lib.backbones.edit import PassContext

BITS = 0xFFFFFFFF
TOKEN, FEATURE = 0x9E3779B1, 0x85EBCA77  # odd: no two tokens or features of a row have the same key


@dataclass(frozen=True)
class Dropout:
    """Dropout in one step of training, one row per session.

    share: how many inputs are dropped; seeds [session]; step: its number.
    """

    share: float
    seeds: Tensor
    step: int

    def apply(self, inputs: Tensor, layer: int, name: str, context: PassContext) -> Tensor:
        """Return inputs [session, token, d] with a share of them zero and the others larger by 1 / (1 - share)."""
        places = context.positions
        if places is None:
            places = torch.arange(inputs.shape[1], device=inputs.device)[None]
        here = zlib.crc32(f"{self.step}.{layer}.{name}".encode())
        tokens = mixed(mixed(self.seeds + here)[:, None] + places * TOKEN)
        features = torch.arange(inputs.shape[2], device=inputs.device) * FEATURE
        kept = mixed(tokens[..., None] + features) >= self.share * 2**32
        return inputs * kept / (1 - self.share)


def mixed(keys: Tensor) -> Tensor:
    """Return whole numbers below 2^32 that look drawn, one for each key (the last step of MurmurHash3)."""
    keys = keys & BITS
    keys = ((keys ^ (keys >> 16)) * 0x85EBCA6B) & BITS
    keys = ((keys ^ (keys >> 13)) * 0xC2B2AE35) & BITS
    return keys ^ (keys >> 16)
