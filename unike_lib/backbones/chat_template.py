"""A folder's own chat template: what it makes of a question, and the input layout that this is."""

import logging
from datetime import date
from functools import cache
from pathlib import Path
from traceback import extract_tb
from typing import Any, NamedTuple

from unike_lib.backbones.folder import find_file
from unike_lib.backbones.tokenizer import starts_texts
from unike_lib.family import Family, InputForm
from unike_lib.io import first_line, read_json
from unike_lib.types import InputError

log = logging.getLogger(__name__)
# Has what a template could change of a question: capitals, and signs that are written otherwise in HTML and JSON.
QUESTION = "What is this: 'A' & b ?"
# Templates that write today's date (Llama 3) write this one: what a model answers must not depend on the day. It is the
# date that Llama 3's own template writes where it is told none.
DAY = date(2024, 7, 26)
# In front of a template: its function for today's date, as one of that day.
OF_THAT_DAY = (
    "{% macro strftime_now(form) %}{{ form"
    + "".join(f" | replace('%{code}', '{DAY:%{code}}')" for code in "aAbBdjmUwWyY")
    + " }}{% endmacro %}\n"  # a line of its own: at the start of a line, a template's first blanks are left out
)


@cache
def say(message: str) -> None:
    """Log a message once."""
    log.warning("%s", message)


def read_template(folder: str | Path, tokenizer: Any) -> str | None:
    """Return the folder's chat template: its processor's, in a file of its own, else its tokenizer's.

    None: it has none; "": one that cannot be read.
    """
    for name in ("processor_config.json", "chat_template.json"):
        found = _entry(folder, name)
        if found is not None:
            return _default(found) or ""
    found = tokenizer.chat_template  # of chat_template.jinja, too
    return None if found is None else _default(found) or ""


def _default(found: Any) -> str | None:
    """Return the one of several templates that is used where none is named, or the one; None: no text."""
    found = found.get("default") if isinstance(found, dict) else found
    return found if isinstance(found, str) else None


def _entry(folder: str | Path, name: str) -> Any:
    """Return the entry chat_template of a folder's file; None: it is not there; "": the file cannot be read."""
    try:
        file = find_file(folder, name)
    except OSError:  # a hub id that cannot be asked now
        return None
    if file is None:
        return None
    try:
        found = read_json(file)
    except (InputError, OSError):
        return ""
    return found.get("chat_template") if isinstance(found, dict) else ""


class Written(NamedTuple):
    """What a template makes of a question, up to where the answer begins; `text` is None: `why` says why not."""

    text: str | None
    why: str = ""

    def __str__(self) -> str:
        return repr(self.text) if self.text is not None else f"none ({self.why})"


def written(tokenizer: Any, template: str, with_image: bool, mark: str | None = None) -> Written:
    """Return what a template makes of a question, with a picture in front of it or without one.

    Reading: a template that takes texts alone, or leaves out what is no text, is given the picture's `mark` and a
    line's end in front of the question, as LLaVA's own code writes it (haotian-liu/LLaVA, llava/eval/run_llava.py).
    """
    if not template:
        return Written(None, "it cannot be read, or none of several is the default")
    text, wanted = {"type": "text", "text": QUESTION}, mark if with_image and mark else ""
    contents: list[Any] = [[{"type": "image"}, text]] if with_image else [[text], QUESTION]
    contents += [f"{mark}\n{QUESTION}"] * bool(wanted)
    found = [_rendered(tokenizer, template, content) for content in contents]
    return next((each for each in found if each.text is not None and wanted in each.text), found[0])


def _rendered(tokenizer: Any, template: str, content: Any) -> Written:
    """Return what a template makes of a message."""
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=False,
            add_generation_prompt=True,
            chat_template=OF_THAT_DAY + template,
        )
    except Exception as error:  # a template is a program of somebody else's
        return Written(None, _place(error) + (first_line(error) or type(error).__name__))
    if "'type'" in text or QUESTION not in text:
        return Written(None, f"the question is not in it as it is: {text!r:.200}")
    return Written(str(text))


def _place(error: Exception) -> str:
    """Return the line of a template where an error came up, as far as it is known."""
    lines = [getattr(error, "lineno", None)]  # of one that cannot be read
    lines += [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == "<template>"]
    known = [line for line in lines if line is not None]
    return f"line {known[-1] - OF_THAT_DAY.count(chr(10))}: " if known else ""


def folder_form(folder: str | Path, family: Family, tokenizer: Any, image_token: int | None) -> InputForm | None:
    """Return the input layout that a folder's chat template writes; None: it has none, or none that can be used here.

    Args:
        folder: the model's.
        family: of it; its own layout is used for None, which is said once.
        tokenizer: the folder's.
        image_token: the id that stands for a picture's tokens in the model's texts.

    Raises:
        InputError: laid out piece by piece, the question would have other token ids than in the template's text.
    """
    template = read_template(folder, tokenizer)
    if template is None:
        return None
    known = image_token is not None and 0 <= image_token < len(tokenizer)
    mark = tokenizer.convert_ids_to_tokens(image_token) if known else None
    found = {with_image: written(tokenizer, template, with_image, mark) for with_image in (True, False)}
    texts = {with_image: each.text for with_image, each in found.items()}
    form = None if mark is None else _form(family, tokenizer, texts[True], texts[False], mark)
    if form is None:
        say(
            f"{folder}: its chat template cannot be used here: expected a text with one {mark!r} in front of the "
            f"question, found {found[True]}, without a picture {found[False]}; the layout of family "
            f"'{family.name}' is used"
        )
        return None
    _check_ids(folder, family, tokenizer, form, texts)
    return form


def _form(family: Family, tokenizer: Any, shown: str | None, asked: str | None, mark: str) -> InputForm | None:
    """Return the layout of a question's two texts, with a picture and without."""
    if shown is None or asked is None or shown.count(mark) != 1 or mark in asked:
        return None
    if shown.count(QUESTION) != 1 or asked.count(QUESTION) != 1 or shown.index(mark) > shown.index(QUESTION):
        return None
    before, behind = shown.split(mark)
    opening, closing = family.around_picture
    starts, bos = starts_texts(tokenizer), tokenizer.bos_token or ""  # a start token that the template writes is text
    return InputForm(
        before_image=before + opening,
        with_image=_framed(mark + closing + behind),
        text_only=_framed(asked),
        start_token_with_image=starts and not _begins(before, bos),
        start_token_text_only=starts and not _begins(asked, bos),
        picture_mark=mark,
    )


def _begins(text: str, bos: str) -> bool:
    return bool(bos) and text.startswith(bos)


def _framed(text: str) -> str:
    """Return a text of the template's with {} where the question stands."""
    return text.replace("{", "{{").replace("}", "}}").replace(QUESTION, "{}")


def _check_ids(
    folder: str | Path, family: Family, tokenizer: Any, form: InputForm, texts: dict[bool, str | None]
) -> None:
    """Compare a layout's token ids, piece by piece, with those of the template's whole text.

    Raises:
        InputError: they differ; names the first place.
    """
    ids = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"] if text else []  # noqa: E731
    opening, closing = family.around_picture
    for with_image, text in texts.items():
        whole = str(text).replace(form.picture_mark, opening + form.picture_mark + closing)
        begun = _begins(whole, tokenizer.bos_token or "")
        theirs = tokenizer(whole, add_special_tokens=not begun)["input_ids"]
        if with_image:
            ours = [tokenizer.bos_token_id] * form.start_token_with_image + ids(form.before_image)
            ours += ids(form.with_image.format(QUESTION))  # which begins with the picture's own
        else:
            ours = [tokenizer.bos_token_id] * form.start_token_text_only + ids(form.text_only.format(QUESTION))
        if ours != theirs:
            same = min(len(ours), len(theirs))
            place = next((i for i in range(same) if ours[i] != theirs[i]), same)
            raise InputError(
                f"{folder}: chat template: token {place} of {whole!r} is {_named(tokenizer, ours, place)} piece by "
                f"piece and {_named(tokenizer, theirs, place)} in one; expected the same, as of a text and its parts"
            )


def _named(tokenizer: Any, ids: list[int], place: int) -> str:
    return repr(tokenizer.convert_ids_to_tokens(ids[place])) if place < len(ids) else "none"
