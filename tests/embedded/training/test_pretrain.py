"""Pretraining of the embedded backbones: closed-form fits, row layout, loss, and a tiny whole run."""

import itertools
import json
import random
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from unike_lib.backbones.load import load_backbone, load_model, load_processor
from unike_lib.backbones.visual import embed_images
from unike_lib.config.backbones import BackboneConfig
from unike_lib.config.run import PretrainConfig, load_config
from unike_lib.embedded.training import pretrain as stages
from unike_lib.embedded.training import tower_features
from unike_lib.embedded.training.language_model import LanguageTrainer, lay_out, layouts
from unike_lib.embedded.training.pretrain import pretrain, trained_part
from unike_lib.embedded.training.recipe import SHIPPED, Recipe, training_scenes
from unike_lib.embedded.training.row_sampler import Composer, Lesson, read_lessons
from unike_lib.embedded.training.tower_features import extract_tower_features, read_tower_features
from unike_lib.embedded.training.word_tokenizer import build_tokenizer
from unike_lib.embedded.world.benchmark import write_benchmark
from unike_lib.embedded.world.rendering import SceneRenderer
from unike_lib.family import InputForm, find_family
from unike_lib.io import write_tensors
from unike_lib.types import InputError, Query

STOPS = ("</s>", ";", ".")
QUESTION = "Question: {} Short answer:"
LONG_QUESTIONS = {"brief_start": 0.0, "brief_end": 0.0}
TINY = {"qformer_steps": 10, "qformer_batch_size": 8, "steps": 32, "batch_size": 6, "versions": 2, **LONG_QUESTIONS}


SETTINGS, SEED = PretrainConfig(**TINY), 3


@pytest.fixture(scope="module")
def folders(benchmark, features, tmp_path_factory):
    """Folders of both families, and a second one of the first family from the same seed."""
    root = tmp_path_factory.mktemp("backbones")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "PIXELS", {"height": 64, "width": 128})
        for name, family in (("first", "blip2"), ("again", "blip2"), ("llama", "minigpt4")):
            pretrain(recipe_of(benchmark, features, family), root / name)
    return root


def recipe_of(benchmark, features, family="blip2", **settings):
    backbone, vocabulary = BackboneConfig(family=family), benchmark / "vocabulary.json"
    return Recipe(benchmark, features, vocabulary, backbone, SETTINGS.model_copy(update=settings), SEED)


def test_a_shipped_part_gives_the_files_that_training_gives(benchmark, features, folders, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "PIXELS", {"height": 64, "width": 128})
    recipe, shipped = recipe_of(benchmark, None), tmp_path / "shipped.safetensors"
    write_tensors(shipped, trained_part(folders / "first"), recipe.fingerprint)
    trained = []
    monkeypatch.setattr(stages, "train", lambda recipe, tokenizer: trained.append(recipe) or stages._assembled)
    pretrain(recipe, tmp_path / "taken", shipped)
    for file in (folders / "first").iterdir():
        assert (tmp_path / "taken" / file.name).read_bytes() == file.read_bytes(), file.name
    assert not trained
    for other in (recipe_of(benchmark, features, "minigpt4"), recipe_of(benchmark, features, shipped=False)):
        with pytest.raises(TypeError):  # what stands in for training gives no model
            pretrain(other, tmp_path / "other", shipped)
        assert trained.pop() is other


def test_features_are_computed_where_no_file_was_named(benchmark, features, monkeypatch):
    monkeypatch.setattr(tower_features, "COVERED_SHARE", 0.0)
    named, computed = (recipe_of(benchmark, file).tower_features() for file in (features, None))
    assert torch.equal(named.patches, computed.patches) and torch.equal(named.identities, computed.identities)
    for name, value in named.basis.items():
        assert torch.equal(value, computed.basis[name])


def test_the_shipped_weights_fit_the_default_run(tmp_path, monkeypatch):
    config = load_config(yaml.safe_load((Path(__file__).parents[3] / "config.yaml").read_text()))
    monkeypatch.setattr(SceneRenderer, "draw", lambda *_: SimpleNamespace(save=lambda *args, **settings: None))
    write_benchmark(tmp_path, config.benchmark, config.seed)
    backbone, vocabulary = config.backbones["blip2-nano"], tmp_path / "vocabulary.json"
    recipe = Recipe(tmp_path, None, vocabulary, backbone, config.pretrain, config.seed)
    part = recipe.shipped_part(SHIPPED / "blip2_nano.safetensors")
    assert len(part["log"]) == config.pretrain.steps


def test_features_are_what_the_saved_model_sees_through_its_processor(benchmark, features, folders):
    seen = read_tower_features(features, benchmark)
    assert len(seen.scenes) == len(seen.patches) == 18
    config = BackboneConfig(family="blip2")
    model, processor = load_model(folders / "first", config), load_processor(folders / "first", config)
    for row in (0, 7, 13):
        with Image.open(benchmark / seen.scenes["image"][row]) as image:
            pixels = processor(images=[image.convert("RGB")], return_tensors="pt")["pixel_values"]
        tokens = model.vision_model.tokens(seen.patches[[row]], seen.identities[[row]])
        torch.testing.assert_close(model.vision_model(pixels).last_hidden_state, tokens, atol=2e-3, rtol=1e-3)


def test_features_of_another_benchmark_are_refused(benchmark, features, tmp_path):
    table = pd.read_parquet(benchmark / "scenes.parquet").iloc[1:]
    table.to_parquet(tmp_path / "scenes.parquet")
    with pytest.raises(InputError, match="made from other inputs"):
        read_tower_features(features, tmp_path)
    table.assign(split="eval").to_parquet(tmp_path / "scenes.parquet")
    with pytest.raises(InputError, match=r"scenes.parquet: expected rows with split 'training', found none"):
        extract_tower_features(tmp_path, tmp_path / "out.safetensors")


def test_covering_changes_things_and_not_empty_slots(benchmark, features, tmp_path, monkeypatch):
    monkeypatch.setattr(tower_features, "COVERED_SHARE", 1.0)
    monkeypatch.setattr(tower_features, "_fill", lambda tower, *_: [getattr(tower, n).fill_(0.01) for n in tower_maps])
    tower_maps = ("patch_basis", "identity_basis")
    plain, covered = tmp_path / "plain", tmp_path / "covered"
    extract_tower_features(benchmark, covered)
    monkeypatch.setattr(tower_features, "COVERED_SHARE", 0.0)
    extract_tower_features(benchmark, plain)
    change = read_tower_features(plain, benchmark).patches - read_tower_features(covered, benchmark).patches
    scenes = training_scenes(benchmark)
    shown = torch.tensor(scenes[["left", "right"]].to_numpy()) >= 0
    assert torch.equal(change.flatten(2).abs().amax(-1) > 1e-3, shown)


def test_lessons_gather_the_images_of_a_question(benchmark):
    lessons = read_lessons(benchmark, training_scenes(benchmark))
    naming = {lesson.answer: lesson for lesson in lessons if lesson.relation == "naming"}
    assert naming["hot dog"] == Lesson("naming", ("what is this ?", "name it ."), "hot dog", (2, 3, 8, 9))
    assert [lesson for lesson in lessons if not lesson.images] == [
        Lesson("kind", ("what kind is owl ?",), "bird", name="owl")
    ]
    assert {lesson.caption for lesson in lessons if lesson.relation == "caption"} == {True}
    with pytest.raises(InputError, match=r"training.parquet: row 0: image 'images/0.png' is no training scene"):
        read_lessons(benchmark, training_scenes(benchmark).iloc[1:])


def composer(benchmark, form: InputForm, **settings) -> Composer:
    lessons = read_lessons(benchmark, training_scenes(benchmark))
    tokenizer = build_tokenizer(json.loads((benchmark / "vocabulary.json").read_text()))
    config = PretrainConfig(**{**LONG_QUESTIONS, **settings})
    return Composer(lessons, tokenizer, form, QUESTION, config, random.Random(0))


def text_of(composer: Composer, ids: list[int]) -> str:
    return " ".join(composer.tokenizer.convert_ids_to_tokens(ids))


@pytest.mark.parametrize(
    ("family", "prefix"),
    [("blip2", "<image> <image> <image> <image>"), ("minigpt4", "<s> ###human : <img> " + "<image> " * 4 + "</img>")],
)
def test_rows_have_the_layout_of_the_family(benchmark, family, prefix):
    sampler = composer(benchmark, find_family(family).form)
    lesson = next(i for i, lesson in enumerate(sampler.lessons) if lesson.answer == "hot dog")
    row = sampler.start(2)
    sampler.ask(row, lesson, follow_up=False)
    asked = [f"{prefix} question : {text} short answer : hot dog" for text in ("what is this ?", "name it .")]
    assert text_of(sampler, row.ids) in asked
    assert row.weights == [0.0] * (len(row.ids) - 2) + [1.0, 1.0]
    text_only = sampler.start(None)
    sampler.ask(text_only, sampler.text_only[0], follow_up=False)
    assert text_of(sampler, text_only.ids) == "question : what kind is owl ? short answer : bird"


def test_every_answer_is_right_and_followed_by_a_stop(benchmark):
    sampler = composer(benchmark, find_family("blip2").form, restate_share=0.5)
    scenes = training_scenes(benchmark)
    stops, followed = set(STOPS), {stop: 0 for stop in STOPS}
    for _ in range(200):
        row = sampler.plain()
        words = sampler.tokenizer.convert_ids_to_tokens(row.ids)
        assert len(row.images) < 2
        taught = [lesson.answer for lesson in sampler.lessons if set(row.images) <= set(lesson.images)]
        pairs = zip(words, row.weights, strict=True)
        answers = [list(group) for full, group in itertools.groupby(pairs, lambda pair: pair[1] == 1) if full]
        for group in answers:
            *answer, stop = [word for word, _ in group]
            assert " ".join(answer) in taught
            assert stop in stops
            followed[stop] += 1
        assert all(0 <= image < len(scenes) for image in row.images)
    assert min(followed.values()) > 20


def test_batches_hold_every_row_padded_on_the_right(benchmark):
    sampler = composer(benchmark, find_family("blip2").form, steps=5, batch_size=3)
    batches = list(layouts(sampler, sampler.config))
    assert [batch.ids.shape[0] for batch in batches] == [3] * 5
    for batch in batches:
        real = batch.ids != 0
        assert torch.equal(real, real.cummin(1).values)
        assert not batch.weights[~real].any()
        assert (batch.ids == sampler.tokenizer.get_vocab()["<image>"]).sum() == 4 * len(batch.images)


@torch.no_grad()
def test_loss_equals_hugging_faces_logits_row_by_row(benchmark, folders):
    model = load_model(folders / "llama", BackboneConfig(family="minigpt4"))
    sampler = composer(benchmark, find_family("minigpt4").form, visual_noise=0.0)
    outputs = torch.randn(1, 18, 4, 128)
    image_id = sampler.tokenizer.get_vocab()["<image>"]
    trainer = LanguageTrainer(model, outputs, image_id, sampler.config, torch.Generator())
    rows = [sampler.plain() for _ in range(6)]
    total = weight = 0.0
    for row in rows:
        embedded = model.get_input_embeddings()(torch.tensor([row.ids]))
        if row.images:
            start = row.ids.index(image_id)
            embedded[0, start : start + 4] = model.language_projection(outputs[0, row.images[0]])
        chances = model.language_model(inputs_embeds=embedded).logits[0].log_softmax(-1)
        for position in range(1, len(row.ids)):
            total -= row.weights[position] * chances[position - 1, row.ids[position]].item()
            weight += row.weights[position]
    assert trainer.loss(lay_out(rows)).item() == pytest.approx(total / weight, rel=1e-5)


def test_the_same_seed_gives_the_same_files(folders):
    files = sorted(path.name for path in (folders / "first").iterdir())
    assert {"config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"} <= set(files)
    assert {"generation_config.json", "training_log.csv"} <= set(files)
    listed = [line.split()[1] for line in (folders / "first" / "checksums.sha256").read_text().splitlines()]
    assert sorted([*listed, "checksums.sha256"]) == files
    for name in files:
        assert (folders / "first" / name).read_bytes() == (folders / "again" / name).read_bytes(), name
    assert sorted(path.name for path in folders.iterdir()) == ["again", "first", "llama"]


@pytest.mark.parametrize(("name", "family"), [("first", "blip2"), ("llama", "minigpt4")])
def test_a_tiny_backbone_learns_and_stops(benchmark, folders, name, family):
    log = pd.read_csv(folders / name / "training_log.csv")
    assert len(log) == TINY["steps"]
    assert log["loss"].tail(10).mean() < 0.6 * log["loss"].head(3).mean()
    config = BackboneConfig(family=family)
    model, processor = load_model(folders / name, config), load_processor(folders / name, config)

    def images(names):
        return embed_images(model, processor, [Image.open(benchmark / image).convert("RGB") for image in names])

    backbone = load_backbone(folders / name, config, images)
    assert set(backbone.tokenizer.convert_ids_to_tokens(sorted(backbone.stop_tokens))) == set(STOPS)
    query = Query("images/0.png", "what is this ?", "cat")
    batch = backbone.encode([query])
    logits = backbone.forward(backbone.run_below(batch), where=batch.targets >= 0)
    assert torch.isfinite(logits).all()
    assert logits.shape == (1, len(backbone.tokenizer))
