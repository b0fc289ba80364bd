"""The share of products in a dense step: large where layers are large, and nothing where there is none to be known."""

import pytest

from hundredfold.replication.composition import compose
from hundredfold.replication.study import ceiling


def share(*widths):
    return ceiling.products_share(compose(["dataset=digits", "model=mlp", f"model.widths={list(widths)}"]))


def test_products_are_most_of_a_large_layers_step_and_less_of_a_small_ones():
    large, small = share(2048, 2048), share(8)
    assert 0.3 < large < 1 and small < large


def test_the_sentence_states_the_ceiling_of_the_share(monkeypatch):
    monkeypatch.setattr(ceiling, "products_share", lambda experiment: 0.75)
    told = ceiling.sentence(compose(["dataset=digits", "method=rigl"]).config)
    assert "products are 75%" in told and "saves 4x" in told


@pytest.mark.parametrize("overrides", [["dataset=digits", "trainer=gpu"], ["dataset=imagenet", "model=resnet50"]])
def test_what_cannot_be_profiled_here_has_no_sentence(overrides):
    assert ceiling.sentence(compose(overrides).config) is None
