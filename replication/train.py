"""The Hydra entry point: one run, or with --multirun a sweep.

    python -m replication.train method=rigl method.density=0.1 dataset=digits model=mlp seed=0
    python -m replication.train --multirun method=dense,rigl,dsc seed=0,1,2
"""

from __future__ import annotations

import logging
import sys
import warnings

import hydra
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import Progress

from replication import config as configuration
from replication.composition import register, resolve
from replication.overrides import canonical, check
from replication.registry import describe


def help_text() -> str:
    """Usage, and every data set, model and method with its options."""
    lines = [__doc__.strip(), ""]
    for kind in configuration.GROUPS:
        lines.append(f"{kind}=")
        for name, cls in configuration.registry(kind).items():
            summary, options = describe(cls)
            source = getattr(cls, "source", "")
            lines.append(f"  {name:22} {summary}" + (f" [{source}]" if kind == "method" else ""))
            lines += [f"    .{o.name} = {o.default}  {('# ' + o.comment) if o.comment else ''}" for o in options]
        if kind == "method":
            for name, options in configuration.stacks().items():
                parts = [f"{slot}={value['name']}" for slot, value in options.items() if isinstance(value, dict)]
                lines.append(f"  {name:22} A stack: {', '.join(parts)} [conf/method/{name}.yaml]")
    lines.append("Others: seed, replicate, results, recipe.*, trainer=cpu|gpu, energy.source, logger=none|wandb")
    return "\n".join(lines)


def train(cfg: DictConfig) -> None:
    """Run one configuration with a progress bar and say where its record is."""
    from replication.study.child import perform

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    try:
        experiment = resolve(cfg)
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task(f"{experiment.task} {experiment.label}", total=experiment.steps)
            action, record, folder = perform(
                experiment, suite=None, progress=lambda done, total: bar.update(task, completed=done)
            )
    except ValueError as error:
        sys.exit(_refuse(error))
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"{action}: {folder}/record.json")
    if record["status"] != "finished":
        print(f"{record['status']}: {record['reason']}", file=sys.stderr)
        sys.exit(1)
    test, energy = record["quality"]["test"], record["energy"]
    joules = "not measured" if energy["training_j"] is None else f"{energy['training_j']:.4g} J ({energy['evidence']})"
    print(f"test accuracy {test['accuracy']:.4f}, test loss {test['loss']:.4f} nats, training {joules}")


def _refuse(error: Exception) -> int:
    print(f"hundredfold: {str(error).splitlines()[0]}", file=sys.stderr)
    return 2


def main() -> None:
    """Answer mistakes with one sentence and exit code 2; otherwise hand over to Hydra."""
    arguments = sys.argv[1:]
    if {"-h", "--help"} & set(arguments):
        print(help_text())
        return
    multirun = bool({"-m", "--multirun"} & set(arguments))
    try:
        check([a for a in arguments if not a.startswith("-")], multirun=multirun)
    except ValueError as error:
        sys.exit(_refuse(error))
    register()
    sys.argv[1:] = canonical(arguments)
    hydra.main(version_base="1.3", config_path=str(configuration.CONF), config_name="config")(train)()


if __name__ == "__main__":
    main()
