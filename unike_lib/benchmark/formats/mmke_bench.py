"""MMKE-Bench's JSON files: entities, visual knowledge, users' own; an edit is a description of several sentences.

Rel., T-Gen. and M-Gen. ask for the description, as MMKE-Bench's code does; the questions with short answers are those
of its paper's columns: T-Rel (`text_rel`), I-Rel (`m_rel`), I-Gen (`m_rel_gen`), each twice but for visual knowledge.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from unike_lib.benchmark.dialect import Dialect, Record, Table, shown, text_problems
from unike_lib.benchmark.formats import mmedit, vlkeb
from unike_lib.types import Probe, Query

VISUAL = "visual_knowledge"
LEVELS = ("entity_level", VISUAL, "user_specific")
# Kind of probe, key of its question, key that its answer goes by, key of its picture.
Short = tuple[str, str, str, str | None]
NUMBERED: tuple[Short, ...] = (
    ("text_rel", "rel_1", "rel_1", None),
    ("text_rel_2", "rel_2", "rel_2", None),
    ("m_rel", "m_rel_1", "m_rel_1", "image"),
    ("m_rel_2", "m_rel_2", "m_rel_2", "image"),
    ("m_rel_gen", "m_rel_1", "m_rel_1", "image_rephrase"),
    ("m_rel_gen_2", "m_rel_2", "m_rel_2", "image_rephrase"),
)
SINGLE: tuple[Short, ...] = (
    ("text_rel", "rel", "rel", None),
    ("m_rel", "m_rel", "m_rel", "image"),
    ("m_rel_gen", "image_rephrase_question", "m_rel", "image_rephrase"),
)


def answer_key(record: Record, name: str) -> str:
    """Return how a record spells the answer to a question: rel_ans_1 or, where there is no such key, rel_1_ans."""
    base, _, number = name.rpartition("_")
    usual = f"{base}_ans_{number}"
    return usual if number.isdigit() and (usual in record or f"{name}_ans" not in record) else f"{name}_ans"


PORTS = mmedit.Ports(tuple(mmedit.HOPS))


@dataclass(frozen=True)
class ShortAnswers:
    """Questions with short answers, and portability; a record asks those that it has."""

    def problems(self, record: Record, index: int) -> list[str]:
        """Say which fields that a record of its level may have are wrong."""
        level = record.get("knowledge_type")
        if level not in LEVELS:
            expected = f"record {index}: field 'knowledge_type': expected {' or '.join(LEVELS)}"
            return [f"{expected}, found {shown(record, 'knowledge_type')}"]
        keys = [key for _, question, name, _ in shorts(record) for key in _needed(record, question, name)]
        keys += ["one_hop_img"] * ("port_new" in record and port_picture(record) == "one_hop_img")
        return text_problems(record, index, tuple(dict.fromkeys(keys))) + PORTS.problems(record, index)

    def probes(self, record: Record) -> Iterator[Probe]:
        """Yield them."""
        for kind, question, name, image in shorts(record):
            if question in record:
                answer = record[answer_key(record, name)].strip()
                picture = None if image is None else record[image].strip()
                yield Probe(kind, Query(picture, record[question].strip(), answer))
        for probe in PORTS.probes(record):
            yield replace(probe, query=replace(probe.query, image=record[port_picture(record)].strip()))


def shorts(record: Record) -> tuple[Short, ...]:
    """Return the questions that a record of its level may have."""
    return SINGLE if record["knowledge_type"] == VISUAL else NUMBERED


def port_picture(record: Record) -> str:
    """Return the key of the picture that portability is asked about: entities have none of their own for it."""
    return "image" if record["knowledge_type"] == LEVELS[0] else "one_hop_img"


def _needed(record: Record, question: str, name: str) -> list[str]:
    """Return the keys that must hold text, as the record has the question or an answer that goes by its name."""
    if question in record:
        return [question, answer_key(record, name)]
    return [question] if question == name and answer_key(record, name) in record else []


TABLE = Table(mmedit.ASKS, (ShortAnswers(),), vlkeb.fact_of)
PICTURES = {kind: image for kind, _, _, image in NUMBERED if image is not None}
PORT_PICTURES = dict.fromkeys(mmedit.HOPS.values(), "one_hop_img or image")
DIALECT = Dialect("mmke-bench", TABLE, {**TABLE.pictures, **PICTURES, **PORT_PICTURES})
