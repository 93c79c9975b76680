"""The recipe's loss, its averaged weights, and which recipe is whose."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from export.models import MODELS
from export.operators import AdderConv2d
from export.training.average import WeightAverage, refresh_statistics
from export.training.distill import Teacher, loss_of
from export.training.optimizer import parameter_groups
from export.training.precision import Precision
from export.training.recipe import Recipe, TrainingError, recipe_for


def test_loss_follows_the_formula() -> None:
    """Of arXiv 1503.02531, in float64, element by element."""
    recipe = Recipe(distillation=0.7, temperature=3.0, label_smoothing=0.2)
    logits, taught = torch.randn(5, 10) * 4, torch.randn(5, 10) * 4
    labels = torch.randint(0, 10, (5,))
    hard, soft = 0.0, 0.0
    for row, teacher, label in zip(logits.double(), taught.double(), labels, strict=True):
        log_p = row - row.exp().sum().log()
        targets = torch.full((10,), 0.02, dtype=torch.float64)
        targets[label] += 0.8
        hard -= float((targets * log_p).sum()) / 5
        p, q = ((each / 3).exp() / (each / 3).exp().sum() for each in (teacher, row))
        soft += float((p * (p / q).log()).sum()) * 9 / 5
    got = float(loss_of(recipe, logits, labels, taught))
    assert got == pytest.approx(0.7 * soft + 0.3 * hard, rel=1e-5)
    assert float(loss_of(recipe, logits, labels, None)) == pytest.approx(hard, rel=1e-5)


def test_average_is_the_recursion() -> None:
    network = nn.Linear(3, 2)
    average = WeightAverage(network, 0.9)
    expected = network.weight.detach().double().clone()
    for update in range(1, 200):
        with torch.no_grad():
            network.weight.copy_(torch.randn(2, 3))
        average.update()
        keep = min(0.9, update / (10 + update))
        expected = keep * expected + (1 - keep) * network.weight.detach().double()
    got = average.network.weight
    assert isinstance(got, torch.Tensor)
    assert (got.double() - expected).norm() <= 1e-6 * expected.norm()
    assert not got.requires_grad


def test_statistics_are_means_over_the_batches() -> None:
    network = nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.5), nn.BatchNorm2d(4))
    batches = [torch.randn(6, 4, 3, 3) * 3 + 1 for _ in range(5)]
    refresh_statistics(network, batches)
    norm = network[0]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    mean = torch.stack([batch.double().mean((0, 2, 3)) for batch in batches]).mean(0)
    assert (norm.running_mean.double() - mean).norm() <= 1e-6 * mean.norm()
    assert norm.momentum == 0.1
    assert not any(module.training for module in network.modules())


def test_adders_have_a_rate_of_their_own() -> None:
    model = MODELS["ghostshiftaddnet_small"].build()
    groups = parameter_groups(model, Recipe(adder_rate=0.3, weight_decay=0.01))
    adders = {id(m.weight) for m in model.modules() if isinstance(m, AdderConv2d)}
    settings = {
        id(p): (group["scale"], group["weight_decay"]) for group in groups for p in group["params"]
    }
    assert len(settings) == len(list(model.parameters()))
    for parameter in model.parameters():
        expected = (0.3 if id(parameter) in adders else 1.0, 0.01 if parameter.dim() > 1 else 0.0)
        assert settings[id(parameter)] == expected


def test_only_networks_of_its_classes_are_taught() -> None:
    teacher = "teacher_cifar10"
    taught = {name for name in MODELS if recipe_for(name).teacher == teacher}
    assert taught == {
        name
        for name, spec in MODELS.items()
        if spec.labels == MODELS[teacher].labels and name != teacher
    }
    assert recipe_for("a file of a user's").teacher == ""
    precision = Precision("cpu", mixed=False)
    with pytest.raises(TrainingError, match="no trained weights"):
        Teacher("ghostnet", MODELS["ghostnet"].labels, precision)


def test_the_rate_never_leaves_its_bounds() -> None:
    recipe = recipe_for("ghostshiftaddnet")
    rates = [recipe.rate_at(step / 95) for step in range(95 * recipe.epochs)]
    assert rates[0] == 0
    assert max(rates) == pytest.approx(recipe.learning_rate)
    assert 0 < rates[-1] < 1e-4 * recipe.learning_rate
    assert all(math.isfinite(rate) for rate in rates)
