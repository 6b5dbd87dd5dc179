"""LLaVA 1.5: a CLIP tower, an MLP, a Llama decoder; the layout is its chat template's, with no system prompt."""

from unike_lib.family import Family, InputForm

FAMILY = Family(
    name="llava",
    form=InputForm(
        before_image="USER: ",
        with_image="\n{} ASSISTANT:",
        text_only="USER: {} ASSISTANT:",
        start_token_with_image=True,
        start_token_text_only=True,
    ),
    model_types=("llava",),
)
