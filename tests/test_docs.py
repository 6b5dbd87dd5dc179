"""README and docs: short sentences, links and anchors that lead somewhere, commands that something runs."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from forked_snakemake import snakemake

from unike_lib import __version__
from unike_lib.config.run import load_config

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for pattern in ("*.md", "config/*.md", "docs/**/*.md", "examples/*/*.md")
    for path in ROOT.glob(pattern)
    if not path.name.endswith(".template.md")
)
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"\s*(?:\w+=\S+ )*(?:make|snakemake|unike|python|\.venv/bin/\w+) ")

# A command of a page is run by `.ci/run` (targets of make), planned by a test below (files below results/), is one of
# these, or says "(not run)" in the paragraph in front of it. Here: a file that runs it, and words of that file.
RUN_BY = {
    "make rehearsal": ("tests/test_rehearsal.py", "tiny=True"),
    "make all SNAKEMAKE_ARGS=-n": ("tests/test_workflow.py", '"-n", *overlay, "--", *TARGETS'),
    "make results/table1.csv SNAKEMAKE_ARGS=--report report.html": (
        "tests/test_workflow.py",
        '"--report", "report.html"',
    ),
    ".venv/bin/snakemake --workflow-profile profiles/local --cores 4 results/table1.csv": (
        "Makefile",
        "profiles/local",
    ),
    "unike export EDIT --to FOLDER": ("tests/front/test_export.py", '"export", str(tmp_path / "edit.safetensors")'),
    "unike export EDIT --to FOLDER --language-model": ("tests/front/test_export_peft.py", '"--language-model", "--to"'),
    "unike export results/stages/records/BACKBONE/eval_vqa-caption/k1/METHOD.parquet --case eval-vqa-3 --to FOLDER": (
        "tests/front/test_export_record.py",
        '"--case", "vqa-2"',
    ),
    "unike export results/stages/editors/BACKBONE/mend.safetensors --to FOLDER": (
        "tests/front/test_export_trained.py",
        '["export", str(file)',
    ),
    "unike export results/stages/benchmark --to FOLDER": (
        "tests/embedded/world/test_as_dataset.py",
        'main(["export", str(folder), "--to"',
    ),
    "unike edit --backbone minigpt4-smol --image photo.jpg --question What animal is this? --answer lynx": (
        "tests/front/test_one_edit.py",
        'given = ["edit", "--backbone", "mine"',
    ),
    "unike doctor FOLDER": ("tests/front/test_doctor.py", 'main(["doctor", str(folder)'),
    "make doctor BACKBONE=FOLDER": ("Makefile", "-m unike_lib.front.cli doctor '$(BACKBONE)'"),
}
# Results that only a benchmark of the user's has are planned by another test.
PLANNED_BY = {"results/missing_images.csv": "tests/test_workflow.py"}
# A benchmark of one's own asks for a model, too, and one of one task for no table of mixed tasks.
WITH_A_MODEL = {
    "backbones": {"mine": {"family": "llava", "folder": "hub/id"}},
    "tables": {"table1": {"backbones": ["mine"]}, **dict.fromkeys(("table2", "table3", "table4", "table5"))},
    "figures": {"backbones": ["mine"], "tasks": ["vqa"], "sweeps": {"frontier": None}},
}


def text_of(path):
    return path.read_text(encoding="utf-8")


def merged(base, overlay):
    """Lay settings over others as Snakemake does: mappings are merged, everything else replaced."""
    if not isinstance(base, dict) or not isinstance(overlay, dict):
        return overlay
    return base | {key: merged(base.get(key), value) for key, value in overlay.items()}


def slug(heading):
    """The anchor of a heading, as GitHub and MkDocs make it."""
    words = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]|\]\([^)]*\)", "", heading).strip().lower())
    return words.replace(" ", "-")


def anchors(path):
    return {slug(title) for title in re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(path)), re.MULTILINE)}


def words_of(command):
    """A command of make: its targets, and what goes on to Snakemake."""
    parts = [word for word in shlex.split(command, comments=True) if word != "make"]
    targets = [word for word in parts if "=" not in word]
    passed = [word.partition("=")[2] for word in parts if word.startswith("SNAKEMAKE_ARGS=")]
    return targets, " ".join(passed)


def commands():
    """Every command in a fence without a language: page, command, the text in front of the fence."""
    for path in PAGES:
        page = text_of(path)
        for fence in FENCE.finditer(page):
            for line in fence[2].splitlines():
                if not fence[1] and COMMAND.match(line + " "):
                    before = page[: fence.start()].rstrip().split("\n\n")[-1]
                    yield path.relative_to(ROOT), line.strip(), before


def test_commands_stand_in_fences():
    """No test above sees indented ones; those of examples/ are run (tools/run_examples.py)."""
    for path in PAGES:
        if path.parents[1] != ROOT / "examples":
            lines = FENCE.sub("", text_of(path)).splitlines()
            assert [line for line in lines if line.startswith("    ") and COMMAND.match(line + " ")] == [], path


def inline_targets():
    """Files below results/ that pages ask make for, in the middle of a sentence or in a fence."""
    asked = [c for path in PAGES for c in re.findall(r"`(make results/[^`<]+)`", text_of(path))]
    return {(target, passed) for command in [*asked, *(c for _, c, _ in commands())] for target, passed in one(command)}


def one(command):
    if not re.match(r"(\w+=\S+ )*make ", command):
        return []
    targets, passed = words_of(command)
    return [(target, passed) for target in targets if target.startswith("results/")]


def make_targets():
    return set(re.search(r"^\.PHONY: (.+)$", text_of(ROOT / "Makefile"), re.MULTILINE)[1].split()) - {"FORCE"}


def in_ci():
    """Targets of make that `.ci/run` makes, and what these stand on."""
    found = {w for line in re.findall(r"^make (.+)$", text_of(ROOT / ".ci/run"), re.MULTILINE) for w in line.split()}
    rules = dict(re.findall(r"^([\w-]+): (.+)$", text_of(ROOT / "Makefile"), re.MULTILINE))
    return found | {word for name in found for word in rules.get(name, "").split()}


def sentences(page):
    """The sentences of a page: of paragraphs, items of lists, cells of tables; of links the text."""
    page = FENCE.sub("\n\n", page)
    page = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", page)
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:- |#|\|))|\|", page)
    for block in blocks:
        yield from re.split(r"(?<=[.!?])\s+", " ".join(block.split()))


def test_a_sentence_is_counted_as_a_reader_counts_it():
    page = "# A b\n\nOne two\nthree. Four `a.b c`: five!\n\n```\nno no\n```\n| cell one | cell |\n- item [x y](z.md).\n"
    found = [sentence for sentence in sentences(page) if sentence.strip()]
    assert found == ["# A b", "One two three.", "Four `a.b c`: five!", "cell one", "cell", "- item x y."]


def test_the_readme_is_short_and_so_are_its_sentences():
    page = text_of(ROOT / "README.md")
    assert len(page.splitlines()) <= 120
    long = [sentence for sentence in sentences(page) if len(sentence.split()) > 25]
    assert long == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_and_anchors_that_are_there(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text_of(path))):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.is_file(), f"{target}: no such file"
        assert not anchor or anchor in anchors(file), f"{target}: no such heading"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_paths_that_are_named_are_there(path):
    folders = "docs|examples|presets|profiles|rules|tests|tools|bench|unike_lib|config"
    for name in re.findall(rf"`((?:{folders})/[\w./*-]+)`", text_of(path)):
        assert list(ROOT.glob(name)), f"{name}: no such file"


@pytest.mark.parametrize(("page", "command", "before"), list(commands()), ids=lambda value: str(value)[:60])
def test_a_command_of_the_pages_is_run_somewhere_or_says_that_it_is_not(page, command, before):
    if "(not run)" in before:
        return
    known = " ".join(shlex.split(command, comments=True))
    if known in RUN_BY:
        file, words = RUN_BY[known]
        assert words in text_of(ROOT / file)
        return
    assert re.match(r"(\w+=\S+ )*make ", command), "write (not run) in front of it, or say in RUN_BY what runs it"
    targets, passed = words_of(command)
    # Results are planned below, and every preset with all targets in tests/test_workflow.py.
    planned = {target for target in targets if target == "all" or target.startswith("results/")}
    for name in re.findall(r"preset=(\S+)", passed):
        assert all((ROOT / f"presets/{preset}.yaml").is_file() for preset in name.split(","))
    assert set(targets) - planned <= in_ci()


def test_the_results_that_pages_name_are_planned(tmp_path):
    asked = inline_targets()
    plain = {target for target, passed in asked if not passed.startswith("--config ")}
    for target in plain & PLANNED_BY.keys():
        assert f'"{target}"' in text_of(ROOT / PLANNED_BY[target])
    # The figure that config/README.md shows, a judge, and else the defaults.
    sweeps = [block.get("figures", {}).get("sweeps", {}) for block in settings_of(ROOT / "config/README.md")]
    (steps,) = [sweep["steps"] for sweep in sweeps if "steps" in sweep]
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    mine = {"figures": {"sweeps": {"steps": steps}}, "judge": {"folder": str(tmp_path)}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    overlay = ("--configfile", tmp_path / "mine.yaml")
    status, text = snakemake(tmp_path, "-n", "--quiet", "all", *overlay, "--", *sorted(plain - PLANNED_BY.keys()))
    assert status == 0, text


def test_tables_of_presets_that_pages_name_are_there():
    """With every preset all tables are planned by tests/test_workflow.py."""
    asked = [
        (target, passed.removeprefix("--config preset=")) for target, passed in inline_targets() if "preset=" in passed
    ]
    assert asked
    for target, names in asked:
        values = {}
        for name in names.split(","):
            values = merged(values, yaml.safe_load(text_of(ROOT / f"presets/{name}.yaml")))
        assert Path(target).stem in load_config(values).tables


def settings_of(path):
    """The blocks of settings that a page shows."""
    return [yaml.safe_load(block) for language, block in FENCE.findall(text_of(path)) if language == "yaml"]


def stands_in(values, block):
    """Whether settings have the values of a block; None takes an entry away."""
    if isinstance(block, dict):
        return all(stands_in((values or {}).get(key), value) for key, value in block.items())
    return block is None or values == block


@pytest.mark.parametrize("path", [path for path in PAGES if settings_of(path)], ids=lambda path: path.name)
def test_settings_that_pages_show_are_valid(path):
    for block in settings_of(path):
        config = load_config(merged(WITH_A_MODEL, block) if "benchmark" in block else block)
        assert stands_in(config.model_dump(mode="json"), block)


def test_targets_of_make_that_pages_name_are_there():
    for path in PAGES:
        for command in re.findall(r"`(make [^`]+)`", text_of(path)):
            names = [word for word in words_of(command)[0] if not word.startswith("results/") and word != "TARGET"]
            assert set(names) <= make_targets(), f"{path}: {command}"


def test_the_goal_of_make_alone_is_help():
    assert re.findall(r"^\.DEFAULT_GOAL := (.+)$", text_of(ROOT / "Makefile"), re.MULTILINE) == ["help"]


def test_make_says_what_it_can_do():
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = [line for line in said.splitlines() if line.startswith("make ")]
    named = {word for line in lines for word in re.split(r"\s{2,}", line)[0].split()[1:] if "=" not in word}
    others = set(re.search(r"^For maintainers \(docs/targets\.md\): make (.+)$", said, re.MULTILINE)[1].split())
    assert {name for name in named if not name.startswith("results/")} | others == make_targets() - {"help"}
    assert all(f"`make {name}`" in text_of(ROOT / "docs" / "targets.md") for name in others)
    assert len(lines) == 10 and all(len(re.split(r"\s{2,}", line)) == 2 for line in lines)
    assert "pip" not in said


def test_the_table_of_the_readme_is_that_of_the_page_of_results():
    rows = re.findall(r"^\| \*{0,2}VQA, 20 \| (.+) \|$", text_of(ROOT / "docs/science.md"), re.MULTILINE)
    results = {}
    for cells in (row.replace("*", "").replace("`", "").split(" | ") for row in rows if row.count("|") == 8):
        # Method, Rel., T-Gen., T-Gen. far, M-Gen., T-Loc., M-Loc.
        results[cells[0]] = [cells[1], cells[2], cells[4], cells[5], cells[6]]
    shown = [line.strip("| ").replace("`", "").split(" | ") for line in text_of(ROOT / "README.md").splitlines()]
    shown = {cells[0]: cells[1:] for cells in shown if len(cells) == 6 and re.fullmatch(r"[\d.]+", cells[1])}
    assert list(shown) == ["FT", "T-Patcher", "UniKE", "unike-scope"]
    assert shown == {name: results[name] for name in shown}


def test_hooks_before_a_commit_are_the_checks_of_ci():
    recipe = re.search(r"^check: .+\n((?:\t.+\n)+)", text_of(ROOT / "Makefile"), re.MULTILINE)[1]
    hooks = yaml.safe_load(text_of(ROOT / ".pre-commit-config.yaml"))["repos"][0]["hooks"]
    assert [hook["entry"] for hook in hooks] == recipe.replace("$(VENV)", ".venv").replace("\t", "").splitlines()
    assert "check" in in_ci()


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load(text_of(ROOT / "CITATION.cff"))
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    assert str(citation["version"]) == project["version"] == __version__
    assert citation["license"] == project["license"] == "Apache-2.0"
    (paper,) = citation["references"]
    assert paper["year"] == 2024 and paper["title"] in " ".join(text_of(ROOT / "README.md").split())
