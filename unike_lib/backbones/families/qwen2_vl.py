"""Qwen2-VL: a tower for pictures of any shape, a Qwen2 decoder with positions in time, row and column.

Reading: pictures are resized to a square, as in the other families, so that every one gives 13 x 13 visual tokens.
"""

from unike_lib.family import LLAMA, Family, InputForm

START = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
END = "<|im_end|>\n<|im_start|>assistant\n"

FAMILY = Family(
    name="qwen2-vl",
    form=InputForm(
        before_image=START + "<|vision_start|>",
        with_image="<|vision_end|>{}" + END,
        text_only=START + "{}" + END,
    ),
    model_types=("qwen2_vl",),
    decoders={"qwen2_vl_text": LLAMA},
    marks=("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    any_size=True,
    square=364,
)
