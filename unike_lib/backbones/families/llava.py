"""LLaVA: a CLIP or SigLIP tower, an MLP, any decoder whose layout is known.

The layout is that of the folder's chat template; of a folder without one, that of LLaVA 1.5, with no system prompt.
"""

from unike_lib.backbones.families.gemma3 import FAMILY as GEMMA3
from unike_lib.family import DECODERS, Family, InputForm

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
    decoders={**DECODERS, **GEMMA3.decoders},
    follows_template=True,
)
