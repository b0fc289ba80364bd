"""The whitened first layer, convolutions that begin as the identity, and several views of an image to predict."""

import pytest
import torch
import torch.nn.functional as F

from hundredfold.replication.datasets.base import DataSpec
from hundredfold.replication.models.airbench import SCALE, Airbench

SPEC = DataSpec("image", (3, 32, 32), 10, "accuracy")


def network(**options):
    torch.manual_seed(0)
    return Airbench(channels=(24, 24, 24), **options).build(SPEC)


def images(count=64):
    """Smooth random images: neighbouring pixels are alike, as in photographs."""
    noise = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return F.interpolate(noise, 32, mode="bilinear")


def test_patches_come_out_uncorrelated_with_equal_variance():
    model, x = network(), images()
    model.fit(x)
    values = F.conv2d(x, model.whitening.weight)[:, :12].transpose(0, 1).flatten(1)
    covariance = values @ values.T / values.shape[1]
    own = covariance.diagonal()
    assert float((covariance - own.diag()).abs().max()) < 1e-3
    assert 0.2 < float(own[own > 0.5].min()) and float(own.max()) < 1.001 and int((own > 0.9).sum()) >= 3
    assert torch.equal(model.whitening.weight[:12], -model.whitening.weight[12:])


def test_the_first_layer_is_frozen_but_for_its_biases_and_norms_have_no_scale():
    trained = {name for name, p in network().named_parameters() if p.requires_grad}
    assert "whitening.weight" not in trained and "whitening.bias" in trained
    assert not [name for name in trained if name.endswith(("2.weight", "5.weight"))]


def test_a_convolution_begins_as_the_identity():
    conv = network().groups[0][0]
    x = images(2).repeat(1, 8, 1, 1)
    assert torch.allclose(conv(x), x, atol=1e-6)


def test_two_views_are_the_image_and_its_mirror_and_six_have_shifts():
    x = images(4)
    alone, mirrored, shifted = (network(views=views).eval() for views in (1, 2, 6))
    one = (alone(x) + alone(x.flip(-1))) / 2
    assert torch.allclose(mirrored(x), one, atol=1e-5) and torch.equal(mirrored(x), mirrored(x.flip(-1)))
    wide = F.pad(x, (1,) * 4, mode="reflect")
    views = [wide[..., :32, :32], wide[..., 2:, 2:]]
    expected = one / 2 + sum(alone(v) + alone(v.flip(-1)) for v in views) / 8
    assert torch.allclose(shifted(x), expected, atol=1e-5)
    assert torch.equal(mirrored.train()(x), network(views=1).train()(x))  # training sees every image once


def test_the_head_is_scaled():
    model = network(views=1).eval()
    x = images(2)
    features = model.groups(model.whitening(x)).amax((2, 3))
    assert torch.allclose(model(x), SCALE * features @ model.head.weight.T, atol=1e-6)


@pytest.mark.parametrize("views", [0, 3])
def test_other_numbers_of_views_are_refused(views):
    with pytest.raises(ValueError, match=f"views={views}: choose one of 1, 2, 6"):
        Airbench(views=views)
