"""MiniGPT-4: visual tokens wrapped in its chat prompt after a start token; text-only input has no wrapper."""

from unike_lib.family import Family, InputForm

FAMILY = Family(
    name="minigpt4",
    form=InputForm(before_image="###Human: <Img>", after_image="</Img> ", start_token_with_image=True),
    model_types=("blip-2",),
    decoder="language_model",
    head="language_model.lm_head",
    q_former=True,
    any_size=True,
    paper="MiniGPT-4",
)
