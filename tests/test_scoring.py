"""What a loss read on is, against plain loops; and runs of a model that learns by itself."""

import math

import pytest
import torch
import torch.nn.functional as F

from hundredfold.replication.composition import compose
from hundredfold.replication.energy.ledger import Ledger
from hundredfold.replication.energy.meter import Meter
from hundredfold.replication.energy.sources import choose
from hundredfold.replication.module import TrainingModule
from hundredfold.replication.record import read_record
from hundredfold.replication.run import run, run_folder
from hundredfold.replication.scoring import read_on

TINY = {
    "gru": ["model.dim=8", "model.hidden=16"],
    "lstm": ["model.dim=8", "model.hidden=16"],
    "gpt": ["model.dim=16", "model.depth=1", "model.heads=2", "model.hidden=32"],
    "mixing": ["model.table_bits=12", "model.row_bits=8", "recipe.batch_size=8"],
}


def experiment(folder, model, *overrides):
    given = [
        "strict=false",
        "dataset=topics",
        f"model={model}",
        f"recipe=topics-{'mixing' if model == 'mixing' else 'gpt'}",
        *TINY[model],
        "dataset.eval_windows=6",
        "recipe.steps=4",
    ]
    return compose([*given, "trainer.segments=2", "trainer.checkpoint_every_s=0", f"results={folder}", *overrides])


def module_of(tmp_path, model, *overrides):
    made = experiment(tmp_path, model, *overrides)
    meter = Meter(choose("none", "cpu", 10.0), Ledger(tmp_path / "energy.jsonl"))
    train, validation = made.dataset.training()
    return TrainingModule(made, made.dataset.spec(), train, validation, meter)


def text_of(module, windows=5):
    """The first windows of the training text: they follow on from each other."""
    return type(module.train_split)(*(part[:windows] for part in module.train_split))


@pytest.mark.parametrize("model", ["gru", "lstm"])
def test_a_recurrent_network_reads_on_with_its_state(tmp_path, model, monkeypatch):
    monkeypatch.setattr("hundredfold.replication.scoring.PIECE", 50)
    module = module_of(tmp_path, model)
    split = text_of(module)
    found = read_on(module, {"test": split})["test"]
    with torch.no_grad():
        logits = module.model(split.inputs.flatten()[None].long())[0]  # the whole text as one window
    assert found["context"] == "carried" and found["num_examples"] == 5 * 32
    assert found["loss"] == pytest.approx(float(F.cross_entropy(logits, split.targets.flatten().long())), abs=1e-5)
    assert module.model.state is None and not module.model.carried


def test_a_cache_of_states_predicts_what_followed_states_like_this_one(tmp_path, monkeypatch):
    monkeypatch.setattr("hundredfold.replication.scoring.PIECE", 50)
    module, kept = module_of(tmp_path, "lstm", "model.cache=40"), 40
    splits = {"validation": text_of(module, 6), "test": text_of(module)}
    found = read_on(module, splits)
    chosen = {name: found[name].pop("cache") for name in found}
    k, s = chosen["test"]["sharpness"], chosen["test"]["share"]
    assert (k, s) == (chosen["validation"]["sharpness"], chosen["validation"]["share"]) and s > 0
    inputs, targets = splits["test"].inputs.flatten().long(), splits["test"].targets.flatten().long()
    with torch.no_grad():
        states = module.model.rnn(module.model.embedding(inputs[None]))[0][0]
        plain = F.softmax(module.model.lm_head(states), 1)
    losses = []
    for t in range(len(inputs)):
        chance = plain[t, targets[t]]
        if t:
            weights = F.softmax(k * torch.stack([states[t] @ states[i] for i in range(max(0, t - kept), t)]), 0)
            came = targets[max(0, t - kept) : t]
            chance = (1 - s) * chance + s * weights[came == targets[t]].sum()
        losses.append(-float(chance.log()))
    assert found["test"]["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    without = read_on(module_of(tmp_path, "lstm"), splits)
    assert {name: one["loss_without"] for name, one in chosen.items()} == pytest.approx(
        {name: one["loss"] for name, one in without.items()}, abs=1e-6
    )
    assert found["validation"]["loss"] <= chosen["validation"]["loss_without"]


def test_a_transformer_reads_on_with_a_sliding_window(tmp_path):
    module = module_of(tmp_path, "gpt")
    split = text_of(module)
    found, losses = read_on(module, {"test": split}, batch_size=3)["test"], []
    inputs, targets = split.inputs.flatten().long(), split.targets.flatten().long()
    module.model.eval()
    for position in range(5 * 32):
        start = 0 if position < 32 else (position // 16 - 1) * 16  # windows of 32 begin at every 16th token
        with torch.no_grad():
            logits = module.model(inputs[None, start : start + 32])[0, position - start]
        losses.append(float(F.cross_entropy(logits, targets[position])))
    assert found["context"] == "sliding" and found["num_examples"] == 5 * 32
    assert found["loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)


def test_windows_that_do_not_follow_on_are_no_text(tmp_path):
    module = module_of(tmp_path, "gpt")
    assert read_on(module, {"validation": module.validation_split}) is None  # evenly spaced, by dataset.eval_windows


def test_a_model_that_learns_reads_the_whole_text_before(tmp_path):
    module = module_of(tmp_path, "mixing")
    module.model.learn(8, 0.02)
    split = text_of(module)
    found = read_on(module, {"test": split})["test"]
    logits = module.model(split.inputs.flatten()[None])[0]
    assert found["context"] == "whole"
    assert found["loss"] == pytest.approx(float(F.cross_entropy(logits, split.targets.flatten().long())), abs=1e-5)


def killed(done, total):
    if done == 3:
        raise KeyboardInterrupt


def test_a_run_of_a_model_that_learns_resumes_bitwise(tmp_path):
    whole = run(experiment(tmp_path / "whole", "mixing"))
    stopped = experiment(tmp_path / "stopped", "mixing")
    with pytest.raises(KeyboardInterrupt):
        run(stopped, progress=killed)
    assert read_record(run_folder(stopped.config)) is None
    resumed = run(stopped)
    assert (whole.action, resumed.action) == ("started", "resumed")
    assert whole.record["weights_sha256"] == resumed.record["weights_sha256"]
    assert whole.record["quality"]["test"] == resumed.record["quality"]["test"]
    assert whole.record["flops"] == resumed.record["flops"] and whole.record["flops"]["executed"] > 1e5
    assert whole.record["parameters"]["total"] > 2**12 * 16
    assert math.isfinite(whole.record["quality"]["test"]["loss"])


def test_a_fraction_of_the_text_is_learned(tmp_path):
    half, whole = (module_of(tmp_path, "mixing", f"dataset.fraction={part}") for part in (0.5, 1.0))
    assert len(half.model.mixer.history) == pytest.approx(len(whole.model.mixer.history) / 2, abs=32)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["method=rigl"], "leaves nothing for method=rigl to select"),
        (["method=dense_small"], "leaves nothing for method=dense_small"),
        (["model.contexts=[x1]"], "'x1' is no part of a context"),
        (["model.gates=[nothing]"], "'nothing' is no feature"),
        (["model.window_contexts=[s9]"], "'s9' is not among"),
    ],
)
def test_what_such_a_model_cannot_do_is_one_sentence(tmp_path, overrides, words):
    with pytest.raises(ValueError, match=words):
        run(experiment(tmp_path, "mixing", *overrides))
    assert not any(tmp_path.iterdir())
