"""Whether a model's folder can be edited, and how: what opening it would check, and, if asked for, opening it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unike_lib.backbones.folder import check_folder
from unike_lib.backbones.folder_config import looks
from unike_lib.characters import visible
from unike_lib.checksum import check_listed
from unike_lib.config.backbones import BackboneConfig
from unike_lib.family import find_family
from unike_lib.front.family_guess import Guess, fitting_families, guess_family
from unike_lib.front.settings import folder_of, read_settings
from unike_lib.types import InputError

if TYPE_CHECKING:
    from unike_lib.front.prompt_tokens import PromptToken

GB = 1e9
QUESTION = "What is this?"
COLUMNS = 100  # letters of a line
# Checks behind the family, in their order; some of them a first look makes.
BEHIND = ("config.json", "weights", "tokenizer", "layout", "image processor", "forward")
WORDS = 14  # at most so many tokens of a prompt are written on a line


@dataclass
class Found:
    """What is known of a folder.

    checks: name -> what is wrong, in the order in which they were run (None: passed; "": not run); template: whether
    the family writes what the chat template writes; added: behind how many of the first layers pictures are added;
    visual: tokens of a picture; weights: bytes; memory: method -> bytes that all edits share, and bytes of one edit at
    its peak.
    """

    folder: str
    guess: Guess | None = None
    checks: dict[str, str | None] = field(default_factory=dict)
    layers: int | None = None
    added: int = 0
    edited: tuple[int, ...] = ()
    template: bool = True
    visual: int | None = None
    prompts: dict[str, list["PromptToken"]] = field(default_factory=dict)
    weights: int | None = None
    memory: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def problem(self) -> str | None:
        """Why the folder cannot be edited, in one line; None: it can."""
        return next((wrong for wrong in self.checks.values() if wrong), None)


def examine(
    name: str,
    family: str | None = None,
    results: Path = Path("results"),
    config: Sequence[str | Mapping[str, Any]] = (),
    whole: bool = False,
) -> Found:
    """Return what is known of a backbone of the configuration, or of a folder.

    Nothing large is opened, unless `whole`: then the model is, too, and asked the fixed question of `own_forward`.

    Raises:
        InputError: the configuration is wrong, or the workflow has not made the backbone yet.
    """
    settings = read_settings(config, results.parent)
    section = settings.backbones.get(name)
    found = Found(name if section is None else folder_of(name, section, results))
    given = family or (section.family if section else None)
    run_check(found, "files", lambda: _files(found.folder))
    if found.problem is None:
        run_check(found, "family", lambda: _look(found, given))
    if found.problem is None:
        _open_parts(found, section if family is None else None, given, whole)
    return found


def _open_parts(found: Found, section: BackboneConfig | None, family: str | None, whole: bool) -> None:
    """Check what takes torch and transformers, after a first look that found nothing."""
    run_check(found, "family", lambda: _family(found, family))
    if found.guess is None:
        return

    from unike_lib.front.doctor_parts import examine_parts, open_whole

    section = section or BackboneConfig(family=found.guess.family, folder=found.folder)
    examine_parts(found, section)
    found.checks["forward"] = ""
    if whole and found.problem is None:
        run_check(found, "forward", lambda: open_whole(found.folder, section))


def run_check(found: Found, check: str, work: Callable[[], None]) -> None:
    """Run a check and keep what it finds wrong."""
    found.checks[check] = None
    try:
        work()
    except InputError as error:
        found.checks[check] = str(error)


def _files(folder: str) -> None:
    check_folder(folder)
    if Path(folder).is_dir():
        check_listed(Path(folder))


def _look(found: Found, family: str | None) -> None:
    """Note what is wrong at a first look; of several families that fit, any: they differ in what texts look like."""
    fitting = [family] if family else [each.name for each in fitting_families(found.folder)[0]]
    wrong = Found(found.folder)
    for check, look in looks(found.folder, fitting[0]).items():
        if check != "weights" or wrong.checks["config.json"] is None:  # with which they are compared
            run_check(wrong, check, look)
    if wrong.problem is not None:
        found.guess = Guess(fitting[0], "as given" if family else "its model_type") if len(fitting) == 1 else None
        found.checks |= {"family": None} | {check: wrong.checks.get(check, "") for check in BEHIND}


def _family(found: Found, given: str | None) -> None:
    if given is not None:
        found.guess = Guess(find_family(given).name if ".py:" not in given else given, "as given")
    else:
        found.guess = guess_family(found.folder)


def as_text(found: Found) -> str:
    """Return one screen of text."""
    problem = found.problem
    lines = [f"{found.folder}: {'can be edited' if problem is None else 'CANNOT be edited'}"]
    if problem is not None:
        lines.append(f"reason: {problem}")
    if found.guess is not None:
        lines.append(f"family: {found.guess.family} ({found.guess.why})")
        if found.guess.others:
            lines.append(f"  its model_type fits {', '.join(found.guess.others)}, too: --family says which")
    words = {None: "passed", "": "not run"}
    checked = ", ".join(f"{name} {words.get(wrong, 'FAILED')}" for name, wrong in found.checks.items())
    lines.append(f"checks: {checked}")
    if problem is None and found.checks.get("forward") == "":
        lines.append(
            "  forward: whether the model, run layer by layer, says what it says itself; --open looks (opens it)"
        )
    if not found.template:
        lines.append("  its chat template writes another prompt, or it has none; the family's is used")
    if found.layers is not None and found.edited:
        can, edited = f"{found.added} to {found.layers - 1}", f"{found.edited[0]} to {found.edited[-1]}"
        lines.append(f"layers: {found.layers}; each of {can} can be edited; as it stands {edited} are")
    lines += _prompt_lines(found)
    return visible("\n".join([*lines, *_memory_lines(found)]))


def _prompt_lines(found: Found) -> list[str]:
    lines = []
    for name, tokens in found.prompts.items():
        lines.append(f"prompt {name}: {QUESTION!r}, answered 'lynx' (token:id; the answer in brackets)")
        words = [token.shown(found.visual) for token in tokens]
        lines += [f"  {' '.join(words[start : start + WORDS])}" for start in range(0, len(words), WORDS)]
    return lines


def _memory_lines(found: Found) -> list[str]:
    if not found.memory:
        return []
    model = "unknown" if found.weights is None else f"{found.weights / GB:.2f} GB"
    lines = [f"memory (an estimate from shapes; the paper's sizes of memories): the model {model}; more, in GB:"]
    lines.append(f"  {'method':<16} {'once':>8} {'an edit':>8}")
    lines += [f"  {name:<16} {once / GB:>8.3f} {each / GB:>8.3f}" for name, (once, each) in found.memory.items()]
    return lines
