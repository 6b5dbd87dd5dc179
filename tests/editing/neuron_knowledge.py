"""A small folder of knowledge whose every number is known: what T-Patcher and UniKE read, beside what was drawn."""

import functools
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from neuron_twin import Shift
from tiny_models import FAMILIES, WIDTH, tiny_images, tiny_model, tiny_tokenizer
from torch import nn

from unike_lib.backbones.backbone import Backbone
from unike_lib.io import write_table, write_tensors
from unike_lib.methods.t_patcher.settings import TPatcherMethod
from unike_lib.methods.unike.settings import UnikeMethod

LAYERS = (3, 5)  # a layer between the edited ones stays as it is
STATES, ENTRIES, NEURONS, BETA = 6, 7, 2, 0.4
SPACES = {"truthfulness": 5, "semantic": WIDTH}  # and the widths of their encoders


@dataclass
class Knowledge:
    """By layer: FFN inputs of other questions [state, d], the memory's columns [entry, d], Enc_sem, zeta and W_zeta."""

    folder: Path
    unrelated: dict[int, torch.Tensor]
    columns: dict[str, dict[int, torch.Tensor]]
    semantic: dict[int, nn.Module]
    zetas: dict[str, dict[int, tuple[torch.Tensor, torch.Tensor]]]

    def shift(self, keys="h_sem", values="h_pos", top_k=3):
        values = self.columns[values]
        if keys == "encoded":
            keys = {layer: self.semantic[layer](values[layer]) for layer in LAYERS}
        else:
            keys = self.columns[keys]
        return Shift(keys, values, self.semantic, top_k)


def make_knowledge(folder):
    generator = torch.Generator().manual_seed(11)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    each = lambda *shape: {layer: draw(*shape) for layer in LAYERS}  # noqa: E731
    unrelated, columns = each(STATES, WIDTH), {name: each(ENTRIES, WIDTH) for name in ("h_sem", "h_pos", "h_pos_mean")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        encoders = {space: {layer: mlp(width) for layer in LAYERS} for space, width in SPACES.items()}
    zetas = {space: {layer: (draw(width), draw(width, WIDTH)) for layer in LAYERS} for space, width in SPACES.items()}
    memory, trained = {}, {}
    for layer in LAYERS:
        memory |= {f"{layer}.{name}": column[layer] for name, column in columns.items()}
        for space in SPACES:
            weights = encoders[space][layer].state_dict()
            trained |= {f"{layer}.{space}.net.{name}": value for name, value in weights.items()}
            trained |= {f"{layer}.zeta.{space}": zetas[space][layer][0], f"{layer}.map.{space}": zetas[space][layer][1]}
    write_tensors(folder / "memory.safetensors", memory, "fingerprint")
    write_tensors(folder / "encoders.safetensors", trained, "fingerprint")
    write_tensors(folder / "scope.safetensors", scope_tensors(draw), "fingerprint")
    rows = [(layer, state.numpy()) for layer in LAYERS for state in unrelated[layer]]
    write_table(folder / "ffn_inputs.parquet", pd.DataFrame(rows, columns=["layer", "ffn_input"]), "fingerprint")
    return Knowledge(folder, unrelated, columns, encoders["semantic"], zetas)


def scope_tensors(draw):
    """A scope whose thresholds are low: a random question means the random edit nearest to it, mostly."""
    cut = {"threshold": torch.tensor(-0.9), "temperature": torch.tensor(0.15)}
    found = {"chosen": torch.tensor(4), "edited": torch.tensor(LAYERS), f"trained.{LAYERS[0]}.map": draw(WIDTH, 6)}
    for place, width in {**{f"raw.{layer}": WIDTH for layer in (3, 4, 5)}, f"trained.{LAYERS[0]}": 6}.items():
        for task in ("vqa", "caption"):
            keys = torch.nn.functional.normalize(draw(4, width), dim=1)
            found |= {f"{place}.{task}.{name}": value.clone() for name, value in ({"keys": keys} | cut).items()}
    return found


def mlp(width):
    return nn.Sequential(nn.Linear(WIDTH, 8), nn.GELU(), nn.Linear(8, width)).requires_grad_(False)


@functools.cache
def backbone_of(family):
    model = tiny_model(family)
    return Backbone(model, tiny_tokenizer(), FAMILIES[family], tiny_images, LAYERS, "question : {} short answer :")


def settings(name, **changes):
    """Settings of which none is at a value that would hide it: weights not 1, k below and margins off the defaults."""
    shared = {"neurons": NEURONS, "steps": 3, "learning_rate": 0.02, "memory_weight": 0.2, "memory_top": 4}
    shared |= {"activation_weight": 0.7, "activation_top": 1, "memory_margin": -1.5, "difference_margin": 2.0}
    if name == "t-patcher":
        return TPatcherMethod(method="t-patcher", **{**shared, **changes})
    return UnikeMethod(method="unike", **{**shared, "top_k": 3, "beta": BETA, **changes})
