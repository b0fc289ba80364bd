"""One run, or with --multirun a sweep; everything else is Hydra's command line.

hundredfold train method=rigl method.density=0.1 dataset=digits model=mlp seed=0
hundredfold sweep method=dense,rigl,dsc seed=0,1,2
hundredfold train experiment=a3_dynamic_mnist method=snfs
hundredfold train --cfg job method=dsc
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hundredfold.replication.guard import answered

if TYPE_CHECKING:
    from hundredfold.replication.config import Experiment

# Whatever takes seconds to import is imported where it is used, under the guard that answers Ctrl-C.


def help_text() -> str:
    """Usage, and every data set, model and method with its options; a template, in which a dollar is written twice."""
    from hundredfold.replication.config import GROUPS, registry, stacks
    from hundredfold.replication.registry import describe

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
    lines.append("Others: seed, replicate, budget, results, reports, strict, recipe.*, energy.*")
    lines.append("        trainer=cpu|gpu, logger=none|wandb")
    lines.append("Settings of a run: experiment=NAME of conf/experiment, suite=NAME of conf/suite")
    lines.append("Hydra's own flags, such as --cfg, --info, --config-dir and tab completion: --hydra-help")
    return "\n".join(lines).replace("$", "$$")


def train(cfg) -> None:
    """Run one composed configuration with a progress bar and say where its record is."""
    from hundredfold.replication.composition import resolve

    with answered():  # here too, because Hydra writes a line of its own about an error that passes it
        experiment = resolve(cfg)
        action, record, folder = perform_shown(experiment)
    if action == "followed":  # rank 0 tells
        return
    print(f"{action}: {folder}/record.json")
    if record["status"] != "finished":
        print(f"{record['status']}: {record['reason']}", file=sys.stderr)
        sys.exit(1)
    test, energy = record["quality"]["test"], record["energy"]
    joules = "not measured" if energy["training_j"] is None else f"{energy['training_j']:.4g} J ({energy['evidence']})"
    print(f"test accuracy {test['accuracy']:.4f}, test loss {test['loss']:.4f} nats, training {joules}")


def perform_shown(experiment: Experiment) -> tuple[str, dict[str, Any], Path]:
    """Bring one run to its end with a progress bar; (action, record, folder)."""
    from rich.console import Console
    from rich.progress import Progress

    # loads what a run needs, after the check of what is asked
    from hundredfold.replication.study.child import perform

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{experiment.task} {experiment.label}", total=experiment.steps)
        return perform(experiment, suite=None, progress=lambda done, total: bar.update(task, completed=done))


def hydra_main(arguments: Sequence[str]) -> None:
    """Hand everything to Hydra; what it raises is the caller's to answer."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on
    import hydra
    from omegaconf import OmegaConf

    from hundredfold.replication.composition import spelled
    from hundredfold.replication.config import CONF
    from hundredfold.replication.structured import register

    register()
    OmegaConf.register_new_resolver("hundredfold.help", help_text, replace=True)
    sys.argv = ["hundredfold", *map(spelled, arguments)]
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(train)()


def completions(words: Sequence[str]) -> list[str]:
    """What the last of some overrides may go on to, by Hydra's own completion."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.core_plugins.bash_completion import BashCompletion
    from hydra._internal.utils import create_config_search_path

    from hundredfold.replication.config import CONF
    from hundredfold.replication.structured import register

    register()
    loader = ConfigLoaderImpl(create_config_search_path(str(CONF)))
    return BashCompletion(loader)._query("config", " ".join(words))
