"""Draws beside what is taken: exact numbers, no place twice, all places alike, and the device told apart."""

import pytest
import torch

from hundredfold.methods.execution.host import fetched, places
from hundredfold.methods.tools import importance
from hundredfold.methods.tools.importance import draw_beside
from tests.pretend_device import pretend_device


def drawn(taken, total, count, seed=0):
    return draw_beside({"0": taken}, {"0": total}, {"0": count}, torch.Generator().manual_seed(seed))["0"]


CASES = [(1000, 10, 30), (1000, 990, 10), (1000, 500, 400), (7, 0, 3)]


@pytest.mark.parametrize(("total", "num_taken", "count"), CASES)
def test_as_many_free_places_as_wanted_are_drawn_and_none_twice(total, num_taken, count):
    taken = torch.randperm(total, generator=torch.Generator().manual_seed(1))[:num_taken].sort().values
    for seed in range(20):
        found = drawn(taken, total, count, seed)
        assert len(found) == len(found.unique()) == count
        assert not torch.isin(found, taken).any() and 0 <= found.min() and found.max() < total


def test_all_that_is_free_is_drawn_where_more_is_wanted():
    assert drawn(torch.tensor([1, 2, 5]), 6, 10).sort().values.tolist() == [0, 3, 4]
    assert drawn(torch.arange(6), 6, 4).tolist() == []


def test_every_free_place_is_drawn_as_often_as_every_other():
    taken, counts = torch.arange(0, 400, 4), torch.zeros(400)
    for seed in range(2000):
        counts[drawn(taken, 400, 3, seed)] += 1
    free = counts[counts > 0]
    assert len(free) == 300 and counts[taken].sum() == 0
    chi = float(((free - 20) ** 2 / 20).sum())
    assert 220 < chi < 390, "299 degrees of freedom"


def test_layers_whose_draws_did_not_suffice_are_drawn_again_with_more(monkeypatch):
    tried, plain = [], importance._draw

    def meagre(taken, total, count, more, generator):
        tried.append((total, more))
        positions, free = plain(taken, total, count, more, generator)
        return positions, free * (more > 2 or total == 50)

    monkeypatch.setattr(importance, "_draw", meagre)
    taken = {"a": torch.arange(10), "b": torch.arange(20)}
    found = draw_beside(taken, {"a": 50, "b": 60}, {"a": 5, "b": 6}, torch.Generator().manual_seed(0))
    assert tried == [(50, 1), (60, 1), (60, 2), (60, 4)]
    assert {name: len(positions) for name, positions in found.items()} == {"a": 5, "b": 6}


def test_places_are_those_of_the_true_entries():
    mask = torch.tensor([[False, True], [True, True]])
    assert places(mask, 3).tolist() == [1, 2, 3]


def test_what_is_fetched_keeps_its_shape_and_its_type():
    with pretend_device() as log:
        there = [torch.arange(6.0).view(2, 3).cuda(), torch.tensor([1.5, 2.5], dtype=torch.bfloat16).cuda()]
        log.waits.clear()
        matrix, short = fetched(there)
        assert log.count() == 1, "the host waits once"
    assert matrix.tolist() == [[0, 1, 2], [3, 4, 5]] and short.tolist() == [1.5, 2.5] and short.dtype == torch.bfloat16
    assert fetched([]) == []
