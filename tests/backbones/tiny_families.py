"""Tiny random models of the chat families in Hugging Face's own classes, with processors made offline."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
from PIL import Image
from tiny_chatml import CHATML_MARKS, CHATML_TEMPLATES, INTERNVL_TOKENS, NoVideos, chatml_parts, chatml_processor
from tiny_templates import GEMMA_TEMPLATE, LLAVA_TEMPLATE, QWEN2_VL_TEMPLATE, QWEN3_VL_TEMPLATE
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    CLIPImageProcessorPil,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3Processor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.smolvlm import processing_smolvlm
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.processing_smolvlm import DEFAULT_CHAT_TEMPLATE, SmolVLMProcessor

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.load import input_form
from unike_lib.backbones.positions import SquareProcessor, WholePictures
from unike_lib.backbones.visual import embed_images
from unike_lib.family import find_family

LAYERS, SIDE = 4, 16
CORPUS = ["Question: what is this? Short answer: red cat", "a photo of an owl on the left", "USER: ASSISTANT: User:"]
MARKS = ["<fake_token_around_image>", "<global-img>", "<image>", "<end_of_utterance>", "<|im_start|>", "<pad>"]
GEMMA_TOKENS = {
    "image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"
}  # fmt: skip
GEMMA_MARKS = [*GEMMA_TOKENS.values(), "<start_of_turn>", "<end_of_turn>"]
QWEN_MARKS = ["<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
TEMPLATES = {
    "smolvlm": DEFAULT_CHAT_TEMPLATE,
    "smolvlm2": DEFAULT_CHAT_TEMPLATE,
    "idefics3": DEFAULT_CHAT_TEMPLATE.replace("<|im_start|>", "<|begin_of_text|>"),
    "llava": LLAVA_TEMPLATE,
    "gemma3": GEMMA_TEMPLATE,
    "qwen2-vl": QWEN2_VL_TEMPLATE,
    "qwen2.5-vl": QWEN2_VL_TEMPLATE,  # the same text in Qwen/Qwen2.5-VL-3B-Instruct
    "qwen3-vl": QWEN3_VL_TEMPLATE,
    **CHATML_TEMPLATES,
}
QWEN = ("qwen2-vl", "qwen2.5-vl", "qwen3-vl")
# What models are tokenized with, and the names of those tokens, where they differ from family to family.
MARKS_OF = {
    "gemma3": GEMMA_MARKS, **dict.fromkeys(QWEN, QWEN_MARKS), **dict.fromkeys(CHATML_TEMPLATES, CHATML_MARKS)
}  # fmt: skip
TOKENS_OF = {"gemma3": GEMMA_TOKENS, "internvl": INTERNVL_TOKENS}


def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    """SmolVLM and Idefics3: byte-level BPE; LLaVA: a BPE with sentencepiece's spaces, which starts with <s>."""
    begin, end = {
        **dict.fromkeys(CHATML_TEMPLATES, (None, "<|im_end|>")),
        "llava": ("<s>", "</s>"),
        "gemma3": ("<bos>", "<end_of_turn>"),
        "idefics3": ("<|begin_of_text|>", "<end_of_utterance>"),
        **dict.fromkeys(QWEN, ("<|im_start|>", "<|im_end|>")),
    }.get(name, ("<|im_start|>", "<end_of_utterance>"))
    marks = [*MARKS_OF[name], "<pad>"] if name in MARKS_OF else MARKS
    special = list(dict.fromkeys(["<unk>", *filter(None, (begin, end)), *marks]))
    tokenizer = Tokenizer(BPE(unk_token="<unk>"))
    if name == "llava":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        letters = sorted(set("▁\n\t.,?:;'-" + "abcdefghijklmnopqrstuvwxyz" + "QSUERAITN0123456789"))
    elif name == "gemma3":  # a BPE over whole lines, with sentencepiece's spaces and none in front
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
        letters = sorted(set("▁\n\t.,?:;'-" + "abcdefghijklmnopqrstuvwxyz" + "QSUERAITN0123456789"))
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    if name == "gemma3":
        tokenizer.add_tokens(["\n\n", "\n\n\n"])  # as in the original's vocabulary
    if name in ("llava", "gemma3"):
        ids = [(begin, tokenizer.token_to_id(begin))]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{begin} $A", special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=begin, eos_token=end, unk_token="<unk>", pad_token="<pad>",
        additional_special_tokens=MARKS_OF.get(name, MARKS[:4]), extra_special_tokens=TOKENS_OF.get(name, {}),
    )  # fmt: skip


def text_config(tokenizer, kind: str) -> dict:
    ids = {name: getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    return {
        "model_type": kind, "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 24,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3,
        "max_position_embeddings": 256, **{f"{name}_token_id": value for name, value in ids.items()},
    }  # fmt: skip


# Windows shorter than rows; heads of another width, and scores of another scale, than follow from the other sizes.
GEMMA_SIZES = {
    "layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": 6, "head_dim": 8,
    "query_pre_attn_scalar": 20, "rope_parameters": {
        "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10.0},
    },
}  # fmt: skip


def image_mark(name: str) -> str:
    marks = {**dict.fromkeys(QWEN, "<|image_pad|>"), "gemma3": "<image_soft_token>", "internvl": "<IMG_CONTEXT>"}
    return marks.get(name, "<image>")


def family_of(name: str) -> str:
    return {"smolvlm2": "smolvlm", "llava-chatml": "llava"}.get(name, name)


# Towers: Qwen2.5-VL's sees windows of one visual token in all layers but one (with weights as large as the others',
# logits differ from theirs by 1.2e-5 in float32 and by 1.3e-15 in float64: rounding); Qwen3-VL's has learned positions
# of 3 x 3 patches, stretched, and two layers whose states are added to the decoder's.
QWEN_TOWERS = {
    "qwen2-vl": {"embed_dim": 16, "hidden_size": 16, "mlp_ratio": 2},
    "qwen2.5-vl": {"hidden_size": 16, "out_hidden_size": 16, "intermediate_size": 24, "initializer_range": 0.1,
                   "window_size": 8, "fullatt_block_indexes": [1]},
    "qwen3-vl": {"depth": 3, "hidden_size": 16, "out_hidden_size": 16, "intermediate_size": 24,
                 "num_position_embeddings": 9, "deepstack_visual_indexes": [0, 1]},
}  # fmt: skip
QWEN_CLASSES = {
    "qwen2-vl": (Qwen2VLForConditionalGeneration, Qwen2VLConfig, "qwen2_vl_text"),
    "qwen2.5-vl": (Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLConfig, "qwen2_5_vl_text"),
    "qwen3-vl": (Qwen3VLForConditionalGeneration, Qwen3VLConfig, "qwen3_vl_text"),
}


def tiny_model(name: str, tokenizer, text: str = "llama", seed: int = 0, **text_fields):
    torch.manual_seed(seed)
    image_token = tokenizer.convert_tokens_to_ids(image_mark(name))
    vision = {
        "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": SIDE, "patch_size": 4, "initializer_range": 0.3,
    }  # fmt: skip
    if name == "llava":
        parts = {"vision_config": {**vision, "model_type": "clip_vision_model", "projection_dim": 8}}
        kind, config = LlavaForConditionalGeneration, LlavaConfig
        parts |= {"image_token_index": image_token}
    elif name in CHATML_TEMPLATES:
        kind, config, parts = chatml_parts(name, vision, tokenizer)
    elif name in QWEN:
        sizes = {"depth": 2, "num_heads": 2, "patch_size": 4, "initializer_range": 0.3, **QWEN_TOWERS[name]}
        ids = {mark: tokenizer.convert_tokens_to_ids(f"<|{mark}|>") for mark in ("vision_start", "vision_end")}
        parts = {"vision_config": sizes, "image_token_id": image_token}
        parts |= {f"{mark}_token_id": index for mark, index in ids.items()} | {"video_token_id": 10**6}
        kind, config, text = QWEN_CLASSES[name]
    elif name == "gemma3":
        ids = {f"{mark}_token_index": tokenizer.convert_tokens_to_ids(f"<{place}_of_image>")
               for mark, place in (("boi", "start"), ("eoi", "end"))}  # fmt: skip
        parts = {"vision_config": {**vision, "model_type": "siglip_vision_model"}, "mm_tokens_per_image": 4, **ids}
        kind, config, text = Gemma3ForConditionalGeneration, Gemma3Config, "gemma3_text"
        parts |= {"image_token_index": image_token}
    else:
        parts = {"vision_config": vision, "scale_factor": 2, "image_token_id": image_token}
        kind, config = {
            "smolvlm2": (SmolVLMForConditionalGeneration, SmolVLMConfig),
        }.get(name, (Idefics3ForConditionalGeneration, Idefics3Config))
    # Where 0.3 is too much for 32 bits: test_chat_template.py compares in 64.
    sizes = {"gemma3": GEMMA_SIZES, "internvl": {"initializer_range": 0.2}}.get(name, {})
    text_settings = text_config(tokenizer, text) | sizes | text_fields
    if name in QWEN:
        rotary = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [0, 1, 1]}
        if name == "qwen3-vl":  # heads of another width than follows from the other sizes; time, row, column, time
            rotary |= {"mrope_section": [2, 1, 1], "mrope_interleaved": True}
            text_settings |= {"head_dim": 8}
        text_settings |= {"rope_parameters": rotary}
    model = kind(config(text_config=text_settings, tie_word_embeddings=False, **parts)).eval()
    for parameter_name, parameter in model.named_parameters():
        if "bias" in parameter_name or "norm" in parameter_name or "mm_input" in parameter_name:
            torch.nn.init.normal_(parameter, mean=float("norm.weight" in parameter_name), std=0.2)
    return model


class QwenProcessor:
    """What Qwen's processors do with a picture and a text (the originals need torchvision, for videos)."""

    def __init__(self, tokenizer, template):
        self.tokenizer, self.template = tokenizer, template
        size = {"shortest_edge": SIDE**2, "longest_edge": SIDE**2}
        self.image_processor = Qwen2VLImageProcessorPil(size=size, patch_size=4, merge_size=2)

    def apply_chat_template(self, chat, add_generation_prompt):
        return self.tokenizer.apply_chat_template(
            chat, tokenize=False, add_generation_prompt=add_generation_prompt, chat_template=self.template
        )

    def __call__(self, text, return_tensors, images=()):
        mark, found = image_mark("qwen2-vl"), {}
        if images:
            squares = [image.resize((SIDE, SIDE), Image.Resampling.BICUBIC) for image in images]
            found = dict(self.image_processor(images=squares, return_tensors=return_tensors))
            text = text.replace(mark, mark * (int(found["image_grid_thw"].prod()) // 4))
        ids = self.tokenizer(text, return_tensors=return_tensors)["input_ids"]
        seen = (ids == self.tokenizer.convert_tokens_to_ids(mark)).int()
        return {"input_ids": ids, "mm_token_type_ids": seen, **found}


class GemmaProcessor(Gemma3Processor):
    """Adds no start token to texts that begin with it, as `apply_chat_template` has it where it tokenises, too."""

    def __call__(self, images=None, text=None, **settings):
        return super().__call__(images, text, add_special_tokens=False, **settings)


class SmolVLM2Processor(NoVideos, SmolVLMProcessor):
    pass


def processor_of(name: str, tokenizer):
    if name in CHATML_TEMPLATES:
        return chatml_processor(name, tokenizer, SIDE)
    if name in QWEN:
        return QwenProcessor(tokenizer, TEMPLATES[name])
    if name == "llava":
        images = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
        return LlavaProcessor(
            images, tokenizer, patch_size=4, vision_feature_select_strategy="default", num_additional_image_tokens=1,
            chat_template=TEMPLATES[name],
        )  # fmt: skip
    if name == "gemma3":
        images = Gemma3ImageProcessorPil(size={"height": SIDE, "width": SIDE})
        return GemmaProcessor(images, tokenizer, chat_template=TEMPLATES[name], image_seq_length=4)
    kind = SmolVLMImageProcessorPil if name == "smolvlm2" else Idefics3ImageProcessorPil
    images = kind(size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE}, do_image_splitting=False)
    settings = {"image_seq_len": 4, "chat_template": TEMPLATES[name]}
    if name == "smolvlm2":  # which asks for num2words even where it writes no video's length
        with mock.patch.object(processing_smolvlm, "num2words", str):
            return SmolVLM2Processor(images, tokenizer, SimpleNamespace(num_frames=1, fps=1), **settings)
    return Idefics3Processor(images, tokenizer, **settings)


def picture(name: str) -> Image.Image:
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    pixels = torch.randint(0, 256, (20, 28, 3), generator=generator, dtype=torch.uint8)
    return Image.fromarray(pixels.numpy())


def tiny_family(name: str, text: str = "llama", **text_fields) -> SimpleNamespace:
    """A backbone over a tiny model, with the model's own processor beside it."""
    tokenizer = tokenizer_of(name)
    model, processor = tiny_model(name, tokenizer, text, **text_fields), processor_of(name, tokenizer)
    known, folder = find_family(family_of(name)), Path(__file__).parent  # where no chat template lies
    tokenizer.chat_template = TEMPLATES.get(name) if known.follows_template else None
    family = replace(known, form=input_form(known.name, tokenizer, folder, model.config))

    prepare = processor.image_processor
    if family.square is not None:
        prepare = SquareProcessor("tiny", prepare, SIDE)
    if family.whole_pictures:
        prepare = WholePictures(prepare)

    def images(names):
        return embed_images(model, prepare, [picture(each) for each in names])

    backbone = Backbone(model, tokenizer, family, images, None, "Question: {} Short answer:")
    return SimpleNamespace(name=name, backbone=backbone, model=model, tokenizer=tokenizer, processor=processor)
