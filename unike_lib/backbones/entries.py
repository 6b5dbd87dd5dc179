"""Names of a folder's entries against those that its config.json asks for, without torch.

What the table of `entry_rules.py` settles is said here, in the words of the whole check (`weights.check_weights`),
which builds the model. Whatever that check takes is taken here: names are compared without where they lie, which
differs between files of different ages, and what depends on more than a field may be there or not.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from unike_lib.backbones.entry_rules import (
    BEGINNINGS,
    DECODER_ENTRIES,
    EVERY,
    LIBRARY,
    MODELS,
    OLD_NAMES,
    TOWER_ENTRIES,
    WORKED_OUT,
)
from unike_lib.backbones.library_names import read_source
from unike_lib.backbones.size_rules import COUNTS, Said
from unike_lib.types import InputError

NAMED = 5  # entries that a message names
LM_HEAD, EMBEDDINGS, TIED = "lm_head.weight", "embed_tokens.weight", "tie_word_embeddings"
LAYER = re.compile(r"\.\d+\.")
Has = dict[str, bool]  # names of entries; False: a model may lack it


def check_entries(
    folder: str | Path, config: Mapping[str, Any], whole: Mapping[str, Any], said: Said, names: Iterable[str]
) -> None:
    """Refuse weights that surely lack an entry, or surely have one too many.

    Args:
        folder: for the message.
        config: config.json as it stands.
        whole: the same with transformers' defaults.
        said: numbers and lists of the whole, by dotted names.
        names: of the weights' entries.

    Raises:
        InputError: names the missing and the unexpected entries, all in one message.
    """
    if f'__version__ = "{LIBRARY}.' not in read_source("transformers", ("__init__.py",)):
        return
    model = MODELS.get(str(whole.get("model_type")))
    if model is None:
        return
    own_tower = "vision_tower" in config  # `tower.Blip2WithTower`, whose projection may be another one, too
    decoder, tower = (kind_of(whole, part) for part in ("text_config", "vision_config"))
    parts = (
        ("decoder.", model.decoder, DECODER_ENTRIES.get(decoder)),
        ("tower.", model.tower, None if own_tower else TOWER_ENTRIES.get(tower)),
        ("", model.outside, None if own_tower else model.entries),
    )
    wanted: Has = {}
    for part, place, lines in parts:
        for line in lines or ():
            wanted |= {place + name: sure for name, sure in _entries(line, part, whole, said).items()}
    wanted[model.head + LM_HEAD] = decoder in DECODER_ENTRIES
    found = {bare(name): name for name in names}
    if _may_be_tied(config, whole) and found.keys() & {LM_HEAD, EMBEDDINGS}:  # one of two is enough
        wanted |= {name: False for name in wanted if bare(name) in (LM_HEAD, EMBEDDINGS)}
    missing = [name for name, sure in wanted.items() if sure and bare(name) not in found]
    unexpected = []
    if all(lines is not None for _, _, lines in parts):
        known = {bare(name) for name in wanted}
        unexpected = [name for each, name in found.items() if not (known & {each, LAYER.sub(".#.", each)}
                      or re.search(WORKED_OUT, each))]  # fmt: skip
    refuse_entries(str(folder), missing, unexpected, ())


def kind_of(whole: Mapping[str, Any], part: str) -> str:
    """Return the type of a part of a configuration; "None": it has none."""
    return str((whole.get(part) or {}).get("model_type"))


def bare(name: str) -> str:
    """Return a name of today without where its part lies."""
    for old, new in OLD_NAMES.items():
        name = name.replace(old, new)
    first, _, rest = name.partition(".")
    while rest and first in BEGINNINGS:
        name = rest
        first, _, rest = name.partition(".")
    return name


def _may_be_tied(config: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    """Tell whether words in and out may be one matrix, of which weights have either name or both."""
    places = [place for each in (config, whole) for place in (each, each.get("text_config"))]
    said = [place[TIED] for place in places if isinstance(place, Mapping) and TIED in place]
    return not said or any(value is not False for value in said)


def _entries(line: str, part: str, whole: Mapping[str, Any], said: Said) -> Has:
    """Return the entries of a line of the table; none: a model surely lacks them. `part`: as `size_rules` calls it."""
    pattern, _, condition = line.partition(" if ")
    holds = _holds(condition, whole)
    if holds is False:
        return {}
    entries: Has = {}
    for name in spelled(pattern):
        numbers = _numbers(part + bare(name), said) if "#" in name else [0]
        if numbers is None:
            entries[name] = False
        else:
            entries |= {name.replace("#", str(number)): holds is True for number in numbers}
    return entries


def _holds(condition: str, whole: Mapping[str, Any]) -> bool | None:
    """Tell whether the fields of a condition are as it says; None: that is not known."""
    found: list[bool | None] = []
    wanted: bool | str = True
    for word in condition.split():
        if word == "not":
            wanted = False
            continue
        field, _, text = word.partition("=")
        value: Any = whole
        for name in field.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        wanted = text or wanted
        found.append(value == wanted if type(value) is type(wanted) else None)
        wanted = True
    if False in found:
        return False
    return None if None in found else True


def spelled(pattern: str) -> Iterator[str]:
    """Return the names that a pattern with {one,of,these} stands for."""
    pieces = [piece.split(",") for piece in re.split(r"[{}]", pattern)]
    return map("".join, product(*pieces))


def _numbers(name: str, said: Said) -> range | None:
    """Return the numbers of the layers that have an entry; None: they are not known."""
    one = name.replace("#", "0")
    counts = [size.value(said) for layers, size in COUNTS.items() if re.fullmatch(layers, one)]
    every = next((said.get(field) for word, field in EVERY.items() if word in name), 1)
    if len(counts) != 1 or not isinstance(counts[0], int) or not isinstance(every, int) or every < 1:
        return None
    return range(0, counts[0], every)


def refuse_entries(
    source: str, missing: Iterable[str], unexpected: Iterable[str], shapes: Iterable[tuple[str, Any, Any]]
) -> None:
    """Raise InputError if entries are missing or unexpected, or a shape found is not the right one."""
    problems = {
        "missing": sorted(missing),
        "unexpected": sorted(unexpected),
        "of another shape": sorted(
            f"{name} {tuple(found)} instead of {tuple(right)}" for name, found, right in shapes if found != right
        ),
    }
    if any(problems.values()):
        found = "; ".join(_named(kind, names) for kind, names in problems.items() if names)
        raise InputError(
            f"{source}: {found}; expected the weights of the model that is built from the settings beside them"
        )


def _named(kind: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} {'entry' if len(names) == 1 else 'entries'} {kind}: {', '.join(names[:NAMED])}{more}"
