"""The command `hundredfold`; what takes seconds to import is imported where it runs."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path

import click

from hundredfold.replication.guard import answered

HYDRA = {"ignore_unknown_options": True, "help_option_names": []}  # every flag is Hydra's, --help too
REUSE = click.option("--reuse", type=Path, help="Take runs for done that studies published in this folder hold.")
RESULTS = click.option("--results", type=Path, default=Path("results"), show_default=True, help="Folder of records.")
SUITE = click.option("--suite", help="Only the records of this suite.")
WHERE = click.option("--where", help="Only records of which all this holds: 'dataset=digits method~dsc seed<3'.")


def main() -> None:
    """Exit code: 0 done, 1 some runs failed, 2 a mistake in what was asked, 130 interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is as good as Ctrl-C
    with answered():
        try:
            code = commands.main(prog_name="hundredfold", standalone_mode=False)
        except click.exceptions.NoArgsIsHelpError as error:
            code = print(error.format_message())
        except click.Abort:
            raise KeyboardInterrupt from None
        except click.ClickException as error:
            raise ValueError(" ".join(error.format_message().split())) from None
    sys.exit(code)


def completed(context: click.Context, _: click.Parameter, word: str) -> list[str]:
    """Overrides that begin with a word, by Hydra's own completion."""
    from hundredfold.replication.train import completions

    return completions([*context.params.get("overrides", ()), word])


OVERRIDES = click.argument("overrides", nargs=-1, type=click.UNPROCESSED, shell_complete=completed)


@click.group()
@click.version_option(package_name="hundredfold", message="hundredfold %(version)s")
def commands() -> None:
    """Can selective computation train networks on 100 times less energy? Measured.

    Try `hundredfold train method=rigl`, `hundredfold sweep method=dense,rigl seed=0,1,2`, `hundredfold reproduce`.
    """


@commands.command(context_settings=HYDRA)
@OVERRIDES
def train(overrides: tuple[str, ...]) -> None:
    """Do one run.

    The command line is Hydra's; `hundredfold train --help` lists every option.
    """
    from hundredfold.replication.train import hydra_main

    hydra_main(overrides)


@commands.command(context_settings=HYDRA)
@OVERRIDES
def sweep(overrides: tuple[str, ...]) -> None:
    """Do a run for each combination of values.

    As in `hundredfold sweep method=dense,rigl seed=0,1,2`; ends in a table and a page.
    """
    from hundredfold.replication.train import hydra_main

    hydra_main(["--multirun", *overrides])


@commands.command()
@click.argument("study", default="quick")
@click.option("--budget", help="One of the study's budgets, which scale it down.")
@click.option("--tune", is_flag=True, help="Choose every arm's recipe first, by the same number of trials for each.")
@click.option("--plan", is_flag=True, help="Say what would run and how long it takes, and stop.")
@click.option("--jobs", "at_once", type=click.IntRange(1), default=1, help="So many at once, energy not measured.")
@click.option("--launcher", help="What does the runs: fresh, 'joblib jobs=2', 'submitit timeout_min=600', ray.")
@REUSE
@click.option("--config-dir", type=Path, help="A further folder of configurations, made like conf/.")
@click.option("--reports", type=Path, default=Path("reports"), show_default=True, help="Folder of reports.")
@RESULTS
def reproduce(**options) -> int:
    """Run a whole study and write its report.

    STUDY is a file of conf/suite or conf/experiment; `quick` if none is named.
    """
    from hundredfold.replication.reproduce import reproduce

    return reproduce(**options)


@commands.command()
@click.option("--suite", default="quick", show_default=True, help="Suite whose records are read.")
@click.option("--output", type=Path, help="Folder of the report.  [default: reports/SUITE]")
@click.option("--plan", type=Path, help="JSON list of the planned runs: only their records are read.")
@WHERE
@REUSE
@RESULTS
def report(
    suite: str, output: Path | None, plan: Path | None, where: str | None, reuse: Path | None, results: Path
) -> None:
    """Write the report of records that are there."""
    from hundredfold.analysis.report import About, show
    from hundredfold.analysis.selection import read_plan
    from hundredfold.replication.reproduce import plan_of

    if where is not None:
        name = "selection"
        about = About(f"hundredfold report --where {shlex.quote(where)}")
        return show(results, output or Path("reports") / name, name, None, about, where, reuse)
    planned = plan_of(suite, results, reuse) if plan is None else read_plan(plan)
    show(results, output or Path("reports") / suite, suite, planned, reuse=reuse)


@commands.command("ls")
@click.argument("what", default="runs")
@RESULTS
@SUITE
@WHERE
def list_(what: str, results: Path, suite: str | None, where: str | None) -> None:
    """List runs, methods, models, datasets, recipes, suites.

    WHAT is one of runs (the default), methods, models, datasets, recipes, suites, experiments, spaces.
    """
    if what == "runs":
        from hundredfold.analysis.browse import list_runs

        return list_runs(results, suite, where)
    from hundredfold.replication.inventory import listing

    listing(what)


@commands.command()
@click.argument("name")
@RESULTS
def show(name: str, results: Path) -> None:
    """Show a method, model, data set, or run.

    NAME is that of a method, model or data set, shown with its options, or the first digits of a run's id.
    """
    from hundredfold.replication.inventory import show

    if not show(name):
        from hundredfold.analysis.browse import show_run

        show_run(name, results)


@commands.command()
@click.argument("arms", nargs=-1)
@click.option("--task", help="Only this one, as in digits/mlp.")
@RESULTS
@SUITE
@WHERE
def compare(arms: tuple[str, ...], task: str | None, results: Path, suite: str | None, where: str | None) -> None:
    """Compare arms in energy and quality.

    ARMS are names as `hundredfold ls` shows them; all are compared with the first, seed by seed.
    """
    from hundredfold.analysis.browse import compare

    compare(arms, task, results, suite, where)


@commands.command()
@click.argument("run")
@RESULTS
def why(run: str, results: Path) -> None:
    """Say what a run's record can be used for.

    RUN is the beginning of its id: whether it is done again, and what it may be compared with.
    """
    from hundredfold.analysis.browse import why

    why(run, results)


@commands.command()
@click.argument("run")
@click.option("--output", type=Path, default=Path("rerun"), show_default=True, help="Results folder of the repetition.")
@RESULTS
def rerun(run: str, output: Path, results: Path) -> int:
    """Repeat a run from its record alone.

    RUN is the beginning of its id, also of one that a study has published below --results, or the path of a
    record.json. Prints what differs; exit code 0 where the weights are bitwise the same.
    """
    from hundredfold.replication.rerun import rerun

    return rerun(run, results, output)


@commands.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--output", type=Path, default=Path("networks"), show_default=True, help="Folder of the networks.")
@click.option("--onnx", is_flag=True, help="Write them as ONNX too, checked against PyTorch.")
@click.option("--source", default="auto", show_default=True, help="rapl, zeus-apple, estimate, none.")
@RESULTS
def deploy(runs: tuple[str, ...], output: Path, onnx: bool, source: str, results: Path) -> None:
    """Write trained networks, and what a prediction costs.

    RUNS are the first digits of their ids; each was trained with trainer.keep=true.
    """
    from hundredfold.replication.deploy import deploy

    deploy(runs, results, output, onnx=onnx, source=source)


@commands.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--source", default="auto", show_default=True, help="zeus-gpu, rapl, zeus-apple, estimate.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda: what the command runs on.")
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=10.0, show_default=True, help="That are shown.")
def meter(command: tuple[str, ...], source: str, device: str, seconds: float) -> int:
    """Measure the joules of any program.

    Without a COMMAND it says what measures energy on this machine, how it behaves, and how to get more.
    """
    from hundredfold.replication.energy.command import metered

    return metered(command, source, device, seconds)


@commands.command()
@click.argument("names", nargs=-1)
@click.option("--from", "texts", type=Path, multiple=True, help="A text file to make token_shards of; repeatable.")
@click.option("--vocabulary", type=int, help="Byte-pair tokens to learn for token_shards; bytes without it.")
def data(names: tuple[str, ...], texts: tuple[Path, ...], vocabulary: int | None) -> None:
    """Fetch and check data sets, or list them.

    Without NAMES all are listed with licence and size. Nothing else uses the network.
    """
    from hundredfold.replication.datasets.obtain import obtain

    obtain(names, texts, vocabulary)


@commands.command()
@click.argument("file", type=Path)
@RESULTS
@SUITE
@WHERE
def export(file: Path, results: Path, suite: str | None, where: str | None) -> None:
    """Write all records as one table.

    FILE ends in .csv, .parquet or .json.
    """
    from hundredfold.analysis.browse import export

    export(file, results, suite, where)


@commands.command()
@click.option("--output", type=Path, help="Also write them as a page: NAME.html or NAME.md.")
@click.option("--reports", type=Path, default=Path("reports"), show_default=True, help="Folder of reports.")
@RESULTS
def papers(output: Path | None, reports: Path, results: Path) -> None:
    """Published figures beside ours.

    By the studies published below --results and the reports below --reports.

    Each is reproduced, not reproduced, not decided, not run (with the command that runs it), or not here (and why).
    """
    from hundredfold.analysis.browse import papers

    papers(results, reports, output)


@commands.command("wandb")
@WHERE
@click.option("--online", is_flag=True, help="Send them to your W&B account at once.")
@click.option("--project", default="hundredfold", show_default=True, help="W&B project.")
@click.option("--report", type=Path, help="Folder of a report, whose figures, tables and verdicts go with the runs.")
@RESULTS
def wandb_(where: str | None, online: bool, project: str, report: Path | None, results: Path) -> None:
    """Export records to W&B, or say how to view them.

    Without --where it lists what was exported, and the commands that view or sync it.
    """
    from hundredfold.replication.dashboard import describe, export

    if where is None:
        return describe(results)
    export(results, where, online, project, report)


@commands.command()
@click.argument("names", nargs=-1)
@click.option("--scale", type=float, default=1.0, show_default=True, help="Of the repetitions; 0.1 for a quick look.")
@click.option("--output", type=Path, default=Path("results/benchmark"), show_default=True, help="Folder of the JSON.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="What is timed.")
def bench(names: tuple[str, ...], scale: float, output: Path, device: str) -> None:
    """Time what the framework and the methods cost.

    NAMES are of loop, methods, layers, steps, data (all five by default) and curve, which takes an hour of a core; of
    layers and steps on a GPU.
    """
    from hundredfold.replication.benchmark.all import benchmark

    benchmark(names, scale, output, device)


@commands.command()
@click.argument("blocks", nargs=-1)
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True, help="What is tried.")
@click.option("--output", type=Path, default=Path("results/gpu"), show_default=True, help="Folder of all that is left.")
def card(blocks: tuple[str, ...], device: str, output: Path) -> int:
    """Try out a GPU for the first time: 25 minutes.

    BLOCKS are of facts, runs and kernels, all by default; each step has its own limit, and a table is left.
    """
    from hundredfold.replication.benchmark.card import card

    return card(blocks, device, output)
