"""MC-MKE's JSON Lines: edits of what a picture shows (`ie_edit`) or of what it makes one think of (`iro_edit`).

`benchmark.files` names the file of edits; those of its probes, which are joined by index, lie beside it under their
released names. Edits of a text (`sro_edit`) have no picture, and are not read.

Reading: the edit is put as its question, a question is asked of another picture (M-Gen.), and the cloze of the
file's reliability probe is asked as `cloze`: MC-MKE gives the model clozes there and questions where it rephrases.
Of several paraphrases, pictures and localities the first is asked, of paraphrases the first that is not the edit's own.
Reading: MC-MKE has no training edits. A third of the entities, by the SHA-256 of their names, is `train`, the rest
`eval`, so that one file may be named for both. Aliases are trimmed; where texts are compared, an answer must equal one
(MC-MKE looks whether it contains one: "ro" is in nearly every text). Of pictures only the names are read, without the
authors' folders.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

from unike_lib.benchmark.dialect import Dialect, Record, Source, read_lines, read_records, require_none
from unike_lib.benchmark.fields import Fields
from unike_lib.io import read_json
from unike_lib.types import EditCase, EditRequest, InputError, Probe, Query


@dataclass(frozen=True)
class Layout:
    """How edits are written: their keys (entity, question, cloze, answer, aliases); files of probes, with theirs.

    ignored: a list of edits whose consistent answer does not change, and is not asked."""

    index: str
    edit: tuple[str, str, str, str, str]
    wordings: tuple[str, str]
    pictures: str
    locality: tuple[str, str, str]
    consistency: tuple[str, ...]
    ignored: str | None = None


ASKED = "image", "input_cloze", "output", "output_alias"
IE = Layout(
    "ie_edit_input_idx",
    ("e_ent", "ie_question", "ie_cloze", "new_e_ent", "new_e_ent_alias"),
    ("final_ie_test_text_generality.jsonl", "ie_question_paraphrases"),
    "final_ie_test_image_generality.jsonl",
    ("final_ie_locality_test.jsonl", "ie_question", "orig_loc_ent"),
    ("final_ie_test_consistency.jsonl", *(f"consistency_iro_{key}" for key in ASKED)),
    "ie_consistenct_ignore_idx.json",
)
IRO = Layout(
    "iro_edit_input_idx",
    ("s", "iro_question", "iro_cloze", "new_o", "new_o_alias"),
    ("final_iro_text_generality.jsonl", "iro_question_paraphrases"),
    "final_iro_image_generality.jsonl",
    ("final_iro_test_locality.jsonl", "iro_question", "orig_loc_output_ent"),
    ("final_iro_consistency.jsonl", "consistency_image", "consistency_sro_cloze", "new_o", "new_o_alias"),
)


def read(source: Source) -> Iterator[EditCase]:
    """Yield the edits of the part that is asked for; raise InputError with the problems of all edits and probes."""
    edits = read_records(source.path)
    layout = next((each for each in (IE, IRO) if isinstance(edits[0], dict) and each.index in edits[0]), None)
    if layout is None:
        expected = f"{IE.index} or {IRO.index} (edits of texts have no picture, and are not read)"
        raise InputError(f"{source.path}: record 0: expected an edit with field {expected}")
    files: dict[str, dict[Any, tuple[int, Record]]] = {}
    for name in (layout.wordings[0], layout.pictures, layout.locality[0], layout.consistency[0]):
        lines = read_lines(source.path.with_name(name))
        files[name] = {str(each.get(layout.index)): (n, each) for n, each in lines if isinstance(each, dict)}
    ignored = read_json(source.path.with_name(layout.ignored)) if layout.ignored else []
    problems = [] if isinstance(ignored, list) else [f"{layout.ignored}: expected a list, found {repr(ignored)[:60]}"]
    found, skipped = [], {str(each) for each in ignored} if not problems else set()
    for number, record in enumerate(edits):
        index = str(record.get(layout.index)) if isinstance(record, dict) else None
        joined = {name: file.get(index, ("?", None)) for name, file in files.items()}
        place = "{} line {} (of record {})".format
        probes = {name: Fields(place(name, n, number), each, problems) for name, (n, each) in joined.items()}
        edit = Fields(f"record {number}", record, problems)
        found.append((edit.text(layout.edit[0]), _case(layout, edit, probes, index in skipped)))
    require_none(source.path, problems)
    for entity, case in found:
        third = int(sha256(entity.encode()).hexdigest(), 16) % 3
        if ("eval" if third else "train") == source.part:
            yield case


def _case(layout: Layout, edit: Fields, probes: dict[str, Fields], ignored: bool) -> EditCase:
    """Return the case of an edit; without the probe of consistency if that is ignored."""
    entity, question, cloze, answer = map(edit.text, layout.edit[:4])
    aliases, image = edit.texts(layout.edit[4], 0), _name(edit.texts("images")[0])
    request = EditRequest("", "vqa", image, question, answer)
    wordings = probes[layout.wordings[0]].texts(layout.wordings[1])
    wording = next((each for each in wordings if each != question), wordings[0])
    other = _name(probes[layout.pictures].texts("generality_images")[0])
    near = probes[layout.locality[0]].inside("locality_test_dict")
    found = [
        Probe("rel", request.query, None, aliases),
        Probe("t_gen", Query(image, wording, answer), None, aliases),
        Probe("m_gen", Query(other, question, answer), None, aliases),
        Probe("m_loc", Query(_name(near.text("image")), near.text(layout.locality[1]), near.text(layout.locality[2]))),
        Probe("cloze", Query(image, cloze, answer, "plain"), "become", aliases),
    ]
    if not ignored:
        file, picture, prompt, wanted, others = layout.consistency
        asked = probes[file]
        shows = _name(asked.text(picture)) if layout is IE or asked.record.get(picture) else None  # IRO's are ""
        query = Query(shows, asked.text(prompt), asked.text(wanted), "plain")
        found.append(Probe("consistency", query, "become", asked.texts(others, 0)))
    return EditCase(request, tuple(found), (f"{entity} {question}",))


def _name(path: str) -> str:
    return PurePosixPath(path).name or path


PICTURES = dict.fromkeys(("rel", "t_gen", "cloze"), "images") | {"m_gen": "generality_images"}
DIALECT = Dialect("mc-mke", read, PICTURES, frozenset(["t_loc"]))
