"""Qwen2.5-VL: Qwen2-VL's layout and decoder; most layers of its tower see windows of a picture only."""

from dataclasses import replace

from unike_lib.backbones.families.qwen2_vl import FAMILY as QWEN2_VL
from unike_lib.family import LLAMA

FAMILY = replace(QWEN2_VL, name="qwen2.5-vl", model_types=("qwen2_5_vl",), decoders={"qwen2_5_vl_text": LLAMA})
