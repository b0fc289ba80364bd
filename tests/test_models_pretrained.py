"""Weights of timm and transformers load from a local file exactly, or one sentence says why not."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from hundredfold.replication import registry
from hundredfold.replication.datasets.base import DataSpec
from hundredfold.replication.models.base import Model
from hundredfold.replication.pretrained import load_weights

MODELS = registry.discover("hundredfold.replication.models", Model)
TOKENS = torch.randint(64, (2, 12), generator=torch.Generator().manual_seed(3))
GPT = {"dim": 32, "depth": 2, "heads": 2, "hidden": 128}
LLAMA = {"dim": 32, "depth": 2, "heads": 4, "groups": 2, "hidden": 48}
IMAGES = {
    "resnet18": {"blocks": (1, 1, 1, 1), "channels": 8},
    "mobilenet": {"multiplier": 0.35},
    "vit": {"dim": 32, "depth": 1, "heads": 2, "class_token": True},
    "vgg": {"depth": 11, "channels": 8},
}


def build(name, width=1.0, seed=0, classes=10, shape=(3, 16, 16), **options):
    spec = DataSpec("image" if len(shape) == 3 else "text", shape, classes, "accuracy")
    torch.manual_seed(seed)
    return registry.create("model", MODELS, name, **options).build(spec, width)


def save(network, path):
    save_file({key: value.clone().contiguous() for key, value in network.state_dict().items()}, path)
    return str(path)


def assert_same_weights(network, other):
    for key, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key


def test_weights_without_a_classifier_leave_it_fresh(tmp_path):
    original = build("resnet18", seed=1, **IMAGES["resnet18"])
    original.fc = torch.nn.Identity()
    path = save(original, tmp_path / "weights.safetensors")
    with pytest.warns(UserWarning, match="the classifier for 10 classes starts fresh"):
        network = build("resnet18", weights=path, **IMAGES["resnet18"])
    assert torch.equal(network.conv1.weight, original.conv1.weight)


@pytest.mark.parametrize("name", IMAGES)
def test_saved_weights_come_back(name, tmp_path):
    original = build(name, seed=1, **IMAGES[name])
    path = save(original, tmp_path / "weights.safetensors")
    assert_same_weights(build(name, weights=path, **IMAGES[name]), original)


@pytest.mark.parametrize(("name", "head"), [("resnet18", "fc."), ("mobilenet", "classifier."), ("vit", "head.")])
def test_another_number_of_classes_keeps_all_but_the_head_and_says_so(name, head, tmp_path):
    original = build(name, seed=1, classes=7, **IMAGES[name])
    path = save(original, tmp_path / "weights.safetensors")
    with pytest.warns(UserWarning, match="the classifier for 10 classes starts fresh"):
        network = build(name, weights=path, **IMAGES[name])
    own = {key: value for key, value in network.state_dict().items() if not key.startswith(head)}
    assert all(torch.equal(value, original.state_dict()[key]) for key, value in own.items())
    fresh = dict(build(name, **IMAGES[name]).named_parameters())[f"{head}weight"]
    assert torch.equal(network.get_submodule(head[:-1]).weight, fresh)


def test_timm_s_vgg_loads_under_the_numbers_of_the_layers(tmp_path):
    from timm.models.vgg import VGG, cfgs

    torch.manual_seed(1)
    original = VGG([c if c == "M" else c // 8 for c in cfgs["vgg11"]], 10, norm_layer=torch.nn.BatchNorm2d)
    original.pre_logits = torch.nn.Identity()
    original.head.fc = torch.nn.Linear(64, 10)
    path, inputs = save(original, tmp_path / "vgg.safetensors"), torch.randn(2, 3, 32, 32)
    network = build("vgg", shape=(3, 32, 32), weights=path, **IMAGES["vgg"]).eval()
    torch.testing.assert_close(network(inputs), original.eval()(inputs))


def test_the_hidden_head_of_timm_s_vgg_becomes_linear_layers(tmp_path):
    original = build("vgg", seed=1, head=(24, 24), pool=2, **IMAGES["vgg"])
    linear = [name for name, layer in original.named_children() if isinstance(layer, torch.nn.Linear)]
    state = {}
    for key, value in original.state_dict().items():
        layer, kind = key.split(".")
        if layer in linear[:2]:
            side = 2 if layer == linear[0] else 1
            value = value.unflatten(1, (-1, side, side)) if kind == "weight" else value
            state[f"pre_logits.fc{1 + linear.index(layer)}.{kind}"] = value.contiguous()
        else:
            state[f"head.fc.{kind}" if layer == linear[2] else f"features.{key}"] = value
    save_file(state, tmp_path / "vgg.safetensors")
    path = str(tmp_path / "vgg.safetensors")
    assert_same_weights(build("vgg", head=(24, 24), pool=2, weights=path, **IMAGES["vgg"]), original)


@pytest.mark.parametrize("form", ["transformers", "bare", "ours"])
def test_gpt_computes_what_the_gpt2_of_the_file_computes(form, tmp_path):
    from transformers.models.gpt2 import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    original = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=32, n_embd=32, n_layer=2, n_head=2)).eval()
    original.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    if form == "bare":  # as the first GPT-2 files are: no prefix, the causal masks among the weights
        state = {key.removeprefix("transformer."): value for key, value in load_file(path).items()}
        save_file(state | {"h.0.attn.bias": torch.ones(1, 1, 32, 32)}, path)
    network = build("gpt", classes=64, shape=(12,), weights=str(path), **GPT).eval()
    if form == "ours":
        network = build("gpt", classes=64, shape=(12,), weights=save(network, path), **GPT).eval()
    torch.testing.assert_close(network(TOKENS), original(input_ids=TOKENS).logits)
    assert network.lm_head.weight is network.body.wte.weight


@pytest.mark.parametrize("tied", [False, True])
def test_llama_computes_what_the_llama_of_the_file_computes(tied, tmp_path):
    from transformers.models.llama import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": tied}
    original = LlamaForCausalLM(LlamaConfig(**sizes, **heads)).eval()
    original.save_pretrained(tmp_path)
    path = str(tmp_path / "model.safetensors")
    network = build("llama", classes=64, shape=(12,), weights=path, **LLAMA).eval()
    torch.testing.assert_close(network(TOKENS), original(input_ids=TOKENS).logits)


def test_a_file_of_other_sizes_or_names_is_refused_in_one_sentence(tmp_path):
    path = save(build("resnet18", **IMAGES["resnet18"]), tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=r"shapes differ .*layer1.0.conv1.weight \(8, 64, 3, 3\) for \(16, 64, 3, 3\)"):
        build("resnet18", weights=path, blocks=(1, 1, 1, 1), channels=16)
    with pytest.raises(ValueError, match=r"conv1.weight \(64, 3, 3, 3\) for \(64, 3, 7, 7\)"):
        build("resnet18", weights=path, small_stem=False, **IMAGES["resnet18"])
    with pytest.raises(ValueError, match=r"\d+ missing \(layer1.1.bn1.bias, .*choose the model"):
        build("resnet18", weights=path, blocks=(2, 1, 1, 1), channels=8)
    with pytest.raises(ValueError, match=r"\d+ not the model's \(bn1"):
        load_weights(torch.nn.Sequential(), path)


def test_a_vocabulary_that_differs_is_refused(tmp_path):
    path = save(build("gpt", classes=64, shape=(12,), **GPT), tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=r"body.wte.weight \(64, 32\) for \(65, 32\)"):
        build("gpt", classes=65, shape=(12,), weights=path, **GPT)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"no header")
    for name, message in (
        ("model.bin", "expected a local .safetensors file"),
        ("absent.safetensors", "no such file"),
        ("broken.safetensors", "cannot be read"),
    ):
        with pytest.raises(ValueError, match=message):
            build("resnet18", weights=str(tmp_path / name), **IMAGES["resnet18"])


def test_weights_are_of_the_full_width(tmp_path):
    with pytest.raises(ValueError, match="width=0.5: expected 1, because weights=x.safetensors are of the full model"):
        build("gpt", width=0.5, shape=(12,), weights="x.safetensors", **GPT)
