"""A family in one file: what config.json says of it, where its parts lie, and how its input is laid out."""

from unike_lib.family import LLAMA, Family, InputForm

FAMILY = Family(
    name="bare",
    # [start token] <visual tokens> " Q: {question} A:" answer; without a picture the same, without the tokens.
    form=InputForm(
        with_image="Q: {} A:",
        text_only="Q: {} A:",
        start_token_with_image=True,
        start_token_text_only=True,
    ),
    model_types=("blip-2",),
    decoder="language_model",
    head="language_model.lm_head",
    decoders={"llama": LLAMA},
)
