"""Which sizes the entries of known models have, by what fields of config.json: a table, and how the sizes follow.

The names are those of Hugging Face's models, with `decoder.` and `tower.` in the place of where those lie; the sizes
are what their classes build (`transformers/models/*/modeling_*.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Said = dict[str, Any]  # numbers and lists of a whole configuration, by dotted names


@dataclass(frozen=True)
class Size:
    """A size of weights: the fields that it follows from, the one to blame first; how; a field in the place of none."""

    fields: tuple[str, ...]
    work: Callable[[Said], Any]
    instead: str | None = None

    def value(self, said: Said) -> Any:
        """Return the size; None: a field is not there, or has no number."""
        try:
            return self.work(said)
        except (LookupError, TypeError, ValueError, ArithmeticError):
            return None


def _field(name: str, times: int = 1, plus: int = 0) -> Size:
    return Size((name,), lambda said: said[name] * times + plus)


def _either(name: str, instead: str) -> Size:
    return Size((name,), lambda said: said.get(name, said[instead]), instead)


def _sides(said: Said, name: str) -> tuple[int, int]:
    """Return the height and width of what may be one number."""
    value = said[name]
    height, width = (value, value) if isinstance(value, int) else value
    return height, width


def _side(name: str, which: int) -> Size:
    return Size((name,), lambda said: _sides(said, name)[which])


def _positions(said: Said) -> int:
    """A position for each whole patch, and one for a class token."""
    picture, patch = _sides(said, IMAGE), _sides(said, PATCH)
    count: int = picture[0] // patch[0] * (picture[1] // patch[1]) + said["class tokens"]
    return count


def _joined(said: Said) -> Any:
    """What a projection reads: states of patches that lie together, or of several layers."""
    if "scale_factor" in said:  # Idefics3, SmolVLM
        return said[VISION] * said["scale_factor"] ** 2
    if "downsample_ratio" in said:  # InternVL
        return said[VISION] * int(1 / said["downsample_ratio"]) ** 2
    layers = said["vision_feature_layer"]
    return said[VISION] * (1 if isinstance(layers, int) else len(layers))


VISION, QFORMER = "vision_config.hidden_size", "qformer_config.hidden_size"
IMAGE, PATCH = "vision_config.image_size", "vision_config.patch_size"
MERGE, OUT = "vision_config.spatial_merge_size", "vision_config.out_hidden_size"
EMBED = "vision_config.embed_dim"  # Qwen2-VL's tower, which calls the decoder's width hidden_size
HEAD, HEADS, KEY_HEADS = (f"text_config.{name}" for name in ("head_dim", "num_attention_heads", "num_key_value_heads"))

TEXT, TOWER, QUERY = _field("text_config.hidden_size"), _field(VISION), _field(QFORMER)
VOCABULARY, NARROW = _field("text_config.vocab_size"), "text_config.word_embed_proj_dim"
WORDS = _either(NARROW, TEXT.fields[0])  # OPT-350m's are narrower
QUERIES = Size((HEADS, HEAD), lambda said: said[HEADS] * said[HEAD])
KEYS = Size((KEY_HEADS, HEAD, HEADS), lambda said: said[KEY_HEADS] * said[HEAD])
WIDE, WIDE_OPT = _field("text_config.intermediate_size"), _field("text_config.ffn_dim")
WIDE_TOWER, WIDE_QUERY = _field("vision_config.intermediate_size"), _field("qformer_config.intermediate_size")
CHANNELS, GRID_CHANNELS = _field("vision_config.num_channels"), _field("vision_config.in_channels")
HIGH, ACROSS = _side(PATCH, 0), _side(PATCH, 1)
POSITIONS = Size((IMAGE, PATCH), _positions)
JOINED = Size((VISION, "scale_factor", "downsample_ratio", "vision_feature_layer"), _joined)
# Towers of Qwen2-VL and after, which lay patches on a grid.
GRID = _either(EMBED, VISION)
MERGED = Size((MERGE,), lambda said: GRID.work(said) * said[MERGE] ** 2)
MADE = _either(OUT, VISION)
WIDE_GRID = Size(("vision_config.mlp_ratio", EMBED), lambda said: said[EMBED] * said["vision_config.mlp_ratio"])
TIMES = _field("vision_config.temporal_patch_size")

# Entries with their sizes: rows, then columns; None: no size of its own.
SHAPES: dict[str, tuple[Size | None, ...]] = {
    r"decoder\.embed_tokens\.weight": (VOCABULARY, WORDS),
    r"(.*\.)?lm_head\.weight": (VOCABULARY, WORDS),
    r"decoder\.embed_positions\.weight": (_field("text_config.max_position_embeddings", plus=2), TEXT),
    r"decoder\.layers\.\d+\.(\w+_layernorm|\w+_layer_norm)\.(weight|bias)": (TEXT,),
    r"decoder\.(norm|final_layer_norm)\.(weight|bias)": (TEXT,),
    r"decoder\.layers\.\d+\.self_attn\.q_proj\.weight": (QUERIES, TEXT),
    r"decoder\.layers\.\d+\.self_attn\.[kv]_proj\.weight": (KEYS, TEXT),
    r"decoder\.layers\.\d+\.self_attn\.q_proj\.bias": (QUERIES,),
    r"decoder\.layers\.\d+\.self_attn\.[kv]_proj\.bias": (KEYS,),
    r"decoder\.layers\.\d+\.self_attn\.(o|out)_proj\.weight": (TEXT, QUERIES),
    r"decoder\.layers\.\d+\.self_attn\.[qk]_norm\.weight": (_field(HEAD),),
    r"decoder\.layers\.\d+\.mlp\.(gate|up)_proj\.weight": (WIDE, TEXT),
    r"decoder\.layers\.\d+\.mlp\.down_proj\.weight": (TEXT, WIDE),
    r"decoder\.layers\.\d+\.fc1\.weight": (WIDE_OPT, TEXT),
    r"decoder\.layers\.\d+\.fc2\.weight": (TEXT, WIDE_OPT),
    # A ViT: CLIP, SigLIP, InternViT, BLIP-2's.
    r"tower\..*\bpatch_embedding\.weight": (TOWER, CHANNELS, HIGH, ACROSS),
    r"tower\..*\bpatch_embeddings\.projection\.weight": (TOWER, CHANNELS, HIGH, ACROSS),
    r"tower\..*\bposition_embedding\.weight": (POSITIONS, TOWER),
    r"tower\..*\bposition_embeddings?": (None, POSITIONS, TOWER),
    r"tower\.(pre_layrnorm|post_layernorm|layernorm)\.(weight|bias)": (TOWER,),
    r"tower\.encoder\.layers?\.\d+\.layer_?norm\w+\.(weight|bias)": (TOWER,),
    r"tower\.encoder\.layers?\.\d+\.(self_attn|attention)\.\w+_proj\.weight": (TOWER, TOWER),
    r"tower\.encoder\.layers?\.\d+\.(self_attn|attention)\.projection(_layer)?\.weight": (TOWER, TOWER),
    r"tower\.encoder\.layers?\.\d+\.self_attn\.qkv\.weight": (_field(VISION, times=3), TOWER),
    r"tower\..*\bmlp\.fc1\.weight": (WIDE_TOWER, TOWER),
    r"tower\..*\bmlp\.fc2\.weight": (TOWER, WIDE_TOWER),
    # A tower on a grid: Qwen2-VL and after.
    r"tower\.patch_embed\.proj\.weight": (GRID, GRID_CHANNELS, TIMES, HIGH, ACROSS),
    r"tower\.pos_embed\.weight": (_field("vision_config.num_position_embeddings"), GRID),
    r"tower\.blocks\.\d+\.norm[12]\.(weight|bias)": (GRID,),
    r"tower\.blocks\.\d+\.attn\.proj\.weight": (GRID, GRID),
    r"tower\.blocks\.\d+\.attn\.qkv\.weight": (None, GRID),
    r"tower\.blocks\.\d+\.mlp\.fc1\.weight": (WIDE_GRID, GRID),
    r"tower\.blocks\.\d+\.mlp\.(gate_proj|up_proj|linear_fc1)\.weight": (WIDE_TOWER, GRID),
    r"tower\.blocks\.\d+\.mlp\.(down_proj|linear_fc2)\.weight": (GRID, WIDE_TOWER),
    r"tower\.merger\.(mlp\.0|linear_fc1)\.weight": (MERGED, MERGED),
    r"tower\.(merger|deepstack_merger_list\.\d+)\.(mlp\.2|linear_fc2)\.bias": (MADE,),
    r"tower\.(merger|deepstack_merger_list\.\d+)\.(mlp\.2|linear_fc2)\.weight": (TEXT, MERGED),
    # What lies between tower and decoder.
    r"(.*\.)?qformer\.(.*\.)?(LayerNorm|layernorm)\.(weight|bias)": (QUERY,),
    r"(.*\.)?qformer\..*\.attention\.attention\.(query|key|value)\.weight": (QUERY, QUERY),
    r"(.*\.)?qformer\..*\.crossattention\.attention\.query\.weight": (QUERY, QUERY),
    r"(.*\.)?qformer\..*\.crossattention\.attention\.(key|value)\.weight": (QUERY, TOWER),
    r"(.*\.)?qformer\..*\.intermediate_query\.dense\.weight": (WIDE_QUERY, QUERY),
    r"(.*\.)?qformer\..*\.output_query\.dense\.weight": (QUERY, WIDE_QUERY),
    r"(.*\.)?query_tokens": (None, _field("num_query_tokens"), QUERY),
    r"(.*\.)?language_projection\.weight": (TEXT, QUERY),  # BLIP-2, MiniGPT-4
    r"(.*\.)?multi_modal_projector\.linear_1\.weight": (TEXT, JOINED),  # LLaVA, InternVL
    r"(.*\.)?multi_modal_projector\.linear_2\.weight": (TEXT, TEXT),
    r"(.*\.)?multi_modal_projector\.layer_norm\.(weight|bias)": (JOINED,),
    r"(.*\.)?multi_modal_projector\.mm_input_projection_weight": (TOWER, TEXT),  # Gemma 3
    r"(.*\.)?multi_modal_projector\.mm_soft_emb_norm\.weight": (TOWER,),
    r"(.*\.)?connector\.modality_projection\.proj\.weight": (TEXT, JOINED),  # Idefics3, SmolVLM
}
# Entries of layers, with the field that counts them.
COUNTS = {
    r"decoder\.layers\.(\d+)\..*": _field("text_config.num_hidden_layers"),
    r"tower\.encoder\.layers?\.(\d+)\..*": _field("vision_config.num_hidden_layers"),
    r"tower\.blocks\.(\d+)\..*": _field("vision_config.depth"),
    r"tower\.deepstack_merger_list\.(\d+)\..*": Size(
        ("vision_config.deepstack_visual_indexes",), lambda said: len(said["vision_config.deepstack_visual_indexes"])
    ),
    r"(?:.*\.)?qformer\.encoder\.layer\.(\d+)\..*": _field("qformer_config.num_hidden_layers"),
}
# Numbers of heads, with the widths that they share out.
SHARED = {
    "vision_config.num_attention_heads": TOWER,
    "vision_config.num_heads": GRID,
    "qformer_config.num_attention_heads": QUERY,
}
