"""Examples of edits: what is chosen, what counts as right, and that the page holds everything itself."""

import re
from functools import partial

import numpy as np
import pytest
from headless_browser import look, needs_browser
from made_up_records import METHODS, make_records
from PIL import Image

from unike_lib.benchmark.images import load_image
from unike_lib.reporting.qualitative import BEFORE, Answer, choose_examples, verdict_word, write_qualitative_page
from unike_lib.reporting.qualitative_figure import Block, Sheet, draw_qualitative
from unike_lib.types import PROBE_KINDS, EditCase, EditRequest, InputError, Probe, Query


def make_case(number, task="vqa"):
    asked = {
        "rel": Query("edit.png", "what is <this> ?", "a new name"),
        "t_gen": Query("edit.png", "name it", "a new name"),
        "m_gen": Query("again.png", "what is <this> ?", "a new name"),
        "t_loc": Query(None, "capital of peru ?", "lima"),
        "m_loc": Query("near.png", "what is <this> ?", "an old name"),
    }
    request = EditRequest(f"{task}-{number}", task, "edit.png", "what is <this> ?", "a new name")
    return EditCase(request, tuple(Probe(kind, query) for kind, query in asked.items()), ("fact",))


def texts(cell, before, after, **fields):
    """Records of a cell with answers; `generated` says right or unchanged, as an evaluation does."""
    records = make_records(cell, **fields).assign(text_before=before, text_after=after)
    local = records["kind"].isin(["t_loc", "m_loc"])
    right = np.where(local, records["text_after"] == records["text_before"], records["text_after"] == "a new name")
    return records.assign(generated=right.astype(float))


@pytest.fixture
def images(tmp_path):
    for name, colour in (("edit", "red"), ("again", "orange"), ("near", "blue")):
        Image.new("RGB", (300, 200), colour).save(tmp_path / f"{name}.png")
    return tmp_path


METHODS_SHOWN, COUNT, SEED = ("base", "t-patcher", "unike"), 2, 3


@pytest.fixture
def examples(save):
    paths = [
        save(texts(("left", "vqa", "base"), "an old name", "an old name"), "base"),
        save(texts(("left", "vqa", "t-patcher"), "an old name", "an old name"), "t-patcher"),
        save(texts(("left", "vqa", "unike"), "an old name", "a new name"), "unike"),
    ]
    return choose_examples(paths, {("left", "vqa"): [make_case(n) for n in range(20)]}, METHODS_SHOWN, COUNT, SEED)


def test_examples_say_what_was_said_and_whether_it_was_good(examples):
    assert len(examples) == 2 and all(int(example.case.split("-")[1]) < 12 for example in examples)
    asked = {each.kind: each for each in examples[0].asked}
    assert list(asked) == list(PROBE_KINDS) and list(asked["rel"].answers) == [BEFORE, "t-patcher", "unike"]
    assert asked["rel"].answers == {
        BEFORE: Answer("an old name", False),
        "t-patcher": Answer("an old name", False),
        "unike": Answer("a new name", True),
    }
    assert asked["t_loc"].wanted == "an old name" and asked["rel"].wanted == "a new name"
    assert asked["m_loc"].answers[BEFORE].good is None
    assert asked["m_loc"].answers["t-patcher"].good and not asked["m_loc"].answers["unike"].good


def test_the_seed_draws_the_same_edits_for_every_backbone(save):
    paths = [
        save(texts((backbone, "vqa", method), "x", "y"), f"{backbone}{method}")
        for backbone in ("left", "right")
        for method in METHODS
    ]
    cases = {(name, "vqa"): [make_case(n) for n in range(12)] for name in ("left", "right")}
    names = [example.case for example in choose_examples(paths, cases, METHODS, COUNT, SEED)]
    assert names[:2] == names[2:]
    other = choose_examples(paths, cases, METHODS, COUNT, 4)
    assert [example.case for example in other] != names


@pytest.mark.parametrize("unread", [[], ["exact", "generated"]])
def test_without_greedy_answers_the_answer_tokens_decide(save, unread):
    records = texts(("left", "vqa", "base"), "", "").assign(generated=np.nan, token=1.0)
    scores = {"base": 0.0, "t-patcher": 1.0, "unike": 0.0}
    records = records.drop(columns=unread)
    paths = [save(records.assign(method=name, token=score), name) for name, score in scores.items()]
    asked = choose_examples(paths, {("left", "vqa"): [make_case(0)]}, METHODS_SHOWN, COUNT, SEED)[0].asked[0]
    assert asked.answers["t-patcher"].good and not asked.answers["unike"].good


def test_missing_records_are_named(save):
    paths = [save(texts(("left", "vqa", "base"), "x", "y"))]
    with pytest.raises(InputError, match=r"no record of left, vqa, t-patcher, vqa-\d+, rel"):
        choose_examples(paths, {("left", "vqa"): [make_case(n) for n in range(12)]}, METHODS_SHOWN, COUNT, SEED)
    long = save(texts(("left", "vqa", "base"), "x", "y", k=4), "long")
    with pytest.raises(InputError, match="expected records of one-step edits"):
        choose_examples([long], {}, METHODS_SHOWN, COUNT, SEED)


def test_words_say_what_colours_say():
    assert verdict_word("rel", Answer("", True)) == "✓ right" and verdict_word("m_gen", Answer("", False)) == "✗ wrong"
    assert (
        verdict_word("t_loc", Answer("", True)) == "✓ kept" and verdict_word("m_loc", Answer("", False)) == "✗ changed"
    )
    assert verdict_word("m_loc", Answer("", None)) == "to keep"


def test_the_page_holds_its_pictures_and_escapes_text(examples, images):
    write_qualitative_page(examples, partial(load_image, [images]), images / "page.html")
    page = (images / "page.html").read_text()
    addresses = re.findall(r'src="([^"]+)"', page)
    assert len(addresses) == 2 * 4 and all(address.startswith("data:image/png;base64,") for address in addresses)
    assert "what is &lt;this&gt; ?" in page and "<this>" not in page
    assert page.count("✓ right") == 2 * 3 and page.count("✗ wrong") == 2 * 6
    assert not re.findall(r'(?:href|src)="(?!data:)', page)


@needs_browser
def test_a_browser_shows_the_page(examples, images, tmp_path):
    write_qualitative_page(examples, partial(load_image, [images]), images / "page.html")
    seen = look((images / "page.html").read_text(), tmp_path)
    assert (seen.console, seen.pictures, seen.broken, seen.beyond) == ((), 2 * 4, 0, 0)
    assert {(255, 0, 0), (0, 0, 255)} <= set(seen.shot.convert("RGB").getdata())  # colours of the edits' pictures


def test_the_picture_has_room_for_what_it_writes(examples, images):
    draw_qualitative(examples, partial(load_image, [images]), images / "figure.png")
    draw_qualitative(examples, partial(load_image, [images]), images / "again.out")
    assert (images / "figure.png").read_bytes() == (images / "again.out").read_bytes()
    sheet = Sheet(10.0)
    block = Block.load(examples[0], partial(load_image, [images]))
    block.draw(sheet)
    assert 10.0 - sheet.top == pytest.approx(block.height)
    assert block.picture_height == pytest.approx(0.85 * 200 / 300)
