"""Hydra launcher: every run of a sweep in a fresh process, one at a time, going on after a failure.

Hydra's basic launcher runs all jobs in one process and joblib reuses its workers; both would let one run's memory,
caches and threads show in the next one's energy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

TARGET = "hydra_plugins.fresh_launcher.launcher.FreshLauncher"
ConfigStore.instance().store(group="hydra/launcher", name="fresh", node={"_target_": TARGET}, provider="hundredfold")


class FreshLauncher(Launcher):
    """Hands the sweep's jobs to `replication.study.queue`; exits 1 with a list if some did not finish."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        from replication.composition import resolve
        from replication.study.job import Job
        from replication.study.queue import run_all

        load = self.hydra_context.config_loader.load_sweep_config
        outcomes = run_all([Job.of(resolve(load(self.config, list(overrides)))) for overrides in job_overrides])
        missed = [outcome for outcome in outcomes if outcome.status != "finished"]
        if missed:
            print(f"{len(missed)} of {len(outcomes)} runs did not finish:", file=sys.stderr)
            for outcome in missed:
                print(f"  {outcome.job}: {outcome.status}, {outcome.reason}", file=sys.stderr)
            sys.exit(1)
        return [JobReturn(overrides=overrides, status=JobStatus.COMPLETED) for overrides in job_overrides]
