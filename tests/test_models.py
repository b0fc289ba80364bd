"""Models give logits of the right shape, scale exactly with width and are drawn from the seed alone."""

import pytest
import torch
from torch import nn

from hundredfold.replication import registry
from hundredfold.replication.datasets.base import DataSpec
from hundredfold.replication.models._causal import linear_from_conv1d, replace_conv1d
from hundredfold.replication.models.base import Model, scaled, scaled_neurons
from tests.conformance import CNNS

MODELS = registry.discover("hundredfold.replication.models", Model)
TEXT = DataSpec("text", (16,), 256, "loss")


def spec_for(name):
    side = max(8, MODELS[name].smallest_image)
    return DataSpec("image", (1, side, side), 10, "accuracy") if "image" in MODELS[name].kinds else TEXT


def build(name, width=1.0, seed=0, **options):
    model = registry.create("model", MODELS, name, **options)
    torch.manual_seed(seed)
    return model.build(spec_for(name), width)


def build_small(name, width=1.0, seed=0):
    return build(name, width, seed, **MODELS[name].small)


def batch_for(name, size=3):
    generator, spec = torch.Generator().manual_seed(1), spec_for(name)
    if spec.kind == "image":
        return torch.randn(size, *spec.input_shape, generator=generator)
    return torch.randint(spec.num_classes, (size, *spec.input_shape), generator=generator)


@pytest.fixture(params=sorted(MODELS))
def name(request):
    return request.param


def test_every_family_is_registered():
    transformers, plain = {"vit", "gpt", "llama"}, {"mlp", "gru"}
    assert (transformers | plain).union(CNNS) <= set(MODELS)


def test_the_options_of_a_small_model_make_it_small(name):
    assert MODELS[name].small, "tests of all methods on all models need a tiny version"
    assert sum(parameter.numel() for parameter in build_small(name).parameters()) < 500_000


@pytest.mark.parametrize("width", [1.0, 0.5, 0.01])
def test_logits_have_one_score_for_every_class(name, width):
    logits = build_small(name, width)(batch_for(name))
    assert type(logits) is torch.Tensor and torch.isfinite(logits).all()
    assert tuple(logits.shape) == ((3, 10) if "image" in MODELS[name].kinds else (3, 16, 256))


@pytest.mark.parametrize("width", [1.0, 0.5])
def test_every_parameter_receives_a_gradient(name, width):
    if MODELS[name].learns:
        pytest.skip("it learns without gradients")
    network = build_small(name, width)
    network(batch_for(name)).logsumexp(-1).sum().backward()
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize("width", [1.0, 0.5])
def test_equal_seeds_give_equal_weights_and_other_seeds_do_not(name, width):
    if MODELS[name].learns:
        pytest.skip("it begins with zeros and draws nothing")
    first, again, other = (build_small(name, width, seed) for seed in (0, 0, 1))
    pairs = zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    assert any(not torch.equal(one, two) for one, two in zip(first.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("width", [1.0, 0.5])
def test_the_loss_of_a_fresh_model_is_near_that_of_a_guess(name, width):
    inputs = batch_for(name, 32)
    classes = 10 if "image" in MODELS[name].kinds else 256
    logits = build_small(name, width)(inputs).flatten(0, -2)
    targets = torch.randint(classes, (len(logits),), generator=torch.Generator().manual_seed(2))
    loss = nn.functional.cross_entropy(logits, targets).item()
    assert abs(loss - torch.tensor(classes).log().item()) < 0.3


def test_data_of_another_kind_is_refused(name):
    wrong = TEXT if "image" in MODELS[name].kinds else spec_for("mlp")
    with pytest.raises(ValueError, match=f"model={name}: reads .* but the data set gives {wrong.kind}"):
        MODELS[name]().build(wrong)


@pytest.mark.parametrize("width", [0, -1.0, float("nan"), float("inf")])
def test_a_width_that_is_not_positive_is_refused(name, width):
    with pytest.raises(ValueError, match="expected a fraction over 0"):
        build(name, width)


def test_counts_scale_to_the_nearest_and_never_to_nothing():
    assert [scaled(4, width) for width in (1.0, 0.75, 0.6, 0.1, 2.0)] == [4, 3, 2, 1, 8]
    assert [scaled_neurons(256, width) for width in (1.0, 0.5, 0.1, 0.001)] == [256, 128, 24, 8]
    assert scaled_neurons(4, 0.5) == 2 and scaled_neurons(12, 1) == 12


def test_width_scales_the_neurons_of_the_mlp():
    shapes = [tuple(layer.weight.shape) for layer in build("mlp", 0.25) if isinstance(layer, nn.Linear)]
    assert shapes == [(256, 64), (256, 256), (10, 256)]


def test_width_scales_neurons_and_heads_of_the_vision_transformer():
    network = build("vit", 0.5, dim=64, heads=4, mlp_ratio=4.0)
    for block in network.blocks:
        assert (block.attn.num_heads, block.attn.head_dim) == (2, 16)
        assert tuple(block.attn.qkv.weight.shape) == (96, 64) and tuple(block.attn.proj.weight.shape) == (64, 32)
        assert tuple(block.mlp.fc1.weight.shape) == (128, 64) and tuple(block.mlp.fc2.weight.shape) == (64, 128)
    assert network.head.in_features == 64


def test_width_scales_neurons_and_heads_of_gpt():
    network = build("gpt", 0.75, dim=64, heads=4, hidden=256)
    for block in network.body.h:
        assert (block.attn.num_heads, block.attn.head_dim) == (3, 16)
        assert tuple(block.attn.c_attn.weight.shape) == (144, 64) and tuple(block.attn.c_proj.weight.shape) == (64, 48)
        assert tuple(block.mlp.c_fc.weight.shape) == (192, 64) and tuple(block.mlp.c_proj.weight.shape) == (64, 192)


def test_width_scales_neurons_and_groups_of_llama():
    network = build("llama", 0.5, dim=64, heads=8, groups=4, hidden=176)
    for layer in network.body.layers:
        attention, neurons = layer.self_attn, layer.mlp
        assert tuple(attention.q_proj.weight.shape) == (32, 64) and tuple(attention.o_proj.weight.shape) == (64, 32)
        assert tuple(attention.k_proj.weight.shape) == tuple(attention.v_proj.weight.shape) == (16, 64)
        assert tuple(neurons.gate_proj.weight.shape) == (88, 64) and tuple(neurons.down_proj.weight.shape) == (64, 88)


@pytest.mark.parametrize("name", ["gpt", "llama"])
def test_a_language_model_does_not_see_the_future(name):
    network, tokens = build(name, 0.5).eval(), batch_for(name)
    changed = tokens.clone()
    changed[:, 10] = (tokens[:, 10] + 1) % 256
    before, after = network(tokens), network(changed)
    assert torch.allclose(before[:, :10], after[:, :10], atol=1e-6)
    assert not torch.allclose(before[:, 10:], after[:, 10:], atol=1e-6)


@pytest.mark.parametrize("name", ["vit", "gpt", "llama"])
def test_a_narrow_attention_is_initialised_like_a_full_one(name):
    full, narrow = build(name, dim=256).state_dict(), build(name, 0.5, dim=256).state_dict()
    for key, weight in full.items():
        spread = narrow[key].std().item()
        assert spread == pytest.approx(weight.std().item(), rel=0.1, abs=1e-6), key


def test_conv1d_becomes_a_linear_layer_with_the_same_outputs():
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    conv = Conv1D(24, 8)
    nn.init.normal_(conv.bias)
    inputs = torch.randn(5, 8)
    linear = linear_from_conv1d(conv)
    assert tuple(linear.weight.shape) == (24, 8)
    torch.testing.assert_close(linear(inputs), conv(inputs))


def test_gpt_computes_what_gpt2_of_transformers_computes():
    from transformers.models.gpt2 import GPT2Config, GPT2LMHeadModel
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)
    original = GPT2LMHeadModel(GPT2Config(vocab_size=256, n_positions=16, n_embd=64, n_layer=2, n_head=4)).eval()
    tokens = batch_for("gpt")
    expected = original(input_ids=tokens).logits
    replace_conv1d(original)
    assert not any(isinstance(module, Conv1D) for module in original.modules())
    torch.testing.assert_close(original(input_ids=tokens).logits, expected)
    network = build("gpt", dim=64, depth=2, heads=4, hidden=256).eval()
    prefixed = {key.replace("body.", "transformer."): value for key, value in network.state_dict().items()}
    original.load_state_dict(prefixed)  # same names, same shapes
    torch.testing.assert_close(network(tokens), original(input_ids=tokens).logits)


def test_gpt_ties_its_head_to_the_embedding():
    network = build("gpt")
    assert network.lm_head.weight is network.body.wte.weight


def test_llama_computes_what_llama_of_transformers_computes():
    from transformers.models.llama import LlamaConfig, LlamaForCausalLM

    network, tokens = build("llama", dim=64, depth=2, heads=4, groups=2, hidden=176).eval(), batch_for("llama")
    sizes = {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 176, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    original = LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval()
    original.load_state_dict({key.replace("body.", "model."): value for key, value in network.state_dict().items()})
    torch.testing.assert_close(network(tokens), original(input_ids=tokens).logits)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mlp", {"widths": (0,)}, r"widths\[0\]=0: expected a whole number, 1 or more"),
        ("mlp", {"widths": (8, 0)}, r"widths\[1\]=0: expected a whole number, 1 or more"),
        ("mlp", {"dropout": 1.0}, r"dropout=1: expected a fraction in \[0, 1\)"),
        ("mlp", {"activation": "step"}, "expected one of relu, leaky_relu, gelu, silu, tanh, srelu"),
        ("lenet5", {"channels": (0, 50)}, r"channels\[0\]=0: expected a whole number, 1 or more"),
        ("small_cnn", {"channels": ()}, r"channels=\[\]: expected at least one stage"),
        ("vgg", {"depth": 17}, "depth=17: expected one of 11, 13, 16, 19"),
        ("vgg", {"head": (0,)}, r"head\[0\]=0: expected a whole number, 1 or more"),
        ("resnet", {"depth": 18}, r"depth=18: expected 6n \+ 2 layers"),
        ("wrn", {"depth": 20}, r"depth=20: expected 6n \+ 4 layers"),
        ("resnet18", {"blocks": (2, 2, 0, 2)}, r"blocks\[2\]=0: expected a whole number, 1 or more"),
        ("mobilenet", {"multiplier": 0.3}, "multiplier=0.3: expected one of 0.35, 0.5, 0.75, 1.0, 1.4"),
        ("vit", {"variant": "tiny", "dim": 128}, "dim=128: variant=tiny sets it to 192; leave one of the two out"),
        ("vit", {"heads": 3}, "heads=3: expected a divisor of dim=64"),
        ("vit", {"depth": 0}, "depth=0: expected a whole number, 1 or more"),
        ("vit", {"patch": 3}, "patch=3: expected a divisor of the image's sides"),
        ("gpt", {"heads": 5}, "heads=5: expected a divisor of dim=64"),
        ("gpt", {"dropout": 1.0}, r"dropout=1: expected a fraction in \[0, 1\)"),
        ("gpt", {"init_std": 0.0}, r"init_std=0: expected a deviation in \(0, 1\)"),
        ("llama", {"init_std": 2.0}, r"init_std=2: expected a deviation in \(0, 1\)"),
        ("llama", {"groups": 3}, "groups=3: expected a divisor of heads=4"),
        ("llama", {"heads": 64}, "heads=64: expected a divisor of dim=64 that leaves heads of even size"),
    ],
)
def test_an_impossible_architecture_says_what_is_allowed(name, options, message):
    with pytest.raises(ValueError, match=message):
        build(name, **options)


@pytest.mark.parametrize("width", [1.0, 0.5])
def test_the_recurrent_model_reads_only_what_came_before(width):
    torch.manual_seed(0)
    spec = DataSpec(kind="text", input_shape=(9,), num_classes=11, metric="loss")
    model = registry.create("model", MODELS, "gru", dim=8, hidden=32).build(spec, width)
    tokens = torch.randint(0, 11, (2, 9))
    changed = tokens.clone()
    changed[:, 5] = (changed[:, 5] + 1) % 11
    a, b = model(tokens), model(changed)
    assert a.shape == (2, 9, 11) and model.rnn.hidden_size == int(32 * width)
    assert torch.equal(a[:, :5], b[:, :5]) and not torch.allclose(a[:, 5:], b[:, 5:])
