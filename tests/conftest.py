"""Fixtures that every part of the suite shares."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

# Before torch is imported: kernels of one kind, whatever the processor has. With wider ones two ways to the same sum
# round otherwise, by a little more than the comparisons with Hugging Face's own forward allow.
os.environ["ATEN_CPU_CAPABILITY"] = "avx2"
if Path("/proc/cpuinfo").exists() and "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
    os.environ["MKL_CBWR"] = "AVX2,STRICT"

import torch
from declared_jobs import planned_jobs
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
def in_example(tmp_path, monkeypatch) -> Callable[[Path], Path]:
    """Work in a copy of an example's folder, without what its command wrote."""

    def copy(example: Path) -> Path:
        ignored = shutil.ignore_patterns("results", "logs", ".snakemake")
        folder = shutil.copytree(example, tmp_path / "own", ignore=ignored)
        monkeypatch.chdir(folder)
        return folder

    return copy


@pytest.fixture
def cases() -> list[EditCase]:
    return [make_case(i, target) for i, target in enumerate(["hot dog", "cat", "red owl left", "blue", "owl"])]


OVERLAY = """
seed: 3
seeds: [5, 6]
backbones: {original: {family: blip2, original: {qformer: all.pth, language_model: hub/id}}}
tables:
  table1: {backbones: [minigpt4-nano, minigpt4-smol], methods: [base, t-patcher, unike, ike, mend, serac, intrin-ike]}
tuning: {grids: {ke: {steps: [4]}}}
methods: {mend: {strength: 0.5}}
judge: {folder: results/stages/language_models/smollm2-135m}
"""
USERS = """
benchmark: {annotations: files, images: pictures}
backbones: {real: {family: blip2, folder: hub/id}}
figures: {backbones: [real], sweeps: {frontier: {backbones: null}}}
"""


@pytest.fixture(scope="session")
def jobs(tmp_path_factory):
    """A job of every kind, as two dry runs plan them: of the embedded benchmark, and of a user's."""
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "pictures").mkdir()
    (folder / "files").mkdir()
    for name in ("vqa_train.json", "vqa_eval.json", "caption_train_edit.json", "caption_eval_edit.json"):
        (folder / "files" / name).touch()
    (folder / "all.pth").touch()
    tables = "tables:\n" + "".join(f"  table{number}: {{backbones: [real]}}\n" for number in range(1, 5))
    (folder / "mine.yaml").write_text(OVERLAY)
    (folder / "users.yaml").write_text(USERS + tables)
    converted = "results/stages/backbones/original"
    of_both = ("results/tuning.csv", "results/retention_cost.csv", "results/parity_lavis.csv", converted)
    jobs = planned_jobs(folder, "--config", "preset=smoke", "--configfile", folder / "mine.yaml", "--", "all", *of_both)
    targets = ("results/missing_images.csv", "results/table1.csv")
    return jobs + planned_jobs(folder, "--configfile", folder / "users.yaml", "--", *targets)
