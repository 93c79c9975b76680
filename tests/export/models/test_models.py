"""Every registered network: it builds, and gives the logits of its classes at its input's size."""

from __future__ import annotations

import pytest
import torch

from export.models import MODELS, ModelSpec
from export.models.complexity import measure


@pytest.mark.parametrize("spec", MODELS.values(), ids=lambda spec: spec.name)
def test_a_network_gives_logits_and_its_cost_is_counted(spec: ModelSpec) -> None:
    network = spec.build().eval()
    with torch.no_grad():
        logits = network(torch.randn(2, *spec.input_size))
    assert logits.shape == (2, len(spec.labels))
    cost = measure(network, spec.input_size)
    assert cost.parameters == sum(p.numel() for p in network.parameters() if p.requires_grad)
    assert cost.multiply_terms + cost.shift_terms + cost.adder_terms > cost.parameters
