"""MMEdit's JSON files (E-VQA, E-IC): a list of records, a text per key; VLKEB's `port_new` may be added.

`pred` (what BLIP-2 said when the files were made) is not read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from unike_lib.benchmark.dialect import Ask, Dialect, Record, Table, is_text, shown
from unike_lib.characters import without_controls
from unike_lib.types import Probe, Query

ASKS = (
    Ask("rel", "src", "alt", "image"),
    Ask("t_gen", "rephrase", "alt", "image"),
    Ask("m_gen", "src", "alt", "image_rephrase"),
    Ask("t_loc", "loc", "loc_ans"),
    Ask("m_loc", "m_loc_q", "m_loc_a", "m_loc"),
)

# Type of a portability question -> the kind of its probe.
HOPS = {"1-hop": "portability", "2-hop": "portability_2", "3-hop": "portability_3", "4-hop": "portability_4"}


@dataclass(frozen=True)
class Ports:
    """VLKEB's portability questions about the edited picture: a list of {port_type: "1-hop", Q&A: {Question, Answer}}.

    Reading: the paper has no portability. Like VLKEB's code, a record's first question of each number of hops is asked;
    all in one run, each of its own kind (`kinds`, by type). With `types`, no others than these may occur.
    """

    types: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=lambda: HOPS)

    @property
    def _expected(self) -> str:
        """What an entry should be."""
        return (
            f"port_type{' ' * bool(self.types)}{' or '.join(self.types)}, and Q&A with Question and Answer, all "
            "non-empty texts (entries with port_edit_q are read by benchmark.format: vlkeb_onehop)"
        )

    def problems(self, record: Record, index: int) -> list[str]:
        """Say which entries are malformed, or of an unknown type."""
        entries = record.get("port_new", [])
        if not isinstance(entries, list):
            return [f"record {index}: field 'port_new': expected a list, found {shown(record, 'port_new')}"]
        return [
            f"record {index}: field 'port_new': entry {number}: expected "
            + without_controls(_parts(entry) if isinstance(entry, dict) else None, self._expected)
            + f", found {entry!r}"
            for number, entry in enumerate(entries)
            if not isinstance(entry, dict)
            or not all(map(is_text, _parts(entry)))
            or (self.types and entry["port_type"] not in self.types)
        ]

    def probes(self, record: Record) -> Iterator[Probe]:
        """Yield the first question of each type; types without a kind are not asked."""
        entries = [_parts(entry) for entry in record.get("port_new", [])]
        for asked, kind in self.kinds.items():
            found = next(((question, answer) for name, question, answer in entries if name == asked), None)
            if found is not None:
                yield Probe(kind, Query(record["image"].strip(), found[0].strip(), found[1].strip()))


def _parts(entry: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return the type of a portability question ("1-hop"), the question, and its answer."""
    asked = entry.get("Q&A")
    asked = asked if isinstance(asked, dict) else {}
    return entry.get("port_type"), asked.get("Question"), asked.get("Answer")


TABLE = Table(ASKS, (Ports(),))
DIALECT = Dialect("mmedit", TABLE, {**TABLE.pictures, **dict.fromkeys(HOPS.values(), "image")})
