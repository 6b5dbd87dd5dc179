"""What an edit knows of a pass: spans of tokens against plain loops, what parts keep and note, what rows take on."""

import pytest
import torch

from unike_lib.backbones.edit import PassContext, Trace

LAST = torch.tensor([4, 2, 3])  # of rows whose pictures lie at 1 to 2, nowhere, and at 0 to 2
PICTURE = torch.tensor([[1, 2], [0, 0], [0, 3]])
SPANS = {
    "picture": lambda row, place: int(PICTURE[row, 0]) <= place < int(PICTURE[row].sum()),
    "prompt": lambda row, place: place <= int(LAST[row]),
    "all": lambda row, place: True,
}


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize(
    "positions", [None, [[0, 1, 2, 3, 4, 5]], [[3, 4, 5, 6], [0, 1, 2, 3], [2, 1, 0, 4]], [[5], [3], [4]]]
)
def test_a_span_is_where_its_tokens_lie_in_their_rows(span, positions):
    """From the beginning, the same places for all rows, read out of order, and one token behind each prompt."""
    tokens = 6 if positions is None else len(positions[0])
    places = torch.arange(tokens).expand(3, -1) if positions is None else torch.tensor(positions).expand(3, -1)
    context = PassContext(LAST, picture=PICTURE, positions=None if positions is None else torch.tensor(positions))
    found = context.within(span, tokens)
    assert found.dtype == torch.bool
    assert found.tolist() == [[SPANS[span](row, place) for place in places[row].tolist()] for row in range(3)]


def test_where_no_picture_is_known_a_span_of_it_is_an_error():
    context = PassContext(LAST)
    assert context.within("prompt", 2).all() and context.within("all", 2).all()
    with pytest.raises(ValueError, match="expected rows that say where their picture lies"):
        context.within("picture", 2)


class One:
    pass


class Other:
    pass


def test_what_a_part_keeps_is_its_own_in_each_layer_and_stays():
    context = PassContext(LAST)
    kept = context.kept_by(One(), 3)
    assert kept == {}
    kept["alpha"] = LAST
    assert context.kept_by(One(), 3)["alpha"] is LAST  # a part is a value: its kind names it
    assert context.kept_by(One(), 4) == context.kept_by(Other(), 3) == {}
    assert context.kept_by(One(), 3) is kept


def test_notes_go_to_the_trace_where_there_is_one_and_are_cut_off_from_training():
    said = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    alone, traced = PassContext(LAST), PassContext(LAST, Trace(states=False))
    for context in (alone, traced):
        context.note("alpha", 2, said)
        context.note("alpha", 5, 2 * said)
        context.note("scope", 2, said)
    assert not traced.notes
    for notes in (alone.notes, traced.trace.notes):
        assert {name: list(layers) for name, layers in notes.items()} == {"alpha": [2, 5], "scope": [2]}
        assert notes["alpha"][5].tolist() == [2, 4, 6]
        assert not any(values.requires_grad for layers in notes.values() for values in layers.values())


def test_the_context_of_some_rows_is_theirs_in_every_part():
    context = PassContext(torch.tensor([5, 6, 7, 8]), Trace(), torch.arange(8).view(4, 2))
    context.shares = {2: torch.tensor([0.1, 0.2, 0.3, 0.4])}
    context.kept = {("Part", 2): {"alpha": torch.tensor([1.0, 2.0, 3.0, 4.0]), "slots": torch.arange(8).view(4, 2)}}
    context.note("alpha", 2, torch.zeros(4))
    chosen = context.select(torch.tensor([3, 1]))
    assert chosen.last_prompt.tolist() == [8, 6] and chosen.trace is None and not chosen.notes
    assert chosen.picture.tolist() == [[6, 7], [2, 3]] and chosen.positions is None
    torch.testing.assert_close(chosen.shares[2], torch.tensor([0.4, 0.2]))
    assert chosen.kept["Part", 2]["alpha"].tolist() == [4, 2]
    assert chosen.kept["Part", 2]["slots"].tolist() == [[6, 7], [2, 3]]
    assert PassContext(LAST).select(torch.tensor([1])).picture is None
