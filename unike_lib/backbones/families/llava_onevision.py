"""LLaVA-OneVision: a SigLIP tower, an MLP, a Qwen2 decoder.

The layout is that of the folder's chat template; without one, that of the 0.5B model's, with no system prompt.

Reading: a picture is one tile, as in the other families. It is laid out as LLaVA-OneVision lays out each of several
pictures: whole, on a square of the mean colour, 729 tokens and the one of a line's end in the released models.
"""

from unike_lib.family import Family, InputForm

TURN, END = "<|im_start|>user ", "<|im_end|><|im_start|>assistant\n"

FAMILY = Family(
    name="llava-onevision",
    form=InputForm(before_image=TURN, with_image="\n{}" + END, text_only=TURN + "\n{}" + END),
    model_types=("llava_onevision",),
    marks=("<|im_start|>", "<|im_end|>"),
    follows_template=True,
    whole_pictures=True,
)
