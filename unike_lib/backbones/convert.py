"""Original checkpoints of BLIP-2 OPT (LAVIS, MMEdit) and MiniGPT-4 as `save_pretrained` folders.

Both have one shape: a ViT, a layer norm behind it, a Q-Former, a linear projection, a language model. Their files are
merged under the names that LAVIS and MiniGPT-4 give to the parts; a table says which of these names each tensor of
Hugging Face's model comes from.

Example:
    >>> convert_original(config.backbones["minigpt4-7b"], Path("minigpt4-7b"))  # doctest: +SKIP
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, Blip2Config, Blip2ForConditionalGeneration
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from unike_lib.backbones.checkpoint import Tensors, assign, read_checkpoint, whole_folder
from unike_lib.backbones.folder import NO_CODE, check_folder, check_tokenizer_files, opening
from unike_lib.backbones.positions import resize_positions
from unike_lib.backbones.tokenizer import starts_texts
from unike_lib.config.backbones import BackboneConfig, OriginalConfig
from unike_lib.types import InputError

JOINT_BIAS = "qkv.bias (q_bias and v_bias)"  # EVA's attention has a bias on queries and values only
# Hugging Face name (a pattern) -> name in the original; {language} and {projection} are the family's.
RENAMES = (
    (r"vision_model\.embeddings\.class_embedding", "visual_encoder.cls_token"),
    (r"vision_model\.embeddings\.position_embedding", "visual_encoder.pos_embed"),
    (r"vision_model\.embeddings\.patch_embedding\.(.+)", r"visual_encoder.patch_embed.proj.\1"),
    (r"vision_model\.encoder\.layers\.(\d+)\.layer_norm(\d)\.(.+)", r"visual_encoder.blocks.\1.norm\2.\3"),
    (r"vision_model\.encoder\.layers\.(\d+)\.mlp\.(.+)", r"visual_encoder.blocks.\1.mlp.\2"),
    (r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.qkv\.weight", r"visual_encoder.blocks.\1.attn.qkv.weight"),
    (r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.qkv\.bias", rf"visual_encoder.blocks.\1.attn.{JOINT_BIAS}"),
    (r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.projection\.(.+)", r"visual_encoder.blocks.\1.attn.proj.\2"),
    (r"vision_model\.post_layernorm\.(.+)", r"ln_vision.\1"),
    (r"query_tokens", "query_tokens"),
    (r"qformer\.layernorm\.(.+)", r"Qformer.bert.embeddings.LayerNorm.\1"),
    (
        r"qformer\.encoder\.layer\.(\d+)\.(attention|crossattention)\.attention\.(.+)",
        r"Qformer.bert.encoder.layer.\1.\2.self.\3",
    ),
    (r"qformer\.encoder\.(.+)", r"Qformer.bert.encoder.\1"),
    (r"language_projection\.(.+)", r"{projection}.\1"),
    (r"language_model\.(.+)", r"{language}.\1"),
)
# Entries of the originals that answering questions about pictures does not use: heads of other training stages, the
# Q-Former's text half, what the ViT was pretrained with, and buffers.
UNUSED = re.compile(
    r"visual_encoder\.(norm|fc_norm|head|lm_head|mask_token|rel_pos_bias)\b.*"
    r"|Qformer\.cls\..*|Qformer\.bert\.embeddings\.(word_embeddings|position_embeddings|position_ids)\b.*"
    r"|Qformer\.bert\.encoder\.layer\.\d+\.(intermediate|output)\..*"
    r"|(t5_proj|vision_proj|text_proj|itm_head)\..*|temp"
    r"|.*\.rotary_emb\.inv_freq|.*\.attn\.relative_position_index"
)
POST_NORM_EPS = 1.0e-5  # of `ln_vision`; the ViT's own norms have 1e-6


@dataclass(frozen=True)
class OriginalNames:
    """What one original calls its parts, what it writes around a picture, and what ends its answers.

    `start`: its texts begin with the start token that the tokenizer of its language model puts there.
    """

    projection: str
    language: str
    stop: str
    start: bool
    wrapper: tuple[str, ...] = ()


ORIGINALS = {
    "blip2": OriginalNames("opt_proj", "opt_model", stop="\n", start=True),
    "minigpt4": OriginalNames("llama_proj", "llama_model", "###", False, ("###Human: <Img>", "</Img> ")),
}


@dataclass(frozen=True)
class Geometry:
    """What the shapes of tensors do not tell: EVA-ViT-g, of whose 40 blocks the last is not used, and BERT-base.

    `wrapper_tokens`: how many tokens Llama's tokenizer makes of MiniGPT-4's wrapper.
    """

    vision_layers: int = 39
    vision_heads: int = 16
    qformer_heads: int = 12
    wrapper_tokens: int = 10


EVA_AND_BERT = Geometry()


def convert_original(config: BackboneConfig, out: Path, geometry: Geometry = EVA_AND_BERT) -> None:
    """Write an original checkpoint as a `save_pretrained` folder: model, tokenizer, image processor.

    Args:
        config: of a backbone with `original`; `image_size` is the side of its pictures (null: as in the files).
        out: the folder; it appears when it is complete.
        geometry: of the visual part.

    Raises:
        InputError: a file is unreadable, entries are missing, unexpected or of a wrong shape, or the tokenizer is not
            the original's.
    """
    if config.original is None:
        raise InputError("original: expected the files of an original checkpoint, found null")
    names = ORIGINALS[config.family]
    language, tokenizer = _language(config.original, names, geometry)
    tensors = {f"{names.language}.{name}": value for name, value in language.state_dict().items()}
    tensors |= read_original(config.original)
    entry = "visual_encoder.pos_embed"
    if entry in tensors and config.image_size is not None:
        side = config.image_size // tensors["visual_encoder.patch_embed.proj.weight"].shape[-1]
        tensors[entry] = resize_positions(tensors[entry].float(), side)
    with torch.device("meta"):
        model: Any = Blip2ForConditionalGeneration(model_config(tensors, names, language.config, geometry))
    wanted = model.state_dict()
    _check_projection(config.original, names, tensors, wanted["language_projection.weight"].shape)
    found = from_original(tensors, wanted, names, geometry)
    assign(model, found, config.original.qformer, lambda name: original_name(name, names))
    model.tie_weights()
    model.generation_config = language.generation_config
    model.generation_config.eos_token_id = _stops(tokenizer, names)
    side = model.config.vision_config.image_size
    processor = BlipImageProcessorPil(size={"height": side, "width": side})
    _save(out, model, tokenizer, processor)


def _check_projection(files: OriginalConfig, names: OriginalNames, tensors: Tensors, wanted: torch.Size) -> None:
    """Raise InputError if the projection is one into another language model; names its own file."""
    entry = f"{names.projection}.weight"
    if entry in tensors and tensors[entry].shape != wanted:
        raise InputError(
            f"{files.projection or files.qformer}: {entry} {tuple(tensors[entry].shape)} instead of {tuple(wanted)}: "
            f"made for another language model than original.language_model ({files.language_model})"
        )


def read_original(files: OriginalConfig) -> Tensors:
    """Return all tensors of the files under the original's names; later files overrule earlier ones, as there."""
    tensors: Tensors = {}
    if files.vision is not None:
        tensors |= {f"visual_encoder.{name}": value for name, value in read_checkpoint(Path(files.vision)).items()}
    tensors |= read_checkpoint(Path(files.qformer))
    if files.projection is not None:
        tensors |= read_checkpoint(Path(files.projection))
    return tensors


def original_name(name: str, names: OriginalNames) -> str:
    """Return what the original calls a tensor of Hugging Face's model."""
    for pattern, replacement in RENAMES:
        found = re.fullmatch(pattern, name)
        if found:
            return found.expand(replacement.format(language=names.language, projection=names.projection))
    raise ValueError(f"no original of {name}")


def from_original(tensors: Tensors, wanted: Mapping[str, Tensor], names: OriginalNames, geometry: Geometry) -> Tensors:
    """Return the tensors that Hugging Face's model wants, under its names, and what is left over under its own.

    The bias of queries, keys and values is [q_bias, 0, v_bias].
    """
    rest = {name: value for name, value in tensors.items() if not _unused(name, geometry)}
    found: Tensors = {}
    for name in wanted:
        source = original_name(name, names)
        if source.endswith(JOINT_BIAS):
            block = source.removesuffix(JOINT_BIAS)
            query, value = rest.pop(f"{block}q_bias", None), rest.pop(f"{block}v_bias", None)
            if query is not None and value is not None:
                found[name] = torch.cat([query, torch.zeros_like(query), value])
        elif source in rest:
            found[name] = rest.pop(source)
    return found | rest


def _unused(name: str, geometry: Geometry) -> bool:
    block = re.match(r"visual_encoder\.blocks\.(\d+)\.", name)
    return UNUSED.fullmatch(name) is not None or (block is not None and int(block[1]) >= geometry.vision_layers)


def model_config(tensors: Tensors, names: OriginalNames, text: Any, geometry: Geometry) -> Blip2Config:
    """Return the config that the shapes of the tensors tell.

    Raises:
        InputError: an entry that tells a size is not there.
    """

    def shape(name: str, axes: int) -> torch.Size:
        field = "vision" if name.startswith("visual_encoder.") else "qformer"
        if name not in tensors:
            raise InputError(f"original checkpoint: no entry {name!r}; expected original.{field} to bring it")
        if tensors[name].ndim != axes:
            found = tuple(tensors[name].shape)
            raise InputError(f"original.{field}: entry {name!r}: expected {axes} axes, found the shape {found}")
        return tensors[name].shape

    block, layer = "visual_encoder.blocks.0", "Qformer.bert.encoder.layer"
    width, _, _, patch = shape("visual_encoder.patch_embed.proj.weight", 4)
    vision = {
        "hidden_size": width,
        "intermediate_size": shape(f"{block}.mlp.fc1.weight", 2)[0],
        "num_hidden_layers": geometry.vision_layers,
        "num_attention_heads": geometry.vision_heads,
        "image_size": round((shape("visual_encoder.pos_embed", 3)[1] - 1) ** 0.5) * patch,
        "patch_size": patch,
        "post_layernorm_eps": POST_NORM_EPS,
    }
    depth = {int(name.removeprefix(f"{layer}.").split(".")[0]) for name in tensors if name.startswith(f"{layer}.")}
    qformer = {
        "hidden_size": shape("query_tokens", 3)[2],
        "intermediate_size": shape(f"{layer}.0.intermediate_query.dense.weight", 2)[0],
        "num_hidden_layers": len(depth),
        "num_attention_heads": geometry.qformer_heads,
        "encoder_hidden_size": width,
        "cross_attention_frequency": 2,
    }
    queries = shape("query_tokens", 3)[1]
    text = {name: value for name, value in text.to_dict().items() if not name.startswith("_")}
    return Blip2Config(vision_config=vision, qformer_config=qformer, text_config=text, num_query_tokens=queries)


def _language(files: OriginalConfig, names: OriginalNames, geometry: Geometry) -> tuple[Any, Any]:
    """Return the language model and its tokenizer.

    Raises:
        InputError: one of them is unreadable, or they do not fit each other, the original's wrapper or its start token.
    """
    folder = files.language_model
    check_folder(folder)
    check_tokenizer_files(folder)
    with opening(f"original.language_model: {folder}", "model and tokenizer"):
        model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", **NO_CODE)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, **NO_CODE)
    embeddings: Any = model.get_input_embeddings()
    rows = embeddings.weight.shape[0]
    if len(tokenizer) > rows:
        raise InputError(f"original.language_model: {folder}: tokenizer of {len(tokenizer)} tokens, model of {rows}")
    count = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in names.wrapper)
    if names.wrapper and count != geometry.wrapper_tokens:
        raise InputError(
            f"original.language_model: {folder}: not the original's tokenizer: "
            f"{' and '.join(map(repr, names.wrapper))} give {count} tokens, expected {geometry.wrapper_tokens}"
        )
    if names.start and not starts_texts(tokenizer):
        raise InputError(
            f"original.language_model: {folder}: not the original's tokenizer: expected one that puts its start token "
            f"{tokenizer.bos_token!r} in front of a text (add_bos_token in tokenizer_config.json)"
        )
    return model, tokenizer


def _stops(tokenizer: Any, names: OriginalNames) -> list[int]:
    """Return the ids that end an answer: the end symbol, and the original's own stop where it is one token."""
    own = tokenizer(names.stop, add_special_tokens=False)["input_ids"]
    known = [tokenizer.eos_token_id, *(own if len(own) == 1 else [])]
    return [index for index in known if index is not None]


def _save(out: Path, *parts: Any) -> None:
    with whole_folder(out) as folder:
        for part in parts:
            part.save_pretrained(folder)
