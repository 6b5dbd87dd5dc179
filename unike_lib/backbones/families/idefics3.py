"""Idefics3: a SigLIP tower, pixel shuffle, a Llama decoder; the layout is that of its chat template.

Reading: a picture is one tile (no splitting into crops), as in the other families.
"""

from unike_lib.family import Family, InputForm


def tiled_once(name: str, start: str) -> Family:
    """Return a family of this layout; `start`: what its chat template begins with."""
    form = InputForm(
        before_image=start + "User:<fake_token_around_image><global-img>",
        with_image="<fake_token_around_image>{}<end_of_utterance>\nAssistant:",
        text_only=start + "User: {}<end_of_utterance>\nAssistant:",
    )
    # Released checkpoints name either type: SmolVLM-256M is an idefics3, SmolVLM2-256M a smolvlm.
    types, settings = ("idefics3", "smolvlm"), {"do_image_splitting": False}
    marks = (start, "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    return Family(name, form, types, decoder="model.text_model", image_settings=settings, marks=marks)


FAMILY = tiled_once("idefics3", start="<|begin_of_text|>")
