"""MEND and KE against dense twins: autograd on a real copy of the model, and the formulas with full matrices."""

import copy
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from patches import changes_of, factors_of
from taught import taught_losses
from torch.nn.functional import kl_div

from unike_lib.backbones.batch import IGNORED
from unike_lib.config.evaluation import EvaluationConfig
from unike_lib.editing.building import EditorSources, build_editor, train_editor
from unike_lib.editing.editor import edit_loss, request_trunk
from unike_lib.editing.objective import token_scores
from unike_lib.evaluation.probes import answer_before
from unike_lib.evaluation.sessions import run_edits
from unike_lib.io import write_tensors
from unike_lib.methods.fine_tune.settings import FineTuneMethod
from unike_lib.methods.ke.network import ConditionReader, KeRecipe, MatrixConditioner, build_ke, condition_texts
from unike_lib.methods.ke.settings import KeMethod
from unike_lib.methods.mend.network import FactorTransform, MendRecipe, Moments, build_mend
from unike_lib.methods.mend.settings import MendMethod
from unike_lib.methods.shared.hypernetwork import NetworkEditor, edit_gradients, last_matrices
from unike_lib.methods.shared.low_rank import LowRank
from unike_lib.methods.shared.network_training import Split, _batches, fit, made_together
from unike_lib.types import PROBE_KINDS, InputError

MEND = MendMethod(method="mend", rank=4, steps=4, batch_size=3, edits_per_session=1, eval_every=2, edit_rate=0.05)
KE = KeMethod(
    method="ke",
    hidden=8,
    condition=12,
    scale=10.0,
    strength=1.0,
    steps=4,
    batch_size=3,
    edits_per_session=1,
    eval_every=2,
)


def shaken(network):
    """A network whose weights are far from their start, so that every part of it acts."""
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


EDITORS = {
    "mend": lambda backbone: NetworkEditor(backbone, shaken(build_mend(backbone, MEND, 0)), 1.0, True),
    "ke": lambda backbone: NetworkEditor(backbone, shaken(build_ke(backbone, KE, 0)), 1.0, True),
}


def dense(factors: LowRank) -> torch.Tensor:
    return torch.einsum("sro,sri->soi", factors.outputs, factors.inputs)


def weight_gradients(twin, request, matrices, ends=False):
    """Gradients of the summed edit loss by the real weights, with Hugging Face's own forward."""
    weights = [twin.decoder.layers[m.layer].part(m.name).weight.requires_grad_(True) for m in matrices]
    batch = twin.encode([request.query])
    logits = twin.model.language_model(inputs_embeds=batch.embeddings).logits
    loss = taught_losses(logits[0], twin.answer_ids(request.target), ends).sum()
    return torch.autograd.grad(loss, weights)


@pytest.mark.parametrize("ends", [False, True])
def test_factors_are_the_gradient_of_the_real_weights(family, make_backbone, cases, ends):
    backbone = make_backbone(family)
    requests, matrices = [case.request for case in cases], last_matrices(backbone, 3)
    assert [m.layer for m in matrices] == [3, 3, 4, 4, 5, 5]
    trunk = request_trunk(backbone, requests, matrices[0].layer, teach_end=ends)
    losses, gradients = edit_gradients(backbone, trunk, matrices)
    torch.testing.assert_close(losses, edit_loss(backbone, trunk, None))
    for session, request in enumerate(requests):
        twin = make_backbone(family)
        for matrix, expected in zip(matrices, weight_gradients(twin, request, matrices, ends), strict=True):
            torch.testing.assert_close(dense(gradients[matrix])[session], expected, atol=2e-6, rtol=1e-4)
    lengths = [gradients[matrix].outputs.shape[1] for matrix in matrices]
    assert lengths[4] == 3 + ends < lengths[0]  # in the last layer only answer tokens (three at most) have a gradient


def test_untrained_mend_is_a_gradient_step(family, make_backbone, cases):
    backbone = make_backbone(family)
    requests = [case.request for case in cases[:2]]
    editor = NetworkEditor(backbone, build_mend(backbone, MEND, 0), 1.0, True)
    patch = editor.edit(requests, editor.start(2)).patch
    assert not changes_of(patch)
    for session, request in enumerate(requests):
        matrices = editor.network.matrices
        for matrix, gradient in zip(
            matrices, weight_gradients(make_backbone(family), request, matrices, True), strict=True
        ):
            change = dense(factors_of(patch)[matrix.layer][matrix.name])[session]
            torch.testing.assert_close(change, -MEND.edit_rate * gradient, atol=1e-6, rtol=1e-4)


def test_factor_transform_by_hand():
    """MEND Eq. 3: h = z + relu(s1 (U1 V1 z + b) + t1), g = h + relu(s2 (U2 V2 h + b2) + t2)."""
    transform = shaken(FactorTransform(outputs=3, inputs=2, rank=2, matrices=2))
    draw = torch.Generator().manual_seed(0)
    factors = LowRank(torch.randn(2, 4, 3, generator=draw), torch.randn(2, 4, 2, generator=draw))
    factors.outputs[0, 3] = 0  # no gradient at this token
    tokens = torch.cat([factors.inputs, factors.outputs], -1).flatten(0, 1)[[0, 1, 2, 4, 5, 6, 7]]
    moments = Moments()
    for session in (0, 1):
        moments.add(LowRank(factors.outputs[[session]], factors.inputs[[session]]))
    transform.measure(moments)
    changed = transform(factors, 1)
    values = (tokens - tokens.mean(0)) / tokens.std(0)
    for layer in transform.layers:
        added = [layer.scale[1] * (layer.up @ (layer.down @ value) + layer.bias) + layer.shift[1] for value in values]
        assert 3 < (torch.stack(added) < 0).sum() < 32  # so that the ReLU of this layer matters
        values = values + torch.stack(added).relu()
    found = torch.cat([changed.inputs, changed.outputs], -1).flatten(0, 1)
    torch.testing.assert_close(found[[0, 1, 2, 4, 5, 6, 7]], values, atol=1e-5, rtol=1e-4)
    assert not found[3].any()


# One call of MEND's own GradientTransform (eric-mitchell/mend e04fdb9, algs/mend.py and nn.py; combined, shared, IDMLP
# with one hidden layer, rank 2) in training, which takes means and deviations from these very tokens; random numbers.
MEND_GOLDEN = {
    "inputs": [[-0.26, -0.81], [-1.95, -0.37], [-0.81, 0.02], [0.26, -0.22], [-0.32, -1.49]],
    "deltas": [[-1.71, 0.41, 0.3], [0.49, 0.72, -0.69], [0, 0, 0], [1.08, -0.47, 0.91], [0.86, -0.03, 0.36]],
    "up": [
        [[0.61, 0.68], [0.41, 0.03], [-0.03, 1.46], [3.79, 0.27], [0.4, -0.61]],
        [[-0.79, 0.54], [-0.43, -0.25], [0.15, -1.02], [0.17, -2.13], [0.93, 0.27]],
    ],
    "down": [
        [[0.38, 0.49, -1.97, -2.03, 0.57], [-0.12, -0.92, -0.74, 0.17, 0.01]],
        [[-1.37, 1.09, 0.62, 0.88, 0.96], [0.34, -1.11, -2.43, 0.01, 0.01]],
    ],
    "bias": [[0.13, -0.47, -1.33, -1.71, 0.12], [-1.67, 0.87, -2.25, -0.5, -0.54]],
    "scale": [
        [[-0.05, -0.37, 1.01, 1.36, -0.6], [-1.23, -0.02, -0.53, -0.55, -1.07]],
        [[-0.22, -1.12, -0.51, 0.07, 0.09], [0.64, 0.25, 0.46, -0.14, -1.09]],
    ],
    "shift": [
        [[1.52, -0.02, -1.09, 0.1, 0.64], [-0.4, 0.46, -1.88, -0.61, 0.2]],
        [[-0.32, -1.53, -0.12, -1.45, -0.16], [0.7, 0.29, 1.06, -0.09, 1.4]],
    ],
    "new_inputs": [[1.342026, 0.644046], [1.110159, 1.118784], [0.864001, 1.963158], [0.258417, -0.495207]],
    "new_deltas": [
        [-1.472762, 1.479823, 1.611087],
        [1.453154, 9.184157, 0.024208],
        [2.397785, -1.208314, 3.24264],
        [0.743731, 1.426836, 1.795592],
    ],
}


def test_factor_transform_equals_mends_own_code():
    golden = {name: torch.tensor(value, dtype=torch.float32) for name, value in MEND_GOLDEN.items()}
    transform = FactorTransform(outputs=3, inputs=2, rank=2, matrices=2)
    for number, layer in enumerate(transform.layers):
        layer.load_state_dict({name: golden[name][number] for name in layer.state_dict()})
    factors = LowRank(golden["deltas"][None], golden["inputs"][None])
    moments = Moments()
    moments.add(factors)
    transform.measure(moments)
    changed, real = transform(factors, 1), [0, 1, 3, 4]  # the third token has no gradient
    torch.testing.assert_close(changed.inputs[0, real], golden["new_inputs"], atol=1e-5, rtol=0)
    torch.testing.assert_close(changed.outputs[0, real], golden["new_deltas"], atol=1e-5, rtol=0)


def test_training_starts_in_both_layers_of_a_transform():
    """The identity at the start adds exactly 0, where torch's relu has no gradient."""
    torch.manual_seed(0)
    transform = FactorTransform(outputs=3, inputs=2, rank=2, matrices=1)
    factors = LowRank(torch.rand(1, 4, 3) + 0.1, torch.rand(1, 4, 2) + 0.1)
    changed = transform(factors, 0)
    torch.testing.assert_close((changed.inputs, changed.outputs), (factors.inputs, factors.outputs))
    (changed.inputs.sum() + changed.outputs.sum()).backward()
    for layer in transform.layers:
        for name in ("up", "bias", "shift"):
            assert layer.get_parameter(name).grad.abs().min() > 0, name


def test_moments_added_in_parts_are_those_of_all():
    tokens, moments = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)) + 3, Moments()
    for part in tokens.split([1, 4, 7]):
        moments.add(LowRank(part[None, :, 2:], part[None, :, :2]))
    torch.testing.assert_close(moments.mean, tokens.double().mean(0))
    torch.testing.assert_close(moments.squares / 11, tokens.double().var(0))


def test_neurons_that_never_vary_are_not_blown_up():
    transform, moments = FactorTransform(outputs=3, inputs=2, rank=2, matrices=1), Moments()
    factors = LowRank(torch.rand(1, 4, 3) + 1, torch.tensor([[[0.5, 1.0], [0.5, 2.0], [0.5, 3.0], [0.5, 4.0]]]))
    moments.add(factors)
    transform.measure(moments)
    later = replace(factors, inputs=factors.inputs + 0.25)
    assert (transform(later, 0).inputs[..., 0] - 0.25).abs().max() < 1e-6


def test_the_condition_reads_both_ways():
    torch.manual_seed(0)
    reader, rows = ConditionReader(width=3, hidden=2, condition=4), [torch.randn(length, 3) for length in (5, 2, 4)]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=9.0)
    found = reader(padded, torch.tensor([5, 2, 4]))
    for row, condition in zip(rows, found, strict=True):
        outputs = reader.lstm(row[None])[0][0]
        read = torch.cat([outputs[-1, :2], outputs[0, 2:]])  # the last state of each direction
        torch.testing.assert_close(condition, (reader.linear.weight @ read + reader.linear.bias).tanh())


def test_mend_writes_every_matrix_with_its_own_scale_shift_and_rate(backbone, cases):
    """dW_m = -rate_m sum_t delta'_t u'_t^T; matrices of one shape share a transform, each with a row of its own."""
    network = shaken(build_mend(backbone, MEND, 0))
    assert len({rate for rate in network.edit_rates.tolist()}) == 6
    requests = [case.request for case in cases[:2]]
    trunk = request_trunk(backbone, requests, network.matrices[0].layer)
    gradients = edit_gradients(backbone, trunk, network.matrices)[1]
    changes, seen = network.changes(backbone, requests, trunk, gradients), {}
    for number, matrix in enumerate(network.matrices):
        place = seen[matrix[2:]] = seen.get(matrix[2:], -1) + 1
        transform, factors = network.transforms[f"{matrix.outputs}x{matrix.inputs}"], gradients[matrix]
        expected = torch.zeros(2, matrix.outputs, matrix.inputs)
        for session, token in factors.present.nonzero().tolist():
            values = torch.cat([factors.inputs[session, token], factors.outputs[session, token]])
            for layer in transform.layers:
                added = layer.up @ (layer.down @ values) + layer.bias
                values = values + (layer.scale[place] * added + layer.shift[place]).relu()
            expected[session] += torch.outer(values[matrix.inputs :], values[: matrix.inputs])
        expected *= -network.edit_rates[number]
        torch.testing.assert_close(dense(changes[matrix]), expected, atol=1e-5, rtol=1e-3)


def test_untrained_ke_steps_down_the_gradient(backbone, cases):
    network = build_ke(backbone, KE, 0)
    requests = [case.request for case in cases]
    trunk = request_trunk(backbone, requests, network.matrices[0].layer)
    gradients = edit_gradients(backbone, trunk, network.matrices)[1]
    for matrix, change in network.changes(backbone, requests, trunk, gradients).items():
        along = (dense(change) * dense(gradients[matrix])).flatten(1).sum(1)
        assert (along < 0).all(), matrix


def test_ke_update_by_hand(backbone):
    matrix = last_matrices(backbone, 1)[0]
    conditioner = shaken(MatrixConditioner(matrix, condition=6, hidden=5, scale=0.7))
    draw = torch.Generator().manual_seed(0)
    gradient = LowRank(
        torch.randn(2, 3, matrix.outputs, generator=draw), torch.randn(2, 3, matrix.inputs, generator=draw)
    )
    condition = torch.randn(2, 6, generator=draw)
    found = dense(conditioner(condition, gradient))
    for session in range(2):
        raw = conditioner.layers(condition[session])
        column_a, rest = raw[: matrix.inputs], raw[matrix.inputs :]
        row_a, rest = rest[: matrix.outputs], rest[matrix.outputs :]
        column_b, row_b, eta = rest[: matrix.inputs], rest[matrix.inputs : -1], rest[-1]
        a, b = torch.outer(row_a.softmax(0), column_a), torch.outer(row_b.softmax(0), column_b)
        expected = 0.7 * torch.sigmoid(eta) * (dense(gradient)[session] * a + b)
        torch.testing.assert_close(found[session], expected, atol=1e-5, rtol=1e-4)


def test_ke_reads_what_the_unedited_backbone_says(backbone, cases):
    requests = [case.request for case in cases]
    texts = condition_texts(backbone, requests, request_trunk(backbone, requests))
    for request, text in zip(requests, texts, strict=True):
        batch = backbone.encode([request.query])
        best = backbone.model.language_model(inputs_embeds=batch.embeddings).logits[0].argmax(-1)
        said = backbone.text(best[batch.targets[0] != IGNORED].tolist())
        assert text == f"{said} >> {request.target} || {request.prompt}"


@pytest.mark.parametrize("name", EDITORS)
def test_an_edit_does_not_depend_on_its_batch_and_adds_to_earlier_ones(backbone, cases, name):
    requests = [case.request for case in cases]
    editor = EDITORS[name](backbone)
    first = editor.edit(requests, editor.start(5))
    second = editor.edit(requests[::-1], editor.start(5)).patch
    both = editor.edit(requests[::-1], first.patch).patch
    assert first.failures == (None,) * 5
    alone = editor.edit([requests[2]], editor.start(1)).patch
    alone = editor.edit([requests[2]], alone).patch
    for layer, changes in factors_of(both).items():
        for matrix, factors in changes.items():
            once, again = factors_of(first.patch)[layer][matrix], factors_of(second)[layer][matrix]
            torch.testing.assert_close(dense(factors), dense(once) + dense(again), atol=1e-5, rtol=1e-3)
            torch.testing.assert_close(
                dense(factors)[2], dense(factors_of(alone)[layer][matrix])[0], atol=1e-5, rtol=1e-3
            )
            assert dense(factors)[2].abs().max() > 1e-4


@pytest.mark.parametrize("name", EDITORS)
def test_a_session_whose_change_is_not_finite_fails_alone(backbone, cases, name, monkeypatch):
    requests = [case.request for case in cases[:2]]
    editor = EDITORS[name](backbone)
    good = editor.edit(requests, editor.start(2)).patch
    changes = type(editor.network).changes

    def spoiled(network, *arguments):
        found = changes(network, *arguments)
        next(iter(found.values())).outputs[0] = torch.nan
        return found

    monkeypatch.setattr(type(editor.network), "changes", spoiled)
    outcome = editor.edit(requests, good)
    assert outcome.failures == ("loss is not finite", None)
    trunk = request_trunk(backbone, requests)
    after = edit_loss(backbone, trunk, outcome.patch)
    torch.testing.assert_close(after[0], edit_loss(backbone, trunk, good)[0], atol=1e-5, rtol=0)
    monkeypatch.undo()
    torch.testing.assert_close(after[1], edit_loss(backbone, trunk, editor.edit(requests, good).patch)[1])


def probe_logits(backbone, case, kind, patch=None):
    """Logits at the answer tokens of one probe and at the one where it ends, and the answer."""
    query = case.query(kind)
    batch, answer = backbone.encode([query]), backbone.answer_ids(query.answer)
    return backbone.forward(backbone.run_below(batch), patch)[0, : int(batch.lengths)][-len(answer) - 1 :], answer


def expected_terms(backbone, cases, patch, ends):
    """Cross-entropy of the targets and KL of the locality probes, a case and a probe at a time."""
    terms = {kind: 0.0 for kind in PROBE_KINDS}
    for session, case in enumerate(cases):
        for kind in PROBE_KINDS:
            after, answer = probe_logits(backbone, case, kind, patch.select([session]))
            before, _ = probe_logits(backbone, case, kind)
            read = slice(None if ends else -1)  # an answer's last token predicts its end
            if kind in ("t_loc", "m_loc"):
                logs = [each[read].log_softmax(-1) for each in (after, before)]
                loss = kl_div(*logs, log_target=True, reduction="batchmean")
            else:
                loss = taught_losses(after, answer, ends).mean()
            terms[kind] += float(loss) / len(cases)
    return terms


@pytest.mark.parametrize("ends", [False, True])
def test_training_losses_equal_a_loop_over_cases(backbone, cases, ends):
    editor = EDITORS["mend"](backbone)
    patch = editor.edit([case.request for case in cases], editor.start(5)).patch
    terms = expected_terms(backbone, cases, patch, ends)
    weights = {"edit_weight": 0.3, "text_weight": 0.2, "image_weight": 0.1, "locality_weight": 0.7, "teach_end": ends}
    settings = MEND.model_copy(update=weights)
    losses = MendRecipe(editor.network, backbone, settings).losses(patch, cases)
    for kind in PROBE_KINDS:
        assert float(losses[f"loss_{kind}"]) == pytest.approx(terms[kind], rel=1e-4, abs=1e-6)
    expected = 0.3 * terms["rel"] + 0.2 * terms["t_gen"] + 0.1 * terms["m_gen"]
    expected += 0.7 * (terms["t_loc"] + terms["m_loc"])
    assert float(losses["loss"]) == pytest.approx(expected, rel=1e-4)
    recipe = KeRecipe(build_ke(backbone, KE, 0), backbone, KE.model_copy(update={"teach_end": ends}))
    losses = recipe.losses(patch, cases)
    assert float(losses["loss_edit"]) == pytest.approx((terms["rel"] + terms["t_gen"] + terms["m_gen"]) / 3, rel=1e-4)
    assert float(losses["divergence"]) == pytest.approx((terms["t_loc"] + terms["m_loc"]) / 2, rel=1e-4)


def test_the_multiplier_of_ke_follows_its_constraint(backbone, cases):
    editor = EDITORS["ke"](backbone)
    found = {}
    for margin in (1e-7, 1e3):
        recipe = KeRecipe(editor.network, backbone, KE.model_copy(update={"margin": margin}))
        for _ in range(12):
            patch, _ = editor.edited([case.request for case in cases], editor.start(5))
            recipe.losses(patch, cases)["loss"].backward()
            recipe.step()
        found[margin] = float(recipe.multiplier.detach())
    assert found[1e-7] > 1.0 and found[1e3] == 0.0
    recipe = KeRecipe(editor.network, backbone, KE.model_copy(update={"margin": 1e-3, "margin_floor": 7e-4}))
    margins = []
    for accuracy in (0.8, 0.95, 0.95, 0.95):
        recipe.checked(dict.fromkeys(PROBE_KINDS, accuracy))
        margins.append(recipe.margin)
    assert margins == pytest.approx([1e-3, 8e-4, 7e-4, 7e-4])


def test_accumulated_batches_step_once(backbone, cases):
    settings = MEND.model_copy(update={"accumulation": 2})
    editor = EDITORS["mend"](backbone)
    recipe = MendRecipe(editor.network, backbone, settings)
    rates = [editor.network.edit_rates.detach().clone()]
    for _ in range(4):
        patch, _ = editor.edited([case.request for case in cases], editor.start(5))
        recipe.losses(patch, cases)["loss"].backward()
        recipe.step()
        rates.append(editor.network.edit_rates.detach().clone())
    assert [torch.equal(*pair) for pair in itertools.pairwise(rates)] == [True, False, True, False]
    # Adam's first step is as long as its learning rate; that of the edit rates is their own.
    torch.testing.assert_close(
        (rates[2] - rates[1]).abs(), torch.full((6,), settings.edit_rate_step), rtol=1e-3, atol=0
    )


def test_gradients_of_the_editor_are_clipped(backbone, cases):
    editor = EDITORS["mend"](backbone)
    before = copy.deepcopy(editor.network.state_dict())
    recipe = MendRecipe(editor.network, backbone, MEND.model_copy(update={"clip": 1e-15}))
    patch, _ = editor.edited([case.request for case in cases], editor.start(5))
    recipe.losses(patch, cases)["loss"].backward()
    recipe.step()
    for name, value in editor.network.state_dict().items():  # far below Adam's epsilon
        torch.testing.assert_close(value, before[name], atol=1e-8, rtol=0)


@pytest.mark.parametrize("settings", [MEND, KE], ids=["mend", "ke"])
def test_training_improves_the_editor_and_is_repeatable(make_backbone, cases, settings, tmp_path):
    backbone = make_backbone("minigpt4")
    more = {"steps": 15, "batch_size": 5, "eval_every": 3, "patience": 9, "learning_rate": 3e-3}
    longer = settings.model_copy(update=more)
    tensors, course = train_editor(longer, backbone, cases, cases, 0)
    assert list(course["step"]) == [3, 6, 9, 12, 15]
    column = "loss_edit" if settings.method == "ke" else "loss"
    assert course[column].iloc[-1] < course[column].iloc[0]
    again, _ = train_editor(longer, backbone, cases, cases, 0)
    for name, value in tensors.items():
        assert torch.equal(value, again[name])
    write_tensors(tmp_path / "editor.safetensors", tensors, "fingerprint")
    editor = build_editor(longer, backbone, EditorSources(Path(), trained=tmp_path / "editor.safetensors"), 0)
    scores = token_scores(backbone, editor, cases, 2)
    best = course.loc[course["objective"].idxmax()]
    for kind in PROBE_KINDS:
        assert scores[kind] == pytest.approx(best[kind], abs=1e-6)
    for wrong in (longer.model_copy(update={"layers": 2}), KE if settings is MEND else MEND):
        with pytest.raises(InputError, match="trained with other settings"):
            build_editor(wrong, backbone, EditorSources(Path(), trained=tmp_path / "editor.safetensors"), 0)
    with pytest.raises(InputError, match="expected a trained editor, found no file"):
        build_editor(longer, backbone, EditorSources(Path()), 0)


def test_training_stops_where_the_objective_no_longer_rises(backbone, cases, monkeypatch):
    values = iter([0.2, 0.5, 0.4, 0.5, 0.9])
    monkeypatch.setattr(
        "unike_lib.methods.shared.network_training.token_scores", lambda *_: dict.fromkeys(PROBE_KINDS, next(values))
    )
    settings = MEND.model_copy(update={"steps": 100, "eval_every": 1, "patience": 2})
    editor = EDITORS["mend"](backbone)
    recipe = MendRecipe(editor.network, backbone, settings)
    _, course = fit(editor, recipe, Split(cases, cases), settings, 0)
    assert course["objective"].tolist() == pytest.approx([0.2, 0.5, 0.4, 0.5])


def test_token_scores_are_those_of_the_evaluation(backbone, cases):
    editor = EDITORS["mend"](backbone)
    settings = EvaluationConfig(generate=False)
    scores = run_edits(backbone, editor, {1: cases}, answer_before(backbone, cases, settings), settings)
    found = token_scores(backbone, editor, cases, 2)
    for kind in PROBE_KINDS:
        expected = [score.scores["token"] for score in scores if score.kind == kind]
        assert found[kind] == pytest.approx(sum(expected) / len(expected))


def test_swapped_targets_leave_locality_alone(cases):
    settings = MEND.model_copy(update={"counterfactual_targets": 0.5, "batch_size": 40})
    batch = next(_batches(cases, settings, 0))
    assert batch == next(_batches(cases, settings, 0))
    answers = {probe.query.answer for case in cases for probe in case.probes}
    own = {case.request.id: case for case in cases}
    counterfactual_targets = 0
    for case in batch:
        original, target = own[case.request.id], case.request.target
        counterfactual_targets += target != original.request.target
        assert target in answers
        assert [case.query(kind).answer for kind in ("rel", "t_gen", "m_gen")] == [target] * 3
        assert case.query("t_loc") == original.query("t_loc") and case.query("m_loc") == original.query("m_loc")
        assert case.query("m_gen").image == original.query("m_gen").image
    assert 10 < counterfactual_targets < 25
    assert {
        case.request.target
        for case in next(_batches(cases, MEND.model_copy(update={"counterfactual_targets": 0.0}), 0))
    } <= {case.request.target for case in cases}


def test_bad_training_input_is_one_clear_error(backbone, cases, make_backbone):
    with pytest.raises(InputError, match="method-training edits: expected at least one"):
        train_editor(MEND, backbone, [], cases, 0)
    lacking = replace(cases[1], probes=cases[1].probes[:3])
    with pytest.raises(InputError, match=r"record vqa-1: expected a probe 't_loc'"):
        train_editor(KE, backbone, [cases[0], lacking], cases, 0)
    with pytest.raises(InputError, match="the loss is not finite at step 2"):
        train_editor(MEND.model_copy(update={"learning_rate": 1e30, "edit_rate_step": 1e30}), backbone, cases, cases, 0)
    with pytest.raises(InputError, match="nothing to train"):
        train_editor(FineTuneMethod(method="fine-tune"), backbone, cases, cases, 0)
    with pytest.raises(InputError, match="edited layers start at 5"):
        train_editor(MEND, make_backbone("blip2", (5,)), cases, cases, 0)


def test_edits_made_together_add_up(backbone, cases):
    editor = EDITORS["mend"](backbone)
    requests = [case.request for case in cases[:4]]
    apart, _ = editor.edited(requests, editor.start(4))
    joined = made_together(apart, 2)
    assert joined.sessions == 2
    for layer, named in factors_of(apart).items():
        for name, factors in named.items():
            expected = dense(factors).unflatten(0, (2, 2)).sum(1)
            torch.testing.assert_close(dense(factors_of(joined)[layer][name]), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("settings", [MEND, KE], ids=["mend", "ke"])
def test_every_second_step_trains_edits_made_together(make_backbone, cases, settings):
    """The first losses are those of single edits, whatever `edits_per_session`; the second ones are not."""
    backbone = make_backbone("minigpt4")
    short = settings.model_copy(update={"batch_size": 4, "eval_every": 1, "steps": 2})
    alone, both = (
        train_editor(short.model_copy(update={"edits_per_session": edits}), backbone, cases, cases, 0)[1]["loss"]
        for edits in (1, 2)
    )
    assert alone[0] == both[0]
    assert alone[1] != both[1]
