"""What is measured: a backbone of an earlier run, or one with random weights of any depth; and its naive twin."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import Blip2Config, Blip2ForConditionalGeneration, PreTrainedTokenizerFast

from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.batch import Prepared
from unike_lib.backbones.families.blip2 import FAMILY as BLIP2
from unike_lib.backbones.load import load_backbone, load_processor
from unike_lib.backbones.visual import VisualStore, embed_images
from unike_lib.benchmark.cases import read_cases
from unike_lib.benchmark.images import load_image
from unike_lib.config.run import Config, load_config
from unike_lib.family import find_family
from unike_lib.knowledge.states import read_ffn_inputs
from unike_lib.types import PROBE_KINDS, EditCase, EditRequest, Probe, Query

ROOT = Path(__file__).parents[1]
QUESTION_WORDS, ANSWER_WORDS = 8, 2
PIXELS, PATCH = 64, 8


class NaiveBackbone(Backbone):
    """The twin: nothing is kept between steps. Prepared rows are only a promise to run everything again."""

    queries: Sequence[Query] = ()

    def encode(self, queries, answers=None):
        self.queries = list(queries)
        return super().encode(queries, answers)

    def forward(self, prepared, edit=None, where=None, trace=None):
        fresh = Prepared(super().run_below(super().encode(self.queries)).hidden, prepared.batch, prepared.first)
        return super().forward(fresh, edit, where, trace)


@dataclass(frozen=True)
class Subject:
    """A backbone whose visual tokens are kept, its twin that sees pixels, edits, and unrelated FFN inputs."""

    name: str
    backbone: Backbone
    naive: NaiveBackbone
    cases: Sequence[EditCase]
    ffn_inputs: dict[int, Tensor]


def default_config() -> Config:
    return load_config(yaml.safe_load((ROOT / "config.yaml").read_text()))


def trained(name: str, stages: Path, edits: int) -> Subject:
    """Open a backbone of an earlier run, with development edits."""
    config = default_config()
    folder, settings = stages / "backbones" / name, config.backbones[name]
    backbone = load_backbone(folder, settings, VisualStore(stages / "visual" / name / "dev.safetensors"))
    processor = load_processor(folder, settings)

    def from_pixels(names: Sequence[str]) -> Tensor:
        return embed_images(
            backbone.model, processor, [load_image([stages / "benchmark"], each) for each in names]
        ).clone()

    family = replace(find_family(settings.family), form=backbone.form)
    naive = NaiveBackbone(backbone.model, backbone.tokenizer, family, from_pixels, backbone.layers, settings.vqa_prompt)
    cases = read_cases(stages / "benchmark" / "dev_vqa.json")[:edits]
    inputs = read_ffn_inputs(stages / "knowledge" / name / "ffn_inputs.parquet")
    return Subject(name, backbone, naive, cases, inputs)


def random(layers: int, width: int, edits: int, states: int = 500, words: int = 2000) -> Subject:
    """Make a BLIP-2 with a small ViT and an OPT decoder, all of random weights; its words are "w0", "w1" ..."""
    torch.manual_seed(0)
    tokenizer = word_tokenizer(words)
    model = random_blip2(layers, width, len(tokenizer)).eval()
    pictures = torch.randn(edits, 3, PIXELS, PIXELS)

    def from_pixels(names: Sequence[str]) -> Tensor:
        pixels = torch.stack([pictures[int(name)] for name in names])
        with torch.inference_mode():
            tokens = model.get_image_features(pixels).pooler_output
        return tokens.clone()

    kept = from_pixels([str(i) for i in range(edits)])
    backbone = Backbone(model, tokenizer, BLIP2, lambda names: kept[[int(name) for name in names]])
    naive = NaiveBackbone(model, tokenizer, BLIP2, from_pixels)
    cases = [random_case(i, words) for i in range(edits)]
    inputs = {layer: torch.randn(states, width) for layer in backbone.layers}
    return Subject(f"random, {layers} layers, d = {width}", backbone, naive, cases, inputs)


def word_tokenizer(words: int) -> PreTrainedTokenizerFast:
    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(words))]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def random_blip2(layers: int, width: int, vocabulary: int) -> Blip2ForConditionalGeneration:
    heads = max(1, width // 64)
    vision = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256}
    config = Blip2Config(
        vision_config={**vision, "image_size": PIXELS, "patch_size": PATCH},
        qformer_config={**vision, "num_hidden_layers": 2, "encoder_hidden_size": 128, "vocab_size": 8},
        text_config={
            **{"model_type": "opt", "vocab_size": vocabulary, "hidden_size": width, "word_embed_proj_dim": width},
            **{"num_hidden_layers": layers, "num_attention_heads": heads, "ffn_dim": 4 * width, "dropout": 0.0},
            **{"max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
        },
        num_query_tokens=8,
    )
    return Blip2ForConditionalGeneration(config)


def random_case(index: int, words: int) -> EditCase:
    """Make a case of random words; probes ask about its own picture or about none."""
    generator = torch.Generator().manual_seed(index)

    def some(count: int) -> str:
        return " ".join(f"w{word}" for word in torch.randint(words, (count,), generator=generator).tolist())

    request = EditRequest(f"vqa-{index}", "vqa", str(index), some(QUESTION_WORDS), some(ANSWER_WORDS))
    probes = [Probe("rel", request.query)]
    for kind in PROBE_KINDS[1:]:
        image = None if kind == "t_loc" else request.image
        probes.append(Probe(kind, Query(image, some(QUESTION_WORDS), some(ANSWER_WORDS))))
    return EditCase(request, tuple(probes), (f"fact-{index}",))
