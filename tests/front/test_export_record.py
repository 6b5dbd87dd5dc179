"""A record's edit made again and exported: what the folder says is what the record says."""

import pytest

import unike_lib as unike
from unike_lib.benchmark.cases import read_cases, write_cases
from unike_lib.criterion import find_criteria
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import records_table, run_edits
from unike_lib.front.cli import main
from unike_lib.front.from_record import edit_of_record
from unike_lib.io import write_table
from unike_lib.records import record_schema
from unike_lib.types import EditCase, EditRequest, InputError, Probe, Query


@pytest.fixture(scope="module")
def recorded(made):
    """Two sessions of two edits as the workflow records them."""
    there = made("llava")
    queries = [Query(there.image, "what is this?", "red cat"), Query(None, "a photo", "owl")]
    cases = []
    for number in range(4):
        request = EditRequest(f"vqa-{number}", "vqa", there.image, f"what is {'abcd'[number]}?", "red cat")
        cases.append(EditCase(request, (Probe("rel", request.query), Probe("t_loc", queries[1])), ()))
    file = there.root / "results/stages/benchmark/eval_vqa.json"
    write_cases(file, "eval", "vqa", cases)
    cases = read_cases(file, None, "general")  # as the backbone's text_locality says
    model, backbone = there.model, there.model.backbone
    settings, editor = model.config.evaluation, model.editor("fine-tune", {}, 3)
    before = answer_before(backbone, cases, settings)
    scores = run_edits(backbone, editor, {2: cases}, before, settings)
    labels = {"backbone": "mine", "task": "vqa", "method": "fine-tune", "seed": 3, "fingerprint": "f"}
    table = records_table(scores, labels, settings)
    write_table(there.root / "records.parquet", table, "f", record_schema(find_criteria(settings.criteria)))
    return there, table, scores


def test_a_record_is_exported_as_its_session_made_again(recorded, tmp_path, capsys):
    """Both edits of the session: the folder answers its questions as the record says."""
    there, table, _ = recorded
    given = ["export", str(there.root / "records.parquet"), "--results", str(there.root / "results")]
    assert main([*given, "--to", str(tmp_path / "out")]) == 1
    assert "records.parquet: 2 sessions; name one by its case (--case)" in capsys.readouterr().err
    assert main([*given, "--to", str(tmp_path / "out"), "--case", "gone"]) == 1
    assert "no case 'gone'; its cases begin with vqa-0, vqa-1, vqa-2" in capsys.readouterr().err
    assert main([*given, "--to", str(tmp_path / "out"), "--case", "vqa-2"]) == 0
    rows = table[table.session == 1]
    assert set(rows.case) == {"vqa-2", "vqa-3"} and (rows.text_before != rows.text_after).any()
    again = unike.load(
        tmp_path / "out", family="llava", results=there.root / "results", config={"evaluation": {"max_new_tokens": 6}}
    )
    told = again.ask([Query(there.image, f"what is {letter}?") for letter in "cd"])
    assert told == rows[rows.kind == "rel"].sort_values("position").text_after.tolist()
    text = (tmp_path / "out/README.md").read_text()
    assert "| case | kind | target | text_before | text_after | token |" in text and "| vqa-3 | t_loc |" in text
    assert "| what is c? | one.png |" in text and "| what is d? | one.png |" in text


def test_a_record_that_cannot_be_made_again_is_refused(recorded, tmp_path):
    there, table, _ = recorded
    schema, path = record_schema(find_criteria(there.model.config.evaluation.criteria)), tmp_path / "other.parquet"
    changed = table.assign(text_after=table.text_after + " more")
    write_table(path, changed, "f", schema)
    with pytest.raises(InputError, match=r"vqa-0, (rel|t_loc): the edit made again answers .* says .* more'"):
        edit_of_record(path, "vqa-0", there.root / "results")
    write_table(path, table.assign(text_after=""), "f", schema)
    with pytest.raises(InputError, match="no greedy answers"):
        edit_of_record(path, "vqa-0", there.root / "results")
    write_table(path, table[table.session == 0].assign(case="vqa-9"), "f", schema)
    with pytest.raises(InputError, match="no case 'vqa-9', which the record has"):
        edit_of_record(path, None, there.root / "results")
