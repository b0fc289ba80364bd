import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache
from pathlib import Path

import filelock
import numpy as np
import pytest
import torch

from hundredfold.analysis.schema import Record
from hundredfold.replication.composition import compose
from hundredfold.replication.datasets.base import sealed
from hundredfold.replication.energy.ledger import Ledger
from hundredfold.replication.energy.meter import Meter
from hundredfold.replication.energy.sources import choose
from hundredfold.replication.module import TrainingModule, evaluate
from hundredfold.replication.record import read_record, write_record
from hundredfold.replication.run import fail, fit, held, metering_lock, run, run_folder

SHORT = ["recipe.steps=40", "trainer.segments=4", "trainer.checkpoint_every_s=0", "recipe.batch_size=16"]
MODEL = ["model.widths=[64,64]"]
ARMS = {
    "dense": ["method=dense"],
    "rigl": ["method=rigl", "method.update.interval=7"],
    "dsc": ["method=dsc", "method.density=0.25", "method.interval=6", "method.observe_every=2"],
}
MUON = ["recipe.optimizer=muon", "recipe.learning_rate=0.01"]
ARMS |= {f"{arm} by muon": [*ARMS[arm], *MUON] for arm in ("dense", "rigl", "dsc")}


def experiment(folder, *overrides):
    return compose([*SHORT, *MODEL, f"results={folder}", *overrides])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Arm -> its whole run, made once for all tests that only look at it."""
    folder = tmp_path_factory.mktemp("finished")
    return cache(lambda arm: run(experiment(folder, *ARMS[arm])))


class Killed(Exception):
    pass


def kill_after(step):
    def progress(done, total):
        if done > step:
            raise Killed

    return progress


TIMES = ("energy", "time", "environment", "attempts", "segments", "config")


def comparable(record):
    """A record without what may differ between an interrupted and a whole run: times, joules and the place."""
    kept = {name: value for name, value in record.items() if name not in TIMES}
    measured = ("training_j", "training_cpu_s")
    curve = [{k: v for k, v in point.items() if k not in measured} for point in kept["quality"]["curve"]]
    traffic = {"modeled": kept["bytes"]["modeled"]}  # not the memory that a process has held
    return kept | {"quality": kept["quality"] | {"curve": curve}, "bytes": traffic}


@pytest.mark.parametrize("arm", ARMS)
def test_an_interrupted_run_ends_with_the_same_weights_and_record(arm, tmp_path, finished):
    whole = finished(arm).record
    for step in (5, 15, 25, 35):
        with pytest.raises(Killed):
            run(experiment(tmp_path, *ARMS[arm]), progress=kill_after(step))
    result = run(experiment(tmp_path, *ARMS[arm]))
    assert result.action == "resumed"
    assert result.record["weights_sha256"] == whole["weights_sha256"]
    assert comparable(result.record) == comparable(whole)
    assert result.record["attempts"] == 5 and whole["attempts"] == 1


def run_until_killed(folder, overrides, step):
    def progress(done, total):
        if done > step:
            os.kill(os.getpid(), signal.SIGKILL)

    run(experiment(folder, *overrides), progress=progress)


@pytest.mark.slow
def test_a_killed_process_resumes_and_its_joules_are_kept(tmp_path, finished, fork_server):
    process = fork_server.Process(target=run_until_killed, args=(tmp_path, ARMS["dsc"], 15))
    process.start()
    process.join()
    target = experiment(tmp_path, *ARMS["dsc"])
    assert process.exitcode == -signal.SIGKILL and read_record(run_folder(target.config)) is None
    result = run(target)
    assert result.action == "resumed" and result.record["segments"] == 2
    assert result.record["weights_sha256"] == finished("dsc").record["weights_sha256"]
    assert result.record["energy"]["training_j"] > 0 and result.record["energy"]["phases_j"]["replayed"] >= 0


def run_beside_others(folder, number, answers):
    """One of several processes that do the same runs, each with a metering lock and temporary folder of its own."""
    os.environ["HUNDREDFOLD_LOCK"] = str(folder / f"metering{number}.lock")
    answers.put([run(experiment(folder, *ARMS[arm])).action for arm in ("dense", "dsc")])


@pytest.mark.slow
def test_processes_that_do_the_same_runs_double_no_joule(tmp_path, fork_server):
    answers = fork_server.Queue()
    processes = [fork_server.Process(target=run_beside_others, args=(tmp_path, i, answers)) for i in range(3)]
    for process in processes:
        process.start()
    actions = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    for place, arm in enumerate(("dense", "dsc")):
        assert sorted(action[place] for action in actions) == ["skipped", "skipped", "started"]
        folder = run_folder(experiment(tmp_path, *ARMS[arm]).config)
        record = read_record(folder)
        assert record["attempts"] == record["segments"] == 1
        lines = filter(None, (folder / "energy.jsonl").read_text().splitlines())  # a checksum before each
        assert {json.loads(line.partition(" ")[2])["segment"] for line in lines} == {0}


def test_one_says_what_one_waits_for(tmp_path, capsys):
    taken = threading.Event()

    def hold():
        with filelock.FileLock(tmp_path / "lock"):
            taken.set()
            time.sleep(1.5)

    other = threading.Thread(target=hold)
    other.start()
    taken.wait()
    with held(filelock.FileLock(tmp_path / "lock"), "another run"):
        pass
    other.join()
    assert f"Waiting for another run ({tmp_path}/lock)" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_suite_leaves_no_failed_record(by, tmp_path):
    sweep = "{overrides: [dataset=digits, model=mlp, recipe.steps=4000], seeds: 1, seconds: 1, arms: [method=dense]}"
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "long.yaml").write_text(f"study: {{title: Long, sweeps: [{sweep}]}}\n")
    arguments = ["long", "--config-dir", tmp_path, "--results", tmp_path, "--reports", tmp_path / "reports"]
    with open(tmp_path / "log", "w") as log:
        command = [sys.executable, "-m", "hundredfold.replication", "reproduce", *arguments]
        process = subprocess.Popen(command, cwd=Path(__file__).parent.parent, stdout=log, stderr=log)
    while not list(tmp_path.rglob("energy.jsonl")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(by)
    assert process.wait(30) == (130 if by is signal.SIGTERM else -by)
    folder = next(tmp_path.rglob("energy.jsonl")).parent
    with metering_lock().acquire(timeout=60):
        record = read_record(folder)  # the run has let go of the machine
    assert record is None or record["status"] == "finished"
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said and (by is signal.SIGKILL or "goes on where it stopped" in said)


def test_a_finished_run_is_skipped_and_a_failed_one_is_not(tmp_path):
    target = experiment(tmp_path)
    fail(target, "the disk was full")
    assert read_record(run_folder(target.config))["status"] == "failed"
    assert run(target).action == "started"
    assert run(target).action == "skipped"


def test_the_record_has_every_field_of_the_schema_and_both_flops(finished):
    record = finished("rigl").record
    assert set(record) == set(Record.model_fields)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["simulated"] and record["flops"]["ideal"] < 0.5 * record["flops"]["executed"]
    assert record["density"]["prunable"] == pytest.approx(0.1, abs=1e-3)
    assert record["energy"]["training_j"] > 0 and record["energy"]["evidence"] in ("estimated", "measured")
    assert len(record["quality"]["curve"]) == 4 and record["quality"]["test"]["num_examples"] == 360
    right = np.unpackbits(np.frombuffer(base64.b64decode(record["quality"]["correct"]), np.uint8))[:360]
    assert right.mean() == pytest.approx(record["quality"]["test"]["accuracy"])
    assert record["density_curve"][-1] == {"step": 40, "layers": record["density"]["layers"]}
    assert set(record["time"]["phases_s"]) == {"setup", "train", "select", "eval", "test", "account", "checkpoint"}


def test_executed_flops_of_a_dense_run_are_those_of_the_formula(finished):
    record = finished("dense").record
    weights, first = 64 * 64 + 64 * 64 + 64 * 10, 64 * 64
    assert record["flops"]["executed"] == 40 * 16 * 2 * (3 * weights - first)  # the input needs no gradient
    assert record["flops"]["executed"] == record["flops"]["ideal"]


def test_the_flops_of_a_record_are_those_of_its_curve_and_its_own_selection(tmp_path):
    record = run(experiment(tmp_path, *ARMS["dsc"])).record
    flops, curve = record["flops"], record["quality"]["curve"]
    assert 0 < flops["selection"] < flops["ideal"] <= flops["executed"] == curve[-1]["executed_flops"]


def test_a_run_that_diverges_is_recorded_as_such(tmp_path):
    record = run(experiment(tmp_path, "recipe.learning_rate=1e30", "recipe.clip=null")).record
    assert record["status"] == "diverged" and "not finite" in record["reason"]
    assert record["quality"]["test"] is None and record["energy"]["training_j"] > 0
    assert run(experiment(tmp_path, "recipe.learning_rate=1e30", "recipe.clip=null")).action == "skipped"


def test_the_test_split_is_out_of_reach_while_a_run_trains(tmp_path):
    target = experiment(tmp_path)
    seen = []

    def peek(done, total):
        try:
            target.dataset.test()
        except PermissionError:
            seen.append(done)

    run(target, progress=peek)
    assert seen and len(target.dataset.test().inputs) == 360


def test_a_run_is_measured_alone_on_its_machine(tmp_path, monkeypatch):
    refused = []

    def enter(done, total):
        try:
            metering_lock().acquire(timeout=0).lock.release()
        except filelock.Timeout:
            refused.append(done)

    run(experiment(tmp_path), progress=enter)
    assert refused == [10, 20, 30, 40]
    monkeypatch.delenv("HUNDREDFOLD_LOCK")
    assert Path(metering_lock().lock_file).parent == Path(tempfile.gettempdir()), "one lock, whatever the folder"


def training_module(folder, *overrides):
    target = experiment(folder, *overrides)
    with sealed():
        splits = target.dataset.training()
    meter = Meter(choose("none"), Ledger(folder / "energy.jsonl"))
    return TrainingModule(target, target.dataset.spec(), *splits, meter)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_evaluation_multiplies_at_the_precision_of_training(tmp_path, precision):
    module = training_module(tmp_path, f"trainer.precision={precision}")
    seen = {"train": set(), "eval": set()}
    layer = module.model[1]
    layer.register_forward_hook(lambda _, inputs, y: seen["train" if layer.training else "eval"].add(str(y.dtype)))
    module.train_steps(0, 2)
    quality, _ = evaluate(module, module.validation_split)
    assert seen == {"train": {f"torch.{precision}"}, "eval": {f"torch.{precision}"}}
    assert 0 < quality["loss"] < 10


def test_the_first_segments_alone_end_where_the_whole_run_has_been(tmp_path):
    whole, part = training_module(tmp_path), training_module(tmp_path)
    (tmp_path / "part").mkdir()
    assert fit(part, tmp_path / "part", 0.0, segments=2) is None and part.position.step == 20
    assert fit(whole, tmp_path, 1e9) is None and whole.position.step == 40
    accuracy = [[point["validation_accuracy"] for point in module.position.curve] for module in (part, whole)]
    assert accuracy[0] == accuracy[1][:2]
    resumed = training_module(tmp_path)
    assert fit(resumed, tmp_path / "part", 0.0, segments=3) is None
    assert [point["validation_accuracy"] for point in resumed.position.curve] == accuracy[1][:3]


def test_the_benchmark_of_first_epochs_goes_on_and_leaves_the_schedule_whole(tmp_path, monkeypatch):
    from hundredfold.replication.benchmark import curve

    epoch = 1200 / 16
    overrides = ("dataset=digits", "model=mlp", "model.widths=[8]", "recipe.batch_size=16", "recipe.steps=300")
    monkeypatch.setattr(curve, "OVERRIDES", overrides)
    monkeypatch.setattr(curve, "EPOCHS", 2)
    curve.main(0.5, tmp_path)
    first = json.loads((tmp_path / "curve.json").read_text())
    curve.main(1.0, tmp_path)
    both = json.loads((tmp_path / "curve.json").read_text())
    assert [point["epoch"] for point in both["curve"]] == [1, 2] and both["curve"][:1] == first["curve"]
    assert both["curve"][1]["step"] == 2 * epoch and both["curve"][1]["fraction"] == 0.5
    assert both["config"]["recipe"]["steps"] == 300 and both["published"]["accuracy"][0] == 55.55


def test_equal_seeds_give_equal_initial_weights_and_data_order_across_methods(tmp_path):
    arms = (["method=dense"], ["method=random_erk", "method.density=1.0"], ["method=dense", "seed=1"])
    modules = [training_module(tmp_path, *arm) for arm in arms]
    weights = [torch.cat([p.detach().flatten() for p in m.model.parameters()]) for m in modules]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert torch.equal(modules[0].batches(0, 40), modules[1].batches(0, 40))
    assert torch.equal(modules[0].batches(10, 20), modules[0].batches(0, 40)[10:20])
    rows = modules[0].batches(0, 75).flatten()  # one epoch: every example once
    assert torch.equal(rows.sort().values, torch.arange(1200))


def test_a_method_draws_by_the_seed_of_its_run(tmp_path):
    chosen = []
    for seed in (0, 0, 1):
        module = training_module(tmp_path, "method=random_static", "method.density=0.5", f"seed={seed}")
        chosen.append(torch.cat([p.detach().flatten() != 0 for p in module.model.parameters() if p.ndim > 1]))
    assert torch.equal(chosen[0], chosen[1]) and not torch.equal(chosen[0], chosen[2])


def test_a_small_dense_network_is_built_narrower(tmp_path):
    module = training_module(tmp_path, "method=dense_small", "method.density=0.25")
    assert [tuple(p.shape) for p in module.model.parameters() if p.ndim > 1] == [(16, 64), (16, 16), (10, 16)]


FROZEN = ["method=dsc_frozen", *ARMS["dsc"][1:]]


def test_dsc_frozen_starts_from_the_units_of_the_dsc_run(tmp_path):
    with pytest.raises(ValueError, match="reads the run method=dsc with the same options and seed=0"):
        run(experiment(tmp_path, *FROZEN))
    first = run(experiment(tmp_path, *ARMS["dsc"])).record
    frozen = run(experiment(tmp_path, *FROZEN)).record
    assert {g: u["alive"] for g, u in first["units"].items()} == {g: u["alive"] for g, u in frozen["units"].items()}


def test_an_unwritable_folder_and_a_corrupted_record_get_one_sentence_each(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="results=.*cannot be written"):
        run(experiment(tmp_path / "file"))
    target = experiment(tmp_path)
    folder = run_folder(target.config)
    folder.mkdir(parents=True)
    (folder / "record.json").write_text('{"schema_version": 1, "status')
    with pytest.raises(ValueError, match="not a readable record .*; delete the file and run again"):
        run(target)


def test_a_record_with_a_missing_field_is_refused(tmp_path, finished):
    record = {name: value for name, value in finished("dense").record.items() if name != "flops"}
    with pytest.raises(ValueError, match="the field flops is missing"):
        write_record(tmp_path, record)


def test_the_learning_rate_rises_and_ends_at_zero():
    recipe = compose([]).recipe
    rates = recipe.rates(100)
    assert max(rates) == pytest.approx(recipe.learning_rate) and rates.index(max(rates)) == 9
    assert rates[-1] < 0.02 * recipe.learning_rate and all(rate > 0 for rate in rates)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.parametrize("method", ["dsc", "rigl"])
def test_a_compiled_run_ends_alike(method, tmp_path, finished):
    overrides = [*ARMS[method], "trainer.compile=true"]
    eager, compiled = finished(method).record, run(experiment(tmp_path, *overrides)).record
    assert compiled["status"] == "finished" and compiled["flops"] == eager["flops"]
    assert compiled["time"]["phases_cpu_s"]["warmup"] > 0 and not eager["time"]["phases_cpu_s"].get("warmup")
    assert abs(compiled["quality"]["test"]["loss"] - eager["quality"]["test"]["loss"]) < 1e-3


def test_compiling_products_that_run_one_by_one_is_refused(tmp_path):
    with pytest.raises(ValueError, match="trainer.compile=true: meprop selects operands.*compile=false"):
        experiment(tmp_path, "method=meprop", "trainer.compile=true")
    with pytest.raises(ValueError, match="trainer.compile=true: rigl selects weights.*compile=false"):
        experiment(tmp_path, *ARMS["rigl"], "trainer.storage=csr", "trainer.compile=true")
