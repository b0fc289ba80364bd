import subprocess
import sys
from pathlib import Path

import pytest
from replication.overrides import check

from replication.composition import compose
from replication.study.job import Job
from replication.study.queue import run_all
from replication.study.suite import load_suite

MISTAKES = {
    "method=foo": "method=foo: unknown; choose one of acdc, ",
    "method=rigl method.density=1.5": "density=1.5: expected a fraction in (0, 1]",
    "method=rigl method.density=90": "for 90 % sparsity use density=0.1",
    "method=rigl method.density=0": "density=0: expected a fraction in (0, 1]",
    "method=rigl method.density=high": "method.density='high': expected a finite number",
    "method=rigl method.densty=0.1": "rigl has no such field, did you mean density?",
    "method=dense method.density=0.1": "dense has no such field",
    "method=rigl method.update.interval=0": "update.interval=0: expected a number of steps, 1 or more",
    "dataset=tsukuba": "dataset=tsukuba: unknown; choose one of ",
    "model=gpt": "dataset=digits model=gpt: no recipe trains this pair",
    "seed=one": "seed=one: expected a whole number",
    "seed=1.5": "seed=1.5: expected a whole number",
    "seed=-1": "seed=-1: expected a whole number",
    "sede=1": "sede: no such option, did you mean seed?",
    "recipe.lr=1": "recipe.lr: no such option; choose one of",
    "recipe.steps=many": "recipe.steps=many: expected a number",
    "trainer=tpu": "trainer=tpu: unknown; choose one of cpu, gpu",
    "method=dense,rigl": "several values need --multirun",
    "nonsense": "not of the form name=value",
}


@pytest.mark.parametrize("overrides", MISTAKES)
def test_a_mistake_is_answered_in_one_sentence(overrides):
    with pytest.raises(ValueError) as caught:
        check(overrides.split(), multirun=False)
    assert MISTAKES[overrides] in str(caught.value) and "\n" not in str(caught.value)


def test_right_overrides_pass():
    check(["method=rigl,dsc", "seed=0,1", "recipe.steps=10", "model.widths=[8,8]"], multirun=True)
    check(["method=rigl", "method.update.interval=5", "dataset=topics", "model=gpt", "results=x/y"], multirun=False)


def test_the_command_exits_with_2_and_writes_nothing(tmp_path):
    command = [sys.executable, "-m", "replication.train", "method=rigl", "method.density=1.5", f"results={tmp_path}/r"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("hundredfold: method.density=1.5") and not done.stdout
    assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_a_sweep_goes_on_after_a_failure_and_skips_what_is_done(tmp_path):
    common = ["recipe.steps=20", "model.widths=[16]", f"results={tmp_path}"]
    arms = [["method=dsc_frozen", *common, "method.interval=4"], ["method=dense_small", *common]]
    jobs = [Job.of(compose(arm)) for arm in arms]
    first = run_all(jobs)
    assert [outcome.status for outcome in first] == ["failed", "finished"]
    assert "starts from the run method=dsc" in first[0].reason
    assert [outcome.action for outcome in run_all(jobs[1:])] == ["skipped"]


def test_even_seeds_run_the_arms_forwards_and_odd_ones_backwards(tmp_path, monkeypatch):
    arms = ["method=dsc_frozen", "method=dense", "method=set", "method=rigl"]
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "small.yaml").write_text(
        f"title: A test\nsweeps: [{{overrides: [model=mlp], seeds: 4, seconds: 1, arms: [{', '.join(arms)}]}}]\n"
    )
    monkeypatch.setattr("replication.study.suite.CONF", tmp_path)
    forwards, backwards = ["dense", "set", "rigl", "dsc_frozen"], ["rigl", "set", "dense", "dsc_frozen"]
    expected = [(name, seed) for seed in range(4) for name in (backwards if seed % 2 else forwards)]
    jobs = load_suite("small", "here").jobs
    assert [(job.config["method"]["name"], job.seed) for job in jobs] == expected


def test_an_unknown_suite_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="suite=fast: unknown; choose one of .*quick"):
        load_suite("fast", "results")
    with pytest.raises(ValueError, match="unknown"):
        load_suite("../config", "results")


def test_a_single_run_writes_into_its_results_folder_alone(tmp_path):
    root = Path(__file__).resolve().parent.parent
    overrides = ["recipe.steps=20", "model.widths=[16]", f"results={tmp_path}/r"]
    command = [sys.executable, "-m", "replication.train", *overrides]
    before = sorted(root.iterdir())
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert done.returncode == 0 and "test accuracy" in done.stdout, done.stderr
    assert sorted(root.iterdir()) == before and [path.name for path in (tmp_path / "r").iterdir()] == ["runs"]


def test_options_of_a_method_within_a_method_are_checked_and_set():
    from replication.overrides import canonical

    nested = ["method=random_twin", "method.of.name=gmp", "method.of.density=0.2", "method.update.interval=5"]
    assert canonical(nested)[1:] == ["++method.of.name=gmp", "++method.of.density=0.2", "method.update.interval=5"]
    stack = compose(["method=dsc_max", "method.methods.0.interval=7"])
    assert stack.method.methods[0].interval == 7 and stack.method.label() == "dsc_max"
    assert stack.config["method"]["methods"][0]["observe_every"] == 10, "every option is written out"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.methods=[{name:infobatch,ratio:2}]", r"method.methods\[0\].ratio=2: expected a fraction"),
        ("method.methodes=[]", "did you mean methods"),
        ("method.methods=[{name:rigel}]", "did you mean rigl"),
    ],
)
def test_mistakes_within_a_stack_are_answered_in_one_sentence(override, message):
    with pytest.raises(ValueError, match=message):
        check(["method=dsc_max", override], multirun=False)


def test_options_that_a_recipe_does_not_list_can_be_set():
    recipe = compose(["recipe.schedule=cosine", "recipe.smoothing=0.1", "trainer.storage=auto"]).recipe
    assert recipe.schedule == "cosine" and recipe.smoothing == 0.1


def test_options_that_need_each_other_are_checked_together():
    check(["dataset=cifar10", "model=vit", "model.dim=192", "model.heads=3"], multirun=False)
    with pytest.raises(ValueError, match="heads=3: expected a divisor of dim=64"):
        check(["dataset=cifar10", "model=vit", "model.heads=3"], multirun=False)
