"""The network that a run leaves: what it computes is what was tested, and it comes back from its file alone."""

import dataclasses
import io
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from hundredfold.methods.dynamic.rigl import Rigl
from hundredfold.methods.execution.session import Session
from hundredfold.replication.composition import compose
from hundredfold.replication.config import registry, run_folder
from hundredfold.replication.deploy import deploy
from hundredfold.replication.network import NETWORK, card, load
from hundredfold.replication.rerun import rerun
from hundredfold.replication.run import run
from tests.conformance import Training, small_options

METHODS = registry("method")
STAYS = {"activation_topk", "dsc_input", "dsc_input_random", "memory", "moe", "relu_l1"}  # not made of plain layers


def outputs(training):
    training.model.eval()
    with torch.no_grad():
        return training.model(training.inputs[:50]).clone()


@pytest.mark.parametrize("name", METHODS)
def test_the_network_without_its_session_computes_what_it_did(name):
    training = Training(METHODS[name](**small_options(METHODS[name]))).run()
    before = outputs(training)
    network = training.session.finalize()
    assert network is training.model and not network.training
    torch.testing.assert_close(outputs(training), before, rtol=1e-5, atol=1e-6)
    own = {type(m).__module__ for m in network.modules() if type(m).__module__.startswith("hundredfold.methods")}
    assert not own or name in STAYS | {"random_twin", "swat"}, own
    if not own:
        again = io.BytesIO()
        torch.save(network, again)
        assert [*dict(network.named_buffers())] == [n for n, _ in network.named_buffers() if "active" not in n]


@pytest.mark.parametrize("storage", ["csr", "block_sparse"])
def test_stored_weights_become_zeros_of_plain_layers(storage):
    method = METHODS["block_dst" if storage == "block_sparse" else "rigl"]
    training = Training(method(**small_options(method)), storage=storage).run()
    before, density = outputs(training), training.session.density()
    network = training.session.finalize()
    torch.testing.assert_close(outputs(training), before, rtol=1e-4, atol=1e-5)
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    assert {type(layer) for layer in layers} == {nn.Linear}
    weights = torch.cat([layer.weight.flatten() for layer in layers])
    assert 0.9 * density < float((weights != 0).float().mean()) <= density + 1e-6  # what has just come is zero


SHORT = ["recipe.steps=24", "trainer.segments=2", "energy.source=none", "trainer.keep=true"]
ARMS = {
    "dense": ["method=dense"],
    "csr": ["method=rigl", "method.update.interval=4", "trainer.storage=csr"],
    "set": ["method=set", "method.update.interval=4"],
    "dsc": ["method=dsc", "method.interval=4", "method.observe_every=2"],
    "dsc on a vit": ["method=dsc", "method.interval=4", "method.observe_every=2", "model=vit", "model.dim=32"],
    "cnn": ["method=dsc", "method.interval=4", "method.observe_every=2", "model=small_cnn", "recipe=digits-mlp"],
    "moe": ["method=moe"],
    "str": ["method=str"],
    "activation_topk": ["method=activation_topk", "method.scope=token"],
    "dense_small": ["method=dense_small", "method.density=0.25"],
}


@pytest.mark.parametrize("arm", ARMS)
def test_a_run_leaves_its_network_and_the_file_alone_gives_it_back(tmp_path, arm):
    given = [*SHORT, *ARMS[arm], "strict=false", f"results={tmp_path}"]
    experiment = compose(given)
    result = run(experiment)
    path = tmp_path / "alone.safetensors"
    (result.folder / NETWORK).rename(path)
    network = load(path)
    test = experiment.dataset.test()
    with torch.no_grad():
        right = network(experiment.dataset.prepare(*test)[0]).argmax(1) == test.targets
    assert float(right.float().mean()) == pytest.approx(result.record["quality"]["test"]["accuracy"], abs=1e-6)
    parameters = sum(p.numel() for p in network.parameters())
    smaller = arm in ("dsc", "dsc on a vit", "cnn")  # units have gone
    thresholds = 3 if arm == "str" else 0
    assert parameters == result.record["parameters"]["active" if smaller else "total"] - thresholds
    text = card(result.record, network, path.stat().st_size)
    assert result.record["run_id"] in text and "not measured" in text


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return run(compose([*SHORT, *ARMS["csr"], f"results={tmp_path_factory.mktemp('kept')}"])).folder / NETWORK


def changed(path, folder, change):
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        facts = dict(file.metadata())
    change(tensors, facts)
    save_file(tensors, folder / NETWORK, facts)
    return folder


WRONG = {
    "another format": (lambda t, f: f.update(format="7"), "format 7"),
    "no facts": (lambda t, f: f.clear(), "format None"),
    "a tensor missing": (lambda t, f: t.pop(min(t)), "not those of the network"),
    "positions of others": (
        lambda t, f: t.update({n: v + 10**6 for n, v in t.items() if n.startswith("positions|")}),
        "positions of",
    ),
    "fewer positions": (
        lambda t, f: t.update({n: v[1:].clone() for n, v in t.items() if n.startswith("positions|")}),
        "positions of",
    ),
    "another network": (
        lambda t, f: f.update(config=json.dumps(json.loads(f["config"]) | {"model": {"name": "mlp", "widths": [8]}})),
        "",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_is_not_as_it_was_written_is_refused_in_a_sentence(tmp_path, kept, name):
    change, words = WRONG[name]
    with pytest.raises(ValueError, match=words) as caught:
        load(changed(kept, tmp_path, change))
    assert "\n" not in str(caught.value)


def test_what_is_no_file_or_no_network_is_refused_in_a_sentence(tmp_path):
    for content in (None, b"", b"no network"):
        if content is not None:
            (tmp_path / NETWORK).write_bytes(content)
        with pytest.raises(ValueError, match="safetensors: ") as caught:
            load(tmp_path)
        assert "\n" not in str(caught.value)


def test_a_run_that_has_ended_without_its_network_says_so(tmp_path):
    given = [*SHORT[:-1], f"results={tmp_path}"]
    run(compose(given))
    with pytest.raises(ValueError, match="without keeping its network"):
        run(compose([*given, "trainer.keep=true"]))


def test_keeping_the_network_makes_no_other_run():
    folders = {run_folder(compose([f"trainer.keep={keep}"]).config) for keep in ("true", "false")}
    assert len(folders) == 1


# ---- commands --------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Results of a dense run and of one whose units went, with their networks."""
    folder = tmp_path_factory.mktemp("two")
    return folder, [run(compose([*SHORT, *ARMS[arm], f"results={folder}"])).record for arm in ("dense", "dsc")]


def test_a_run_is_repeated_from_its_record_alone(tmp_path, two, capsys):
    results, (dense, _) = two
    assert rerun(dense["run_id"][:6], results, tmp_path) == 0
    out = capsys.readouterr().out
    assert "bitwise the same" in out and "differs" not in out
    (path,) = (results / "runs").glob(f"{dense['run_id']}/*/record.json")
    changed = tmp_path / "changed" / "record.json"
    changed.parent.mkdir()
    changed.write_text(path.read_text().replace(dense["weights_sha256"], "0" * 64))
    assert rerun(str(changed), results, tmp_path) == 1
    assert "The weights differ" in capsys.readouterr().out


def deployed(name, results, output):
    deploy([name], results, output, onnx=False, source="none")


@pytest.mark.parametrize("command", [rerun, deployed])
def test_a_run_that_is_not_there_is_answered_in_a_sentence(tmp_path, two, command):
    with pytest.raises(ValueError, match="zzz: no run of") as caught:
        command("zzz", two[0], tmp_path)
    assert "\n" not in str(caught.value) and not [*tmp_path.iterdir()]


def test_networks_are_deployed_with_their_cards_and_costs(tmp_path, two, capsys):
    results, runs = two
    deploy([r["run_id"] for r in runs], results, tmp_path, onnx=False, source="estimate", rounds=1)
    out = capsys.readouterr().out
    assert "J a prediction" in out and "dsc" in out
    for record in runs:
        folder = tmp_path / f"{record['run_id']}-{record['seed']}"
        assert record["label"] in (folder / "README.md").read_text() and not load(folder).training


def test_a_run_without_its_network_is_not_deployed(tmp_path):
    record = run(compose([*SHORT[:-1], f"results={tmp_path}"])).record
    with pytest.raises(ValueError, match="trainer.keep=true"):
        deploy([record["run_id"]], tmp_path, tmp_path / "out", onnx=False, source="none")


@pytest.mark.slow
def test_an_export_computes_what_the_network_does(tmp_path, two, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    results, (_, dsc) = two
    deploy([dsc["run_id"]], results, tmp_path, onnx=True, source="none", rounds=1)
    assert "logits differ by" in capsys.readouterr().out
    (path,) = tmp_path.glob("*/network.onnx")
    inputs = compose(SHORT).dataset.prepare(*compose(SHORT).dataset.test())[0]
    (found,) = onnxruntime.InferenceSession(path).run(None, {"inputs": inputs.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), load(path.parent)(inputs), rtol=1e-4, atol=1e-4)


def test_a_session_that_decides_nothing_leaves_the_network_whole():
    training = Training(dataclasses.replace(Rigl(), density=0.1))
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    weights = model[0].weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    session = Session(model, training.method, optimizer, total_steps=9, decides=False)
    assert torch.equal(session.finalize()[0].weight, weights) and type(model[0]) is nn.Linear
