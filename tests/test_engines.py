"""Every engine does the runs of a sweep over one results folder, each once."""

import contextlib
import json
import os
import subprocess
import sys
import threading

import pytest

from hundredfold.replication.composition import compose
from hundredfold.replication.config import build, run_folder
from hundredfold.replication.record import read_record
from hundredfold.replication.run import run
from hundredfold.replication.study import engines
from hundredfold.replication.study.engines import Work, engine, parsed
from hundredfold.replication.study.job import Job
from hundredfold.replication.study.queue import run_all

SHORT = ["recipe.steps=20", "trainer.segments=2", "energy.source=none", "model.widths=[16]"]
ARMS = (["method=dense"], ["method=rigl", "method.update.interval=4"])


def jobs(folder):
    given = [[*SHORT, *arm, f"results={folder}"] for arm in ARMS]
    return [Job.of(compose(overrides)) for overrides in given]


@contextlib.contextmanager
def ray_of_two_nodes():
    from ray.cluster_utils import Cluster

    with contextlib.redirect_stderr(None):
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
    try:
        yield engines.Ray(cluster.address)
    finally:
        import ray

        ray.shutdown()
        cluster.shutdown()


def here(name, **options):
    return contextlib.nullcontext(engine(name, **options))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of runs that this process does by itself."""
    folder = tmp_path_factory.mktemp("alone")
    return {job.run_id: run(build(job.config)).record["weights_sha256"] for job in jobs(folder)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fresh", "joblib", "submitit", "ray"])
def test_an_engine_does_every_run_once(tmp_path, weights, name):
    options = {"joblib": {"jobs": 2}, "submitit": {"cluster": "local", "folder": str(tmp_path / "submitit")}}
    if name in ("submitit", "ray"):
        pytest.importorskip(name)
    if name == "ray" and sys.platform != "linux":
        pytest.skip("several nodes on one machine")
    with ray_of_two_nodes() if name == "ray" else here(name, **options.get(name, {})) as doing:
        outcomes = run_all(jobs(tmp_path), engine=doing)
        again = run_all(jobs(tmp_path), engine=doing)
    assert [outcome.status for outcome in outcomes] == ["finished"] * 2, outcomes
    assert {outcome.action for outcome in again} == {"skipped"}
    records = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/*/record.json")]
    assert {record["run_id"]: record["weights_sha256"] for record in records} == weights
    assert [(record["attempts"], record["segments"]) for record in records] == [(1, 1)] * 2


class Future:
    """What an engine gets for a run: its answer, or what is raised."""

    def __init__(self, answer):
        self.answer, self.cancelled = answer, False

    def done(self):
        return self.answer is not None

    def result(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def cancel(self):
        self.cancelled = True


class Pretended(engines.Submitting):
    def __init__(self, *answers):
        super().__init__()
        self.answers, self.handed = list(answers), []

    def open(self):
        pass

    def submit(self, works):
        self.handed += works
        return [Future(self.answers.pop(0)) for _ in works]


def test_what_an_engine_raises_is_the_runs_reason(tmp_path):
    doing = Pretended(("started", "finished", None), OSError("the node is gone\nfor good"))
    outcomes = run_all(jobs(tmp_path), engine=doing)
    assert [(outcome.status, outcome.reason) for outcome in outcomes] == [
        ("finished", None),
        ("failed", "OSError: the node is gone"),
    ]


def test_a_run_that_starts_from_another_is_handed_over_after_it(tmp_path):
    given = [*SHORT, "method.interval=4", f"results={tmp_path}"]
    dsc, frozen = (Job.of(compose([*given, f"method={name}"])) for name in ("dsc", "dsc_frozen"))
    doing = Pretended(("started", "finished", None), ("started", "finished", None))
    doing.begin([dsc, frozen], None)
    assert [work.config for work in doing.handed] == [dsc.config]
    doing.run(frozen, None, lambda done, total: None, threading.Event())
    assert [work.config for work in doing.handed] == [dsc.config, frozen.config]


def test_a_run_that_is_stopped_is_cancelled(tmp_path):
    doing, (job,) = Pretended(None), jobs(tmp_path)[:1]
    doing.begin([job], None)
    stop = threading.Event()
    stop.set()
    assert doing.run(job, None, lambda done, total: None, stop) == engines.STOPPED
    assert doing.futures[job.run_id, 0].cancelled


def test_a_run_whose_process_dies_says_so(tmp_path, monkeypatch):
    (job, *_) = jobs(tmp_path)
    monkeypatch.setenv("PYTHONHOME", "/")
    with pytest.raises(RuntimeError, match="ended by itself, exit code"):
        Work(job.config, None)()
    assert read_record(run_folder(job.config)) is None


def test_slurm_is_handed_the_same_run_again():
    pytest.importorskip("submitit")
    work = Work({"seed": 1}, "quick")
    assert work.checkpoint().function is work


def test_every_worker_of_joblib_takes_a_device_of_its_own(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    queue = engines._queue([3, 5])
    taken = []
    for _ in range(2):
        engines._take_device(queue)
        taken.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert sorted(taken) == ["3", "5"] and engine("joblib", devices=[3, 5]).jobs == 2


WRONG = {
    "slurm": "launcher=slurm: unknown; choose one of fresh, joblib, submitit, ray",
    "joblib workers=3": "unexpected keyword argument 'workers'",
    "joblib 3": "3 is not of the form name=value",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_launcher_is_answered_in_a_sentence(text):
    with pytest.raises(ValueError, match=WRONG[text]) as caught:
        parsed(text)
    assert "\n" not in str(caught.value)


def test_a_launcher_that_is_not_installed_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ValueError, match=r"submitit is not installed; pip install 'hundredfold\[engines\]'"):
        run_all(jobs(tmp_path), engine=engine("submitit", folder=str(tmp_path / "submitit")))
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_a_sweep_of_hydra_takes_its_launcher(tmp_path):
    command = [sys.executable, "-m", "hundredfold.replication", "sweep", *SHORT, f"results={tmp_path / 'results'}"]
    command += [f"reports={tmp_path / 'reports'}", "seed=0,1", "hydra/launcher=joblib", "+hydra.launcher.jobs=2"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert len([*(tmp_path / "results" / "runs").glob("*/*/record.json")]) == 2
    wrong = subprocess.run([*command, "+hydra.launcher.workers=2"], capture_output=True, text=True, cwd=tmp_path)
    assert wrong.returncode == 2 and "unexpected keyword argument 'workers'" in wrong.stderr
