"""One edit by hand: what is said before is Hugging Face's own answer; edits stand beside the model and in files."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from headless_browser import look, needs_browser
from tiny_families import picture, processor_of, tiny_model, tokenizer_of
from tokenizers import decoders

import unike_lib as unike
from unike_lib.benchmark.cases import write_cases
from unike_lib.front.cli import main
from unike_lib.front.finding import evaluation_files
from unike_lib.front.neighbours import likeness, nearest_unrelated
from unike_lib.front.questions import Answer, request_of
from unike_lib.io import write_table
from unike_lib.method_files import files_of_method, trained_for
from unike_lib.types import EditCase, EditRequest, InputError, Probe, Query

EDIT = {
    "question": "what is this?",
    "answer": "red cat",
    "method": "fine-tune",
    "settings": {"steps": 30, "learning_rate": 0.05},
}
LIMIT = {"evaluation": {"max_new_tokens": 6}}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a tiny LLaVA, a configuration that names it, and two pictures."""
    root, tokenizer = tmp_path_factory.mktemp("work"), tokenizer_of("llava")
    tokenizer.backend_tokenizer.decoder = decoders.Metaspace()  # sentencepiece's spaces become spaces
    model, processor = tiny_model("llava", tokenizer), processor_of("llava", tokenizer)
    for part in (model, tokenizer, processor.image_processor):
        part.save_pretrained(root / "model")
    backbones = {"mine": {"family": "llava", "folder": "model", "text_locality": "general"}}
    (root / "config.yaml").write_text(json.dumps({"backbones": backbones, **LIMIT}))
    for name in ("one", "two"):
        picture(name).save(root / f"{name}.png")
    return root, model, processor


@pytest.fixture(scope="module")
def model(work):
    return unike.load("mine", results=work[0] / "results")


@pytest.fixture(scope="module")
def edit(work, model):
    return model.edit(image=work[0] / "one.png", **EDIT)


def hugging_face(work, question, image=None):
    """The greedy answer of the folder's own model behind its own processor and chat template."""
    _, model, processor = work
    content = [{"type": "image"}] * (image is not None)
    content += [{"type": "text", "text": f"Question: {question} Short answer:"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=text, return_tensors="pt", **({} if image is None else {"images": [picture(image)]}))
    said = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return processor.tokenizer.decode(said, skip_special_tokens=True).strip()


def test_importing_the_library_loads_no_torch():
    code = "import sys, unike_lib; assert 'torch' not in sys.modules; import unike_lib as u; u.nothing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert "has no attribute 'nothing'" in done.stderr


def test_answers_before_are_hugging_faces_and_after_are_the_wanted(work, edit):
    (own,) = edit.answers()
    assert own.before == hugging_face(work, "what is this?", "one") and own.after == "red cat"
    assert own.right and own.changed and edit.failures == [None] and edit.seconds > 0
    other = (("what is this?", work[0] / "two.png"), "a photo")
    assert [answer.before for answer in edit.answers(*other)] == [
        hugging_face(work, "what is this?", "two"),
        hugging_face(work, "a photo"),
    ]
    assert edit.answers({"question": "a photo", "answer": "owl"})[0].wanted == "owl"


def test_an_edit_is_taken_back_and_the_model_never_changed(work, model):
    before = {name: value.clone() for name, value in model.backbone.model.state_dict().items()}
    edit = model.edit(image=work[0] / "one.png", **EDIT)
    then = edit.then(question="a photo", answer="owl")
    assert [answer.after for answer in then.answers()] == ["red cat", "owl"] and len(edit.requests) == 1
    assert not edit.undone
    edit.undo()
    (own,) = edit.answers()
    assert edit.undone and own.after == own.before != "red cat"
    torch.testing.assert_close(model.backbone.model.state_dict(), before, atol=0, rtol=0)


def test_a_saved_edit_is_taken_up_again_by_the_same_backbone_alone(work, model, edit, tmp_path):
    edit.save(tmp_path / "edit.safetensors")
    kept = model.open_edit(tmp_path / "edit.safetensors")
    assert kept.answers() == edit.answers() and kept.requests == edit.requests
    torch.testing.assert_close(kept.patch.tensors(), edit.patch.tensors(), atol=0, rtol=0)
    other = unike.load("mine", results=work[0] / "results", image_size=None, dtype="bfloat16")
    with pytest.raises(InputError, match="made with another backbone"):
        other.open_edit(tmp_path / "edit.safetensors")
    with pytest.raises(InputError, match=r"expected a file that Edit\.save wrote"):
        model.open_edit(work[0] / "model" / "model.safetensors")


def test_what_is_not_built_is_named_and_what_is_built_is_read(work, model):
    with pytest.raises(
        InputError, match=r"knowledge/mine/ffn_inputs\.parquet.*these edit as it is: .*fine-tune"
    ) as said:
        model.edit(question="a photo", answer="owl", method="t-patcher")
    assert "make them: make" in str(said.value) and "unike" not in str(said.value).split("as it is")[1]
    with pytest.raises(InputError, match=r"editors/mine/mend\.safetensors"):
        model.edit(question="a photo", answer="owl", method="mend")
    folder, draw = work[0] / "results/stages/knowledge/mine", np.random.default_rng(0)
    rows = [(layer, draw.normal(size=16).astype("float32")) for layer in range(4) for _ in range(6)]
    table = pd.DataFrame(rows, columns=["layer", "ffn_input"])
    write_table(folder / "ffn_inputs.parquet", table, f"made/{model.mark}")
    assert "t-patcher" in model.methods and "unike" not in model.methods
    edit = model.edit(question="a photo", answer="owl", method="t-patcher", settings={"steps": 2})
    assert edit.failures == [None] and edit.patch.tensors()
    write_table(folder / "ffn_inputs.parquet", table, "made/0123456789abcdef")
    with pytest.raises(InputError, match=r"ffn_inputs\.parquet: made with another backbone"):
        model.edit(question="a photo", answer="owl", method="t-patcher")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"question": "a"}, "field 'answer': expected a text"),
        ({"question": " ", "answer": "b"}, "field 'question': expected a text"),
        ({"question": "a", "answer": "b", "picture": "c"}, "unknown field 'picture'"),
        ({"question": "a", "answer": "b", "task": "ocr"}, "field 'task'"),
    ],
)
def test_a_wrong_field_is_named(fields, said):
    with pytest.raises(InputError, match=said):
        request_of(None, fields)
    request = request_of({"question": "a ", "answer": "b", "task": "caption"}, {"image": Path("c.png")})
    assert request == EditRequest("edit", "caption", "c.png", "a", "b")


def test_methods_and_backbones_that_are_not_there_are_named(work, model):
    with pytest.raises(InputError, match="unknown method 'unkie'"):
        model.edit(question="a", answer="b", method="unkie")
    with pytest.raises(
        InputError, match="method 'ke': scale: its editor is trained with that; expected one of strength"
    ):
        model.edit(question="a", answer="b", method="ke", settings={"scale": 3.0})
    with pytest.raises(InputError, match="'blip2-nano' is not built yet; build it: make"):
        unike.load("blip2-nano", results=work[0] / "results")
    with pytest.raises(InputError, match="no backbone of the configuration"):
        unike.load("nothing", results=work[0] / "results")
    with pytest.raises(InputError, match=r"gone\.png"):
        model.edit(question="a", answer="b", image="gone.png", method="fine-tune")


def case(number, *queries):
    request = EditRequest(f"vqa-{number}", "vqa", f"{number}.png", "which town ?", "x")
    return EditCase(request, tuple(Probe("m_loc" if query.image else "t_loc", query) for query in queries), ())


def test_near_questions_share_words_and_have_another_picture(tmp_path):
    far, near = Query("a.png", "who sings", "x"), Query("b.png", "what is this thing", "y")
    own, gone = Query("own.png", "what is this", "z"), Query("gone.png", "what is this", "w")
    text = Query(None, "what is that", "v")
    write_cases(tmp_path / "eval.json", "eval", "vqa", [case(0, far, own, gone), case(1, near, text), case(2, near)])
    for name in ("a.png", "b.png", "own.png"):
        (tmp_path / name).touch()
    request = EditRequest("e", "vqa", "own.png", "What is this?", "t")
    assert nearest_unrelated(request, [tmp_path / "eval.json"], [tmp_path], 5) == [near, far, text]
    assert nearest_unrelated(request, [tmp_path / "eval.json"], [tmp_path], 1) == [near, text]
    capital = EditRequest("e", "vqa", None, "What is the capital of France?", "t")
    facts = nearest_unrelated(capital, [], [tmp_path], 3)
    assert len(facts) == 3 and all("capital of" in query.prompt.lower() for query in facts)
    assert "What is the capital of France?" not in [query.prompt for query in facts]
    assert likeness("What is this?", "what is that ?") == 0.5 and likeness("", "?") == 0.0


def test_answers_are_compared_as_answers():
    assert not Answer("q", None, "Red cat.", "red  cat").changed
    assert Answer("q", None, "a", "Red cat.", "red cat").right and Answer("q", None, "a", "b", "c").right is False
    assert Answer("q", None, "a", "b").right is None


def test_the_command_prints_and_draws_what_an_edit_changes(work, tmp_path, capsys):
    root = work[0]
    page, kept = tmp_path / "edit.html", tmp_path / "edit.safetensors"
    given = ["edit", "--backbone", "mine", "--results", str(root / "results"), "--image", str(root / "one.png")]
    given += ["--question", "what is this?", "--answer", "red cat", "--method", "fine-tune"]
    given += ["--set", "steps=30", "--set", "learning_rate=0.05"]
    more = ["--rephrase", "a photo", "--rephrase-image", str(root / "two.png"), "--near", "1"]
    assert main([*given, *more, "--html", str(page), "--save", str(kept)]) == 0
    title, _, _, *rows = capsys.readouterr().out.splitlines()
    assert re.match(r'mine, fine-tune: "what is this\?" \(.*one\.png\) -> "red cat", in \d', title)
    kinds = ["the edit", "rephrased", "another picture", "without the picture", "unrelated, text only"]
    assert [re.split(r"\s{2,}", row)[0] for row in rows] == kinds
    assert rows[0].endswith("right") and rows[3].endswith(("kept", "changed")) and kept.is_file()
    text = page.read_text()
    assert text.count("<img") == 3 == text.count('src="data:image/png;base64,')  # nothing of it lies elsewhere
    assert "http" not in text and "red cat" in text
    assert main([*given, "--set", "steps"]) == 1
    assert capsys.readouterr().err == "unike: --set steps: expected NAME=VALUE\n"
    assert main([*given, "--set", "steps=none"]) == 1
    assert "methods.fine-tune: steps" in capsys.readouterr().err


@needs_browser
def test_a_browser_shows_the_page_of_an_edit(work, tmp_path):
    root = work[0]
    given = ["edit", "--backbone", "mine", "--results", str(root / "results"), "--image", str(root / "one.png")]
    given += ["--question", "what is this?", "--answer", "red cat", "--method", "fine-tune", "--set", "steps=1"]
    assert main([*given, "--rephrase-image", str(root / "two.png"), "--html", str(tmp_path / "edit.html")]) == 0
    page = (tmp_path / "edit.html").read_text()
    seen = look(page, tmp_path, size=(1200, 1000))
    assert (seen.console, seen.pictures, seen.broken, seen.beyond) == ((), page.count("<img"), 0, 0)
    assert seen.pictures >= 2


def test_a_methods_files_are_those_that_its_room_asks_for(tmp_path):
    entries = {
        "unike": {"method": "unike"},
        "t-patcher": {"method": "t-patcher"},
        "fine-tune": {"method": "fine-tune"},
        "ke": {"method": "ke"},
        "ke-strong": {"like": "ke", "strength": 3.5},
        "ke-scaled": {"like": "ke", "scale": 3.0},
        "ike": {"method": "ike"},
    }

    def files(method, **overrides):
        split = [tmp_path / "benchmark" / "method_vqa.json"]
        found = files_of_method(entries, method, "mine", tmp_path, split, overrides)
        return sorted(str(path.relative_to(tmp_path)) for paths in found.values() for path in paths)

    known = [f"knowledge/mine/{name}" for name in ("encoders.safetensors", "ffn_inputs.parquet", "memory.safetensors")]
    assert files("unike") == known and files("unike", latent=False, zeta="off") == known[1:2]
    assert (
        files("t-patcher") == known[1:2] and files("fine-tune") == [] and files("ike") == ["benchmark/method_vqa.json"]
    )
    assert files("ke-strong") == files("ke") == ["editors/mine/ke.safetensors"] != files("ke-scaled")
    assert trained_for(entries, "ke-scaled", "mine") == "ke-scaled"


def test_near_questions_are_those_that_the_backbone_can_be_asked(tmp_path):
    """Of a benchmark of one's own, some texts may be left out for a backbone; one that no run asked has them all."""
    config = SimpleNamespace(benchmark=SimpleNamespace(embedded=False, tasks=["vqa", "caption"]))
    for folder, tasks in {"benchmark": ["vqa", "caption"], "texts/mine": ["vqa"]}.items():
        for task in tasks:
            path = tmp_path / "stages" / folder / f"eval_{task}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")

    def found(backbone, embedded):
        config.benchmark.embedded = embedded
        return [str(path.relative_to(tmp_path / "stages")) for path in evaluation_files(config, backbone, tmp_path)]

    every = ["benchmark/eval_vqa.json", "benchmark/eval_caption.json"]
    assert found("mine", False) == ["texts/mine/eval_vqa.json"]
    assert found("other", False) == found("mine", True) == every
