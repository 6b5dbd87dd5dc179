"""Fixtures that every part of the suite shares."""

from collections.abc import Callable

import pytest
import torch
from tiny_models import FAMILIES, make_case, tiny_images, tiny_model, tiny_tokenizer

from unike_lib.backbones.backbone import Backbone
from unike_lib.types import EditCase


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(params=["blip2", "minigpt4"])
def family(request) -> str:
    return request.param


@pytest.fixture
def make_backbone() -> Callable[..., Backbone]:
    def make(family: str, layers: tuple[int, ...] | None = None, seed: int = 0) -> Backbone:
        model = tiny_model(family, seed)
        return Backbone(model, tiny_tokenizer(), FAMILIES[family], tiny_images, layers, "question : {} short answer :")

    return make


@pytest.fixture
def backbone(family, make_backbone) -> Backbone:
    return make_backbone(family)


@pytest.fixture
def cases() -> list[EditCase]:
    return [make_case(i, target) for i, target in enumerate(["hot dog", "cat", "red owl left", "blue", "owl"])]
