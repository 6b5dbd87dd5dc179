"""Which entries the weights of known models have: a table, by types of model, decoder and tower.

The names are those that transformers' classes build (`transformers/models/*/modeling_*.py`). In a line, `{q,k}` stands
for either, `#` for the number of each layer. After "if" come fields of config.json, all of which must be true for a
model to have the entry (false behind "not", or the word behind "="); "?": it may have the entry or not.
"""

from typing import NamedTuple

LIBRARY = "5.23"  # the transformers that the table was compared with; nothing is said beside another one

LLAMA = (
    "embed_tokens.weight",
    "norm.weight",
    "layers.#.{input,post_attention}_layernorm.weight",
    "layers.#.self_attn.{q,k,v,o}_proj.weight",
    "layers.#.mlp.{gate,up,down}_proj.weight",
)
NORMS_OF_QUERIES = "layers.#.self_attn.{q,k}_norm.weight"
BIASES = "layers.#.self_attn.{q,k,v,o}_proj.bias if text_config.attention_bias"
QWEN2 = (*LLAMA, "layers.#.self_attn.{q,k,v}_proj.bias")
QWEN3 = (*LLAMA, NORMS_OF_QUERIES, BIASES)
DECODER_ENTRIES: dict[str, tuple[str, ...]] = {
    "llama": (*LLAMA, BIASES, "layers.#.mlp.{gate,up,down}_proj.bias if text_config.mlp_bias"),
    "mistral": LLAMA,
    "gemma": (*LLAMA, BIASES),
    "gemma3_text": (*QWEN3, "layers.#.{pre,post}_feedforward_layernorm.weight"),
    **dict.fromkeys(("qwen2", "qwen2_vl_text", "qwen2_5_vl_text"), QWEN2),
    **dict.fromkeys(("qwen3", "qwen3_vl_text"), QWEN3),
    "opt": (
        "decoder.{embed_tokens,embed_positions}.weight",
        "decoder.project_{in,out}.weight if ?",  # where words are narrower
        "decoder.final_layer_norm.{weight,bias} if text_config.do_layer_norm_before "
        "not text_config._remove_final_layer_norm text_config.layer_norm_elementwise_affine",
        "decoder.layers.#.{self_attn_layer_norm,final_layer_norm}.{weight,bias} "
        "if text_config.layer_norm_elementwise_affine",
        "decoder.layers.#.{self_attn.q_proj,self_attn.k_proj,self_attn.v_proj,self_attn.out_proj,fc1,fc2}.weight",
        "decoder.layers.#.{self_attn.q_proj,self_attn.k_proj,self_attn.v_proj,self_attn.out_proj,fc1,fc2}.bias "
        "if text_config.enable_bias",
    ),
}

VIT_LAYERS = ("encoder.layers.#.layer_norm{1,2}.{weight,bias}", "encoder.layers.#.mlp.fc{1,2}.{weight,bias}")
CLIP_LAYERS = (*VIT_LAYERS, "encoder.layers.#.self_attn.{q,k,v,out}_proj.{weight,bias}")
SIGLIP = (
    *CLIP_LAYERS,
    "embeddings.patch_embedding.{weight,bias}",
    "embeddings.position_embedding.weight",
    "post_layernorm.{weight,bias}",
)
GRID = ("patch_embed.proj.weight", "blocks.#.attn.{qkv,proj}.{weight,bias}", "blocks.#.norm{1,2}.weight")
MLP_MERGER = "merger.mlp.{0,2}.{weight,bias}"
TOWER_ENTRIES: dict[str, tuple[str, ...]] = {
    "clip_vision_model": (
        *CLIP_LAYERS,
        "embeddings.{class_embedding,patch_embedding.weight,position_embedding.weight}",
        "{pre_layrnorm,post_layernorm}.{weight,bias}",
    ),
    "siglip_vision_model": (
        *SIGLIP,
        "head.{probe,attention.in_proj_weight,attention.in_proj_bias} if vision_config.vision_use_head",
        "head.{attention.out_proj,layernorm,mlp.fc1,mlp.fc2}.{weight,bias} if vision_config.vision_use_head",
    ),
    **dict.fromkeys(("idefics3_vision", "smolvlm_vision"), SIGLIP),
    "blip_2_vision_model": (
        *VIT_LAYERS,
        "embeddings.{class_embedding,position_embedding,patch_embedding.weight,patch_embedding.bias}",
        "encoder.layers.#.self_attn.{qkv.weight,projection.weight,projection.bias}",
        "encoder.layers.#.self_attn.qkv.bias if vision_config.qkv_bias",
        "post_layernorm.{weight,bias}",
    ),
    "internvl_vision": (
        "embeddings.{cls_token,patch_embeddings.projection.weight,patch_embeddings.projection.bias}",
        "embeddings.mask_token if vision_config.use_mask_token",
        "embeddings.position_embeddings if vision_config.use_absolute_position_embeddings",
        "encoder.layer.#.lambda_{1,2}",
        "encoder.layer.#.layernorm_{before,after}.weight",
        "encoder.layer.#.layernorm_{before,after}.bias if vision_config.norm_type=layer_norm",
        "encoder.layer.#.attention.{q_proj,k_proj,v_proj,projection_layer}.weight",
        "encoder.layer.#.attention.{q,k,v}_proj.bias if vision_config.attention_bias",
        "encoder.layer.#.attention.projection_layer.bias",
        "encoder.layer.#.attention.{q,k}_norm.weight if vision_config.use_qk_norm",
        "encoder.layer.#.mlp.fc{1,2}.{weight,bias}",
        "layernorm.{weight,bias} if not vision_config.use_mean_pooling",
    ),
    "qwen2_vl_vision": (
        *GRID,
        MLP_MERGER,
        "merger.ln_q.{weight,bias}",
        "blocks.#.{norm1.bias,norm2.bias,mlp.fc1.weight,mlp.fc1.bias,mlp.fc2.weight,mlp.fc2.bias}",
    ),
    "qwen2_5_vl_vision": (
        *GRID,
        MLP_MERGER,
        "merger.ln_q.weight",
        "blocks.#.mlp.{gate,up,down}_proj.{weight,bias}",
    ),
    "qwen3_vl_vision": (
        *GRID,
        "{patch_embed.proj.bias,pos_embed.weight}",
        "blocks.#.{norm1.bias,norm2.bias}",
        "blocks.#.mlp.linear_fc{1,2}.{weight,bias}",
        "{merger,deepstack_merger_list.#}.{norm,linear_fc1,linear_fc2}.{weight,bias}",
    ),
}

PROJECTOR = (
    "multi_modal_projector.linear_{1,2}.weight",
    "multi_modal_projector.linear_{1,2}.bias if multimodal_projector_bias",
)
Q_FORMER = (
    "query_tokens",
    "language_projection.{weight,bias}",
    "qformer.layernorm.{weight,bias}",
    "qformer.encoder.layer.#.attention.attention.{query,key,value}.{weight,bias}",
    "qformer.encoder.layer.#.attention.output.{dense,LayerNorm}.{weight,bias}",
    "qformer.encoder.layer.#.crossattention.attention.{query,key,value}.{weight,bias}",
    "qformer.encoder.layer.#.crossattention.output.{dense,LayerNorm}.{weight,bias}",
    "qformer.encoder.layer.#.{intermediate_query.dense,output_query.dense,output_query.LayerNorm}.{weight,bias}",
    "qformer.encoder.layer.#.{intermediate.dense,output.dense,output.LayerNorm}.{weight,bias} "
    "if qformer_config.use_qformer_text_input",
)
EVERY = {"crossattention": "qformer_config.cross_attention_frequency"}  # in layers whose number this field divides


class Lying(NamedTuple):
    """Where the parts of a model lie, by the start of their names, and what lies outside decoder and tower."""

    decoder: str
    tower: str
    head: str
    outside: str
    entries: tuple[str, ...]


IN_LLAVA = ("model.language_model.", "model.vision_tower.", "", "model.")
IN_IDEFICS = Lying(
    "model.text_model.", "model.vision_model.", "", "model.", ("connector.modality_projection.proj.weight",)
)
IN_QWEN = Lying("model.language_model.", "model.visual.", "", "model.", ())
MODELS: dict[str, Lying] = {
    "blip-2": Lying("language_model.model.", "vision_model.", "language_model.", "", Q_FORMER),
    "llava": Lying(*IN_LLAVA, PROJECTOR),
    "llava_onevision": Lying(*IN_LLAVA, ("image_newline", *PROJECTOR)),
    "internvl": Lying(*IN_LLAVA, ("multi_modal_projector.{layer_norm,linear_1,linear_2}.{weight,bias}",)),
    "gemma3": Lying(*IN_LLAVA, ("multi_modal_projector.{mm_input_projection_weight,mm_soft_emb_norm.weight}",)),
    **dict.fromkeys(("idefics3", "smolvlm"), IN_IDEFICS),
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl"), IN_QWEN),
}
# What the parts of a name may begin with, in files of any age; transformers takes all of these off, or puts them on.
BEGINNINGS = ("model", "blip", "language_model", "text_model", "decoder", "vision_tower", "vision_model", "visual")
OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
# Numbers that a model works out itself, and that old files have.
WORKED_OUT = r"rotary_emb\.inv_freq|(^|\.)position_ids$"
