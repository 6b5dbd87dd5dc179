"""MC-MKE: real records of reroze/MC-MKE b68bc3d, edit_inputs/{ie_edit,iro_edit}, lists cut to what readers need."""

import json
from pathlib import Path

import pytest
from mmedit_records import read

from unike_lib.types import InputError, Query

SHARED = Path(__file__).parents[3].parent / "shared" / "formats" / "mc-mke"
HOME = "/home/zhangjz/MMedit/big_dataset/MQuAKE/MQuAKE-CF/single_hop_filter/images/"
QUESTION, CLOZE = "Which country is shown in the picture?", "The country in the picture is"
PARAPHRASES = [QUESTION, "Can you tell me which country is depicted in the image?"]
LITHUANIA, JAPAN = ["LTU", "LT"], ["Iapan", " Nippon\n", "Nippon"]
EDITS = [
    {"ie_edit_input_idx": 0, "e_ent": "United Kingdom", "new_e_ent": "Lithuania", "new_e_ent_alias": LITHUANIA}
    | {"images": [f"{HOME}pgoogle_e11_u3.jpg", f"{HOME}pgoogle_e11_u4.jpg"]},
    {"ie_edit_input_idx": 11, "e_ent": "Spain", "new_e_ent": "Japan", "new_e_ent_alias": JAPAN}
    | {"images": [f"{HOME}pgoogle_e72_u0.jpg", f"{HOME}pgoogle_e72_u1.jpg"]},
]
NEAR = {
    "918": {"image": f"{HOME}pgoogle_e4454_u0.jpg", "ie_question": "Which TV channel is shown in the picture?"}
    | {"orig_loc_ent": "ESPN", "orig_loc_ent_alias": ["Entertainment and Sports Programming Network"]},
    "422": {"image": f"{HOME}pgoogle_e5758_u8.jpg", "ie_question": "Which music group is shown in the picture?"}
    | {"orig_loc_ent": "Juice Crew", "orig_loc_ent_alias": []},
}
CAPITAL = "The capital of the country in the picture is"
PROBES = {
    "final_ie_test_text_generality": [{"ie_question_paraphrases": PARAPHRASES}] * 2,
    "final_ie_test_image_generality": [{"generality_images": edit["images"][1:]} for edit in EDITS],
    "final_ie_locality_test": [{"locality_test_dict": NEAR}] * 2,
    "final_ie_test_consistency": [
        {"consistency_iro_image": edit["images"][0], "consistency_iro_input_cloze": CAPITAL}
        | {"consistency_iro_output": "Vilnius", "consistency_iro_output_alias": ["Wilno"]}
        for edit in EDITS
    ],
}


@pytest.fixture
def folder(tmp_path):
    """The files of edits of what a picture shows, in one folder; the second edit's consistency is to be ignored."""
    edits = [edit | {"ie_question": QUESTION, "ie_cloze": CLOZE} for edit in EDITS]
    write(tmp_path / "edits.jsonl", edits)
    for name, records in PROBES.items():
        indexed = [{"ie_edit_input_idx": e["ie_edit_input_idx"]} | r for e, r in zip(edits, records, strict=True)]
        write(tmp_path / f"{name}.jsonl", indexed[::-1])  # joined by index, not by place
    (tmp_path / "ie_consistenct_ignore_idx.json").write_text("[1, 11]")
    return tmp_path


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def test_an_edit_and_its_probes_are_joined_by_index(folder):
    """By hand. SHA-256 of "United Kingdom" leaves a rest of 3 (eval), that of "Spain" none (train)."""
    (case,) = read(folder / "edits.jsonl", dialect="mc-mke", part="eval")
    assert case.request.query == Query("pgoogle_e11_u3.jpg", QUESTION, "Lithuania")
    assert [(each.kind, each.aim, each.query, each.aliases) for each in case.probes] == [
        ("rel", "become", case.request.query, ("LTU", "LT")),
        ("t_gen", "become", Query("pgoogle_e11_u3.jpg", PARAPHRASES[1], "Lithuania"), ("LTU", "LT")),
        ("m_gen", "become", Query("pgoogle_e11_u4.jpg", QUESTION, "Lithuania"), ("LTU", "LT")),
        ("m_loc", "stay", Query("pgoogle_e4454_u0.jpg", NEAR["918"]["ie_question"], "ESPN"), ()),
        ("cloze", "become", Query("pgoogle_e11_u3.jpg", CLOZE, "Lithuania", "plain"), ("LTU", "LT")),
        ("consistency", "become", Query("pgoogle_e11_u3.jpg", CAPITAL, "Vilnius", "plain"), ("Wilno",)),
    ]
    (other,) = read(folder / "edits.jsonl", dialect="mc-mke", part="train")
    assert other.request.target == "Japan" and other.probe("rel").aliases == ("Iapan", "Nippon")
    assert not other.asks("consistency")


def test_what_is_wrong_in_any_file_is_named_at_once(folder):
    (folder / "ie_consistenct_ignore_idx.json").write_text("{}")
    write(folder / "edits.jsonl", [EDITS[0] | {"ie_question": QUESTION, "ie_cloze": 3, "images": []}, "x"])
    write(
        folder / "final_ie_locality_test.jsonl", [{"ie_edit_input_idx": 0, "locality_test_dict": {"5": {"image": " "}}}]
    )
    write(folder / "final_ie_test_image_generality.jsonl", [])
    with pytest.raises(InputError) as error:
        read(folder / "edits.jsonl", dialect="mc-mke")
    for part in (
        "ie_consistenct_ignore_idx.json: expected a list, found {}",
        "record 0: field 'ie_cloze': expected non-empty text, found 3",
        "record 0: field 'images': expected 1 or more texts, found []",
        "final_ie_locality_test.jsonl line 1 (of record 0): field 'locality_test_dict': field 'image': expected",
        "final_ie_test_image_generality.jsonl line ? (of record 0): field 'generality_images': expected a list",
        "record 1: field 'e_ent': expected non-empty text, found nothing",
    ):
        assert f"edits.jsonl: {part}" in str(error.value)


def test_edits_of_texts_are_refused_and_missing_files_named(folder):
    write(folder / "sro.jsonl", [{"sro_edit_input_idx": 0, "s": "United Kingdom"}])
    with pytest.raises(InputError, match=r"sro\.jsonl: record 0: expected an edit with field .*texts have no picture"):
        read(folder / "sro.jsonl", dialect="mc-mke")
    (folder / "final_ie_test_consistency.jsonl").unlink()
    with pytest.raises(InputError, match=r"final_ie_test_consistency\.jsonl: no such file"):
        read(folder / "edits.jsonl", dialect="mc-mke")


@pytest.mark.parametrize(
    ("name", "question", "text_only"),
    [
        ("ie_edit/final_ie_edit_input.jsonl", "ie_question", 0),
        ("iro_edit/final_iro_edits_inputs.cloze.alias.explore3.locality.jsonl", "iro_question", 40),
    ],
)
def test_the_real_files_load(name, question, text_only):
    if not (SHARED / name).is_file():
        pytest.skip("the excerpts of MC-MKE are not here")
    raw = [json.loads(line) for line in (SHARED / name).read_text().splitlines()]
    cases = [case for part in ("train", "eval") for case in read(SHARED / name, dialect="mc-mke", part=part)]
    assert sorted(case.request.prompt for case in cases) == sorted(record[question] for record in raw)
    asked = [case.query("consistency") for case in cases if case.asks("consistency")]
    ignored = json.loads((SHARED / "ie_edit/ie_consistenct_ignore_idx.json").read_text()) if not text_only else []
    assert len(asked) == 40 - len(ignored)
    assert sum(query.image is None for query in asked) == text_only
