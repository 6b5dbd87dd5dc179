"""A family of multimodal models as data: what a file in `backbones/families/` says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from unike_lib.registry import find_entries, find_entry


@dataclass(frozen=True)
class InputForm:
    """How a family lays out its input: [start token] before <visual tokens> after, [start token] framed prompt, answer.

    `before_image`, `after_image` and the framed prompt are tokenised each by itself; `with_image` and `text_only` frame
    the prompt ({}) as one text, chat marks included. `start_token_before_prompt`: the framed prompt also gets the start
    token that the tokenizer itself puts in front of a text; none where the tokenizer puts none. `answer_prefix` depends
    on the tokenizer, not on the family: `tokenizer.answer_prefix` says which. `picture_mark`: the token behind which
    `with_image`, which begins with it, is tokenised, as it follows such tokens in a processor's text; it is left out.
    """

    before_image: str = ""
    after_image: str = ""
    with_image: str = "{}"
    text_only: str = "{}"
    start_token_with_image: bool = False
    start_token_text_only: bool = False
    start_token_before_prompt: bool = False
    answer_prefix: str = ""
    picture_mark: str = ""


@dataclass(frozen=True)
class DecoderLayout:
    """Where a pre-norm decoder keeps the parts of a layer; `learned_positions`: added to embeddings, else rotary.

    `norm_behind_attention`, `norm_behind_ffn`: norms that what a block adds to the states passes (Gemma 3); None: none.
    `width_field`: how its configuration calls the width of the FFN.
    """

    attention_norm: str
    attention: str
    output: str
    ffn_norm: str
    up: str
    down: str
    activation: str
    gate: str | None = None
    learned_positions: bool = False
    norm_behind_attention: str | None = None
    norm_behind_ffn: str | None = None
    width_field: str = "intermediate_size"

    @property
    def ffn_matrices(self) -> tuple[str, str]:
        """The two matrices that weight editing touches: OPT fc1, fc2; Llama up, down."""
        return self.up, self.down

    @property
    def attention_matrices(self) -> dict[str, str]:
        """The matrices of attention, by what they make: queries, keys, values, output."""
        names = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": self.output}
        return {kind: f"{self.attention}.{name}" for kind, name in names.items()}


OPT = DecoderLayout(
    attention_norm="self_attn_layer_norm",
    attention="self_attn",
    output="out_proj",
    ffn_norm="final_layer_norm",
    up="fc1",
    down="fc2",
    activation="activation_fn",
    learned_positions=True,
    width_field="ffn_dim",
)
# Llama's shape: no fused projections.
LLAMA = DecoderLayout(
    attention_norm="input_layernorm",
    attention="self_attn",
    output="o_proj",
    ffn_norm="post_attention_layernorm",
    up="mlp.up_proj",
    down="mlp.down_proj",
    activation="mlp.act_fn",
    gate="mlp.gate_proj",
)
# Norms of queries and keys (Qwen3) and larger embeddings (Gemma) are the modules' own.
DECODERS = {"opt": OPT, **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma"), LLAMA)}


@dataclass(frozen=True)
class Family:
    """A family of multimodal models as data: how its input is laid out and where its parts lie.

    `model_types` are the values of `model_type` in config.json that fit; `decoder` and `head` are dotted paths from the
    whole model to its language model and to the projection onto the vocabulary; `decoders` has the layout of every
    `text_config.model_type` that fits; `image_settings` override the saved settings of the image processor, so that
    every picture gives the same number of visual tokens.

    `marks`: parts of the layout that are one token each in the tokenizers of such models.

    `follows_template`: a folder's own chat template, where it has one, takes the place of `form`; `around_picture`:
    what its processor puts in front of a picture's tokens and behind them there.

    `square`: where a tower takes pictures of any shape (Qwen2-VL), the side in pixels of the square that they are
    resized to; the visual tokens then lie on a square grid, whose rows and columns are their rotary positions.

    `whole_pictures`: where an image processor cuts a single picture into tiles whatever its settings (LLaVA-OneVision),
    pictures are laid out as one of several is there: whole, on a square.

    `picture_both_ways`: the tokens of a picture see all of it, those that follow them included; else all up to itself.

    `q_former`: original checkpoints of the family are converted, and small backbones of it trained, here; `any_size`:
    pictures may have another size than the folder says; `paper`: the paper's backbone that the family stands beside.
    """

    name: str
    form: InputForm
    model_types: tuple[str, ...]
    decoder: str = "model.language_model"
    head: str = "lm_head"
    decoders: Mapping[str, DecoderLayout] = field(default_factory=lambda: DECODERS)
    image_settings: Mapping[str, Any] = field(default_factory=dict)
    marks: tuple[str, ...] = ()
    follows_template: bool = False
    around_picture: tuple[str, str] = ("", "")
    square: int | None = None
    whole_pictures: bool = False
    picture_both_ways: bool = False
    q_former: bool = False
    any_size: bool = False
    paper: str | None = None


# Where families are found: package, name of the entry, entry points of other packages (`registry.find_entry`).
FAMILIES = ("unike_lib.backbones.families", "FAMILY", "unike.families")


@cache
def families() -> Mapping[str, Family]:
    """Return every family by name: those of `backbones/families/`, then those that installed packages bring."""
    return find_entries(*FAMILIES, Family)


def find_family(name: str) -> Family:
    """Return a family by its name, or by its address "path/to/file.py:FAMILY".

    Raises:
        InputError: there is no such family.
    """
    family: Family = families().get(name) or find_entry(name, *FAMILIES, Family)
    return family
