"""A token is generated from what was read before, and is the one that reading everything anew would give."""

import pytest
import torch

from hundredfold.replication.config import registry
from hundredfold.replication.datasets.base import DataSpec
from hundredfold.replication.deploy import _calls, generate
from hundredfold.replication.registry import create

MODELS = registry("model")


def network(name):
    torch.manual_seed(0)
    return create("model", MODELS, name, **MODELS[name].small).build(DataSpec("text", (16,), 32, "loss")).eval()


@pytest.mark.parametrize("name", ["gpt", "llama", "gru", "lstm"])
def test_generated_tokens_are_those_of_reading_everything_anew(name):
    model, tokens = network(name), torch.randint(32, (1, 8), generator=torch.Generator().manual_seed(1))
    expected = tokens
    with torch.no_grad():
        for _ in range(8):
            expected = torch.cat([expected, model(expected)[:, -1].argmax(-1, keepdim=True)], 1)
    assert torch.equal(generate(model, tokens, 8), expected[0, 8:])


def test_networks_of_images_generate_nothing():
    image = create("model", MODELS, "mlp", widths=[8]).build(DataSpec("image", (1, 8, 8), 10, "accuracy"))
    assert list(_calls(image, torch.zeros(4, 1, 8, 8))) == [1, 256]
    assert list(_calls(network("gru"), torch.zeros(4, 16, dtype=torch.long))) == [1, 256, "a token"]
