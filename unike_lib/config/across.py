"""Checks across sections of the configuration, and of the files that it names: what one names must be there."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from unike_lib.config.base import Section
from unike_lib.config.paths import MADE, UserPath
from unike_lib.config.problems import problems_of
from unike_lib.config.tables import TABLES
from unike_lib.method import method_of, resolve_method

if TYPE_CHECKING:
    from unike_lib.config.run import Config

# A name that wildcards and names of files are made of; behind a dot, a seed or a shard may stand.
NAME = re.compile(r"[^\W_](?:[\w+-]|\.(?!seed\d+$|\d+of\d+$))*")
LONGEST_NAME = 80  # several stand in a file's name


def moved(values: Mapping[str, Any]) -> dict[tuple[str, ...], str]:
    """Return what is said of settings by names that are gone, by place."""
    found: dict[tuple[str, ...], str] = {}
    if "admission" in values:
        found["admission",] = "admission: this section has a new name: write positive_control: {...}"
    benchmark = values.get("benchmark")
    if isinstance(benchmark, dict) and "hops" in benchmark:
        found["benchmark", "hops"] = "benchmark.hops: this setting is gone, leave it out: all hops are asked in one run"
    for name in TABLES.values.keys() & values:
        found[name,] = f"{name}: tables are entries of `tables`: write tables: {{{name}: ...}}"
    return found


def cross_problems(config: "Config") -> Iterator[str]:
    """Yield everything that one section has and another does not fit to."""
    yield from _file_names(config)
    yield from _names(config)
    yield from _tasks(config)
    yield from _judge(config)
    yield from _benchmark(config)
    broken = dict(_variants(config))
    for problems in broken.values():
        yield from problems
    yield from _grids(config, set(broken))
    name = config.positive_control.method
    if name in config.methods.keys() - broken.keys() and resolve_method(config.methods, name).method != "unike":
        yield f"positive_control.method: expected a variant of unike, not {name!r}"


def _file_names(config: "Config") -> Iterator[str]:
    """Names of backbones and methods that no name of a file can have, or that some file systems do not tell apart."""
    rule = "letters, digits, - _ + and dots, a letter or digit first, no .seed1 or .1of2 at the end"
    for place, names in {"backbones": list(config.backbones), "methods": list(config.methods)}.items():
        folded = [name.casefold() for name in names]
        for index, name in enumerate(names):
            if not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
                yield f"{place}: {name!r} cannot be part of a file's name: expected {rule}"
            if (first := folded.index(folded[index])) < index:
                yield f"{place}: {name!r}: expected another name, because {names[first]!r} differs in capitals only"


def _unknown(problem: str, names: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    there = set(known)
    for name in names:
        if name not in there:
            yield f"{problem} {name!r}; known: {sorted(there)}"


def _names(config: "Config") -> Iterator[str]:
    """Backbones and methods that tables, figures and searches name."""
    retention, figures = config.retention, config.figures
    backbones: dict[str, Iterable[str]] = {**config.shown, "retention": retention.backbones or ()}
    for place, names in backbones.items():
        yield from _unknown(f"{place}.backbones: unknown backbone", names, config.backbones)
    methods: dict[str, Iterable[str]] = {f"tables.{name}.methods": each.methods for name, each in config.tables.items()}
    methods |= {"tuning.grids": config.tuning.grids, "retention.methods": retention.methods or ()}
    methods |= {"figures.fig2a": figures.fig2a, "positive_control.method": [config.positive_control.method]}
    methods |= {f"figures.sweeps.{name}.vary": sweep.vary for name, sweep in figures.sweeps.items()}
    for place, names in methods.items():
        yield from _unknown(f"{place}: unknown method", names, config.methods)


def _tasks(config: "Config") -> Iterator[str]:
    asked: dict[str, Iterable[str]] = {f"tables.{name}": each.single_tasks for name, each in config.tables.items()}
    asked["figures"] = config.figures.tasks
    asked |= {f"figures.sweeps.{name}": sweep.tasks or () for name, sweep in config.figures.sweeps.items()}
    for place, tasks in asked.items():
        yield from _unknown(f"{place}.tasks: benchmark.files has no task", tasks, config.benchmark.tasks)


def _judge(config: "Config") -> Iterator[str]:
    written = config.evaluation.generate and "normalised" in config.evaluation.criteria
    if config.judge.folder is not None and not written:
        yield "judge.folder: expected null, or evaluation.generate and the criterion normalised"


def _benchmark(config: "Config") -> Iterator[str]:
    """Backbones that are trained here where the benchmark is a user's."""
    made = [name for name, backbone in config.backbones.items() if backbone.made_here]
    asked = {place: [name for name in names if name in made] for place, names in config.shown.items()}
    asked = {place: names for place, names in asked.items() if names}
    if not config.benchmark.embedded and asked:
        first = next(iter(asked.values()))[0]
        places = ", ".join(f"{place} ({', '.join(names)})" for place, names in asked.items())
        yield (
            f"backbones.{first}.folder: expected a folder or hub id, because backbones trained here know the "
            f"embedded benchmark only, benchmark.annotations names another, and such backbones are in {places}"
        )


def _variants(config: "Config") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the method variants that do not resolve, and why; one that is like a broken one says nothing more."""
    broken: set[Any] = set()
    for name in sorted(config.methods, key=lambda name: "like" in config.methods[name]):
        entry = config.methods[name]
        like = entry.get("like")
        problems = problems_of(lambda name=name: resolve_method(config.methods, name))  # type: ignore[misc]
        if not problems:
            for backbone in config.backbones:
                problems += problems_of(lambda: resolve_method(config.methods, name, backbone))  # noqa: B023
            place = f"methods.{name}.by_backbone: unknown backbone"
            problems += tuple(_unknown(place, entry.get("by_backbone", {}), config.backbones))
        if problems:
            broken.add(name)
            yield name, () if isinstance(like, str) and like in broken - {name} else problems


def _grids(config: "Config", broken: set[str]) -> Iterator[str]:
    """Values that sweeps and searches try."""
    sweeps = {f"figures.sweeps.{name}.vary": sweep.vary for name, sweep in config.figures.sweeps.items()}
    for place, grids in {"tuning.grids": config.tuning.grids, **sweeps}.items():
        for name in grids.keys() & config.methods.keys() - broken:
            method = method_of(config.methods, name)
            if method.train is not None and place != "tuning.grids":
                problem = f"{place}.{name}: a sweep does not train editors anew (tuning.grids does); field"
                yield from _unknown(problem, grids[name], method.editing_alone)
            for field, values in grids[name].items():
                for value in values:
                    said = problems_of(lambda: resolve_method(config.methods, name, overrides={field: value}))  # noqa: B023
                    yield from (f"{place}.{name}: {problem}" for problem in said)


def path_problems(config: "Config") -> Iterator[str]:
    """Yield the files and folders that the run needs and that are not there; backbones that nothing shows need none."""
    yield from _of_section("benchmark", config.benchmark)
    annotations = config.benchmark.annotations
    if annotations is not None and os.path.isdir(annotations):
        for task, files in config.benchmark.files.items():
            for name, file in files.model_dump(exclude_none=True).items():
                path = os.path.join(annotations, file)
                problem = None if os.path.isdir(path) else UserPath("file").problem(path)  # a data set is a folder
                yield from [f"benchmark.files.{task}.{name}: {problem}"] * (problem is not None)
    yield from _of_section("judge", config.judge)
    judge = config.judge.folder
    if judge and os.path.isdir(judge) and not judge.startswith(MADE) and not os.path.isfile(f"{judge}/config.json"):
        yield f"judge.folder: {judge}: expected a folder with config.json, weights and tokenizer"
    shown = {name for names in (*config.shown.values(), config.retention.backbones or ()) for name in names}
    for name in config.backbones.keys() & shown:
        yield from _of_section(f"backbones.{name}", config.backbones[name])
    for name in config.methods.keys() - dict(_variants(config)).keys():
        yield from _of_section(f"methods.{name}", resolve_method(config.methods, name))


def _of_section(place: str, section: Section) -> Iterator[str]:
    """Yield the problems of the paths that a section names, and sections in it."""
    for name, field in type(section).model_fields.items():
        value, here = getattr(section, name), f"{place}.{name}"
        if isinstance(value, Section):
            yield from _of_section(here, value)
        for path in (each for each in field.metadata if isinstance(each, UserPath)):
            paths = value if isinstance(value, tuple) else [value] * (value is not None and value not in path.words)
            yield from (f"{here}: {problem}" for problem in map(path.problem, paths) if problem)
