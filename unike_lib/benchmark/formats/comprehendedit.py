"""ComprehendEdit's JSON files: edits of wrong answers, and their neighbours among questions of the same kind.

A record of the test file names neighbours by `pid`: the nearest by picture or text (`img_topk`, `txt_topk`) and the
farthest (`img_last_topk`, `txt_last_topk`) of the test file, whose answers the model had wrong, and the same four
(`ori_rt_*`) of ComprehendEdit_ori_right.json beside it, whose answers it had right. There is no rephrased picture.

Reading: the first entry of a `_topk` list is asked and the last of a `_last_topk` list (the code's k = 1). A neighbour
that was wrong must come to its answer (`kgi_*`; KGI is the score less that of the unedited model), one that was right
must stay as it is (`kpi_*`; KPI). Which were wrong or right was so for the models that the set was made with.
Reading: of the code's frame for each source only that is kept which says what is asked: a number (TallyQA), whether a
description is true (VSR). How a question is put to a model says the model. The original asks `locality_prompt` with
itself as its answer; here it has the file's `locality_ground_truth`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from unike_lib.benchmark.dialect import Ask, Dialect, Record, Source, Table, read_records, require_none, text_problems
from unike_lib.types import EditCase, Probe, Query

RIGHT_FILE = "ComprehendEdit_ori_right.json"
LISTS = ("img_topk", "txt_topk", "img_last_topk", "txt_last_topk")
ASKS = (
    Ask("rel", "question", "answer", "image"),
    Ask("t_gen", "rephrase", "answer", "image"),
    Ask("t_loc", "locality_prompt", "locality_ground_truth"),
    Ask("m_loc", "multimodal_locality_prompt", "multimodal_locality_ground_truth", "multimodal_locality_image"),
)
FRAMES = {
    "gqa": "{}",
    "textvqa": "{}",
    "mathvista": "{}",
    "tallyqa": "{} Answer with a number.",
    "vsr": "Is this description true or false? Description: {}",
}


@dataclass(frozen=True)
class Neighbours:
    """Probes of neighbours; `known`: the records that they may be, by `pid`, of the test file and of the right ones."""

    known: Mapping[str, Mapping[int, Record]]

    def problems(self, record: Record, index: int) -> list[str]:
        """Say whether the source is unknown, and which lists name no record."""
        found = source_problems(record, index)
        for key, pids, known in self._lists(record):
            if not isinstance(pids, list) or not pids or not isinstance(_chosen(key, pids), int):
                found.append(f"record {index}: field '{key}': expected a list of pids, found {repr(pids)[:60]}")
            elif _chosen(key, pids) not in known:
                expected = "the pid of a record with image, question, answer and source"
                found.append(f"record {index}: field '{key}': expected {expected}, found {_chosen(key, pids)}")
        return found

    def probes(self, record: Record) -> Iterator[Probe]:
        """Yield the question of each list: wrong neighbours must come to their answers, right ones stay."""
        for key, pids, known in self._lists(record):
            other = known[_chosen(key, pids)]
            query = Query(other["image"].strip(), framed(other, "question")["question"], other["answer"].strip())
            kind = key.removeprefix("ori_rt_").removesuffix("_topk")
            if key in LISTS:
                yield Probe(f"kgi_{kind}", query, "become")
            else:
                yield Probe(f"kpi_{kind}", query, "stay")

    def _lists(self, record: Record) -> Iterator[tuple[str, Any, Mapping[int, Record]]]:
        for prefix, known in self.known.items():
            yield from ((prefix + key, record[prefix + key], known) for key in LISTS if prefix + key in record)


def _chosen(key: str, pids: list[Any]) -> Any:
    return pids[-1 if "last" in key else 0]


def source_problems(record: Record, index: int) -> list[str]:
    """Say whether a record's source is none that has a frame."""
    source = record.get("source")
    if isinstance(source, str) and source.lower() in FRAMES:
        return []
    return [f"record {index}: field 'source': expected one of {', '.join(FRAMES)}, found {repr(source)[:60]}"]


def framed(record: Record, *keys: str) -> Record:
    """Return a record whose questions under some keys say what their source asks for."""
    frame = FRAMES[record["source"].lower()]
    return {**record, **{key: frame.replace("{}", record[key].strip()) for key in keys}}


def _by_pid(records: list[Any]) -> dict[int, Record]:
    """Return the records that can be asked, by pid."""
    keys = ("image", "question", "answer")
    whole = [each for each in records if not text_problems(each, 0, keys) and not source_problems(each, 0)]
    return {each["pid"]: each for each in whole if isinstance(each.get("pid"), int)}


def read(source: Source) -> Iterator[EditCase]:
    """Yield the cases of a file; raise InputError as `Table` does. As in the code, one without an answer is no edit."""
    records = read_records(source.path)
    known = {"": _by_pid(records), "ori_rt_": {}}
    if any(isinstance(each, dict) and any(f"ori_rt_{key}" in each for key in LISTS) for each in records):
        path = source.path.with_name(RIGHT_FILE)
        others = read_records(path)
        keys = ("image", "question", "answer", "source")
        require_none(path, [problem for i, each in enumerate(others) for problem in text_problems(each, i, keys)])
        known["ori_rt_"] = _by_pid(others)
    table = Table(ASKS, (Neighbours(known),))
    no_edit = [isinstance(each, dict) and each.get("answer") == "" for each in records]
    table.check(
        source.path,
        [each | {"answer": "-"} if skipped else each for each, skipped in zip(records, no_edit, strict=True)],
    )
    for record, skipped in zip(records, no_edit, strict=True):
        if not skipped:
            yield table.case(framed(record, "question", "rephrase"), source.task)


PICTURES = Table(ASKS).pictures
DIALECT = Dialect("comprehendedit", read, PICTURES, frozenset(["m_gen"]))
