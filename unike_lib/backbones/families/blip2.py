"""BLIP-2: visual tokens, then the text as the folder's own tokenizer writes it, its start token included.

OPT's tokenizer puts `</s>` in front: [visual tokens] `</s>` text, and `</s>` text without a picture, as in LAVIS, where
the checkpoints come from, and in Hugging Face, which does the same with Llama's `<s>`.

Reading: MMEdit's toolkit had `</s>` in its first release (2023) and leaves it out since January 2024, as UniKE's code
does; the checkpoints were trained with it, so it stays. A folder whose tokenizer puts nothing in front of a text gets
nothing: so do the embedded backbones, which were trained that way.
"""

from unike_lib.family import Family, InputForm

FAMILY = Family(
    name="blip2",
    form=InputForm(start_token_before_prompt=True),
    model_types=("blip-2",),
    decoder="language_model",
    head="language_model.lm_head",
    q_former=True,
    any_size=True,
    paper="BLIP-2 OPT",
)
