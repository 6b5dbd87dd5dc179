"""Gemma 3: a SigLIP tower, 256 tokens a picture, a decoder whose layers see a window or all, with norms behind blocks.

The layout is that of its chat template, with what its processor puts around a picture. The tokens of a picture see all
of it. Reading: a picture is one tile (no pan and scan), as in the other families.
"""

from dataclasses import replace

from unike_lib.family import LLAMA, Family, InputForm

TURN = "<start_of_turn>user\n"
END = "<end_of_turn>\n<start_of_turn>model\n"

FAMILY = Family(
    name="gemma3",
    form=InputForm(
        before_image=TURN + "\n\n<start_of_image>",
        with_image="<end_of_image>\n\n{}" + END,
        text_only=TURN + "{}" + END,
        start_token_with_image=True,
        start_token_text_only=True,
    ),
    model_types=("gemma3",),
    decoders={
        "gemma3_text": replace(
            LLAMA,
            ffn_norm="pre_feedforward_layernorm",
            norm_behind_attention="post_attention_layernorm",
            norm_behind_ffn="post_feedforward_layernorm",
        )
    },
    image_settings={"do_pan_and_scan": False},
    marks=("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>"),
    picture_both_ways=True,
)
