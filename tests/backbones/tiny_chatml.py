"""Tiny random models of the families that follow their folders' chat templates, all of them ChatML: LLaVA as LLaVA-
Interleave has it, LLaVA-OneVision, InternVL."""

from transformers import (
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionProcessor,
    LlavaProcessor,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

# What llava-hf/llava-interleave-qwen-0.5b-hf writes, as a third party's copy of its template has it; the one of
# llava-hf/llava-onevision-qwen2-0.5b-ov-hf differs in two places.
INTERLEAVE_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ '\n' + content['text'] }}"
    "{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# What OpenGVLab/InternVL3-1B-hf writes, as third parties' copies have it, without the branch for videos.
INTERNVL_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "{{ '<IMG_CONTEXT>\n' }}{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML_TEMPLATES = {
    "llava-chatml": INTERLEAVE_TEMPLATE,
    "llava-onevision": INTERLEAVE_TEMPLATE.replace("role'] + '\n'", "role'] + ' '").replace("_end|>\n", "_end|>"),
    "internvl": INTERNVL_TEMPLATE,
}
INTERNVL_TOKENS = {
    "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}  # fmt: skip
CHATML_MARKS = ["<|im_start|>", "<|im_end|>", "<image>", *INTERNVL_TOKENS.values()]


def pinpoints(side: int) -> list[list[int]]:
    return [[height * side, width * side] for height in (1, 2, 3) for width in (1, 2, 3)]


def chatml_parts(name: str, vision: dict, tokenizer) -> tuple:
    """The classes of the model and its config, and the config's parts beside the decoder's."""
    image, video = map(tokenizer.convert_tokens_to_ids, ("<image>", "<video>"))
    siglip = {**vision, "model_type": "siglip_vision_model"}
    if name == "internvl":
        ids = {"image_token_id": tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"), "image_seq_length": 4}
        parts = {"vision_config": {**vision, "layer_scale_init_value": 0.7}, **ids}
        return InternVLForConditionalGeneration, InternVLConfig, parts
    if name == "llava-onevision":
        parts = {"vision_config": {**siglip, "vision_use_head": False}, "image_token_index": image}
        parts |= {"video_token_index": video, "image_grid_pinpoints": pinpoints(vision["image_size"])}
        return LlavaOnevisionForConditionalGeneration, LlavaOnevisionConfig, parts
    parts = {"vision_config": siglip, "image_token_index": image}  # all tokens of the last layer
    parts |= {"vision_feature_layer": -1, "vision_feature_select_strategy": "full"}
    return LlavaForConditionalGeneration, LlavaConfig, parts


class NoVideos:
    """Before a processor's class: it has none for videos, which would need torchvision."""

    def check_argument_for_proper_class(self, name, argument):
        return None if name == "video_processor" else super().check_argument_for_proper_class(name, argument)


class OneTileProcessor(NoVideos, InternVLProcessor):
    """Asked for one tile, where its own default is crops beside it."""

    def __call__(self, images=None, text=None, **settings):
        return super().__call__(images, text, crop_to_patches=False, **settings)


class WholeProcessor(NoVideos, LlavaOnevisionProcessor):
    """Takes the picture of a text as it takes each of two: the second is left out again."""

    def __call__(self, images=None, text=None, **settings):
        if images is None:
            return super().__call__(text=text, **settings)
        both = super().__call__(images=[[*images, *images]], text=[text, text], **settings)
        # The model counts pictures of one text from batch_num_images, and cuts a single one.
        return {name: both[name] if name == "batch_num_images" else both[name][:1] for name in both}


def chatml_processor(name: str, tokenizer, side: int):
    size, template = {"height": side, "width": side}, {"chat_template": CHATML_TEMPLATES[name]}
    if name == "internvl":
        return OneTileProcessor(GotOcr2ImageProcessorPil(size=size), tokenizer, None, image_seq_length=4, **template)
    full = {"vision_feature_select_strategy": "full", **template}
    if name == "llava-onevision":
        images = LlavaOnevisionImageProcessorPil(size=size, image_grid_pinpoints=pinpoints(side))
        return WholeProcessor(images, tokenizer, None, num_image_tokens=(side // 4) ** 2, **full)
    return LlavaProcessor(SiglipImageProcessorPil(size=size), tokenizer, patch_size=4, **full)
