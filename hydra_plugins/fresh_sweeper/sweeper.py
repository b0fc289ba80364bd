"""Hydra sweeper: every run of a sweep in a fresh process, one at a time, going on after a failure.

Hydra's basic launcher runs all jobs in one process and joblib reuses its workers; both would let one run's memory,
caches and threads show in the next one's energy. So no launcher is asked: the sweep is composed and checked as a whole,
before anything is written, and given to the queue.
"""

from __future__ import annotations

import shlex
import sys
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser

NODE = {"_target_": f"{__name__}.FreshSweeper", "max_batch_size": None, "params": None}
ConfigStore.instance().store(group="hydra/sweeper", name="fresh", node=NODE, provider="hundredfold")


class FreshSweeper(BasicSweeper):
    """The cross product of all values, and of `hydra.sweeper.params`; exits 1 if some runs did not finish."""

    def sweep(self, arguments: list[str]) -> Any:
        from hundredfold.replication.composition import once
        from hundredfold.replication.study.sweep import sweep

        once(arguments)
        loader = self.hydra_context.config_loader
        given = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        (runs,) = self.split_arguments(given, None)
        command = " ".join(["hundredfold sweep", *map(shlex.quote, arguments)])
        if not sweep([lambda run=run: loader.load_sweep_config(self.config, run) for run in runs], command):
            sys.exit(1)
