"""Qwen3-VL: a tower whose middle layers are added to the decoder's first ones ("deepstack"), norms of queries and keys.

Positions are in time, row and column, which the frequencies take in turn. Layers behind which something of a picture is
still added cannot be edited. The chat template has no system prompt of its own.

Reading: pictures are resized to a square, as in the other families; 416 pixels give 13 x 13 visual tokens, as many as
Qwen2-VL's.
"""

from unike_lib.family import LLAMA, Family, InputForm

START = "<|im_start|>user\n"
END = "<|im_end|>\n<|im_start|>assistant\n"

FAMILY = Family(
    name="qwen3-vl",
    form=InputForm(
        before_image=START + "<|vision_start|>",
        with_image="<|vision_end|>{}" + END,
        text_only=START + "{}" + END,
    ),
    model_types=("qwen3_vl",),
    decoders={"qwen3_vl_text": LLAMA},
    marks=("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    any_size=True,
    square=416,
)
