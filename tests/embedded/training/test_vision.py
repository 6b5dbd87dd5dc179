"""The closed-form fits of the tower, and the Q-Former's supervision, each against an independent computation."""

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
import torch

from unike_lib.config.run import PretrainConfig
from unike_lib.embedded.training.qformer import AttributeHeads, attribute_labels, noised
from unike_lib.embedded.training.tower_features import cover, linear_discriminants, principal_components


def test_principal_components_are_uncorrelated_with_unit_variance():
    values = torch.randn(200, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64) + 3
    mean, basis = principal_components(values, 4)
    reduced = (values - mean) @ basis
    torch.testing.assert_close(reduced.T.cov(), torch.eye(4, dtype=torch.float64))
    strongest = np.linalg.eigh(np.cov(values.numpy().T))[1][:, ::-1][:, :4]
    overlap = (torch.nn.functional.normalize(basis, dim=0).numpy() * strongest).sum(0)
    np.testing.assert_allclose(np.abs(overlap), 1, atol=1e-6)


def test_principal_axes_beyond_the_rank_are_zero():
    values = torch.randn(50, 1) @ torch.randn(1, 6)
    basis = principal_components(values, 3)[1]
    assert basis[:, 0].any()
    assert not basis[:, 1:].any()


def test_linear_discriminants_solve_the_generalised_eigenproblem():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat_interleave(30) * 5
    values = torch.randn(120, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
    values += torch.randn(20, 6, generator=generator)[labels]
    mean, basis = linear_discriminants(values, labels, 5, shrinkage=0.5)
    centres = np.stack([values[labels == label].double().mean(0).numpy() for label in labels.unique()])
    rest = values.double().numpy() - centres.repeat(30, 0)
    within = rest.T @ rest / 120
    within += 0.5 * np.trace(within) / 6 * np.eye(6)
    offsets = centres - centres.mean(0)
    vectors = scipy.linalg.eigh(offsets.T @ offsets, within)[1][:, ::-1][:, :3]
    torch.testing.assert_close(mean, values.mean(0))
    found = basis[:, :3].double().numpy()
    np.testing.assert_allclose(found.T @ within @ found, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(np.abs((found.T @ within @ vectors).diagonal()), 1, atol=1e-5)
    assert not basis[:, 3:].any()


def test_cover_paints_one_plain_rectangle_and_leaves_the_rest():
    tile = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    covered = cover(tile, np.random.default_rng(1))
    changed = (covered != tile).any(-1)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert changed[box].mean() > 0.95
    assert len(np.unique(covered[box].reshape(-1, 3), axis=0)) == 1
    assert 0.05 < changed.mean() < 0.12
    assert np.array_equal(covered, cover(tile, np.random.default_rng(1)))


def test_labels_name_slots_background_and_layout():
    scenes = pd.DataFrame({"left": [2, -1, 0], "right": [-1, 1, 2], "background": [1, 0, 0]})
    assert attribute_labels(scenes).tolist() == [[2, 3, 1, 0], [3, 1, 0, 1], [0, 2, 0, 2]]


def test_heads_are_right_and_unpulled_exactly_at_the_codes():
    torch.manual_seed(0)
    heads = AttributeHeads(torch.randn(4, 16), (2, 3))
    labels = torch.tensor([[0, 3, 1, 2], [2, 1, 0, 0]])
    books = (0, 0, 1, 2)
    outputs = torch.stack([heads.codes[book][labels[:, i]] for i, book in enumerate(books)], dim=1) * 5
    assert torch.equal(torch.stack([logits.argmax(-1) for logits in heads(outputs)], 1), labels)
    torch.testing.assert_close(heads.loss(outputs, labels, 7.0), heads.loss(outputs, labels, 0.0))
    gap = heads.loss(-outputs, labels, 7.0) - heads.loss(-outputs, labels, 0.0)
    torch.testing.assert_close(gap, torch.tensor(7.0 * 2 * 4))  # cosine distance 2 for each of four attributes


def test_noise_drops_whole_images_and_blurs_identities():
    config = PretrainConfig(patch_dropout=0.6, identity_noise=0.5)
    features = torch.ones(4000, 2, 3, 4), torch.zeros(4000, 2, 5)
    patches, identities = noised(*features, config, torch.Generator().manual_seed(0))
    dropped = (patches == 0).flatten(1).all(1)
    assert torch.equal(dropped, (patches == 0).flatten(1).any(1))
    assert dropped.float().mean().item() == pytest.approx(0.6, abs=0.03)
    assert identities.std().item() == pytest.approx(0.5, abs=0.01)
