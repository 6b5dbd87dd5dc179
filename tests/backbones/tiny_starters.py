"""Tiny BLIP-2s whose tokenizers put a start token in front of a text, as OPT's and Llama's do, as saved folders."""

import json
from pathlib import Path
from types import SimpleNamespace

from tiny_families import picture
from tiny_models import VISUAL_TOKENS, tiny_model
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import Blip2ForConditionalGeneration, Blip2Processor, GPT2Tokenizer, PreTrainedTokenizerFast
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from unike_lib.backbones.load import load_backbone
from unike_lib.backbones.visual import embed_images
from unike_lib.config.backbones import BackboneConfig

CORPUS = ["Question: what is this? Short answer: red cat", "a photo of an owl on the left", "###Human: <Img></Img> "]
START = {"opt": 2, "llama": 1}


def opt_tokenizer(folder: Path) -> GPT2Tokenizer:
    """A byte-level BPE read from files like those of facebook/opt-2.7b, with its settings."""
    pieces = Tokenizer(BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=letters, show_progress=False)
    pieces.train_from_iterator(CORPUS, trainer)
    folder.mkdir()
    pieces.model.save(str(folder))
    settings = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    settings |= {"add_bos_token": True, "add_prefix_space": False, "tokenizer_class": "GPT2Tokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return GPT2Tokenizer.from_pretrained(folder)


def llama_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """A BPE with sentencepiece's spaces that puts <s> in front, as Llama's and Vicuna's do."""
    pieces = Tokenizer(BPE(unk_token="<unk>"))
    pieces.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    pieces.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    pieces.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    letters = sorted({*"▁\n.,:;'-1", *"".join(CORPUS)} - {" "})
    special = ["<unk>", "<s>", "</s>", "<pad>"]
    trainer = BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=letters, show_progress=False)
    pieces.train_from_iterator(CORPUS, trainer)
    pieces.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=pieces, **names)


def tiny_starter(kind: str, family: str, folder: Path) -> SimpleNamespace:
    """A saved BLIP-2 or MiniGPT-4 read as a backbone, and beside it Hugging Face's own model and processor."""
    tokenizer = opt_tokenizer(folder / "files") if kind == "opt" else llama_tokenizer(folder)
    images = BlipImageProcessorPil(size={"height": 8, "width": 8})
    processor = Blip2Processor(images, tokenizer, num_query_tokens=VISUAL_TOKENS)  # adds <image> to the tokenizer
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    model = tiny_model("blip2" if kind == "opt" else "minigpt4", vocab_size=len(tokenizer), **ids)
    model.config.image_token_index = model.config.image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    config = BackboneConfig(family=family, folder=str(folder / "model"), vqa_prompt="Question: {} Short answer:")

    def seen(names):
        return embed_images(model, images, [picture(name) for name in names])

    backbone = load_backbone(folder / "model", config, seen)
    theirs = Blip2ForConditionalGeneration.from_pretrained(folder / "model").eval()
    return SimpleNamespace(
        kind=kind, backbone=backbone, tokenizer=tokenizer, processor=processor, model=theirs, start=START[kind]
    )
