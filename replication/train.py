"""One run, or with --multirun a sweep; everything else is Hydra's command line.

    python -m replication.train method=rigl method.density=0.1 dataset=digits model=mlp seed=0
    python -m replication.train --multirun method=dense,rigl,dsc seed=0,1,2
    python -m replication.train experiment=a3_dynamic_mnist method=snfs
    python -m replication.train --cfg job method=dsc
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import warnings

# Whatever takes seconds to import is imported where it is used, under the guard that answers Ctrl-C.

TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"


def help_text() -> str:
    """Usage, and every data set, model and method with its options; a template, in which a dollar is written twice."""
    from replication.config import GROUPS, registry, stacks
    from replication.registry import describe

    lines = [__doc__.strip(), ""]
    for kind in GROUPS:
        lines.append(f"{kind}=")
        for name, cls in registry(kind).items():
            summary, options = describe(cls)
            source = getattr(cls, "source", "")
            lines.append(f"  {name:22} {summary}" + (f" [{source}]" if kind == "method" else ""))
            lines += [f"    .{o.name} = {o.default}  {('# ' + o.comment) if o.comment else ''}" for o in options]
        if kind == "method":
            lines += [f"  {name:22} A stack, conf/method/{name}.yaml" for name in stacks()]
    lines.append(
        "Others: seed, replicate, budget, results, strict, recipe.*, trainer=cpu|gpu, energy.*, logger=none|wandb"
    )
    lines.append("Settings of a run: experiment=NAME of conf/experiment, suite=NAME of conf/suite")
    lines.append("Hydra's own flags, such as --cfg, --info, --config-dir and tab completion: --hydra-help")
    return "\n".join(lines).replace("$", "$$")


def train(cfg) -> None:
    """Run one composed configuration with a progress bar and say where its record is."""
    from rich.console import Console
    from rich.progress import Progress

    from replication.composition import resolve

    with answered():  # here too, because Hydra writes a line of its own about an error that passes it
        experiment = resolve(cfg)
        from replication.study.child import perform  # loads what a run needs, after the check of what is asked

        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module="lightning")
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(f"{experiment.task} {experiment.label}", total=experiment.steps)
            action, record, folder = perform(
                experiment, suite=None, progress=lambda done, total: bar.update(task, completed=done)
            )
    print(f"{action}: {folder}/record.json")
    if record["status"] != "finished":
        print(f"{record['status']}: {record['reason']}", file=sys.stderr)
        sys.exit(1)
    test, energy = record["quality"]["test"], record["energy"]
    joules = "not measured" if energy["training_j"] is None else f"{energy['training_j']:.4g} J ({energy['evidence']})"
    print(f"test accuracy {test['accuracy']:.4f}, test loss {test['loss']:.4f} nats, training {joules}")


@contextlib.contextmanager
def answered():
    """Exit with 2 and one sentence for a mistake, with 130 if interrupted; HYDRA_FULL_ERROR=1 shows the traceback."""
    try:
        yield
    except BrokenPipeError:  # the reader of a pipe has gone, as in `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on where it stopped.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        from replication.composition import known
        from replication.mistakes import MISTAKES, sentence

        if TRACEBACKS or not isinstance(error, MISTAKES):
            raise
        print(f"hundredfold: {sentence(error, known())}", file=sys.stderr)
        sys.exit(2)


def main() -> None:
    """Hand everything to Hydra."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is as good as Ctrl-C
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on, and they are answered here
    with answered():
        import hydra
        from omegaconf import OmegaConf

        from replication.composition import spelled
        from replication.config import CONF
        from replication.structured import register

        register()
        OmegaConf.register_new_resolver("hundredfold.help", help_text, replace=True)
        sys.argv[1:] = [spelled(argument) for argument in sys.argv[1:]]
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(train)()


if __name__ == "__main__":
    main()
