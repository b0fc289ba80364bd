"""Hydra sweeper: every run of a sweep in a fresh process, one at a time, going on after a failure.

Hydra's basic launcher runs all jobs in one process and joblib reuses its workers; both would let one run's memory,
caches and threads show in the next one's energy. So no launcher is asked to run Hydra's own jobs: the sweep is composed
and checked as a whole, before anything is written, and given to the queue, whose engine `hydra/launcher` names.
"""

from __future__ import annotations

import shlex
import sys
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher

NODE = {"_target_": f"{__name__}.FreshSweeper", "max_batch_size": None, "params": None}
ConfigStore.instance().store(group="hydra/sweeper", name="fresh", node=NODE, provider="hundredfold")
for _name in ("fresh", "joblib", "submitit", "ray"):
    _node = {"_target_": f"{__name__}.EngineLauncher", "engine": _name}
    ConfigStore.instance().store(group="hydra/launcher", name=_name, node=_node, provider="hundredfold")


class EngineLauncher(Launcher):
    """Names the engine of a sweep; `hydra/launcher=joblib +hydra.launcher.jobs=4` gives it options."""

    def __init__(self, engine: str, **options: Any):
        self.engine, self.options = engine, options

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Nothing: the queue does the runs."""

    def launch(self, job_overrides: Any, initial_job_idx: int) -> Any:
        raise NotImplementedError("hydra/launcher: use it with hydra/sweeper=fresh")


class FreshSweeper(BasicSweeper):
    """The cross product of all values, and of `hydra.sweeper.params`; exits 1 if some runs did not finish."""

    def sweep(self, arguments: list[str]) -> Any:
        from hundredfold.replication.composition import once
        from hundredfold.replication.study.engines import engine
        from hundredfold.replication.study.sweep import sweep

        once(arguments)
        loader = self.hydra_context.config_loader
        given = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        (runs,) = self.split_arguments(given, None)
        command = " ".join(["hundredfold sweep", *map(shlex.quote, arguments)])
        doing = engine(self.launcher.engine, **self.launcher.options)
        if not sweep([lambda run=run: loader.load_sweep_config(self.config, run) for run in runs], command, doing):
            sys.exit(1)
