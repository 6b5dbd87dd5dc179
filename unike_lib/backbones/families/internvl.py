"""InternVL in Hugging Face's own classes: an InternViT tower, pixel shuffle, an MLP, a Qwen2, Qwen3 or Llama decoder.

Folders of `model_type` internvl_chat bring code of their own, which is never run here; the same models are released as
`internvl`, too. The layout is that of the folder's chat template; without one, InternVL3's, with no system prompt.

Reading: a picture is one tile (no crops), as in the other families: 256 tokens in the released models.
"""

from unike_lib.family import Family, InputForm

TURN, END = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"

FAMILY = Family(
    name="internvl",
    form=InputForm(before_image=TURN + "<img>", with_image="</img>\n{}" + END, text_only=TURN + "{}" + END),
    model_types=("internvl",),
    image_settings={"crop_to_patches": False},
    marks=("<|im_start|>", "<|im_end|>", "<img>", "</img>"),
    follows_template=True,
    around_picture=("<img>", "</img>"),
)
