"""Made-up records in MMEdit's form, and ways from records and files to cases that give them the ids of their files."""

import json
from dataclasses import replace
from pathlib import Path

from unike_lib.benchmark.cases import write_cases
from unike_lib.benchmark.dialect import Source, find_dialect
from unike_lib.benchmark.formats.mmedit import TABLE

FIELDS = ("src", "rephrase", "alt", "image", "image_rephrase", "loc", "loc_ans", "m_loc", "m_loc_q", "m_loc_a")


# A black picture of one pixel: the smallest that is whole.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d494844520000000100000001080200000090"
    "7753de0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)


def record(index=0, **changes):
    values = {field: f"{field} {index}" for field in FIELDS}
    images = {"image": f"a{index}.png", "image_rephrase": f"b{index}.png", "m_loc": "near.png"}
    return values | {"pred": ""} | images | changes


def write(path, records):
    path.write_text(json.dumps(records))
    return path


def read(path, task="vqa", dialect="mmedit", part="train"):
    """The cases of a user's file; those without an id have none."""
    return list(find_dialect(dialect).read(Source(Path(path), task, part)))


def cases_of(records, name="eval_vqa", task="vqa"):
    """The cases of records, with ids by name and place where they have none."""
    cases = [TABLE.case(each, task) for each in records]
    ids = [each.request.id or f"{name}-{index}" for index, each in enumerate(cases)]
    return [replace(each, request=replace(each.request, id=own)) for each, own in zip(cases, ids, strict=True)]


def write_stage(path, records):
    """Write records as a stage's file of cases, such as eval_vqa.json."""
    split, task = path.stem.split("_")
    write_cases(path, split, task, cases_of(records, path.stem, task))
    return path


def records_in(path):
    """The texts of a stage's file as records, read without the library."""
    content = json.loads(Path(path).read_text())
    return [_record(case) for case in content["cases"]]


def _record(case):
    asked = {probe["kind"]: probe["query"] for probe in case["probes"]}
    edit, text, near = asked["rel"], asked["t_loc"], asked["m_loc"]
    ports = [asked["portability"]] if "portability" in asked else []
    return {
        "id": case["request"]["id"],
        "src": edit["prompt"],
        "rephrase": asked["t_gen"]["prompt"],
        "alt": edit["answer"],
        "image": edit["image"],
        "image_rephrase": asked["m_gen"]["image"],
        "loc": text["prompt"],
        "loc_ans": text["answer"],
        "m_loc": near["image"],
        "m_loc_q": near["prompt"],
        "m_loc_a": near["answer"],
        "facts": case["facts"],
        "port_new": [
            {"port_type": "1-hop", "Q&A": {"Question": port["prompt"], "Answer": port["answer"]}} for port in ports
        ],
    }
