"""Sessions on a tiny backbone: scores against a loop that asks one question at a time."""

from collections import Counter
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from patches import contexts_of
from tiny_models import FAMILIES, make_case, tiny_images, tiny_model, tiny_tokenizer

from unike_lib.backbones.backbone import Backbone
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.criterion import find_criteria
from unike_lib.editing.editor import EditResult, NoEdit
from unike_lib.editing.objective import objective
from unike_lib.editing.patch import Patch
from unike_lib.evaluation import sessions as sessions_module
from unike_lib.evaluation.diagnostics import diagnose
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import records_table, run_edits
from unike_lib.evaluation.tuning import grid_trials, search, sweep
from unike_lib.evaluation.unedited_answers import UneditedAnswers
from unike_lib.io import read_table, write_table
from unike_lib.methods.fine_tune.editor import FineTune
from unike_lib.methods.fine_tune.settings import FineTuneMethod
from unike_lib.methods.fine_tune.weight_changes import WeightChanges
from unike_lib.methods.ike.editor import Ike
from unike_lib.methods.ike.settings import IkeMethod
from unike_lib.methods.serac.editor import Serac, SeracModels
from unike_lib.methods.serac.settings import SeracMethod
from unike_lib.records import MEASURED, SWEPT, record_schema
from unike_lib.types import PROBE_KINDS, EditRequest, Probe, Query

RECORDS = record_schema(find_criteria(("token", "mmedit", "exact", "generated", "normalised")))
RIGHT_AFTER = ["token_right_after", "mmedit_right_after", "exact_right_after"]
SETTINGS = EvaluationConfig(sessions=4, max_new_tokens=4)
LABELS = {"backbone": "tiny", "task": "vqa", "method": "m", "seed": 0, "fingerprint": "x"}


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request):
    """Two layers are enough for the bookkeeping of sessions; no test here changes the model."""
    model = tiny_model(request.param, num_hidden_layers=2)
    return Backbone(model, tiny_tokenizer(), FAMILIES[request.param], tiny_images, None, "question : {} short answer :")


@pytest.fixture(scope="module")
def asked(backbone):
    """Answers before any edit, by what was asked: every test of a backbone shares them."""
    return {}


@pytest.fixture
def before_of(asked, backbone):
    def ask(cases, settings=SETTINGS):
        key = repr(cases), settings.model_dump_json()
        if key not in asked:
            asked[key] = answer_before(backbone, cases, settings)
        return asked[key]

    return ask


@pytest.fixture
def scores_of(backbone, before_of):
    def score(editor, cases, k=1, settings=SETTINGS):
        return frame(run_edits(backbone, editor, {k: cases}, before_of(cases, settings), settings))

    return score


def strong_fine_tune(backbone, **settings):
    return FineTune(backbone, FineTuneMethod(method="fine-tune", **{"steps": 6, "learning_rate": 0.03, **settings}))


def frame(scores):
    return records_table(scores, LABELS, SETTINGS)


def test_locality_equals_a_loop_over_single_questions(backbone, cases, scores_of):
    """Edit one case at a time, ask one question at a time, compare all positions rank by rank."""
    editor = strong_fine_tune(backbone, steps=15)
    records = scores_of(editor, cases)
    for case in cases:
        patch = editor.edit([case.request], editor.start(1)).patch
        for kind, ranks in (("t_loc", 1), ("m_loc", 10)):
            batch = backbone.encode([case.query(kind)])
            before, after = (
                backbone.forward(backbone.run_below(batch), p)[0].sort(descending=True).indices for p in (None, patch)
            )
            asked = batch.targets[0] >= 0
            row = records[(records["case"] == case.request.id) & (records["kind"] == kind)].iloc[0]
            assert row["mmedit"] == pytest.approx(
                float((before[:, :ranks] == after[:, :ranks]).double().mean()), abs=0.02
            )
            unchanged = (before[asked, 0] == after[asked, 0]).double()
            assert row["token"] == pytest.approx(float(unchanged.mean()))
    assert records[records["kind"] == "rel"]["token"].mean() > 0.8
    assert records[records["kind"] == "m_loc"]["mmedit"].mean() < 1


@pytest.mark.parametrize("k", [1, 2, 5])
def test_batches_of_sessions_do_not_change_the_scores(backbone, cases, k, scores_of):
    tables = [
        scores_of(strong_fine_tune(backbone, steps=3), cases, k, SETTINGS.model_copy(update={"sessions": n}))
        for n in (1, 4)
    ]
    keys = ["case", "kind"]
    first, second = (table.sort_values(keys).reset_index(drop=True) for table in tables)
    same = [*keys, "session", "position", "token", "exact", "generated", "text_after", "status", *RIGHT_AFTER]
    pd.testing.assert_frame_equal(first[same], second[same])


class Counting:
    """An editor that counts the edits it is asked for, by request."""

    def __init__(self, editor):
        self.editor, self.start, self.made = editor, editor.start, Counter()

    def edit(self, requests, previous):
        self.made.update(request.id for request in requests)
        return self.editor.edit(requests, previous)


@pytest.mark.parametrize(
    ("ks", "made"),
    [
        ((2, 4), [1, 1, 2, 2, 1]),  # sessions of 2 begin at 0, 2, 4, of 4 at 0, 4
        ((2, 3), [1, 1, 2, 2, 2]),  # 0, 2, 4 and 0, 3
        ((1, 5), [1, 2, 2, 2, 2]),
    ],
)
@pytest.mark.parametrize("sessions", [1, 4])
def test_sessions_that_begin_alike_share_their_edits(backbone, cases, ks, made, sessions, before_of):
    """Scores are those of every K alone; the third edit fails, and the scores say so in every session that has it."""
    settings = SETTINGS.model_copy(update={"sessions": sessions})
    before = before_of(cases, settings)
    shared = Counting(FailsOn("vqa-2", strong_fine_tune(backbone, steps=3)))
    together = frame(run_edits(backbone, shared, dict.fromkeys(ks, cases), before, settings))
    assert [shared.made[case.request.id] for case in cases] == made
    alone = [frame(run_edits(backbone, shared.editor, {k: cases}, before, settings)) for k in ks]
    keys = ["k", "session", "position", "kind"]
    same = [*keys, "case", "token", "exact", "generated", "text_after", "status", *RIGHT_AFTER]
    one, other = (table.sort_values(keys, ignore_index=True)[same] for table in (together, pd.concat(alone)))
    pd.testing.assert_frame_equal(one, other)
    assert (together["status"] != "ok").sum() == 5 * len(ks)


def test_sessions_share_edits_only_where_all_before_are_the_same(make_backbone, cases):
    """Both sessions begin with case 0; what is edited second differs, so nothing is shared."""
    backbone, order = make_backbone("blip2"), {2: [cases[0], cases[1]], 3: [cases[0], cases[2], cases[1]]}
    quick = SETTINGS.without_generation()
    counting = Counting(NoEdit())
    records = frame(run_edits(backbone, counting, order, answer_before(backbone, cases[:3], quick), quick))
    assert [counting.made[case.request.id] for case in cases[:3]] == [2, 2, 1]
    rel = records[records["kind"] == "rel"].sort_values(["k", "position"])
    assert rel["case"].tolist() == ["vqa-0", "vqa-1", "vqa-0", "vqa-2", "vqa-1"]


def test_a_last_partial_session_is_scored_with_its_true_length(backbone, cases, scores_of):
    records = scores_of(strong_fine_tune(backbone), cases, k=2)
    rel = records[records["kind"] == "rel"]
    assert rel.groupby("session").size().tolist() == [2, 2, 1]
    assert rel.set_index("case").loc["vqa-4", ["session", "position"]].tolist() == [2, 0]


def test_a_session_is_scored_after_all_its_edits(backbone, cases, scores_of):
    """The first case of a pair is scored with the second edit in force."""
    editor, pair = strong_fine_tune(backbone), cases[:2]
    records = scores_of(editor, pair, k=2)
    patch = editor.start(1)
    for case in pair:
        patch = editor.edit([case.request], patch).patch
    batch = backbone.encode([pair[0].request.query])
    best = backbone.forward(backbone.run_below(batch), patch)[0].argmax(-1)
    asked = batch.targets[0] >= 0
    expected = float((best[asked] == batch.targets[0][asked]).double().mean())
    row = records[(records["case"] == "vqa-0") & (records["kind"] == "rel")].iloc[0]
    assert row["token"] == pytest.approx(expected)


def right_by_hand(backbone, case, patch):
    """Return the share of answer tokens right and whether all are."""
    batch = backbone.encode([case.request.query])
    best = backbone.forward(backbone.run_below(batch), patch)[0].argmax(-1)
    asked = batch.targets[0] >= 0
    right = (best[asked] == batch.targets[0][asked]).double()
    return float(right.mean()), float(right.min())


def test_each_item_is_also_scored_right_after_its_own_edit(backbone, cases, scores_of):
    editor = strong_fine_tune(backbone, steps=3)
    records = scores_of(editor, cases, k=3)  # sessions of 3 and of 2
    rel = records[records["kind"] == "rel"].set_index("case")
    for session in (cases[:3], cases[3:]):
        patch = editor.start(1)
        for case in session:
            patch = editor.edit([case.request], patch).patch
            row = rel.loc[case.request.id]
            token, exact = right_by_hand(backbone, case, patch)
            assert (row["token_right_after"], row["exact_right_after"]) == (pytest.approx(token), exact)
            assert row["mmedit_right_after"] == row["token_right_after"]
        assert (row["token"], row["exact"]) == (row["token_right_after"], row["exact_right_after"])
    assert (rel["token"] != rel["token_right_after"]).any()
    assert records.loc[records["kind"] != "rel", RIGHT_AFTER].isna().all(axis=None)


def test_one_step_editing_has_no_scores_of_its_own_right_after(backbone, cases, scores_of):
    assert scores_of(NoEdit(), cases[:2])[RIGHT_AFTER].isna().all(axis=None)


@pytest.mark.parametrize("size", [(2, 4, 4), (2, 3, 3), (2, 1, 1), (5, 2, 2), (1, 3, 3)])
def test_passes_stay_small_however_long_sessions_are(backbone, cases, before_of, monkeypatch, size):
    k, sessions, most = size
    settings = SETTINGS.model_copy(update={"sessions": sessions})
    before, encode, rows = before_of(cases, settings), backbone.encode, []
    monkeypatch.setattr(backbone, "encode", lambda queries, *rest: rows.append(len(queries)) or encode(queries, *rest))
    run_edits(backbone, NoEdit(), {k: cases}, before, settings)
    assert max(rows) <= most


def test_an_edit_takes_its_share_of_the_time_and_none_of_scoring(make_backbone, cases, monkeypatch):
    """By hand: a call of the editor takes six seconds, scoring hours; a session of three beside one of one."""
    clock, asked = [0.0], sessions_module.score_kinds
    monkeypatch.setattr(sessions_module, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def waits(seconds, call):
        return lambda *rest: clock.__setitem__(0, clock[0] + seconds) or call(*rest)

    monkeypatch.setattr(sessions_module, "score_kinds", waits(9999.0, asked))
    editor = SimpleNamespace(start=Patch, edit=waits(6.0, NoEdit().edit))
    backbone, quick = make_backbone("blip2"), SETTINGS.without_generation()
    records = frame(run_edits(backbone, editor, {3: cases[:4]}, answer_before(backbone, cases[:4], quick), quick))
    seconds = records.groupby("session")["edit_seconds"].unique()
    assert [each.tolist() for each in seconds] == [[(3 + 6 + 6) / 3], [3]]


@pytest.mark.parametrize("prompt", ["mmedit", "wrapped"])
def test_locality_behind_a_context_compares_the_common_tail(backbone, cases, prompt, scores_of):
    """Ask one question at a time: unedited answers have no context, edited ones have (`mmedit`: no template)."""
    editor = Ike.from_cases(backbone, IkeMethod(method="ike", demonstrations=1, prompt=prompt), cases[3:])
    records = scores_of(editor, cases[:2])
    for case in cases[:2]:
        context = contexts_of(editor.edit([case.request], editor.start(1)).patch)[0]
        for kind, ranks in (("t_loc", 1), ("m_loc", 10)):
            query = case.query(kind)
            behind = replace(query, context=context, style=query.style if prompt == "wrapped" else "plain")
            batches = [backbone.encode([each]) for each in (query, behind)]
            tops = [backbone.forward(backbone.run_below(batch))[0].sort(descending=True).indices for batch in batches]
            length = len(tops[0])
            assert len(tops[1]) > length
            row = records[(records["case"] == case.request.id) & (records["kind"] == kind)].iloc[0]
            same = (tops[0][:, :ranks] == tops[1][-length:, :ranks]).double().mean()
            assert row["mmedit"] == pytest.approx(float(same), abs=0.02)
            answers = [top[batch.targets[0] >= 0, 0] for top, batch in zip(tops, batches, strict=True)]
            assert row["token"] == pytest.approx(float((answers[0] == answers[1]).double().mean()))


def untrained_serac(backbone):
    torch.manual_seed(0)
    settings = SeracMethod(method="serac", width=16, heads=2, scope_layers=1, counterfactual_layers=1)
    return Serac(SeracModels.untrained(backbone, settings))


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("kind", ["ike", "serac"])
def test_batches_change_no_context_and_no_route(backbone, cases, k, kind, scores_of):
    ike = Ike.from_cases(backbone, IkeMethod(method="ike", demonstrations=0), cases[3:])
    editor = ike if kind == "ike" else untrained_serac(backbone)
    settings = [SETTINGS.model_copy(update={"sessions": sessions}) for sessions in (1, 4)]
    first, second = (
        scores_of(editor, cases, k, each).sort_values(["case", "kind"]).reset_index(drop=True) for each in settings
    )
    same = ["case", "kind", "session", "token", "exact", "generated", "text_after"]
    pd.testing.assert_frame_equal(first[same], second[same])
    assert (first["text_after"] != first["text_before"]).any()


@dataclass(frozen=True)
class FailsOn:
    """An editor that reports a failure for one request; it does what another does, by default nothing."""

    bad: str
    editor: object = NoEdit()

    def start(self, sessions):
        return self.editor.start(sessions)

    def edit(self, requests, previous):
        return EditResult(
            self.editor.edit(requests, previous).patch,
            tuple("loss is not finite" if r.id == self.bad else None for r in requests),
        )


def test_a_failed_edit_is_recorded_and_does_not_sink_the_run(backbone, cases, scores_of):
    records = scores_of(FailsOn("vqa-2"), cases)
    failed = records[records["status"] != "ok"]
    assert set(failed["case"]) == {"vqa-2"} and len(failed) == 5
    assert (failed["status"] == "failed: loss is not finite").all()
    assert records["token"].notna().all()


@dataclass(frozen=True)
class Overflows:
    """An editor whose change of one request's session is finite, but not what the model makes of it."""

    backbone: object
    bad: str

    def start(self, sessions):
        return Patch(sessions)

    def edit(self, requests, previous):
        layer = self.backbone.decoder.layers[-1]
        name = layer.names.ffn_matrices[-1]
        sizes = torch.tensor([1e38 if request.id == self.bad else 0.0 for request in requests])
        change = sizes[:, None, None] * torch.ones_like(layer.part(name).weight)
        return EditResult(previous.append(WeightChanges({layer.index: {name: change}})), (None,) * len(requests))


@pytest.mark.parametrize("generate", [True, False])
def test_answers_that_are_no_numbers_are_failures_and_score_nothing(backbone, cases, generate, scores_of):
    settings = SETTINGS.model_copy(update={"generate": generate})
    records = scores_of(Overflows(backbone, "vqa-2"), cases, settings=settings)
    broken = records["case"] == "vqa-2"
    assert (records.loc[broken, "status"] == "failed: logits are not finite").all()
    assert (records.loc[broken, ["token", "mmedit", "exact"]] == 0).all(axis=None)
    assert (records.loc[broken, "generated"].fillna(0) == 0).all()
    assert (records.loc[~broken, "status"] == "ok").all()
    same = scores_of(NoEdit(), cases, settings=settings)
    columns = ["token", "mmedit", "exact", "generated"]
    pd.testing.assert_frame_equal(records.loc[~broken, columns], same.loc[~broken, columns])


def test_records_and_answers_survive_the_disk(tmp_path, backbone, cases, before_of):
    before = before_of(cases)
    before.save(tmp_path / "b.parquet", "fingerprint")
    loaded = UneditedAnswers.load(tmp_path / "b.parquet")
    editor = strong_fine_tune(backbone, steps=2)
    runs = [frame(run_edits(backbone, editor, {1: cases}, answers, SETTINGS)) for answers in (before, loaded)]
    drop = [*MEASURED]
    pd.testing.assert_frame_equal(*(run.drop(columns=drop) for run in runs))
    write_table(tmp_path / "r.parquet", runs[0], "fingerprint", RECORDS)
    back = read_table(tmp_path / "r.parquet", "fingerprint")
    assert list(back.columns) == RECORDS.names
    assert back["token"].tolist() == runs[0]["token"].tolist()


def test_generation_can_be_switched_off(backbone, cases, scores_of):
    records = scores_of(NoEdit(), cases[:2], settings=SETTINGS.model_copy(update={"generate": False}))
    assert records["generated"].isna().all() and records["token"].notna().all()


def test_diagnose_counts_right_answers(backbone, cases):
    known = [make_case(9, backbone.text(_greedy(backbone, cases[0])))]
    table = diagnose(backbone, {"taught": known, "untaught": cases}, SETTINGS).set_index("set")
    assert list(table.index)[:3] == ["taught", "taught_rephrased_text", "taught_rephrased_image"]
    assert table.loc["taught", "consistency"] == 1
    assert table.loc["untaught", "items"] == 5
    assert 0 <= table.loc["untaught", "exact"] <= table.loc["untaught", "token"] + 1e-9


def _greedy(backbone, case):
    from unike_lib.backbones.generate import generate

    query = make_case(9).request.query
    return generate(backbone, [query], [[]], None, max_new_tokens=5)[0]


def test_search_reports_every_trial_with_its_objective(backbone, cases, scores_of, before_of):
    before = before_of(cases)
    trials = grid_trials({"learning_rate": (1e-9, 0.03), "steps": (2, 6)}, 12, 0)
    assert len(trials) == 4 and len(grid_trials({"a": range(50)}, 12, 0)) == 12
    by_task = {"vqa": cases[:2], "caption": cases}
    both = search(backbone, lambda t: strong_fine_tune(backbone, **t), by_task, before, trials, SETTINGS)
    assert both["task"].tolist() == ["vqa", "caption"] * 4 and both["edits"].tolist() == [2, len(cases)] * 4
    table = both[both["task"] == "caption"].reset_index(drop=True)
    assert table.loc[table["objective"].idxmax(), "learning_rate"] == 0.03
    row, alone = table.iloc[0], scores_of(strong_fine_tune(backbone, **trials[0]), cases)
    assert all(row[kind] == pytest.approx(alone.loc[alone["kind"] == kind, "token"].mean()) for kind in PROBE_KINDS)
    by_hand = (row["rel"] + (row["t_gen"] + row["m_gen"]) / 2 + (row["t_loc"] + row["m_loc"]) / 2) / 3
    assert row["objective"] == pytest.approx(by_hand) == pytest.approx(objective(row[list(PROBE_KINDS)]))


def test_sweep_visits_every_point_and_the_method_as_it_is(backbone, cases, scores_of, before_of):
    before, points = before_of(cases[:2]), [{}, {"steps": 1}, {"steps": 9}]
    runs = sweep(backbone, lambda t: strong_fine_tune(backbone, **t), cases[:2], before, points, SETTINGS)
    labels = [("", ""), ("steps", "1"), ("steps", "9")]
    assert [(point["field"], point["value"]) for point, _ in runs] == labels
    tables = [records_table(scores, LABELS, SETTINGS).assign(**point) for point, scores in runs]
    assert set(tables[0]) == {*RECORDS.names, *SWEPT.names}
    reliability = [table[table["kind"] == "rel"]["token"].sum() for table in tables]
    assert reliability[1] < reliability[0] <= reliability[2]
    alone = scores_of(strong_fine_tune(backbone), cases[:2])
    assert tables[0]["token"].tolist() == alone["token"].tolist()
    assert torch.is_grad_enabled()


def test_portability_is_scored_where_a_case_asks_it_and_changes_nothing_else(backbone, cases, scores_of):
    """Two of five cases ask it; sessions of two keep their rows, and each score is that of the question asked alone."""
    asked = {1: Query("image-1", "what is on the left ?", "red owl"), 2: Query("image-2", "name it", "blue")}
    more = [
        replace(case, probes=(*case.probes, Probe("portability", asked[i]))) if i in asked else case
        for i, case in enumerate(cases)
    ]
    for k in (1, 2):
        plain, ported = (scores_of(strong_fine_tune(backbone), some, k) for some in (cases, more))
        extra = ported[ported["kind"] == "portability"]
        assert list(extra["case"]) == ["vqa-1", "vqa-2"]
        assert list(zip(extra["session"], extra["position"], strict=True)) == [(1 // k, 1 % k), (2 // k, 2 % k)]
        others = ported[ported["kind"] != "portability"].reset_index(drop=True)
        pd.testing.assert_frame_equal(others.drop(columns=[*MEASURED]), plain.drop(columns=[*MEASURED]))
        # The same questions as edits' text rephrasings are scored the same.
        moved = [
            replace(case, probes=tuple(Probe(p.kind, asked[i]) if p.kind == "t_gen" and i in asked else p
                                       for p in case.probes))
            for i, case in enumerate(cases)
        ]  # fmt: skip
        twin = scores_of(strong_fine_tune(backbone), moved, k)
        twin = twin[(twin["kind"] == "t_gen") & twin["case"].isin(extra["case"])]
        for column in ("token", "exact", "generated", "text_before", "text_after", "target"):
            assert list(extra[column]) == list(twin[column])


@pytest.mark.parametrize("limit", [(2, 1), (1, 100)])
def test_passes_are_cut_by_tokens_too_and_scores_stay(backbone, cases, monkeypatch, scores_of, before_of, limit):
    k, tokens = limit
    told = Ike.from_cases(backbone, IkeMethod(method="ike", demonstrations=0, prompt="wrapped"), cases)
    settings = SETTINGS.model_copy(update={"sessions": 9})
    whole = scores_of(told, cases, k, settings)
    rows, asked = [], backbone.encode
    monkeypatch.setattr(backbone, "encode", lambda queries, *more: rows.append(len(queries)) or asked(queries, *more))
    monkeypatch.setattr("unike_lib.evaluation.sessions.TOKENS_PER_PASS", tokens)
    before = before_of(cases, settings)
    del rows[:]
    cut = frame(run_edits(backbone, told, {k: cases}, before, settings))
    # Sessions that are edited together are laid out once, to be measured; then items are asked in several passes.
    assert set(rows) in ([{1, 2, 4}] if k == 2 else [{5, 2, 3}, {5, 4, 1}])
    one, other = (
        table.drop(columns=[*MEASURED]).sort_values(["case", "kind"], ignore_index=True) for table in (whole, cut)
    )
    pd.testing.assert_frame_equal(one, other)


def with_second(case, answer="red owl"):
    """A case whose second edit has no picture."""
    return replace(case, then=(EditRequest(f"{case.request.id}+1", "vqa", None, "what is a cat ?", answer),))


def test_only_cases_with_a_second_edit_change_and_k_counts_cases(make_backbone, cases):
    """Of sessions of one side by side, one has a second edit; as the last of a pair, it is in force for both."""
    backbone, quick = make_backbone("blip2"), SETTINGS.without_generation()
    before, more = answer_before(backbone, cases, quick), [cases[0], with_second(cases[1]), *cases[2:4]]
    keys = ["session", "position", "case", "kind"]
    for k, alike in ((1, ["vqa-0", "vqa-2", "vqa-3"]), (2, ["vqa-2", "vqa-3"])):
        editor = Counting(strong_fine_tune(backbone))
        plain, both = (
            frame(run_edits(backbone, editor.editor if each is cases else editor, {k: each[:4]}, before, quick))
            for each in (cases, more)
        )
        assert editor.made["vqa-1+1"] == 1 and plain[keys].equals(both[keys]) and (both["status"] == "ok").all()
        scored = [*keys, "token", "exact", "mmedit"]
        same = plain["case"].isin(alike)
        pd.testing.assert_frame_equal(plain.loc[same, scored], both.loc[same, scored])
        assert (plain.loc[~same, scored] != both.loc[~same, scored]).any(axis=None)


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        ([("vqa-1", 1)], "failed: call 1"),
        ([("vqa-1+1", 2)], "failed: call 2"),
        ([("vqa-1", 1), ("vqa-1+1", 2)], "failed: call 1; call 2"),
        ([("vqa-0", 2)], "ok"),  # the case beside it, edited again to no effect
    ],
)
def test_a_failure_of_either_edit_is_that_of_the_case_alone(make_backbone, cases, bad, status):
    backbone, quick, given = make_backbone("blip2"), SETTINGS.without_generation(), [cases[0], with_second(cases[1])]
    calls = Counter()

    def edit(requests, previous):
        calls["made"] += 1
        made = calls["made"]
        return EditResult(previous, tuple(f"call {made}" if (each.id, made) in bad else None for each in requests))

    editor = SimpleNamespace(start=Patch, edit=edit)
    records = frame(run_edits(backbone, editor, {1: given}, answer_before(backbone, given, quick), quick))
    assert records.groupby("case")["status"].unique().map(list).tolist() == [["ok"], [status]]


def test_seconds_are_those_of_a_cases_own_edits(make_backbone, cases, monkeypatch):
    """By hand: a call takes six seconds; both sessions share the first, one of them has half of the second."""
    clock = [0.0]
    monkeypatch.setattr(sessions_module, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def edit(requests, previous):
        clock[0] += 6
        return NoEdit().edit(requests, previous)

    editor, given = SimpleNamespace(start=Patch, edit=edit), [cases[0], with_second(cases[1])]
    backbone, quick = make_backbone("blip2"), SETTINGS.without_generation()
    records = frame(run_edits(backbone, editor, {1: given}, answer_before(backbone, given, quick), quick))
    assert records.groupby("case")["edit_seconds"].unique().map(list).tolist() == [[3], [6]]
