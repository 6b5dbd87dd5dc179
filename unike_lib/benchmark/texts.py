"""Texts that a backbone's tokenizer cannot take as they are: words it does not know, and its own special tokens.

An unknown word becomes `<unk>`: an edit of `<unk>` is fully reliable, and says nothing. A special token in a user's
text (`<image>`, `<s>`) becomes a bare embedding instead of letters. Both are refused by record, or the records left
out: users' texts and a family's marks are tokenised as one text, so that special tokens cannot be plain text there.
What only looks like a mark to people (MiniGPT-4's `###Human:`) is plain text.

Which records these are differs between tokenizers. So the benchmark's files stay as they are, and each backbone has its
own beside them, with the records that it can be asked.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unike_lib.benchmark.cases import read_case_file, read_cases, write_cases
from unike_lib.benchmark.dialect import PROBLEMS_SHOWN
from unike_lib.benchmark.text_questions import GENERAL
from unike_lib.benchmark.triplet_sources import read_triplet_source, write_triplet_source
from unike_lib.io import read_json, write_checksums, write_json
from unike_lib.types import EditCase, InputError, Query

log = logging.getLogger(__name__)
UNKNOWN, SPECIAL = "unknown", "special"  # why a text cannot be taken; keys of counts.json
WHY = {
    UNKNOWN: "hold words that its tokenizer does not know",
    SPECIAL: "hold special tokens of its tokenizer",
}


@dataclass(frozen=True)
class StrangeText:
    """A text that a tokenizer cannot take as it is, where it stands, and which of the two reasons there are."""

    file: str
    record: str
    kind: str
    place: str
    text: str
    problem: str
    reason: str

    def __str__(self) -> str:
        """Say it as messages do."""
        return f"{self.file}: record {self.record}: {self.place} {self.text[:60]!r}: {self.problem}"


def write_askable(
    tokenizer: Any, files: Sequence[Path], folder: Path, backbone: str, text_locality: str | None, skip: bool
) -> None:
    """Write the records of a user's benchmark that a backbone can be asked, and counts.json: how many, and which not.

    Args:
        tokenizer: the backbone's.
        files: of cases, and triplet sources (.jsonl); they are written under the same names.
        folder: where to.
        backbone: named in errors.
        text_locality: where the backbone's text-only questions come from; None: the records.
        skip: leave out records with other texts.

    Raises:
        InputError: some records have such texts, and are not to be left out; a split has no other; or the text-only
            questions from elsewhere have them, which are no records.
    """
    asked = {file.name: _read(file, text_locality) for file in files}
    found = strange_texts(tokenizer, asked)
    borrowed = [each for each in found if text_locality is not None and each.kind == "t_loc"]
    if borrowed:
        named = "the packaged questions" if text_locality == GENERAL else text_locality
        raise InputError(
            f"{backbone}: the tokenizer cannot take text-only questions of {named} as they are; name other ones "
            f"(text_locality): {_listed(dict.fromkeys(f'{x.place} {x.text[:60]!r}: {x.problem}' for x in borrowed))}"
        )
    if found and not skip:
        raise InputError(
            f"{backbone}: the tokenizer cannot take the texts of {len({(x.file, x.record) for x in found})} records as "
            f"they are; take these records out (benchmark.missing: skip does), or change their texts: {_listed(found)}"
        )
    counts = {}
    for file in files:
        strange = [each for each in found if each.file == file.name]
        counts[file.name] = _count(file.name, asked[file.name], strange)
        _write(file, folder / file.name, strange, backbone)
    write_json(folder / "counts.json", counts)
    write_checksums(folder, folder.glob("*.json"))


def _read(file: Path, text_locality: str | None) -> list[EditCase]:
    return read_triplet_source(file) if file.suffix == ".jsonl" else read_cases(file, None, text_locality)


def _write(file: Path, to: Path, strange: Sequence[StrangeText], backbone: str) -> None:
    """Write a file's records again, but for those with strange texts; text-only questions stay the records' own."""
    gone = {each.record for each in strange}
    if file.suffix == ".jsonl":
        write_triplet_source(to, [case for case in read_triplet_source(file) if case.request.id not in gone])
        return
    whole = read_case_file(file)
    kept = [case for case in whole.cases if case.request.id not in gone]
    if not kept:
        raise InputError(
            f"{backbone}: the tokenizer cannot take any record of {file} as it is; bring other records, or check that "
            f"the tokenizer is the model's: {_listed(strange)}"
        )
    write_cases(to, whole.split, whole.task, kept)


def _count(file: str, cases: Sequence[EditCase], strange: Sequence[StrangeText]) -> dict[str, Any]:
    """Count, and log, the records that are left out: by the first reason that holds, each once."""
    reasons: dict[str, set[str]] = {reason: {x.record for x in strange if x.reason == reason} for reason in WHY}
    reasons[SPECIAL] -= reasons[UNKNOWN]
    for each in strange:
        log.warning("left out: %s", each)
    left_out = [{"record": x.record, "field": x.place, "text": x.text, "problem": x.problem} for x in strange]
    return {"records": len(cases), **{reason: len(gone) for reason, gone in reasons.items()}, "left_out": left_out}


def texts_notes(paths: Iterable[Path]) -> list[str]:
    """Say, a sentence per backbone, how many records of which files it is not asked, and why; of those that lack some.

    Args:
        paths: what `write_askable` wrote: counts.json in a folder with the backbone's name.
    """
    sentences = []
    for path in map(Path, paths):
        counts: Mapping[str, Mapping[str, Any]] = read_json(path)
        parts = [
            f"{count[reason]} of the {count['records']} records of {file} (their texts {why})"
            for file, count in counts.items()
            for reason, why in WHY.items()
            if count[reason]
        ]
        if parts:
            sentences.append(f"**Left out for {path.parent.name}: {', '.join(parts)}.**")
    return sentences


def strange_texts(tokenizer: Any, files: Mapping[str, Sequence[EditCase]]) -> list[StrangeText]:
    """Return the questions and answers that a tokenizer cannot take as they are, of the cases of files, in order."""
    asked = [(file, case.request.id, *each) for file, cases in files.items() for case in cases for each in _texts(case)]
    strange = strange_parts(tokenizer, [text for *_, text in asked])
    return [StrangeText(*place, *strange[place[-1]]) for place in dict.fromkeys(asked) if place[-1] in strange]


def strange_parts(tokenizer: Any, texts: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return, for each text that the tokenizer cannot take as it is, what is wrong with it, and the reason."""
    special = set(tokenizer.all_special_ids) | {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    unique = list(dict.fromkeys(texts))
    rows = tokenizer(unique, add_special_tokens=False)["input_ids"] if unique else []
    found = {}
    for text, ids in zip(unique, rows, strict=True):
        met = dict.fromkeys(token for token in ids if token in special or token == tokenizer.unk_token_id)
        if met:
            said = dict(_said(tokenizer, text, token) for token in met)
            found[text] = ", ".join(said), UNKNOWN if UNKNOWN in said.values() else SPECIAL
    return found


def _said(tokenizer: Any, text: str, token: int) -> tuple[str, str]:
    """Say of a token met in a text that it is special, or stands for words that are not known; and which it is."""
    name = tokenizer.convert_ids_to_tokens(token)
    if token == tokenizer.unk_token_id and name not in text:
        words = ", ".join(_unknown_words(tokenizer, text))
        return f"words that the tokenizer does not know ({words})", UNKNOWN
    return f"{name!r} is a special token of the tokenizer", SPECIAL


def _unknown_words(tokenizer: Any, text: str) -> list[str]:
    """Return the words, as blanks part them, that have unknown tokens."""
    words = dict.fromkeys(text.split(" "))
    rows = (tokenizer(word, add_special_tokens=False)["input_ids"] for word in words)
    return [repr(word) for word, ids in zip(words, rows, strict=True) if tokenizer.unk_token_id in ids]


def _texts(case: EditCase) -> Iterator[tuple[str, str, str]]:
    """Yield the questions and answers of a case that the backbone is given: probe kind, what it is, text."""
    queries: list[tuple[str, Query]] = [("request", request.query) for request in case.requests]
    queries += [(probe.kind, probe.query) for probe in case.probes]
    for kind, query in queries:
        yield kind, f"{kind}: question", query.prompt
        if query.answer:
            yield kind, f"{kind}: answer", query.answer


def _listed(problems: Iterable[object]) -> str:
    """Return the first twenty problems, and how many more there are."""
    all_of_them = list(map(str, problems))
    more = f" (and {len(all_of_them) - PROBLEMS_SHOWN} more)" if len(all_of_them) > PROBLEMS_SHOWN else ""
    return "; ".join(all_of_them[:PROBLEMS_SHOWN]) + more
