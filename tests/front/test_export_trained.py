"""A trained editor as a folder: another process and another results folder open it, for the same backbone alone."""

import json
import shutil

import pytest
import torch

import unike_lib as unike
from unike_lib.editing.building import train_editor
from unike_lib.front.cli import main
from unike_lib.io import marked, write_tensors
from unike_lib.method import resolve_method
from unike_lib.types import EditCase, EditRequest, InputError, Probe, Query


def cases(image):
    found = []
    for number, answer in enumerate(["red cat", "owl", "red owl", "cat"]):
        request = EditRequest(f"vqa-{number}", "vqa", image, f"what is {'abcd'[number]}?", answer)
        probes = [Probe("rel", request.query), Probe("t_gen", Query(image, "name it", answer))]
        probes += [Probe("m_gen", request.query), Probe("t_loc", Query(None, "a photo", "owl"))]
        found.append(EditCase(request, (*probes, Probe("m_loc", Query(image, "a photo", "owl"))), (str(number),)))
    return found


@pytest.fixture(scope="module")
def trained(made):
    """MEND of one step for the tiny LLaVA, as the workflow writes it."""
    there = made("llava")
    model, examples = there.model, cases(there.image)
    small = {"rank": 4, "steps": 1, "batch_size": 2, "edits_per_session": 1, "eval_every": 1, "patience": 1}
    own = {"mend": {"method": "mend", **small}}
    known = unike.load("mine", results=there.root / "results", config={"methods": own})
    settings = resolve_method(known.config.methods, "mend", "mine")
    tensors, _ = train_editor(settings, model.backbone, examples[:2], examples[2:], 0)
    file = there.root / "results/stages/editors/mine/mend.safetensors"
    write_tensors(file, tensors, marked("made", model.mark))
    return there, known, file, own


FIELDS = {"question": "what is a?", "answer": "red cat", "method": "mend"}


def test_it_is_opened_elsewhere_and_edits_alike(trained, tmp_path, capsys):
    """Elsewhere: a copy of the model's folder under another name, no results, the default settings of the method."""
    there, known, file, own = trained
    overlay = there.root / "own.yaml"
    overlay.write_text(json.dumps({"methods": own}))
    given = ["export", str(file), "--results", str(there.root / "results"), "--configfile", str(overlay)]
    assert main([*given, "--to", str(tmp_path / "mend")]) == 0
    assert "mend: a trained editor" in capsys.readouterr().out
    here = known.edit(image=there.image, **FIELDS)
    shutil.copytree(there.root / "model", tmp_path / "elsewhere")
    other = unike.load(tmp_path / "elsewhere", results=tmp_path / "results")
    with pytest.raises(InputError, match="not built yet"):
        other.edit(image=there.image, **FIELDS)
    assert other.open_editor(tmp_path / "mend") == "mend"
    edit = other.edit(image=there.image, **FIELDS)
    torch.testing.assert_close(edit.patch.tensors(), here.patch.tensors(), atol=0, rtol=0)
    assert any(value.any() for value in edit.patch.tensors().values())
    strong = other.edit(image=there.image, **FIELDS, settings={"strength": 2.0})
    assert not torch.equal(*(next(iter(each.patch.tensors().values())) for each in (edit, strong)))
    with pytest.raises(InputError, match="its editor is trained with that"):
        other.edit(image=there.image, **FIELDS, settings={"rank": 8})
    text = (tmp_path / "mend/README.md").read_text()
    assert 'model.open_editor("this folder")' in text and "| `rank` | 4 |" in text


def test_another_backbone_and_damage_are_refused(trained, tmp_path):
    there, known, file, _ = trained
    from unike_lib.front.trained import export_trained

    export_trained(known, file, tmp_path / "mend")
    other = unike.load("mine", results=there.root / "results", dtype="bfloat16")
    with pytest.raises(InputError, match=r"trained for backbone 'mine' of fingerprint .* expected the same files"):
        other.open_editor(tmp_path / "mend")
    with pytest.raises(InputError, match="made with another backbone"):
        export_trained(other, file, tmp_path / "again")
    with pytest.raises(InputError, match="expected the file of a method that is trained, and 'grace' is not"):
        export_trained(known, file.with_name("grace.safetensors"), tmp_path / "again")
    with pytest.raises(InputError, match="unknown method 'gone'"):
        export_trained(known, file.with_name("gone.safetensors"), tmp_path / "again")
    assert not (tmp_path / "again").exists()
    damaged = tmp_path / "mend/editor.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x00\x01")
    with pytest.raises(InputError, match=r"editor\.safetensors"):
        known.open_editor(tmp_path / "mend")
    (tmp_path / "mend/checksums.sha256").unlink()
    about = json.loads((tmp_path / "mend/editor.json").read_text())
    (tmp_path / "mend/editor.json").write_text(json.dumps(about | {"settings": {}}))
    shutil.copyfile(file, damaged)
    with pytest.raises(InputError, match="None"):
        known.open_editor(tmp_path / "mend")
    del about["mark"]
    (tmp_path / "mend/editor.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=r"editor\.json: field 'mark' is missing"):
        known.open_editor(tmp_path / "mend")
