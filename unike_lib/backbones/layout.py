"""A family's layout against what a folder's tokenizer and chat template say."""

from pathlib import Path
from typing import Any

from unike_lib.backbones.chat_template import QUESTION, Written, read_template, say, written
from unike_lib.family import Family
from unike_lib.types import InputError

PICTURE = "[picture]"
# What stands for a picture in chat templates, and what processors of tiled pictures put around it later.
GEMMA = f"\n\n<start_of_image>{PICTURE}<end_of_image>\n\n"
PLACEHOLDERS, AROUND = (
    ("<|image_pad|>", "<image>", GEMMA, "<start_of_image>"),
    ("<fake_token_around_image>", "<global-img>"),
)


def check_layout(folder: str | Path, family: Family, tokenizer: Any) -> None:
    """Refuse a tokenizer that would give the family's layout other ids; say once if the chat template is another.

    Raises:
        InputError: a special token of the layout, or its start token, is not in the tokenizer.
    """
    vocabulary = tokenizer.get_vocab()
    for mark in family.marks:
        if mark not in vocabulary or len(tokenizer(mark, add_special_tokens=False)["input_ids"]) != 1:
            raise InputError(
                f"{folder}: tokenizer: no token {mark!r}, which the layout of family '{family.name}' has; expected the "
                "tokenizer of such a model"
            )
    starts = family.form.start_token_with_image or family.form.start_token_text_only
    if starts and tokenizer.bos_token_id is None:
        raise InputError(
            f"{folder}: tokenizer: field 'bos_token': family '{family.name}' starts its texts with it, found none"
        )
    template = read_template(folder, tokenizer)
    if template is not None and not family.follows_template and family.form.text_only != "{}":  # a family with a chat
        for with_image in (True, False):
            theirs, ours = _theirs(tokenizer, template, with_image), _ours(family, tokenizer, with_image)
            if theirs.text != ours:
                found = f"cannot be used here: {theirs.why}" if theirs.text is None else f"writes {theirs}"
                say(f"{folder}: its chat template {found}; family '{family.name}' writes {ours!r}, and that is used")
                return


def agrees_with_template(folder: str | Path, family: Family, tokenizer: Any) -> bool:
    """Tell whether a family writes questions as the folder's chat template does; False where it has none."""
    template = read_template(folder, tokenizer)
    return template is not None and all(
        _theirs(tokenizer, template, with_image).text == _ours(family, tokenizer, with_image)
        for with_image in (True, False)
    )


def _theirs(tokenizer: Any, template: str, with_image: bool) -> Written:
    """Return what the template makes of a question, without the start token."""
    found = written(tokenizer, template, with_image)
    return found if found.text is None else Written(_bare(found.text, tokenizer))


def _ours(family: Family, tokenizer: Any, with_image: bool) -> str:
    """Return what the family makes of a question, without the start token."""
    form = family.form
    if not with_image:
        return _bare(form.text_only.format(QUESTION), tokenizer)
    return _bare(form.before_image + PICTURE + form.after_image + form.with_image.format(QUESTION), tokenizer)


def _bare(text: str, tokenizer: Any) -> str:
    for placeholder in PLACEHOLDERS:
        text = text.replace(placeholder, PICTURE)
    for mark in AROUND:
        text = text.replace(mark, "")
    return text.removeprefix(tokenizer.bos_token or "").rstrip(" ")
