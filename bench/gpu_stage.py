"""What bench/gpu.py edits: a random backbone of full or tiny geometry, its naive twin, an editor of every method."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from bench.subjects import NaiveBackbone
from tools.random_models import START, byte_tokenizer, geometry, random_model
from unike_lib.backbones.backbone import Backbone
from unike_lib.backbones.load import input_form
from unike_lib.backbones.visual import embed_images
from unike_lib.config.base import MethodSection
from unike_lib.editing.building import EditorSources, build_editor, train_editor
from unike_lib.editing.editor import Editor
from unike_lib.family import find_family
from unike_lib.knowledge.encoders import Encoder, LayerEncoders
from unike_lib.knowledge.memory import Memory
from unike_lib.knowledge.scope import Scope
from unike_lib.method import default_methods, methods
from unike_lib.types import PROBE_KINDS, TASKS, EditCase, EditRequest, Probe, Query

BACKBONES = {"blip2-opt-2.7b": "blip2", "minigpt4-vicuna-7b": "minigpt4"}
MOST = 64  # sessions at once
QUESTION, ANSWER = "How many tennis balls number {} are lying in the picture?", "tennis ball {}"
TEXTS = [QUESTION.format(i) + " Question: Short answer: " + ANSWER.format(i) + " a photo of" for i in range(64)]


@dataclass(frozen=True)
class Scale:
    """How much of everything: at full size, the values of presets/paper.yaml."""

    entries: int = 20000
    states: int = 40000
    steps: int = 10
    rank: int = 1920
    layers: tuple[int, int] = (6, 12)
    width: int = 768
    demonstrations: int = 8  # 32 of them do not fit OPT's 2,048 positions beside B rows
    questions: int = 64
    matrix: int = 8192


FULL = Scale()
SMALL = Scale(200, 100, 2, 4, (1, 1), 24, 2, 8, 256)


@dataclass(frozen=True)
class Stage:
    """A backbone, its naive twin, edits to make, and the size of everything."""

    name: str
    backbone: Backbone
    naive: NaiveBackbone
    cases: Sequence[EditCase]
    scale: Scale

    @property
    def device(self) -> torch.device:
        """Where everything lies."""
        return self.backbone.device


def build_stage(name: str, tiny: bool, device: str) -> Stage:
    """Make a random backbone on the device, and its twin that sees pixels."""
    config: Any = geometry(name, tiny)
    model = random_model(config, torch.bfloat16, device)
    tokenizer = byte_tokenizer(TEXTS, config.text_config.vocab_size, START[name])
    side = config.vision_config.image_size
    processor = BlipImageProcessorPil(size={"height": side, "width": side})
    picture = Image.effect_noise((320, 240), 60).convert("RGB")

    def from_pixels(names: Sequence[str]) -> Tensor:
        return embed_images(model, processor, [picture] * len(names)).clone()

    kept = from_pixels(["one"])

    def from_store(names: Sequence[str]) -> Tensor:
        return kept.expand(len(names), -1, -1)

    family = replace(find_family(BACKBONES[name]), form=input_form(BACKBONES[name], tokenizer))
    question = "Question: {} Short answer:"
    made = [kind(model, tokenizer, family, images, None, question)
            for kind, images in ((Backbone, from_store), (NaiveBackbone, from_pixels))]  # fmt: skip
    cases = [made_up_case(number) for number in range(MOST)]
    return Stage(name, made[0], made[1], cases, SMALL if tiny else FULL)


def made_up_case(number: int) -> EditCase:
    """Return an edit with every probe."""
    request = EditRequest(f"vqa-{number}", "vqa", f"{number}.png", QUESTION.format(number), ANSWER.format(number))
    others = [Query(request.image, f"Which number is {number}?", request.target), request.query]
    local = [Query(None, "who wrote the book", "nobody"), Query("near.png", "Which sport is it?", "motocross")]
    probes = zip(PROBE_KINDS, [request.query, *others, *local], strict=True)
    return EditCase(request, tuple(Probe(kind, query) for kind, query in probes), (f"fact {number}",))


def random_memory(stage: Stage) -> Memory:
    """Return a memory of random entries at the edited layers, on the device."""
    width, entries = stage.backbone.width, stage.scale.entries
    keys = {layer: torch.randn(entries, width, device=stage.device) for layer in stage.backbone.layers}
    return Memory(keys, keys)


@dataclass(frozen=True)
class RandomSources(EditorSources):
    """Knowledge of the right shapes, of random numbers."""

    stage: Stage = None  # type: ignore[assignment]

    def ffn_inputs(self, device: torch.device) -> dict[int, Tensor]:
        backbone, states = self.stage.backbone, self.stage.scale.states
        return {layer: torch.randn(states, backbone.width, device=device) for layer in backbone.layers}

    def encoders(self) -> dict[int, LayerEncoders]:
        width, device, found = self.stage.backbone.width, self.stage.device, {}
        for layer in self.stage.backbone.layers:
            semantic = Encoder(width, 1024, width, 3).to(device).requires_grad_(False)
            zeta, fitted = torch.randn(256, device=device), torch.randn(256, width, device=device) / width
            found[layer] = LayerEncoders(semantic, semantic, {"truthfulness": zeta}, {"truthfulness": fitted})
        return found

    def memory(self, h_pos: str, encoders: Mapping[int, Encoder] | None = None) -> Memory:
        return random_memory(self.stage)

    def scope(self) -> Scope:
        last, width = len(self.stage.backbone.decoder.layers) - 1, self.stage.backbone.width
        tensors = {"chosen": torch.tensor(last), "edited": torch.tensor(self.stage.backbone.layers)}
        cut = {"threshold": torch.tensor(0.85), "temperature": torch.tensor(0.025)}
        for task in TASKS:
            parts = {"keys": normalize(torch.randn(150, width), dim=1)} | cut
            tensors |= {f"raw.{last}.{task}.{name}": value for name, value in parts.items()}
        return Scope(Path(), tensors)

    def method_split(self) -> list[EditCase]:
        return list(self.stage.cases)


def settings_of(stage: Stage, name: str) -> MethodSection:
    """Return a method's default settings at the stage's scale; what is trained before an edit is trained for a step."""
    scale, method = stage.scale, methods()[name]
    sizes = {"steps": scale.steps, "rank": scale.rank, "width": scale.width, "heads": 8}
    sizes |= {"demonstrations": scale.demonstrations, "scope_layers": scale.layers[0]}
    sizes |= {"counterfactual_layers": scale.layers[1]}
    brief = {"steps": 1, "batch_size": 2, "edits_per_session": 1, "eval_every": 1, "patience": 1}
    values = default_methods()[name] | sizes | (brief if method.train else {})
    return method.settings(**{field: value for field, value in values.items() if field in method.settings.model_fields})


def editors(stage: Stage) -> dict[str, Callable[[Backbone], Editor]]:
    """Return a maker of every method's editor, for the backbone or for its twin."""

    def maker(name: str) -> Callable[[Backbone], Editor]:
        settings, sources = settings_of(stage, name), RandomSources(Path(), stage=stage)
        if methods()[name].train:
            trained, _ = train_editor(settings, stage.backbone, stage.cases[:2], stage.cases[2:4], 0)
            sources = replace(sources, trained=trained)
        return lambda backbone: build_editor(settings, backbone, sources, 0)

    return {name: lambda backbone, name=name: maker(name)(backbone) for name in methods() if name != "base"}
