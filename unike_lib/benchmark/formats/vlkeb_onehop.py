"""VLKEB's eval_edit_onehop.json: two edits, the picture's entity and then a text-only fact about it, then a question.

A record has MMEdit's keys and one entry of `port_new`: the second edit (`port_edit_q`, `port_edit_a`), which needs the
first to matter, and the question about the edited picture that takes both (`port_q`, `port_a`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from unike_lib.benchmark.dialect import Dialect, Record, Source, Table, read_records, shown, text_problems
from unike_lib.benchmark.formats import mmedit, vlkeb
from unike_lib.types import EditCase, EditRequest, Probe, Query

KEYS = ("port_edit_q", "port_edit_a", "port_q", "port_a")


@dataclass(frozen=True)
class OneHop:
    """The question that takes both edits, about the picture of the first; records of the training file have none."""

    def problems(self, record: Record, index: int) -> list[str]:
        """Say what is wrong with `port_new`."""
        if "port_new" not in record:
            return []
        entries = record["port_new"]
        if not isinstance(entries, list) or len(entries) != 1:
            return [
                f"record {index}: field 'port_new': expected a list of one entry, found {shown(record, 'port_new')}"
            ]
        return [problem.replace("field '", "field 'port_new.") for problem in text_problems(entries[0], index, KEYS)]

    def probes(self, record: Record) -> Iterator[Probe]:
        """Yield the question, where there is one."""
        for entry in record.get("port_new", []):
            query = Query(record["image"].strip(), entry["port_q"].strip(), entry["port_a"].strip())
            yield Probe("portability", query)


TABLE = Table(mmedit.ASKS, (OneHop(),), vlkeb.fact_of)


def read(source: Source) -> Iterator[EditCase]:
    """Yield the cases of a file; raise InputError as `Table` does.

    Reading: as in VLKEB's code (branch edit_onehop, MultimodalTrainer.edit_step), the picture's edit comes first, the
    second is put without a picture on top of it, and the question is asked after both. So are all other probes here;
    VLKEB asks none. The second edit is a fact that the case rests on, too, unless the record says its own `facts`.
    """
    records = read_records(source.path)
    TABLE.check(source.path, records)
    for record in records:
        case = TABLE.case(record, source.task)
        for entry in record.get("port_new", []):
            second = EditRequest("", "vqa", None, entry["port_edit_q"].strip(), entry["port_edit_a"].strip())
            facts = case.facts if "facts" in record else (*case.facts, second.prompt)
            case = replace(case, then=(second,), facts=facts)
        yield case


DIALECT = Dialect("vlkeb_onehop", read, {**TABLE.pictures, "portability": "image"})
