"""Qwen2-VL and Qwen2.5-VL: a tower for pictures of any shape, a Qwen2 decoder with positions in time, row and column.

Reading: pictures are resized to a square, as in the other families, so that every one gives 13 x 13 visual tokens.
"""

from unike_lib.backbones.family import Family, InputForm

START = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
END = "<|im_end|>\n<|im_start|>assistant\n"

QWEN2_VL = Family(
    InputForm(
        before_image=START + "<|vision_start|>",
        with_image="<|vision_end|>{}" + END,
        text_only=START + "{}" + END,
    ),
    model_types=("qwen2_vl", "qwen2_5_vl"),
    decoder="model.language_model",
    head="lm_head",
    square=364,
)
