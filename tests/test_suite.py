"""Suites: their files, the order of their jobs, and the jobs as values; nothing is trained here."""

import pytest
import yaml

from hundredfold.replication.composition import compose
from hundredfold.replication.study import engines, queue, tuning
from hundredfold.replication.study.job import Job, Past, expected
from hundredfold.replication.study.suite import load_suite

GOOD = {
    "title": "A test",
    "budgets": {"tiny": {"seeds": 1, "steps": 0.5, "arms": ["dense"]}},
    "sweeps": [
        {
            "overrides": ["dataset=digits", "model=mlp", "recipe.steps=24"],
            "seeds": 2,
            "seconds": 3,
            "arms": ["method=dense", "method=dense replicate=1", "method=dense_small", "method=set"],
        }
    ],
}


@pytest.fixture
def load(tmp_path):
    """Loads a suite from its content, or from the text of its file."""
    (tmp_path / "suite").mkdir()

    def call(content, budget=None):
        text = content if isinstance(content, str) else yaml.safe_dump({"study": content})
        (tmp_path / "suite" / "mine.yaml").write_text(text)
        return load_suite("mine", "here", budget, tmp_path)

    return call


def changed(**changes):
    """The good study with some values of its first sweep, or of itself where it has them, replaced; None: left out."""
    study = {**GOOD, "sweeps": [dict(GOOD["sweeps"][0])]}
    for name, value in changes.items():
        place = study if name in ("title", "budgets", "sweeps", "extra") else study["sweeps"][0]
        place[name] = value
        if value is None:
            del place[name]
    return study


def test_even_seeds_run_the_arms_forwards_and_odd_ones_backwards(load):
    arms = ["method=dsc_frozen", "method=dense", "method=set", "method=rigl"]
    forwards, backwards = ["dense", "set", "rigl", "dsc_frozen"], ["rigl", "set", "dense", "dsc_frozen"]
    jobs = load(changed(arms=arms, seeds=4)).jobs
    assert [(job.config["method"]["name"], job.seed) for job in jobs] == [
        (name, seed) for seed in range(4) for name in (backwards if seed % 2 else forwards)
    ]


def test_an_arm_is_composed_once_for_all_of_its_seeds(load, monkeypatch):
    composed = []

    def counted(overrides, config_dir):
        composed.append(list(overrides))
        return compose(composed[-1], config_dir)

    monkeypatch.setattr("hundredfold.replication.study.suite.compose", counted)
    assert len(load(changed(seeds=3)).jobs) == 12 and len(composed) == 4


def test_a_sweep_without_overrides_has_the_setting_of_the_file(load):
    arms = yaml.safe_dump({"study": changed(overrides=None)})
    text = f"# @package _global_\ndefaults:\n  - override /dataset: mnist\nrecipe: {{steps: 9}}\n{arms}"
    jobs = load(text).jobs
    assert {job.task for job in jobs} == {"mnist/mlp"} and {job.config["recipe"]["steps"] for job in jobs} == {9}


def test_an_arm_overrides_its_sweep(load):
    jobs = load(changed(arms=["method=dense recipe.steps=7", "method=set"])).jobs
    assert {job.label: job.config["recipe"]["steps"] for job in jobs} == {
        "dense": 7, "set 0.1 recipe.steps=24": 24
    }  # fmt: skip


def test_a_budget_leaves_fewer_seeds_steps_and_arms(load):
    suite = load(GOOD, "tiny")
    assert suite.name == "mine-tiny" and "1 of 2 seeds, 50 % of the steps" in suite.scaled
    assert [job.label for job in suite.jobs] == ["dense", "dense_small 0.25", "dense"]  # the repeat far from the first
    assert {job.config["budget"] for job in suite.jobs} == {0.5} and {job.seconds for job in suite.jobs} == {1.5}


def test_a_job_says_what_follows_from_its_configuration():
    dense, frozen = (Job.of(compose([f"method={name}", "seed=3"])) for name in ("dense", "dsc_frozen"))
    assert dense.run_id != dense.arm and dense.changed(seed=0).run_id == dense.arm
    assert dense.reference is None and frozen.reference == Job.of(compose(["method=dsc"])).arm
    assert dense.changed(recipe={"steps": 7}).config["recipe"]["steps"] == 7
    with pytest.raises(ValueError, match=r"recipe.steps=0: expected"):
        dense.changed(recipe={"steps": 0})


def test_a_job_is_expected_to_take_what_others_of_its_arm_took():
    seconds = {"seed=0": 5, "seed=1": 5, "method=set": 7}
    jobs = [Job.of(compose([override]), seconds=s) for override, s in seconds.items()]
    pasts = [Past("finished", seconds=1.0), Past(), Past()]
    assert [job.seconds for job in expected(jobs, pasts)] == [1.0, 1.0, 7]


def test_trials_are_equal_for_every_arm_and_one_that_starts_from_another_takes_its_choice(load):
    study = changed(arms=["method=dsc", "method=dsc_frozen", "method=dense", "method=dense replicate=1"])
    suite = load(study)
    trials = tuning.trials(suite)
    rates = [[job.config["recipe"]["learning_rate"] for job in jobs] for jobs in trials.values()]
    assert len(trials) == 2 and rates[0] == rates[1] and len(set(rates[0])) == len(rates[0])
    assert {job.seed for jobs in trials.values() for job in jobs} == {tuning.FIRST_SEED}
    quality = {job.run_id: float(i) for jobs in trials.values() for i, job in enumerate(jobs)}
    tuned = tuning.tuned(suite, quality).jobs
    assert {job.config["recipe"]["learning_rate"] for job in tuned} == {rates[0][-1]}


def test_where_nothing_has_to_run_no_process_is_started(monkeypatch):
    jobs = [Job.of(compose(["seed=1"]))]
    monkeypatch.setattr(queue, "past", lambda job: Past("finished"))
    monkeypatch.setattr(engines.Fresh, "begin", lambda *_: pytest.fail("the server of processes was started"))
    (outcome,) = queue.run_all(jobs)
    assert (outcome.action, outcome.status) == ("skipped", "finished")


def test_a_file_of_ones_own_has_a_name_of_its_own(tmp_path):
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "quick.yaml").write_text(yaml.safe_dump({"study": GOOD}))
    with pytest.raises(ValueError, match="suite=quick: is a file of conf/ too; give yours another name"):
        load_suite("quick", "here", config_dir=tmp_path)


def test_an_unknown_suite_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="suite=fast: unknown; choose one of .*quick"):
        load_suite("fast", "results")
    with pytest.raises(ValueError, match="unknown"):
        load_suite("../config", "results")


MALFORMED = {
    "empty": ("", "has no `study`"),
    "a number": ("3", "has no `study`"),
    "a list": ("[1, 2]", "has no `study`"),
    "no study": ("title: x", "has no `study`"),
    "a study that is a text": ("study: x", "has no `study`"),
    "YAML cut off": ("study: {title: [", "not readable as YAML"),
    "YAML with a tabulator": ("study:\n\ttitle: x", "not readable as YAML"),
    "no title": (changed(title=None), "study.title: not given"),
    "a title that is a number": (changed(title=5), "study.title=5: expected a text"),
    "an unknown key": (changed(extra=1), "study.extra: Study has no such field"),
    "no sweeps": (changed(sweeps=None), "study.sweeps: not given"),
    "an empty list of sweeps": (changed(sweeps=[]), "study.sweeps=[]: expected at least one sweep"),
    "sweeps that are a text": (changed(sweeps="x"), "study.sweeps='x': expected a list"),
    "a sweep that is a text": (changed(sweeps=["x"]), "study.sweeps[0]='x': expected Sweep"),
    "a typo in a sweep": (changed(seedz=3), "study.sweeps[0].seedz: Sweep has no such field, did you mean seeds?"),
    "no seeds": (changed(seeds=None), "study.sweeps[0].seeds: not given"),
    "seeds 0": (changed(seeds=0), "study.sweeps[0].seeds=0: expected a whole number, 1 or more"),
    "seeds as a text": (changed(seeds="two"), "study.sweeps[0].seeds='two': expected a whole number"),
    "half a seed": (changed(seeds=1.5), "study.sweeps[0].seeds=1.5: expected a whole number"),
    "no seconds": (changed(seconds=None), "study.sweeps[0].seconds: not given"),
    "seconds 0": (changed(seconds=0), "study.sweeps[0].seconds=0: expected a number above 0"),
    "no arms": (changed(arms=None), "study.sweeps[0].arms: not given"),
    "an empty list of arms": (changed(arms=[]), "study.sweeps[0].arms=[]: expected at least one arm"),
    "arms as a text": (changed(arms="method=dense"), "study.sweeps[0].arms='method=dense': expected a list"),
    "an arm that is a number": (changed(arms=[3]), "study.sweeps[0].arms[0]=3: expected a text"),
    "an arm that is no override": (changed(arms=["dense"]), "dense: not of the form name=value"),
    "an arm of an unknown method": (changed(arms=["method=dens"]), "method=dens: unknown, did you mean dense?"),
    "an arm of an unknown option": (changed(arms=["method=dense x=1"]), "x: no such option"),
    "an arm with a value that cannot be": (changed(arms=["method=set method.density=2"]), "method.density=2: expected"),
    "a method given twice": (changed(arms=["method=dense method=set"]), "method: given twice"),
    "two equal arms": (changed(arms=["method=dense", "method=dense"]), "two arms are the same run"),
    "overrides as a text": (changed(overrides="model=mlp"), "overrides='model=mlp': expected a list"),
    "an override given twice": (changed(overrides=["seed=1", "seed=2"]), "seed: given twice"),
    "no recipe for the pair": (changed(overrides=["model=gpt"]), "no recipe trains this pair"),
    "a recipe of another pair": (changed(overrides=["recipe=digits-vit"]), "trains dataset=digits model=vit"),
    "a long task": (changed(task="x" * 300), "expected at most 80 letters"),
    "a task with a bracket": (changed(task="a/[b]"), "expected at most 80 letters"),
    "an empty task": (changed(task=""), "expected at most 80 letters"),
    "budgets as a list": (changed(budgets=[1]), "study.budgets=[1]: expected names"),
    "an unknown key of a budget": (changed(budgets={"tiny": {"seed": 1}}), "budgets.tiny.seed: Budget has no such"),
    "a budget of no steps": (changed(budgets={"tiny": {"steps": 0}}), "budgets.tiny.steps=0: expected a fraction"),
    "a budget of no seeds": (changed(budgets={"tiny": {"seeds": 0}}), "budgets.tiny.seeds=0: expected a whole number"),
    "a pattern that is none": (changed(budgets={"tiny": {"arms": ["("]}}), "'(' is no regular expression"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_suite_is_answered_in_one_sentence(case, load):
    content, message = MALFORMED[case]
    with pytest.raises(ValueError) as caught:
        load(content)
    said = str(caught.value)
    assert said.startswith("suite/mine.yaml: ") and message in said and "\n" not in said


def test_a_budget_that_leaves_nothing_or_is_unknown_is_refused(load):
    with pytest.raises(ValueError, match="no arm is left to run"):
        load(changed(budgets={"tiny": {"arms": ["nothing"]}}), "tiny")
    with pytest.raises(ValueError, match="budget=huge: unknown; choose one of tiny"):
        load(GOOD, "huge")
    with pytest.raises(ValueError, match="budget=huge: unknown; there is none"):
        load(changed(budgets=None), "huge")


SPACES = {
    "": "not a space",
    "trials: 2": "not a space",
    "trials: two\nspace: {adamw: {recipe.learning_rate: [1, 2]}}": "trials='two': expected a whole number",
    "trials: 2\nspace: {adamw: {recipe.learning_rate: [2, 1]}}": "expected [low, high]",
    "trials: 2\nspace: {adamw: {recipe.learning_rate: [0, 1, log]}}": "expected [low, high]",
    "trials: 2\nspace: {adamw: {recipe.learning_rate: [1, 2, sqrt]}}": "expected [low, high]",
    "trials: 2\nspace: {sgd: {recipe.learning_rate: [1, 2]}}": "has a space of optimizer=sgd but none of adamw",
    "trials: [": "not readable as YAML",
}


@pytest.mark.parametrize("text", SPACES)
def test_a_malformed_space_is_answered_in_one_sentence(text, tmp_path):
    (tmp_path / "space").mkdir()
    (tmp_path / "space" / "mlp.yaml").write_text(text)
    with pytest.raises(ValueError) as caught:
        tuning.load_space("mlp", "adamw", tmp_path)
    assert SPACES[text] in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_sweep_goes_on_after_a_failure_and_skips_what_is_done(tmp_path):
    common = ["recipe.steps=20", "model.widths=[16]", f"results={tmp_path}"]
    arms = [["method=dsc_frozen", *common, "method.interval=4"], ["method=dense_small", *common]]
    jobs = [Job.of(compose(arm)) for arm in arms]
    first = queue.run_all(jobs)
    assert [outcome.status for outcome in first] == ["failed", "finished"]
    assert "reads the run method=dsc" in first[0].reason
    assert [outcome.action for outcome in queue.run_all(jobs[1:])] == ["skipped"]


def test_arms_of_one_name_are_told_apart_by_what_differs(load):
    arms = ["method=dense", "method=dense recipe.steps=7", "method=dense recipe.steps=7 recipe.learning_rate=0.5"]
    steps, rate = (load(changed(arms=["method=dense"])).jobs[0].config["recipe"][n] for n in ("steps", "learning_rate"))
    assert {job.label for job in load(changed(arms=arms)).jobs} == {
        f"dense recipe.steps={steps} recipe.learning_rate={rate:g}",
        f"dense recipe.steps=7 recipe.learning_rate={rate:g}",
        "dense recipe.steps=7 recipe.learning_rate=0.5",
    }
