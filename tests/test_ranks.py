"""One network trained by several processes."""

import json
import os
import signal
import subprocess
import sys
import time

import lightning as L
import pytest
import torch
import torch.distributed as dist

from hundredfold.methods.dynamic.rigl import Rigl
from hundredfold.methods.execution import ranks
from hundredfold.methods.execution.session import Session
from hundredfold.methods.neurons.dsc import Dsc
from hundredfold.methods.topology import UpdateSchedule
from hundredfold.replication.composition import compose
from hundredfold.replication.config import run_id
from hundredfold.replication.energy.ledger import Ledger
from hundredfold.replication.energy.meter import Totals, together
from hundredfold.replication.energy.sources import Elsewhere, Source
from hundredfold.replication.lightning_callback import SessionCallback
from hundredfold.replication.process import check_device
from hundredfold.replication.run import run

SHORT = ["recipe.steps=40", "trainer.segments=4", "trainer.checkpoint_every_s=0", "recipe.batch_size=16"]
ARMS = {
    "dense": ["method=dense"],
    "rigl": ["method=rigl", "method.update.interval=7"],
    "dsc": ["method=dsc", "method.density=0.25", "method.interval=6", "method.observe_every=2"],
}


def experiment(folder, *overrides):
    return compose([*SHORT, "model.widths=[64,64]", "energy.source=estimate", f"results={folder}", *overrides])


def drawn(folder, name):
    """Joules and CPU seconds that every attempt of a rank has charged to training."""
    phases = [line["phases"] for line in Ledger(folder / name).earlier]
    figures = [made[name] for made in phases for name in ("train", "select") if name in made]
    return [sum(column) for column in (next(zip(*figures, strict=True)), [row[2] for row in figures])]


@pytest.mark.parametrize("arm", ARMS)
def test_two_ranks_train_what_one_trains(arm, tmp_path):
    one, two = (run(experiment(tmp_path, *ARMS[arm], f"trainer.ranks={n}")) for n in (1, 2))
    assert two.record["status"] == "finished" and two.record["run_id"] != one.record["run_id"]
    assert two.record["flops"]["executed"] == pytest.approx(one.record["flops"]["executed"], rel=1e-9)
    assert two.record["density"] == one.record["density"] and two.record["units"] == one.record["units"]
    points = zip(one.record["quality"]["curve"], two.record["quality"]["curve"], strict=True)
    rtol = 0.05 if arm == "dsc" else 1e-4  # importance of 8 examples each is not quite that of 16
    for mine, theirs in points:
        assert theirs["train_loss"] == pytest.approx(mine["train_loss"], rel=rtol)
    mine, others = (drawn(two.folder, name) for name in ("energy.jsonl", "energy-1.jsonl"))
    assert min(*mine, *others) > 0
    assert two.record["energy"]["training_j"] == pytest.approx(mine[0] + others[0])
    assert two.record["time"]["training_cpu_s"] == pytest.approx(mine[1] + others[1])


def killed_at(step, whom):
    def progress(done, total):
        if done > step:
            whom()

    return progress


def kill_the_follower():
    """Kill the rank that this process has started."""
    children = subprocess.run(["pgrep", "-f", "replication.follow", "-P", str(os.getpid())], capture_output=True)
    for child in children.stdout.split():
        os.kill(int(child), signal.SIGKILL)
    time.sleep(0.2)


def test_a_rank_that_dies_is_named_and_the_run_goes_on_bit_for_bit(tmp_path):
    target = experiment(tmp_path / "a", *ARMS["rigl"], "trainer.ranks=2")
    with pytest.raises(RuntimeError, match="rank 1 ended by itself, exit code -9"):
        run(target, progress=killed_at(25, kill_the_follower))
    resumed = run(target)
    whole = run(experiment(tmp_path / "b", *ARMS["rigl"], "trainer.ranks=2"))
    assert resumed.action == "resumed" and resumed.record["attempts"] == 2
    assert resumed.record["weights_sha256"] == whole.record["weights_sha256"]
    assert len(Ledger(resumed.folder / "energy-1.jsonl").earlier) == 2
    assert resumed.record["energy"]["phases_j"]["replayed"] > 0


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["method=infobatch"], "infobatch decides about samples of the batch, of which a rank sees a share"),
        (["method=moe", "dataset=topics", "model=gpt"], "moe decides about modules of the batch"),
        (["method=meprop"], "meprop decides about operands of the batch"),
        (["method=grasp", "method.density=0.1"], "grasp decides about weights of the batch"),
        (["method=rigl", "trainer.storage=csr"], "trainer.storage=csr keeps single ones; use trainer.storage=masked"),
        (["recipe.batch_size=15"], "trainer.ranks=2: does not divide recipe.batch_size=15 into equal shares"),
        (["dataset=topics", "model=mixing"], "model=mixing: learns in one process; use trainer.ranks=1"),
    ],
)
def test_what_ranks_cannot_share_is_refused(overrides, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        compose(["trainer.ranks=2", f"results={tmp_path}", *overrides])


def test_more_ranks_than_gpus_are_answered(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    check_device("cuda")
    with pytest.raises(ValueError, match="trainer.ranks=2: this machine has 1 GPUs; use fewer ranks"):
        check_device("cuda", 2)


def test_a_run_on_one_rank_is_the_run_that_it_was_without_the_option(tmp_path):
    config = experiment(tmp_path).config
    older = config | {"trainer": {name: v for name, v in config["trainer"].items() if name != "ranks"}}
    shared = config | {"trainer": config["trainer"] | {"ranks": 2}}
    assert run_id(older) == run_id(config) != run_id(shared)


def test_joules_of_ranks_add_up_and_are_unknown_where_one_does_not_know_its_own():
    def totals(joules):
        phases = None if joules is None else {"train": joules}
        return Totals(phases, {"train": 2.0}, {"train": 1.5}, joules, 2.0, 1.5, 0.01)

    both = together([totals(10.0), totals(30.0)._replace(unmetered_fraction=0.2)])
    assert both.training_j == 40 and both.phases_j == {"train": 40} and both.training_s == 2
    assert both.training_cpu_s == 3 and both.unmetered_fraction == 0.2
    assert together([totals(10.0), totals(None)]).training_j is None
    assert Elsewhere(Source("why")).joules() == 0 and not Elsewhere(Source("why")).still(0.0)


# ---- other loops in a group -----------------------------------------------------------------------------------------
class Small(L.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), 1e-2)

    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1])


class Tell(L.Callback):
    """Writes what a rank holds at the end."""

    def __init__(self, folder, told):
        self.folder, self.told = folder, told

    def on_fit_end(self, trainer, module):
        masks = {name: mask.tolist() for name, mask in self.told.session.active.items()}
        weights = [p.detach().flatten().tolist() for p in module.parameters()]
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps([masks, weights]))


def batches():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(96, 16, generator=generator)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x[:, :4].argmax(1)), batch_size=8)


def fit_on_two(callback, folder):
    trainer = L.Trainer(
        accelerator="cpu", devices=2, strategy="ddp_spawn", max_epochs=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[callback, Tell(folder, callback)],
    )  # fmt: skip
    trainer.fit(Small(), batches())


def test_masks_are_identical_on_all_ranks_of_lightnings_own_ddp(tmp_path):
    fit_on_two(SessionCallback(Rigl(density=0.25, update=UpdateSchedule(3))), tmp_path)
    (masks, weights), other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert [masks, weights] == other
    assert sum(sum(row) for mask in masks.values() for row in mask) < 0.5 * 64 * 20


def test_shrinking_layers_under_lightnings_ddp_is_refused(tmp_path):
    with pytest.raises(Exception, match="replaces parameters by smaller ones, and DistributedDataParallel keeps"):
        fit_on_two(SessionCallback(Dsc(density=0.5, interval=3, observe_every=1, multiple=1)), tmp_path)


def train_in_group(rank, folder, stirred):
    """A plain loop of one rank; `stirred` gives it a random stream of its own, which it must not notice."""
    store = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4))
    method = Dsc(density=0.5, interval=3, observe_every=1, multiple=1)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    session = Session(model, method, optimizer, total_steps=24, seed=rank if stirred else 0)
    for step in range(24):
        x = torch.randn(8, 16, generator=torch.Generator().manual_seed(2 * step + rank))
        session.backward(x, x[:, :4].argmax(1))
        session.step()
        optimizer.zero_grad()
    state = {name: value.tolist() for name, value in model.state_dict().items()}
    (folder / f"{rank}.json").write_text(json.dumps([session.unit_counts(), state]))
    dist.destroy_process_group()


@pytest.mark.parametrize("stirred", [False, True])
def test_ranks_shrink_alike_even_where_they_would_decide_apart(stirred, tmp_path):
    torch.multiprocessing.spawn(train_in_group, (tmp_path, stirred), nprocs=2)
    mine, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert mine == other and any(counts["alive"] < counts["size"] for counts in mine[0].values())


def test_outside_of_a_group_there_is_one_rank():
    tensor = torch.ones(3)
    ranks.average([tensor])
    assert ranks.count() == 1 and ranks.rank() == 0 and tensor.sum() == 3
    assert ranks.of_first(lambda: "here") == "here" and ranks.gathered(2) == [2]


# ---- every rank started by torchrun ---------------------------------------------------------------------------------
def torchrun(folder, *overrides):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m"]
    given = [*SHORT, "model.widths=[64,64]", "energy.source=estimate", f"results={folder}", *overrides]
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    return subprocess.run(
        [*command, "hundredfold.replication", "train", *given], capture_output=True, text=True, env=environment
    )


def test_torchrun_may_start_the_ranks(tmp_path):
    ended = torchrun(tmp_path, "trainer.ranks=2")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("test accuracy") == 1  # rank 0 tells
    record = run(experiment(tmp_path, "trainer.ranks=2")).record
    own = run(experiment(tmp_path / "own", "trainer.ranks=2")).record
    assert record["weights_sha256"] == own["weights_sha256"] and record["flops"] == own["flops"]
    assert torchrun(tmp_path, "trainer.ranks=2").stdout.count("skipped") == 2


def test_another_number_of_processes_than_ranks_is_answered(monkeypatch, tmp_path):
    for name, value in {"WORLD_SIZE": "4", "LOCAL_RANK": "1", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="torchrun has started 4 processes; use trainer.ranks=4"):
        run(experiment(tmp_path, "trainer.ranks=2"))
