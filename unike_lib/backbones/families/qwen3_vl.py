"""Qwen3-VL: a tower whose middle layers are added to the decoder's first ones ("deepstack"), norms of queries and keys.

Positions are in time, row and column, which the frequencies take in turn. Layers behind which something of a picture is
still added cannot be edited. The chat template has no system prompt of its own.

Reading: pictures are resized to a square, as in the other families; 416 pixels give 13 x 13 visual tokens, as many as
Qwen2-VL's.
"""

from dataclasses import replace

from unike_lib.backbones.families.qwen2_vl import END
from unike_lib.backbones.families.qwen2_vl import FAMILY as QWEN2_VL
from unike_lib.family import LLAMA

START = "<|im_start|>user\n"

FAMILY = replace(
    QWEN2_VL,
    name="qwen3-vl",
    form=replace(QWEN2_VL.form, before_image=START + "<|vision_start|>", text_only=START + "{}" + END),
    model_types=("qwen3_vl",),
    decoders={"qwen3_vl_text": LLAMA},
    square=416,
)
