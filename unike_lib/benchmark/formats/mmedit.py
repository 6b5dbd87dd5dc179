"""MMEdit's JSON files (E-VQA, E-IC): a list of records, a text per key; VLKEB's `port_new` may be added.

`pred` (what BLIP-2 said when the files were made) is not read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from unike_lib.benchmark.dialect import Ask, Dialect, Record, Table, shown
from unike_lib.types import Probe, Query

ASKS = (
    Ask("rel", "src", "alt", "image"),
    Ask("t_gen", "rephrase", "alt", "image"),
    Ask("m_gen", "src", "alt", "image_rephrase"),
    Ask("t_loc", "loc", "loc_ans"),
    Ask("m_loc", "m_loc_q", "m_loc_a", "m_loc"),
)


@dataclass(frozen=True)
class Ports:
    """VLKEB's portability questions about the edited picture: a list of {port_type: "1-hop", Q&A: {Question, Answer}}.

    Reading: the paper has no portability. Like VLKEB's code, one question per record is asked: the first with as many
    hops as `benchmark.hops` says. With `types`, no others than these may occur.
    """

    types: tuple[str, ...] = ()

    def problems(self, record: Record, index: int) -> list[str]:
        """Say which entries are malformed, or of an unknown type."""
        entries = record.get("port_new", [])
        if not isinstance(entries, list):
            return [f"record {index}: field 'port_new': expected a list, found {shown(record, 'port_new')}"]
        return [
            f"record {index}: field 'port_new': entry {number}: expected port_type{' ' * bool(self.types)}"
            f"{' or '.join(self.types)}, and Q&A with Question and Answer, all non-empty texts, found {entry!r}"
            for number, entry in enumerate(entries)
            if not isinstance(entry, dict)
            or not all(isinstance(part, str) and part.strip() for part in _parts(entry))
            or (self.types and entry["port_type"] not in self.types)
        ]

    def probes(self, record: Record, hops: int) -> Iterator[Probe]:
        """Yield the first question of so many hops."""
        for entry in record.get("port_new", []):
            kind, question, answer = _parts(entry)
            if kind == f"{hops}-hop":
                yield Probe("portability", Query(record["image"].strip(), question.strip(), answer.strip()))
                return


def _parts(entry: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return the type of a portability question ("1-hop"), the question, and its answer."""
    asked = entry.get("Q&A")
    asked = asked if isinstance(asked, dict) else {}
    return entry.get("port_type"), asked.get("Question"), asked.get("Answer")


TABLE = Table(ASKS, (Ports(),))
DIALECT = Dialect("mmedit", TABLE, {**TABLE.pictures, "portability": "image"})
