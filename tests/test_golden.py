"""Golden vectors: one update of each method on a case small enough to be worked out by hand from its paper's rule."""

import torch
from torch import nn

from hundredfold.methods.dynamic.cht import link_scores
from hundredfold.methods.dynamic.granet import Granet
from hundredfold.methods.dynamic.rigl import Rigl
from hundredfold.methods.dynamic.snfs import Snfs
from hundredfold.methods.dynamic.srigl import Srigl
from hundredfold.methods.execution.session import Session
from hundredfold.methods.topology import Topology, UpdateSchedule


def session_of(method, weights, masks=None, total_steps=10_000):
    """A session on layers "0", "1", ... of these weights and masks."""
    weights = [torch.tensor(weight, dtype=torch.float32) for weight in weights]
    model = nn.Sequential(*(nn.Linear(w.shape[1], w.shape[0], bias=False) for w in weights))
    session = Session(model, method, torch.optim.SGD(model.parameters(), 0.0), total_steps=total_steps)
    masks = {str(i): torch.tensor(mask, dtype=torch.bool) for i, mask in enumerate(masks or ())}
    session.apply(Topology(masks))
    with torch.no_grad():
        for i, layer in enumerate(session.layers.values()):
            layer.weight.copy_(weights[i] * masks[str(i)] if masks else weights[i])
    return session


def step(session, *gradients):
    for layer, gradient in zip(session.layers.values(), gradients, strict=True):
        layer.weight.grad = torch.tensor(gradient, dtype=torch.float32)
    session.step()


def mask(session, name="0"):
    return session.active[name].int().tolist()


def test_rigl():
    """Evci et al. 2020, algorithm 1: half of 4 weights leave (2 and 1), the 2 largest gradients elsewhere come."""
    method = Rigl(density=0.5, distribution="uniform", drop=0.5)
    session = session_of(method, [[[4, 1, 9, 9], [9, 9, 2, 3]]], [[[1, 1, 0, 0], [0, 0, 1, 1]]])
    step(session, [[9, 1, 8, -2], [3, -7, 4, 6]])
    assert mask(session) == [[1, 0, 1, 0], [0, 1, 0, 1]]
    assert session.layers["0"].weight.tolist() == [[4, 0, 0, 0], [0, 0, 0, 3]]


def test_snfs():
    """Dettmers and Zettlemoyer 2019, algorithm 1.

    Half of each layer's weights leave: 1 of layer 0, 2 of layer 1. Mean momentum of the active ones is (6 + 2) / 2 = 4
    and 1, so that of 3 new weights 2.4 and 0.6 belong to the layers: 2 and 1. They come where momentum is largest.
    """
    method = Snfs(density=0.6, distribution="uniform", drop=0.6, update=UpdateSchedule(1, 0.0, 1.0))
    session = session_of(method, [[[5, 1, 0, 0]], [[4], [3], [2], [1], [0], [0]]],
                         [[[1, 1, 0, 0]], [[1], [1], [1], [1], [0], [0]]])  # fmt: skip
    gradients = [[6, -2, 5, 1]], [[1], [1], [-1], [1], [9], [8]]
    step(session, *gradients)  # no update at the first step
    assert mask(session) == [[1, 1, 0, 0]]
    step(session, *gradients)
    assert mask(session) == [[1, 1, 1, 0]] and mask(session, "1") == [[1], [1], [0], [0], [1], [0]]


def test_granet():
    """Liu et al. 2021, algorithm 1, at step 1 of 10.

    Density .25 + .75 (1 - 1/5)^3 = .634 leaves the 8 largest of 12 weights. Of these a fraction of .005 + .595 / 2 (1 +
    cos(pi / 10)) = .585 is exchanged: 4 leave, and 4 of those that do not exist come where the gradient is largest.
    """
    method = Granet(density=0.25, initial=1.0, until=0.5, regrow=0.6, update=UpdateSchedule(1, 0.0, 1.0))
    session = session_of(method, [[[12, 11, 10, 9, 8, 7], [6, 5, 4, 3, 2, 1]]], total_steps=10)
    gradient = [[20, 20, 20, 20, 1, 2], [3, 4, 8, 7, 6, 5]]
    step(session, gradient)
    assert mask(session) == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]]  # no update at the first step
    step(session, gradient)
    assert mask(session) == [[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1]]


def test_srigl_takes_as_many_weights_again_among_the_survivors():
    """Lasby et al. 2024 and the authors' code.

    Of 6 weights the 3 largest are kept: 10 of neuron 2, 9 and 8 of neuron 0. With the 3 largest gradients neurons 0, 1
    and 2 have 3, 2 and 1 salient weights; 2 are needed, so that neuron 2 goes. Of the survivors' weights again the 3
    largest are kept: 9, 8 and 1. Each of the two has 3 inputs; neuron 1 grows by its gradients of 6 and 5, not of 3.
    """
    method = Srigl(density=0.5, distribution="uniform", drop=0.5, min_salient=1.0)
    session = session_of(method, [[[9, 8, 0, 0], [1, 0.5, 0, 0], [10, 0.1, 0, 0]], [[1, 1, 1]]],
                         [[[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]], [[1, 1, 1]]])  # fmt: skip
    step(session, [[0, 0, 4, 0.2], [0, 3, 6, 5], [0.1, 0.1, 0.1, 0.1]], [[0, 0, 0]])
    assert mask(session) == [[1, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0, 0]]


def test_cht():
    """Zhang et al. 2025, CH2-L3n: nodes on paths of length three, each worth (1 + links inside) / (1 + links outside).

    Link u2 - v0 has the path u2 - v2 - u1 - v0: v2 and u1 are linked to each other and, the ends left out, to nobody
    else, so that each is worth 2. Link u2 - v1 has no path. With a further link u3 - v2 the node v2 is worth 2 / 2.
    """
    links = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]], dtype=torch.bool)  # rows v, columns u
    scores = link_scores(links)
    assert scores[0, 2] == 4 and scores[1, 1] == 4 and scores[2, 0] == 4 and scores[1, 2] == 0
    links[2, 3] = True
    assert link_scores(links)[0, 2] == 3
