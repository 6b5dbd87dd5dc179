"""encode / trunk / head against Hugging Face's own forward, for both families, with and without image, padded."""

import pytest
import torch
from patches import patch_of
from tiny_models import LAYERS, QUERIES, VISUAL_TOKENS, tiny_images

from unike_lib.backbones.batch import IGNORED
from unike_lib.backbones.edit import Trace
from unike_lib.backbones.generate import generate
from unike_lib.editing.patch import Patch
from unike_lib.types import InputError, Query


def test_head_of_trunk_equals_the_full_forward(backbone):
    batch = backbone.encode(QUERIES)
    ours = backbone.forward(backbone.run_below(batch))
    theirs = backbone.model.language_model(inputs_embeds=batch.embeddings, attention_mask=batch.mask.long()).logits
    for row, length in enumerate(batch.lengths.tolist()):
        torch.testing.assert_close(ours[row, :length], theirs[row, :length], atol=2e-6, rtol=0)


@pytest.mark.parametrize("layers", [(2, 3), (0, 1, 2, 3, 4, 5), (LAYERS - 1,)])
def test_any_window_gives_the_same_logits(family, make_backbone, layers):
    default, window = make_backbone(family), make_backbone(family, layers)
    logits = [b.forward(b.run_below(b.encode(QUERIES))) for b in (default, window)]
    torch.testing.assert_close(*logits, atol=2e-6, rtol=0)


def test_rows_equal_the_query_alone_run_by_the_whole_hugging_face_model(family, make_backbone):
    """The whole model, from pixels, with image placeholders: an independent route through projection and merging."""
    backbone = make_backbone(family)
    model, pixels = backbone.model, torch.randn(1, 3, 8, 8)
    visual = model.get_image_features(pixels).pooler_output
    backbone.images = lambda names: visual.expand(len(names), -1, -1)
    query = Query("any", "what is this ?", "hot dog")
    ours = backbone.forward(backbone.run_below(backbone.encode([query, QUERIES[1]])))[0]
    placeholder = model.config.image_token_id = 3
    form, ids = backbone.form, lambda text: backbone.tokenizer(text)["input_ids"]
    row = [1] * form.start_token_with_image + ids(form.before_image) + [placeholder] * VISUAL_TOKENS
    row += ids(form.after_image) + ids("question : what is this ? short answer : hot dog")
    theirs = model(pixel_values=pixels, input_ids=torch.tensor([row])).logits[0]
    torch.testing.assert_close(ours[: len(row)], theirs, atol=2e-6, rtol=0)


def test_targets_sit_where_they_are_predicted(backbone):
    batch = backbone.encode(QUERIES)
    start = int(batch.last_prompt[0])
    assert backbone.text(batch.targets[0, start : start + 2].tolist()) == "hot dog"
    assert (batch.targets != IGNORED).sum(1).tolist() == [2, 1, 5, 0]
    assert int(batch.last_prompt[3]) == int(batch.lengths[3]) - 1
    # Read are each answer's blanks, the first of them behind the prompt, and the one behind the answer.
    read = [place.flatten().tolist() for place in (row.nonzero() for row in batch.answered)]
    ends = batch.lengths.tolist()
    assert read == [list(range(end - 1 - answer, end)) for end, answer in zip(ends, [2, 1, 5, 0], strict=True)]


def test_text_only_rows_have_no_image_and_no_wrapper(backbone):
    batch = backbone.encode([QUERIES[1]])
    expected = backbone.tokenizer("question : what is a cat ? short answer : red")["input_ids"]
    embedded = backbone.model.language_model.get_input_embeddings()(torch.tensor(expected))
    torch.testing.assert_close(batch.embeddings[0], embedded)


def test_padding_changes_nothing(backbone):
    """Rows of different lengths start at place 0, the shortest too, and each says what it says alone."""
    batch = backbone.encode(QUERIES)
    together = backbone.forward(backbone.run_below(batch))
    for row, query in enumerate(QUERIES):
        single = backbone.encode([query])
        alone = backbone.forward(backbone.run_below(single))[0]
        torch.testing.assert_close(alone, together[row, : len(alone)], atol=1e-5, rtol=0)
        assert batch.mask[row].tolist() == [place < len(alone) for place in range(batch.mask.shape[1])]
    assert len({*batch.lengths.tolist()}) > 2


def test_where_reads_only_what_is_asked(backbone):
    batch = backbone.encode(QUERIES)
    trunk, where = backbone.run_below(batch), batch.targets != IGNORED
    torch.testing.assert_close(backbone.forward(trunk, where=where), backbone.forward(trunk)[where], atol=2e-6, rtol=0)


def test_trace_holds_the_inputs_of_attention_and_ffn(backbone):
    trace, seen = Trace(), {}
    layer = backbone.decoder.layers[-1]
    part = layer.part(layer.names.ffn_norm)
    handle = part.register_forward_hook(lambda module, inputs, output: seen.update(q=output))
    backbone.forward(backbone.run_below(backbone.encode(QUERIES)), trace=trace)
    handle.remove()
    assert set(trace.attention_inputs) == set(backbone.layers) == set(trace.ffn_inputs)
    torch.testing.assert_close(trace.ffn_inputs[LAYERS - 1], seen["q"])


def zero_change(backbone, sessions):
    """Return an edit that is not empty and changes nothing."""
    layer = backbone.decoder.layers[-1]
    weights = {name: layer.part(name).weight for name in layer.names.ffn_matrices}
    return patch_of(sessions, changes={layer.index: {n: torch.zeros(sessions, *w.shape) for n, w in weights.items()}})


@pytest.mark.parametrize("edited", [False, True])
def test_generation_does_not_depend_on_drafts_and_equals_step_by_step_greedy(backbone, edited):
    patch = zero_change(backbone, 2) if edited else Patch(2)
    drafts = [[5, 6, 7], [], [4], [9, 9]]
    answers = generate(backbone, QUERIES, drafts, patch, max_new_tokens=6)
    assert answers == generate(backbone, QUERIES, [[]] * 4, patch, max_new_tokens=6)
    assert answers == generate(backbone, QUERIES, answers, patch, max_new_tokens=6)
    for query, answer in zip(QUERIES, answers, strict=True):
        written: list[int] = []
        while len(written) < 6:
            batch = backbone.encode([query], [written])
            token = int(backbone.forward(backbone.run_below(batch))[0, -1].argmax())
            if token in backbone.stop_tokens:
                break
            written.append(token)
        assert answer == written


def test_layers_outside_the_model_are_refused(family, make_backbone):
    with pytest.raises(InputError, match="6 layers"):
        make_backbone(family, (5, 6))


def test_images_come_by_name(backbone):
    names = ["b", "a"]
    batch = backbone.encode([Query(name, "name it") for name in names])
    start = int(backbone.form.start_token_with_image) + len(backbone._ids(backbone.form.before_image))
    torch.testing.assert_close(batch.embeddings[:, start : start + VISUAL_TOKENS], tiny_images(names))
