"""CCKEB's JSON files (MemEIC): an edit of a picture and one of text (`textual_edit`), and what takes both ("comp").

`src_q`, `rephrase_q`, `m_loc_q_q` and `Query` are made for one method's own retrieval and are not read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from unike_lib.benchmark.dialect import Dialect, Record, Source, Table, is_text, read_records, shown, text_problems
from unike_lib.benchmark.formats import mmedit, vlkeb
from unike_lib.types import EditCase, EditRequest, Probe, Query

KINDS = {"comp": "comp", **mmedit.HOPS}
PORTS = mmedit.Ports(tuple(KINDS), KINDS)
TEXT_PORTS = mmedit.Ports(tuple(KINDS), {"1-hop": "text_port"})


def joined(target: Any) -> Any:
    """Return a target as text.

    Reading: as in MemEIC's code (`CompositionalCaptionDataset`), a list is joined with blanks: its elements are parts
    or alternatives ("Baltimore", "Maryland"), and nothing tells which.
    """
    whole = isinstance(target, list) and target and all(map(is_text, target))
    return " ".join(each.strip() for each in target) if whole else target


@dataclass(frozen=True)
class TextEdit:
    """The text edit's own probes, all without a picture; an edit without a rephrasing or locality has none of these.

    Reading: its locality is asked where it is not the record's own (in the released file it always is); its own
    `port_new` (never there) with the answer that stands in it, where MemEIC's code repeats the compositional question.
    """

    def problems(self, record: Record, index: int) -> list[str]:
        """Say what is wrong with the text edit, or that a question takes one that is not there."""
        if "textual_edit" not in record:
            entries = record.get("port_new")
            both = [each for each in entries if _is_comp(each)] if isinstance(entries, list) else []
            expected = f"record {index}: field 'textual_edit': expected an object, as port_new asks for both edits"
            return [f"{expected}, found nothing"] * bool(both)
        edit = record["textual_edit"]
        if not isinstance(edit, dict):
            return [f"record {index}: field 'textual_edit': expected an object, found {shown(record, 'textual_edit')}"]
        keys = ["src", "alt", *["rephrase"] * ("rephrase" in edit)]
        keys += ["loc", "loc_ans"] if {"loc", "loc_ans"} & edit.keys() else []
        found = text_problems({**edit, "alt": joined(edit.get("alt"))}, index, keys)
        found += TEXT_PORTS.problems(edit, index)
        return [problem.replace("field '", "field 'textual_edit.") for problem in found]

    def probes(self, record: Record) -> Iterator[Probe]:
        """Yield the text edit as a question, its rephrasing, its locality, and a consequence."""
        if "textual_edit" not in record:
            return
        edit = record["textual_edit"]
        request = text_request(edit)
        yield Probe("text_rel", request.query)
        if "rephrase" in edit:
            yield Probe("text_gen", replace(request.query, prompt=edit["rephrase"].strip()))
        if "loc" in edit and edit["loc"].strip() != record["loc"].strip():
            yield Probe("text_loc", Query(None, edit["loc"].strip(), edit["loc_ans"].strip()))
        for probe in TEXT_PORTS.probes({**edit, "image": record["image"]}):
            yield replace(probe, query=replace(probe.query, image=None))


def _is_comp(entry: Any) -> bool:
    return isinstance(entry, dict) and entry.get("port_type") == "comp"


def text_request(edit: Record) -> EditRequest:
    """Return the request of a text edit."""
    return EditRequest("", "vqa", None, edit["src"].strip(), joined(edit["alt"]).strip())


TABLE = Table(mmedit.ASKS, (PORTS, TextEdit()), vlkeb.fact_of)


def read(source: Source) -> Iterator[EditCase]:
    """Yield the cases of a file; raise InputError as `Table` does.

    The picture's edit comes first, the text edit on top of it; everything is asked after both. The text edit is a fact
    that the case rests on, too, unless the record says its own `facts`.
    """
    records = read_records(source.path)
    TABLE.check(source.path, records)
    for record in records:
        case = TABLE.case(record, source.task)
        if "textual_edit" in record:
            second = text_request(record["textual_edit"])
            facts = case.facts if "facts" in record else (*case.facts, second.prompt)
            case = replace(case, then=(second,), facts=facts)
        yield case


DIALECT = Dialect("cckeb", read, {**TABLE.pictures, **dict.fromkeys(KINDS.values(), "image")})
