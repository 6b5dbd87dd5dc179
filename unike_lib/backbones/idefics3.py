"""Idefics3 and SmolVLM: a SigLIP tower, pixel shuffle, a Llama decoder; the layouts are those of their chat templates.

Reading: a picture is one tile (no splitting into crops), as in the other families: 64 visual tokens for SmolVLM-256M.
"""

from unike_lib.backbones.family import Family, InputForm


def _family(start: str) -> Family:
    form = InputForm(
        before_image=start + "User:<fake_token_around_image><global-img>",
        with_image="<fake_token_around_image>{}<end_of_utterance>\nAssistant:",
        text_only=start + "User: {}<end_of_utterance>\nAssistant:",
    )
    # Released checkpoints name either type: SmolVLM-256M is an idefics3, SmolVLM2-256M a smolvlm.
    types = ("idefics3", "smolvlm")
    return Family(form, types, "model.text_model", "lm_head", image_settings={"do_image_splitting": False})


SMOLVLM = _family(start="<|im_start|>")
IDEFICS3 = _family(start="<|begin_of_text|>")
