"""Layouts that follow a folder's own chat template, of many shapes, token by token with the folder's processor."""

import json
import shutil
from datetime import datetime
from unittest import mock

import pytest
import torch
from test_families import QUERIES, their_inputs
from tiny_chatml import INTERLEAVE_TEMPLATE
from tiny_families import SIDE, picture, processor_of, tiny_family, tiny_model, tokenizer_of
from tiny_templates import LLAVA_TEMPLATE
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer, LlavaProcessor
from transformers.utils import chat_template_utils

from unike_lib.backbones import load as load_module
from unike_lib.backbones.chat_template import folder_form
from unike_lib.backbones.layout import check_layout
from unike_lib.backbones.load import load_backbone, load_processor
from unike_lib.backbones.visual import VisualStore, extract_visual
from unike_lib.config.backbones import BackboneConfig
from unike_lib.family import find_family
from unike_lib.io import marked
from unike_lib.runtime import check_made_with, mark_of_backbone
from unike_lib.types import InputError, Query

LLAVA, MARK = BackboneConfig(family="llava", folder="x"), "<image>"
USER = "{% for message in messages %}{% for part in message['content'] %}"
TEXT = "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
TEMPLATES = {
    "mistral": "{{ bos_token }}[INST] " + USER + TEXT + " [/INST]",
    "a start token twice": "{{ bos_token }}" + LLAVA_TEMPLATE,
    "braces": "{ {system} } " + USER + TEXT + " {} end:",
    "a system prompt": "a photo of an owl\n" + LLAVA_TEMPLATE,
    "a day": "{{ strftime_now('%d %b %Y') }} " + LLAVA_TEMPLATE,
    "interleave": INTERLEAVE_TEMPLATE,
    "a line's end in front": "\n" + LLAVA_TEMPLATE,
    "blanks in front": "  {% if true %}{% endif %}" + LLAVA_TEMPLATE,
    "question trimmed": "USER: " + USER + TEXT.replace("part['text']", "part['text'] | trim") + "\n\n",
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A folder without a chat template."""
    folder, tokenizer = tmp_path_factory.mktemp("llava") / "model", tokenizer_of("llava")
    for part in (tiny_model("llava", tokenizer), tokenizer, processor_of("llava", tokenizer).image_processor):
        part.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(plain, tmp_path):
    return shutil.copytree(plain, tmp_path / "model")


def their_ids(folder, template, query, text_alone=False):
    """What the folder's own processor writes: a start token unless the template has written it.

    text_alone: the message is a text, in which the picture's mark stands before the question.
    """
    images = load_processor(folder, LLAVA)
    processor = LlavaProcessor(
        images, AutoTokenizer.from_pretrained(folder), patch_size=4, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=template,
    )  # fmt: skip
    content = [{"type": "image"}] * (query.image is not None) + [{"type": "text", "text": query.prompt}]
    content = f"{MARK}\n" * (query.image is not None) + query.prompt if text_alone else content
    with mock.patch.object(chat_template_utils, "datetime", mock.Mock(now=lambda: datetime(2024, 7, 26))):
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    pixels = {} if query.image is None else {"images": [torch.zeros(3, SIDE, SIDE, dtype=torch.uint8)]}
    twice = text.startswith(processor.tokenizer.bos_token)
    return processor(text=text, return_tensors="pt", add_special_tokens=not twice, **pixels)["input_ids"][0]


@pytest.mark.parametrize("where", ["chat_template.jinja", "chat_template.json", "processor_config.json"])
@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_a_question_has_the_token_ids_of_the_folders_processor(folder, where, template):
    (folder / where).write_text(template if where.endswith("jinja") else json.dumps({"chat_template": template}))
    if where != "chat_template.jinja":  # a tokenizer's own is another program's
        (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    loaded = load_backbone(folder, LLAVA, lambda names: torch.zeros(len(names), 16, 16))
    mark = loaded.tokenizer.convert_tokens_to_ids(MARK)
    for image in ("one", None):
        query = Query(image, "is this a red cat?", style="plain")
        ids, embedded = their_ids(folder, template, query), loaded.encode([query]).embeddings[0]
        assert len(ids) == len(embedded) and int((ids == mark).sum()) == 16 * (image is not None)
        seen = ids != mark
        torch.testing.assert_close(embedded[seen], loaded.model.get_input_embeddings()(ids[seen]), atol=0, rtol=0)


TEXTS_ALONE = {
    "a text and no list": "{{ bos_token }}[INST] {{ messages[0]['content'] + ' [/INST]' }}",
    "a list's pictures are left out": "{% set all = messages[0]['content'] %}Q: {% if all is string %}{{ all }}"
    "{% else %}{% for part in all if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %} A:",
}


@pytest.mark.parametrize("template", TEXTS_ALONE.values(), ids=TEXTS_ALONE)
def test_a_template_that_takes_texts_alone_gets_the_pictures_mark_in_front_of_the_question(folder, template):
    (folder / "chat_template.jinja").write_text(template)
    loaded = load_backbone(folder, LLAVA, lambda names: torch.zeros(len(names), 16, 16))
    for image in ("one", None):
        query = Query(image, "is this a red cat?", style="plain")
        ids, embedded = their_ids(folder, template, query, text_alone=True), loaded.encode([query]).embeddings[0]
        seen = ids != loaded.tokenizer.convert_tokens_to_ids(MARK)
        assert len(ids) == len(embedded) and int((~seen).sum()) == 16 * (image is not None)
        torch.testing.assert_close(embedded[seen], loaded.model.get_input_embeddings()(ids[seen]), atol=0, rtol=0)


@pytest.mark.parametrize("start", ["", "{{ bos_token }}"])
def test_a_tokenizer_that_marks_the_first_word_alone_is_followed(folder, start):
    """Its ids of a text's second part are others where that part is a text of its own."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.normalizer = None
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.save_pretrained(folder)
    behind = "is this"
    alone = tokenizer(behind, add_special_tokens=False)["input_ids"]
    assert tokenizer(MARK + behind, add_special_tokens=False)["input_ids"][1:] != alone
    template = start + "a photo" + LLAVA_TEMPLATE.replace(MARK + "\n", MARK)
    (folder / "chat_template.jinja").write_text(template)
    loaded = load_backbone(folder, LLAVA, lambda names: torch.zeros(len(names), 16, 16))
    query = Query("one", "is this a red cat?", style="plain")
    ids = their_ids(folder, template, query)
    seen = ids != tokenizer.convert_tokens_to_ids(MARK)
    embedded = loaded.encode([query]).embeddings[0]
    torch.testing.assert_close(embedded[seen], loaded.model.get_input_embeddings()(ids[seen]), atol=0, rtol=0)


def test_a_tokenizer_whose_parts_are_not_those_of_the_text_is_refused(folder):
    """A picture's token that takes the blanks in front of it."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    next(token for token in content["added_tokens"] if token["content"] == MARK)["lstrip"] = True
    file.write_text(json.dumps(content))
    (folder / "chat_template.jinja").write_text(LLAVA_TEMPLATE)
    with pytest.raises(InputError, match=r"^[^\n]*chat template: token \d+ of [^\n]* piece by piece and [^\n]*$"):
        load_backbone(folder, LLAVA, lambda names: None)


def test_a_tokenizer_that_ends_texts_is_refused_by_the_token_behind_them(folder):
    """Their ids are ours and one more: there is no token of ours at that place."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    kept = content["post_processor"]["special_tokens"]
    end = content["post_processor"]["single"][0]["SpecialToken"]["id"]
    assert kept and end
    content["post_processor"]["single"].append({"SpecialToken": {"id": end, "type_id": 0}})
    file.write_text(json.dumps(content))
    (folder / "chat_template.jinja").write_text(LLAVA_TEMPLATE)
    with pytest.raises(InputError, match=rf"chat template: token \d+ of .* is none piece by piece and '{end}' in one"):
        load_backbone(folder, LLAVA, lambda names: None)


def test_of_several_templates_the_default_is_followed(folder):
    """As processors have it, whose settings may hold them by name."""
    tokenizer, forms = AutoTokenizer.from_pretrained(folder), []
    token = tokenizer.convert_tokens_to_ids(MARK)
    for template in (LLAVA_TEMPLATE, {"default": LLAVA_TEMPLATE, "tools": "{{ nothing.of.this }}"}):
        (folder / "processor_config.json").write_text(json.dumps({"chat_template": template}))
        forms.append(folder_form(folder, find_family("llava"), tokenizer, token))
    assert forms[0] == forms[1] and forms[0].picture_mark == MARK


BEHIND = "{% for kind in ['text', 'image'] %}{% for part in messages[0]['content'] %}{% if part['type'] == kind %}"
BEHIND += "{{ part['text'] if kind == 'text' else '<image>' }}{% endif %}{% endfor %}{% endfor %}"
UNUSABLE = {
    "no picture": LLAVA_TEMPLATE.replace(MARK, ""),
    "two pictures": LLAVA_TEMPLATE.replace(MARK, MARK + MARK),
    "another mark": LLAVA_TEMPLATE.replace(MARK, "<img>"),
    "the question in front": BEHIND,
    "the question twice": USER + TEXT.replace("{{ part['text'] }}", "{{ part['text'] }} {{ part['text'] }}"),
    "a fault": "{{ nothing.of.this }}",
    "small letters": LLAVA_TEMPLATE.replace("content['text']", "content['text'] | lower"),
    "HTML": LLAVA_TEMPLATE.replace("content['text']", "content['text'] | escape"),
}


@pytest.mark.parametrize("template", UNUSABLE.values(), ids=UNUSABLE)
def test_a_template_that_cannot_be_followed_is_said_and_llavas_own_is_used(folder, caplog, template):
    (folder / "chat_template.jinja").write_text(template)
    form = load_backbone(folder, LLAVA, lambda names: None).form
    assert form == load_module.input_form("llava", tokenizer_of("llava"))
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("unike_lib")]
    assert str(folder) in line and "cannot be used here" in line and "\n" not in line


FAULTS = {
    "at its role": ("a\n\n{% if true %}{{ raise_exception('Expected a system message\nfirst') }}{% endif %}",
                    "line 3: Expected a system message"),
    "within what it calls": ("{% macro said(x) %}\n{{ x.of.this }}{% endmacro %}\n{{ said(nothing) }}",
                             "line 2: 'nothing' is undefined"),
    "while it is read": ("a\n{% for x in y %}", "line 2: Unexpected end of template."),
    "outside of it": ("{{ messages[0]['content'].nothing }}", "the question is not in it as it is: ''"),
}  # fmt: skip


@pytest.mark.parametrize("template, why", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("family", ["llava", "smolvlm"])
def test_why_a_template_cannot_be_used_is_said_with_its_line(folder, caplog, family, template, why):
    tokenizer = tokenizer_of(family)
    tokenizer.chat_template = template
    if family == "llava":
        assert folder_form(folder, find_family(family), tokenizer, tokenizer.convert_tokens_to_ids(MARK)) is None
    else:
        check_layout(folder, find_family(family), tokenizer)
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("unike_lib")]
    assert why in line and "\n" not in line


def test_a_tokenizer_with_templates_of_which_none_is_the_default_is_not_one_without(folder, caplog):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = {"tools": LLAVA_TEMPLATE}
    assert folder_form(folder, find_family("llava"), tokenizer, tokenizer.convert_tokens_to_ids(MARK)) is None
    assert "its chat template cannot be used here" in caplog.text and "none of several is the default" in caplog.text


def test_without_a_template_or_with_llavas_own_nothing_moves(plain, folder):
    """The layout from before folders' templates were followed: its ids, piece by piece."""
    (folder / "chat_template.jinja").write_text(LLAVA_TEMPLATE)
    images = lambda names: torch.zeros(len(names), 16, 16)  # noqa: E731
    bare, followed = (load_backbone(path, LLAVA, images) for path in (plain, folder))
    assert bare.form == load_module.input_form("llava", bare.tokenizer) and bare.form.picture_mark == ""
    queries = [Query("one", "is this a red cat?", "owl"), Query(None, "{} {x}", "owl", "plain")]
    first, second = bare.encode(queries), followed.encode(queries)
    for name in ("embeddings", "targets", "last_prompt", "lengths", "picture"):
        assert torch.equal(getattr(first, name), getattr(second, name))


def test_files_made_under_another_template_are_refused(folder, tmp_path):
    """The fingerprint of a folder sees its template."""
    fields = LLAVA.model_dump(mode="json")
    (folder / "chat_template.jinja").write_text(LLAVA_TEMPLATE)
    before = mark_of_backbone(fields, [folder])
    loaded, kept = load_backbone(folder, LLAVA, lambda names: None), tmp_path / "kept.safetensors"
    extract_visual(loaded.model, load_processor(folder, LLAVA), ["one"], picture, kept, marked("job", before))
    VisualStore(kept)
    check_made_with(before, folder, [kept])
    (folder / "chat_template.jinja").write_text(LLAVA_TEMPLATE.replace("ASSISTANT", "GPT"))
    with pytest.raises(InputError, match="made with another backbone"):
        check_made_with(mark_of_backbone(fields, [folder]), folder, [kept])


DECODERS = ["llava-chatml+mistral", "llava-chatml+gemma", "llava-chatml+gemma3_text", "llava-chatml+opt"]
DECODERS += ["smolvlm+mistral", "smolvlm2+gemma", "idefics3+qwen3", "internvl+mistral", "llava-onevision+opt"]


@pytest.mark.parametrize("parts", DECODERS)
@torch.no_grad()
def test_decoders_of_other_shapes_behind_the_same_tower(parts):
    """OPT's with a head of its own: transformers cannot build these models around a tied one."""
    name, text = parts.split("+")
    sizes = {"head_dim": 8} if text.startswith("gemma") else {}
    sizes |= {"ffn_dim": 24, "word_embed_proj_dim": 16, "tie_word_embeddings": False} if text == "opt" else {}
    tiny = tiny_family(name, text, **sizes)
    batch = tiny.backbone.encode(QUERIES)
    ours = tiny.backbone.forward(tiny.backbone.run_below(batch))
    for row, query in enumerate(QUERIES):
        theirs = tiny.model(**their_inputs(tiny, query)).logits[0]
        torch.testing.assert_close(ours[row, : len(theirs)], theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("text", ["gemma2", "phi3", "olmo2", "mixtral"])
def test_decoders_that_have_no_layout_are_refused(folder, text):
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["model_type"] = text
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=rf"^[^\n]*text_config\.model_type[^\n]*'qwen3'[^\n]* found '{text}'$"):
        load_backbone(folder, LLAVA, lambda names: None)


def test_a_number_that_is_no_token_is_no_mark(folder):
    (folder / "chat_template.jinja").write_text(LLAVA_TEMPLATE)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for token in (None, -1, len(tokenizer), 10**30):
        assert folder_form(folder, find_family("llava"), tokenizer, token) is None


@pytest.mark.parametrize("name", ["internvl", "llava-onevision", "llava-chatml"])
@torch.no_grad()
def test_in_64_bits_states_are_theirs_to_thirteen_digits(name):
    """Of weights as large as the other tiny models', where 32 bits move InternVL's edited logits by 1.4e-5."""
    tiny = tiny_family(name, "qwen2", initializer_range=0.3)
    tiny.model.double()
    batch = tiny.backbone.encode(QUERIES)
    ours = tiny.backbone.decoder.finish(
        tiny.backbone.decoder.run(batch.embeddings, range(4), sees=batch.sees, positions=batch.positions)
    )
    for row, query in enumerate(QUERIES):
        theirs = tiny.model(**their_inputs(tiny, query), output_hidden_states=True).hidden_states[-1][0]
        assert theirs.dtype == torch.float64
        torch.testing.assert_close(ours[row, : len(theirs)], theirs, atol=1e-13, rtol=1e-13)
