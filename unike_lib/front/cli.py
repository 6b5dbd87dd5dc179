"""The command `unike`: `edit` tries one edit, `export` writes one as a folder, `doctor` looks at a model's folder."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from unike_lib.garbage import collect_less
from unike_lib.types import InputError

QUIET = {"TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
FORMS = ("merged", "peft", "loader")  # of exported edits (`export.export_edit`)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 1 with one line that says what is wrong."""
    given = parser().parse_args(arguments)
    if arguments is None:  # a process of its own; who calls from Python keeps his environment
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        collect_less()
    try:
        return int(given.run(given))
    except InputError as error:
        print(f"unike: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    whole = argparse.ArgumentParser("unike", description=__doc__)
    commands = whole.add_subparsers(required=True, metavar="edit | export | doctor")
    edit = commands.add_parser("edit", help="edit a model once and ask it before and after")
    edit.set_defaults(run=run_edit)
    edit.add_argument("--backbone", required=True, help="a name in config.yaml, or a model's folder or hub id")
    edit.add_argument("--question", required=True)
    edit.add_argument("--answer", required=True, help="what it is to answer")
    edit.add_argument("--image", help="a picture's file; without: the question is asked alone")
    edit.add_argument("--method", default="unike", help="a method variant of config.yaml (default: unike)")
    edit.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the method")
    edit.add_argument("--rephrase", action="append", default=[], metavar="QUESTION", help="the question in other words")
    edit.add_argument("--rephrase-image", action="append", default=[], metavar="FILE", help="another picture of it")
    edit.add_argument("--near", type=int, default=2, help="unrelated questions, with a picture and without (2 of each)")
    edit.add_argument("--seed", type=int, default=0)
    edit.add_argument("--html", type=Path, help="also write a page")
    edit.add_argument("--save", type=Path, help="also keep the edit in a file")
    export = commands.add_parser("export", help="write an edited model as a folder that loads elsewhere")
    export.set_defaults(run=run_export)
    what = "what --save wrote; a table of records; a trained editor's file; or the embedded benchmark's folder"
    export.add_argument("what", metavar="EDIT | RECORD | EDITOR | BENCHMARK", type=Path, help=what)
    export.add_argument("--to", required=True, type=Path, metavar="FOLDER", help="the folder to make")
    export.add_argument("--form", choices=FORMS, help="without: peft if all is low-rank, else merged, else loader")
    export.add_argument("--language-model", action="store_true", help="the language model alone, for texts")
    export.add_argument("--case", help="of a table of records: a case of the session that is meant")
    doctor = commands.add_parser("doctor", help="say whether a model's folder can be edited")
    doctor.set_defaults(run=run_doctor)
    doctor.add_argument("folder", help="made by save_pretrained; or a name in config.yaml")
    doctor.add_argument("--open", action="store_true", help="also open the model and compare its forward with ours")
    for command in (edit, export, doctor):
        command.add_argument("--family", help="layout of a folder; without: as its config.json says")
        command.add_argument("--results", type=Path, default=Path("results"), help="what the workflow built")
        command.add_argument("--configfile", action="append", default=[], help="laid over config.yaml")
    return whole


def run_edit(given: argparse.Namespace) -> int:
    """Edit a model and print, or draw, what it answers before and after."""
    from unike_lib.front.load import load

    settings = dict(_setting(each) for each in given.set)
    model = load(given.backbone, family=given.family, results=given.results, config=given.configfile)

    from unike_lib.front.one_edit import as_text, lines_of, write_page  # which imports torch: behind the first look

    edit = model.edit(
        image=given.image,
        question=given.question,
        answer=given.answer,
        method=given.method,
        settings=settings,
        seed=given.seed,
    )
    lines = lines_of(model, edit, given.results, given.rephrase, given.rephrase_image, given.near)
    print(as_text(edit, lines))
    if given.html is not None:
        write_page(edit, lines, given.html)
    if given.save is not None:
        edit.save(given.save)
    return 0


def run_export(given: argparse.Namespace) -> int:
    """Write an edit, a trained editor or the embedded benchmark as a folder and say what it is."""
    if given.what.is_dir():
        from unike_lib.embedded.world.as_dataset import write_dataset

        write_dataset(given.what, given.to)
        form = "a data set"
    elif given.what.suffix == ".parquet":
        from unike_lib.front.export import export_edit
        from unike_lib.front.from_record import edit_of_record

        edit, scores = edit_of_record(given.what, given.case, given.results, given.configfile, given.family)
        form = export_edit(edit, given.to, given.form, given.language_model, scores)
    else:
        form = _export_file(given)
    print(f"{given.to}: {form}; {given.to / 'README.md'} says how to load it")
    return 0


def _export_file(given: argparse.Namespace) -> str:
    """Write a saved edit, or a trained editor, which lies in a folder of its backbone's name."""
    from unike_lib.front.edit import backbone_of_edit
    from unike_lib.front.load import load
    from unike_lib.front.trained import export_trained

    name = backbone_of_edit(given.what)
    backbone = given.what.resolve().parent.name if name is None else name
    model = load(backbone, family=given.family, results=given.results, config=given.configfile)
    if name is not None:
        return model.open_edit(given.what).export(given.to, given.form, given.language_model)
    export_trained(model, given.what, given.to)
    return "a trained editor"


def _setting(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise InputError(f"--set {text}: expected NAME=VALUE")
    from unike_lib.front.yaml_text import parse_yaml

    return name, parse_yaml(value, f"--set {name}", "a value as in config.yaml")


def run_doctor(given: argparse.Namespace) -> int:
    """Print what is known of a folder; 1 if it cannot be edited."""
    from unike_lib.front.doctor import as_text, examine

    found = examine(given.folder, given.family, given.results, given.configfile, given.open)
    print(as_text(found))
    return 0 if found.problem is None else 1


if __name__ == "__main__":
    sys.exit(main())
