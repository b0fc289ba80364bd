"""Hydra's command line as its users know it, and what it answers to mistakes: one sentence, and nothing is written."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from hundredfold.replication.composition import compose
from hundredfold.replication.run import run
from hundredfold.replication.study import sweep
from hundredfold.replication.study.queue import Outcome

ROOT = Path(__file__).resolve().parent.parent
COMMAND = [sys.executable, "-m", "hundredfold.replication", "train"]

# ---- what composes ---------------------------------------------------------------------------------------------------
COMPOSES = {
    "": lambda e: e.task == "digits/mlp" and e.label == "dense" and e.steps == 300,
    "budget=0.1": lambda e: e.steps == 30,
    "++seed=3": lambda e: e.seed == 3,
    "seed=4 replicate=${seed}": lambda e: e.replicate == 4,
    "~logger": lambda e: e.logger.wandb is None,
    "logger=wandb logger.wandb=online": lambda e: e.logger.wandb == "online",
    "recipe.clip=null": lambda e: e.recipe.clip is None,
    "recipe.schedule=cosine recipe.smoothing=0.1": lambda e: (e.recipe.schedule, e.recipe.smoothing) == ("cosine", 0.1),
    "recipe.betas=[0.5,0.9]": lambda e: e.recipe.betas == (0.5, 0.9),
    "recipe.weight_decay=0": lambda e: e.recipe.weight_decay == 0.0,
    "recipe=digits-mlp recipe.milestones=[0.3,0.6]": lambda e: e.recipe.milestones == (0.3, 0.6),
    "model.widths=[8,8]": lambda e: e.model.widths == (8, 8),
    "results='with space'": lambda e: e.results == "with space",
    "trainer=gpu trainer.device=cpu": lambda e: e.trainer.precision == "bfloat16" and e.trainer.device == "cpu",
    "trainer.storage=auto": lambda e: e.trainer.storage == "auto",
    "method=rigl method.density=0.1": lambda e: e.label == "rigl 0.1",
    "method.density=0.2 method=rigl": lambda e: e.label == "rigl 0.2",
    "method=rigl method.update.interval=5": lambda e: e.method.update.interval == 5 and e.method.update.stop == 0.75,
    "method=rigl method.update={interval:6}": lambda e: e.method.update.interval == 6 and e.method.update.stop == 0.75,
    "method=random_twin method.of.name=gmp method.of.density=0.2": lambda e: e.label == "random twin of gmp 0.2",
    "method=dsc_max": lambda e: e.label == "dsc_max" and e.config["method"]["methods"][0]["observe_every"] == 10,
    "method=dsc_max method.methods.0.interval=7": lambda e: e.method.methods[0].interval == 7,
    "method=compose method.methods=[{name:set},{name:infobatch}]": lambda e: e.label == "set 0.1 + infobatch",
    "strict=false method.density=0.1": lambda e: e.label == "dense",
    "strict=false recipe=digits-vit": lambda e: e.recipe.learning_rate != compose([]).recipe.learning_rate,
    "dataset=cifar10 model=vit model.dim=192 model.heads=3": lambda e: e.model.dim == 192,
    "dataset=cifar10 model=vit": lambda e: e.task == "cifar10/vit",
    "dataset=mnist recipe=mnist-mlp-textbook": lambda e: e.recipe.optimizer == "sgd",
    "experiment=a3_dynamic_mnist": lambda e: e.task == "mnist/mlp" and e.model.widths == (300, 100),
    "+experiment=a3_dynamic_mnist method=snfs": lambda e: e.task == "mnist/mlp" and e.label == "snfs 0.1",
    "experiment=a3_dynamic_mnist model.widths=[50]": lambda e: e.model.widths == (50,),
    "suite=quick": lambda e: e.steps == 200 and e.trainer.segments == 5,
    "+suite=quick seed=2": lambda e: e.seed == 2 and e.steps == 200,
}


def few_at_once(cases):
    """One of four in `make check`, all in `make test`."""
    return [case if i % 4 == 0 else pytest.param(case, marks=pytest.mark.slow) for i, case in enumerate(cases)]


@pytest.mark.parametrize("overrides", few_at_once(COMPOSES))
def test_an_idiom_composes(overrides):
    given = ["results='with space'"] if "space" in overrides else overrides.split()
    assert COMPOSES[overrides](compose(given))


def test_a_composed_configuration_is_whole_and_gives_itself_again():
    from hundredfold.replication.config import build

    made = compose(["method=rigl", "method.update.interval=5"])
    assert build(made.config) == made and build(made.config).config == made.config


# ---- what does not ---------------------------------------------------------------------------------------------------
FRACTION = "expected a fraction in (0, 1]"

MISTAKES = {
    "nonsense": "nonsense: not of the form name=value",
    "seed 1": "not of the form name=value",
    "=3": "must be a string",
    "+seed=1": "+seed: there is one already; leave the + out",
    "seed=": "seed=: expected a whole number",
    "seed=one": "seed=one: expected a whole number",
    "seed=1.5": "seed=1.5: expected a whole number",
    "seed=[1]": "seed=[1]: expected a whole number",
    "seed=-1": "seed=-1: expected a whole number in [0, 1e+09]",
    "seed=null": "seed=null: may not be null",
    "seed=1000000000000": "seed=1e+12: expected a whole number in",
    "seed=1 seed=2": "seed: given twice (seed=1, seed=2); leave one out",
    "~seed": "seed: not given and a run has no default for it",
    "seed=${nothing}": "Interpolation key 'nothing' not found",
    "seed=${seed}": "Recursive interpolation",
    "sede=1": "sede: no such option, did you mean seed?; choose one of dataset, model",
    "+sede=1": "sede: a run has no such field, did you mean seed?; it has dataset",
    "replicate=-1": "replicate=-1: expected a whole number, 0 or more",
    "budget=0": f"budget=0: {FRACTION}",
    "budget=1.5": f"budget=1.5: {FRACTION}",
    "budget=half": "budget=half: expected a finite number",
    "budget=nan": "budget=nan: expected a finite number",
    "results=null": "results=null: may not be null",
    "results=": "results='': expected a folder",
    "strict=maybe": "strict=maybe: expected true or false",
    "hydra.nothing=1": "hydra.nothing: no such option",
    "method=foo": "method=foo: unknown; choose one of acdc, ",
    "method=rigel": "method=rigel: unknown, did you mean rigl?",
    "method=": "method=: unknown; choose one of acdc",
    "method=3": "Config group override must be a string",
    "method=[a,b]": "method=b: there is no such file",
    "method=[set,rigl]": "method: expected one choice, not a list",
    "method=dense,rigl": "method=dense,rigl: several values need --multirun",
    "seed=range(3)": "seed=range(3): several values need --multirun",
    "method=glob(den*)": "method=glob(den*): several values need --multirun",
    "method=rigl method=set": "method: given twice (method=rigl, method=set); leave one out",
    "~method": "method: not given and a run has no default for it; set method=...",
    "~nothing": "nothing",
    "method=rigl method.density=1.5": f"method.density=1.5: {FRACTION}",
    "method=rigl method.density=90": "for 90 % sparsity use density=0.1",
    "method=rigl method.density=0": f"method.density=0: {FRACTION}",
    "method=rigl method.density=-0.1": f"method.density=-0.1: {FRACTION}",
    "method=rigl method.density=high": "method.density=high: expected a finite number",
    "method=rigl method.density=inf": "method.density=inf: expected a finite number",
    "method=rigl method.density=null": "method.density=null: may not be null",
    "method=rigl method.density=[0.1]": "method.density=[0.1]: expected a finite number",
    "method=rigl method.density={a:1}": "method.density={a:1}: expected a finite number",
    "method=rigl method.densty=0.1": "method.densty: rigl has no such field, did you mean density?",
    "method=lottery method.rounds=1000000": "method.rounds=1e+06: expected a whole number in [1, 100]",
    "method=dense method.density=0.1": "method.density: dense has no such field; it has no options",
    "method=rigl method.update.interval=0": "method.update.interval=0: expected",
    "method=rigl method.update.interval=x": "method.update.interval=x: expected a whole number",
    "method=rigl method.update.intervall=5": "method.update.intervall: UpdateSchedule has no such field, did you mean",
    "method=rigl method.update=5": "method.update",
    "method=rigl method.update.start=0.9 method.update.stop=0.1": "method.update.start=0.9",
    "method=random_twin method.of.name=rigel": "method.of=rigel: unknown, did you mean rigl?",
    "method=random_twin method.of.name=gmp method.of.density=2": f"method.of.density=2: {FRACTION}",
    "method=dsc_max method.methods=[{name:infobatch,ratio:2}]": "method.methods[0].ratio=2: expected a fraction",
    "method=dsc_max method.methodes=[]": "method.methodes: compose has no such field, did you mean methods",
    "method=compose method.methods=[{name:rigel}]": "method.methods[0]=rigel: unknown, did you mean rigl",
    "method=compose method.methods=[rigl]": "method.methods[0]='rigl': expected",
    "method=dsc_input method.capacity=0.01": "method.capacity=0.01: below density=0.125; raise it or lower that",
    "method=dsc_input method.top=0": "method.top=0: expected a whole number, 1 or more",
    "method=dsc_input method.predictor=oracle": "method.predictor='oracle': expected one of gate, activation",
    "method=dsc method.widen=0": "method.widen=0: expected a number above 0",
    "method=dsc method.regrow=2": "method.regrow=2: expected a fraction in [0, 1]",
    "method=dsc method.explore=0.9": "method.explore=0.9, contract=0.5: explore must end first",
    "method=str method.rise=-1": "method.rise=-1: expected a strength, 0 or more",
    "method=nm method.n=5": "method.n=5, m=4: expected 1 <= n <= m",
    "method=moe method.top=9": "method.top=9: expected 1 to experts=8",
    "method=infobatch method.ratio=1": "method.ratio=1: expected a fraction in [0, 1)",
    "method=mest method.stages=[0.9,0.5]": "method.stages=[0.9, 0.5]: expected two rising fractions",
    "method=granet method.initial=0.01": "method.initial=0.01: expected at least density=0.1",
    "method=lottery method.rounds=0": "method.rounds=0: expected a whole number in [1, 100]",
    "method=random_twin method.of.name=moe": "of=moe: changes the model itself, so that it has no random twin",
    "method=compose method.methods=[{name:rigl},{name:set}]": "rigl and set both decide about weights; keep one",
    "dataset.scenario_seed=-1": "dataset.scenario_seed=-1: expected a whole number, 0 or more",
    "model.dropout=-0.1": "model.dropout=-0.1: expected a fraction in [0, 1)",
    "recipe.steps=1.5": "recipe.steps=1.5: expected a whole number",
    "recipe.betas=[]": "recipe.betas=[]: expected a list of 2",
    "trainer.segments=1000000000": "trainer.segments=1e+09: expected a whole number in [1, 100000]",
    "trainer.storage=csr method=dsc": "storage=csr: dsc selects no weights; use masked or auto",
    "energy.watts_per_core=-5": "energy.watts_per_core=-5: expected a number above 0",
    "dataset=tsukuba": "dataset=tsukuba: unknown; choose one of cifar10",
    "dataset=topics": "dataset=topics model=mlp: no recipe trains this pair; choose dataset=",
    "dataset.label_noise=1": "dataset.label_noise=1: expected a fraction in [0, 1)",
    "dataset.fraction=0": f"dataset.fraction=0: {FRACTION}",
    "dataset.imbalance=0.5": "dataset.imbalance=0.5: expected a ratio, 1 or more",
    "dataset.flip=true": "dataset.flip: digits has no such field",
    "dataset=mnist dataset.crop=28": "dataset.crop=28: expected",
    "dataset=mnist dataset.resolution=2": "dataset.resolution=2: expected pixels in [4, 1024]",
    "dataset=topics model=gpt dataset.context=0": "dataset.context=0: expected a whole number, 1 or more",
    "model=gpt": "dataset=digits model=gpt: no recipe trains this pair; choose dataset=",
    "model=lenet5 recipe=digits-mlp strict=false": "model=lenet5: reads images of 16 pixels a side or more, not 8 x 8",
    "dataset=topics recipe=digits-mlp strict=false": "model=mlp: reads image data, but the data set gives text",
    "model.widths=8": "model.widths=8: expected a list",
    "model.widths=[0]": "model.widths[0]=0: expected a whole number, 1 or more",
    "model.widths=[8.5]": "model.widths=[8.5]: expected a whole number",
    "model.widths=[a]": "model.widths=[a]: expected a whole number",
    "model.dropout=1": "model.dropout=1: expected a fraction in [0, 1)",
    "model.activation=step": "model.activation='step': expected one of relu",
    "model=vit model.heads=3": "model.heads=3: expected a divisor of dim=64",
    "recipe=nope": "recipe=nope: unknown; choose one of cifar10-airbench",
    "recipe=digits-mlpp": "recipe=digits-mlpp: unknown, did you mean digits-mlp?",
    "recipe=digits-vit": "recipe=digits-vit: trains dataset=digits model=vit, not dataset=digits model=mlp",
    "recipe=cifar10-resnet18": "recipe=cifar10-resnet18: trains dataset=cifar10 model=resnet18",
    "~recipe": "recipe.optimizer: not given",
    "recipe.lr=1": "recipe.lr: Recipe has no such field",
    "recipe.learning_rat=1": "did you mean learning_rate?",
    "recipe.steps=many": "recipe.steps=many: expected a whole number",
    "recipe.steps=0": "recipe.steps=0: expected a whole number in [1, 1e+09]",
    "recipe.steps=1e12": "recipe.steps=1e12: expected a whole number",
    "recipe.steps=1000000000000": "recipe.steps=1e+12: expected a whole number in [1, 1e+09]",
    "recipe.batch_size=0": "recipe.batch_size=0: expected a whole number, 1 or more",
    "recipe.learning_rate=0": "recipe.learning_rate=0: expected a number above 0",
    "recipe.learning_rate=-1": "recipe.learning_rate=-1: expected a number above 0",
    "recipe.optimizer=adam": "recipe.optimizer='adam': expected one of adamw, sgd",
    "recipe.schedule=linaer": "recipe.schedule='linaer': expected one of linear, cosine, step",
    "recipe.clip=-1": "recipe.clip=-1: expected a number above 0",
    "recipe.warmup=5": "recipe.warmup=5: expected a fraction in [0, 1]",
    "recipe.weight_decay=-1": "recipe.weight_decay=-1: expected a number, 0 or more",
    "recipe.betas=[0.9]": "recipe.betas=[0.9]: expected a list of 2",
    "recipe.betas=[0.9,1]": "recipe.betas[1]=1: expected a fraction in [0, 1)",
    "recipe.betas=0.9": "recipe.betas=0.9: expected a list",
    "recipe.milestones=[0.6,0.3]": "recipe.milestones=[0.6, 0.3]: expected rising fractions",
    "recipe.milestones=[1.5]": "recipe.milestones[0]=1.5: expected a fraction in (0, 1)",
    "recipe.gamma=0": f"recipe.gamma=0: {FRACTION}",
    "recipe.smoothing=1": "recipe.smoothing=1: expected a fraction in [0, 1)",
    "trainer=tpu": "trainer=tpu: unknown, did you mean gpu?; choose one of cpu, gpu",
    "trainer.device=tpu": "trainer.device='tpu': expected one of cpu, cuda, mps",
    "trainer.precision=float16": "trainer.precision='float16': expected one of float32, bfloat16",
    "trainer.threads=0": "trainer.threads=0: expected a whole number in [1, 256]",
    "trainer.threads=100000": "trainer.threads=100000: expected a whole number in [1, 256]",
    "trainer.segments=0": "trainer.segments=0: expected a whole number in",
    "trainer.checkpoint_every_s=-1": "trainer.checkpoint_every_s=-1: expected",
    "trainer.storage=dense": "trainer.storage='dense': expected one of masked, csr",
    "trainer.storage=csr": "storage=csr: dense selects no weights",
    "trainer.compile=perhaps": "trainer.compile=perhaps: expected true or false",
    "method=meprop trainer.compile=true": "trainer.compile=true: meprop selects operands",
    "energy=solar": "energy=solar: unknown; choose one of auto",
    "energy.source=sun": "energy.source='sun': expected one of auto",
    "energy.watts_per_core=0": "energy.watts_per_core=0: expected a number above 0",
    "logger=tensorboard": "logger=tensorboard: unknown; choose one of none, wandb",
    "logger=wandb logger.wandb=onlin": "logger.wandb='onlin': expected one of offline, online or null",
    "experiment=nope": "experiment=nope: unknown; choose one of a1_snip_mnist",
    "suite=quik": "suite=quik: unknown, did you mean quick?",
}


@pytest.mark.parametrize("overrides", few_at_once(MISTAKES))
def test_a_mistake_is_answered_in_one_sentence(overrides):
    given = [overrides] if overrides == "seed 1" else overrides.split()
    with pytest.raises(ValueError) as caught:
        compose(given)
    assert MISTAKES[overrides] in str(caught.value) and "\n" not in str(caught.value)


# ---- the command itself ----------------------------------------------------------------------------------------------
@pytest.fixture
def train(command):
    """Runs `hundredfold train`."""
    return partial(command, "train")


FLAGS = {
    "--cfg job": "widths:\n  - 1024",
    "-c job method=rigl": "density: 0.1",
    "-c job -p trainer": "# @package trainer\ndevice: cpu",
    "--cfg job --package method method=rigl": "# @package method\nname: rigl",
    "--cfg job --resolve": "seed: 0",
    "--cfg hydra": "fresh_sweeper",
    "--cfg all": "app_name: hundredfold",
    "--cfg job experiment=a3_dynamic_mnist": "name: mnist",
    "--cfg job +experiment=a3_dynamic_mnist": "name: mnist",
    "--cfg job suite=quick method=dsc": "steps: 200",
    "--cfg job ~logger": "project: hundredfold",
    "--info defaults": "method/dense",
    "--info defaults-tree method=dsc_max": "method: dsc_max",
    "--info searchpath": "main",
    "--info plugins": "FreshSweeper",
    "--info config": "seed: 0",
    "--help": "method=\n",
    "-h": "  dsc  ",
    "--hydra-help": "== Flags ==",
    "--version": "Hydra",
    "-sc install=bash": "hydra_bash_completion",
    "-sc install=zsh": "hydra_bash_completion",
    "-sc install=fish": "complete",
}


@pytest.mark.parametrize("flags", few_at_once(FLAGS))
def test_a_flag_of_hydra_works(flags, train):
    code, out, err = train(*flags.split())
    assert code == 0 and FLAGS[flags] in out and "Traceback" not in err


@pytest.mark.parametrize(
    ("line", "expected"),
    [("method=ri", "method=rigl"), ("trainer.", "trainer.threads="), ("experiment=a3", "experiment=a3_dynamic_mnist")],
)
def test_the_tabulator_completes_groups_choices_and_options(line, expected, train, monkeypatch):
    monkeypatch.setenv("COMP_LINE", f"hundredfold {line}")
    code, out, _ = train("-sc", "query=bash")
    assert code == 0 and expected in out.split()


def test_configurations_of_ones_own_folder_are_found(train, tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("defaults: [rigl, _self_]\ndensity: 0.03\n")
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "short.yaml").write_text("defaults: [digits-mlp, _self_]\nsteps: 7\n")
    (tmp_path / "own.yaml").write_text("defaults: [config, _self_]\nseed: 5\n")
    chosen = ("--config-dir", tmp_path, "-cn", "own", "method=mine", "recipe=short", "--cfg", "job")
    code, out, _ = train(*chosen)
    assert code == 0 and "seed: 5" in out and "density: 0.03" in out and "steps: 7" in out
    made = compose(["method=mine", "recipe=short"], config_dir=tmp_path)
    assert made.label == "rigl 0.03" and made.recipe.steps == 7


REFUSED = {
    "method=rigl method.density=1.5": "method.density=1.5: expected a fraction in (0, 1]",
    "trainer=gpu": "trainer.device=cuda: torch finds none on this machine; use trainer=cpu",
    "-cn nothing": "config=nothing: there is no such file",
    "--config-dir /nowhere": "Additional config directory '/nowhere' not found",
    "-m method=dense,rigl method=set": "method: given twice",
    "-m method=dense,set method.density=0.1": "method.density: dense has no such field; it has no options",
    "-m method=dense,foo": "method=foo: unknown",
    "-m seed=0,one": "seed=one: expected a whole number",
    "-m trainer=gpu seed=0,1": "trainer.device=cuda: torch finds none",
    "-m recipe.learning_rate=interval(0,1)": "does not support sweep type",
    "-m hydra/launcher=nothing": "hydra/launcher=nothing: unknown",
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_refused_command_exits_with_2_and_writes_nothing(line, train, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    code, out, err = train(*line.split(), f"results={tmp_path}/r")
    assert code == 2 and err.strip().startswith("hundredfold: ") and REFUSED[line] in err
    assert len(err.strip().splitlines()) == 1 and not out.strip() and not list(tmp_path.iterdir())


def test_a_file_that_is_not_yaml_is_named(train, tmp_path):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("name: [rigl\n")
    code, _, err = train("--config-dir", tmp_path, "method=mine", f"results={tmp_path}/r")
    assert code == 2 and "mine.yaml" in err and len(err.strip().splitlines()) == 1


# ---- sweeps ----------------------------------------------------------------------------------------------------------
SWEEPS = {
    "method=glob(den*)": ["dense", "dense_reg", "dense_short 0.25", "dense_small 0.25"],
    "method=choice(set,rigl)": ["set 0.1", "rigl 0.1"],
    "method=set,rigl method.density=0.2": ["set 0.2", "rigl 0.2"],
    "method=rigl method.density=0.1,0.2": ["rigl 0.1", "rigl 0.2"],
    "recipe.learning_rate=0.001,0.002 recipe.steps=9": [
        "dense recipe.learning_rate=0.001", "dense recipe.learning_rate=0.002"
    ],
    "method=dense,set method.density=0.1,0.2 strict=false": ["dense", "set 0.1", "set 0.2"],
    "seed=range(3)": ["dense"] * 3,
    "model.widths=[8],[16,16]": ["dense model.widths=[8]", "dense model.widths=[16,16]"],
    "dataset=mnist,kmnist model=lenet5": ["dense"] * 2,
    "experiment=a1_snip_mnist,a7_lottery_mnist": [
        "dense",
        "dense recipe.batch_size=128 recipe.steps=17190 recipe.weight_decay=0 recipe.schedule=linear "
        "recipe.milestones=[]",
    ],
    "method=dsc_max,rigl_infobatch": ["dsc_max", "rigl + infobatch"],
    "hydra.sweeper.params={seed:'0,1'}": ["dense"] * 2,
    "seed=0,0": ["dense"],
}


@pytest.mark.parametrize("line", SWEEPS)
def test_a_sweep_runs_each_different_configuration_once(line, train, tmp_path, monkeypatch):
    seen = []

    def run_all(jobs, engine):
        seen.extend(jobs)
        return [Outcome(job, "started", "finished", None) for job in jobs]

    monkeypatch.setattr(sweep, "run_all", run_all)
    monkeypatch.setattr(sweep, "build", lambda *_: None)
    code, out, err = train("--multirun", *line.split(), f"results={tmp_path}/r")
    assert code == 0, err
    assert [job.label for job in seen] == SWEEPS[line]
    assert len({job.run_id for job in seen}) == len(seen)
    assert f"Records: {tmp_path}/r/runs" in out and "finished" in out and not list(tmp_path.iterdir())


def test_a_sweep_with_a_run_that_did_not_finish_exits_with_1_and_says_which(train, tmp_path, monkeypatch):
    def run_all(jobs, engine):
        return [Outcome(job, "started", "failed", "a reason [/x]") for job in jobs]

    monkeypatch.setattr(sweep, "run_all", run_all)
    code, out, _ = train("-m", "seed=0,1", f"results={tmp_path}")
    assert code == 1 and "failed" in out and "reason" in out


# ---- interruptions and runs ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("line", ["seed=0", "-m seed=0,1"])
def test_an_interrupted_command_exits_with_130_and_a_sentence(line, train, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("hundredfold.replication.study.child.perform", interrupted)
    monkeypatch.setattr(sweep, "run_all", interrupted)
    code, _, err = train(*line.split(), f"results={tmp_path}")
    assert code == 130 and err.strip() == "Interrupted. The same command goes on where it stopped."


def test_an_interruption_passes_through_the_trainer(tmp_path):
    def progress(done, total):
        raise KeyboardInterrupt

    target = compose(["recipe.steps=4", "trainer.segments=1", "model.widths=[8]", f"results={tmp_path}"])
    with pytest.raises(KeyboardInterrupt):
        run(target, progress=progress)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert run(target).record["status"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("line", ["seed=0", "-m seed=0,1"])
def test_ctrl_c_in_a_terminal_leaves_no_traceback(line, tmp_path):
    command = [*COMMAND, *line.split(), "recipe.steps=200000", f"results={tmp_path}"]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    while not list(tmp_path.rglob("energy.jsonl")) and process.poll() is None:
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said and "goes on where it stopped" in said
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.slow
def test_a_single_run_writes_into_its_results_folder_alone(tmp_path):
    overrides = ["recipe.steps=20", "model.widths=[16]", f"results={tmp_path}/r"]
    before = sorted(ROOT.iterdir())
    done = subprocess.run([*COMMAND, *overrides], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "test accuracy" in done.stdout, done.stderr
    assert sorted(ROOT.iterdir()) == before and [path.name for path in (tmp_path / "r").iterdir()] == ["runs"]
