"""Published figures as data: what each is tied to, and how it is judged."""

import numpy as np
import pytest

from hundredfold.analysis import papers, papers_page, records
from hundredfold.replication.study.suite import load_suite
from tests.record_factory import Arm, record, write

FOUND = papers.load()
PAPER = FOUND[0]
TABLES = [(paper, table) for paper in FOUND for table in paper.tables]


def test_there_are_eighty_figures_of_twenty_papers_and_each_is_tied():
    assert len(FOUND) >= 20 and sum(len(table.figures) for _, table in TABLES) >= 80
    for paper, table in TABLES:
        assert table.conditions or table.why_not, (paper.name, table.name)
        assert len({figure.row for figure in table.figures}) == len(table.figures), (paper.name, table.name)


@pytest.mark.parametrize("experiment", sorted({table.experiment for _, table in TABLES if table.experiment}))
def test_the_arms_of_a_figure_are_those_of_its_experiment(experiment, tmp_path):
    jobs = load_suite(experiment, str(tmp_path)).jobs
    arms = {(job.task, job.label) for job in jobs}
    for paper, table in TABLES:
        if table.experiment == experiment:
            named = {(figure.task, figure.arm) for figure in table.figures if figure.arm}
            assert named <= arms, (paper.name, table.name, sorted(named - arms), sorted(arms))


def outcome(tmp_path, values, value=98.0, spread=0.1, n=5, checked=True, others=(97.0, 98.5)):
    """The outcome of one figure of three, ours being accuracies of so many seeds."""
    made = []
    for seed, accuracy in enumerate(values):
        one = record(Arm("dense", "dense"), "digits/mlp", seed)
        one["suite"], one["quality"]["test"]["accuracy"] = "a0", accuracy / 100
        made.append(one)
    runs = records.load(write(made, tmp_path)) if made else records.published(tmp_path)
    figure = papers.Figure(row="dense", value=value, spread=spread, n=n, task="digits/mlp", arm="dense")
    rest = [papers.Figure(row=str(other), value=other) for other in others]
    table = papers.Table(
        name="1", unit="accuracy %", checked=checked, conditions="", experiment="a0", figures=[figure, *rest]
    )
    paper = papers.Paper(name="a", title="b", authors="c", address="https://d", tables=[table])
    found = papers.outcomes([paper], runs)
    page = papers_page.markdown(found)
    assert "**" not in page and "# b" in page and "<svg" not in page
    assert ("base64" in papers_page.html(found)) == bool(values)
    return found[0]


@pytest.mark.parametrize(
    ("values", "options", "state"),
    [
        ((98.0, 98.05, 97.95, 98.02, 98.0), {}, "reproduced"),
        ((97.0, 97.05, 96.95, 97.02, 97.0), {}, "not reproduced"),
        ((98.15, 98.25, 98.2, 98.18, 98.22), {}, "not decided"),
        ((98.0, 98.01), {}, "not decided"),  # two seeds
        ((98.0,), {}, "not decided"),
        ((), {}, "not run"),
        ((98.0, 98.05, 97.95, 98.02, 98.0), {"checked": False}, "shown only"),
        # a spread as wide as the table tells no row from another
        ((97.5, 97.55, 97.45, 97.5, 97.5), {"spread": 5.0, "n": None, "others": (97.9, 98.1)}, "not reproduced"),
    ],
)
def test_a_figure_is_judged_by_its_own_spread_and_never_by_a_whole_table(tmp_path, values, options, state):
    assert outcome(tmp_path, values, **options).state == state


def test_errors_and_losses_are_compared_in_their_own_unit(tmp_path):
    runs = records.load(write([record(Arm("dense", "dense"), "digits/mlp", seed) for seed in range(3)], tmp_path))
    figure = papers.Figure(row="dense", value=4.5, task="digits/mlp", arm="dense")
    table = papers.Table(name="1", unit="error %", checked=True, conditions="", experiment="quick", figures=[figure])
    (found,) = papers.outcomes([PAPER.model_copy(update={"tables": (table,)})], runs.assign(suite="quick"))
    assert found.values == pytest.approx(100 - 100 * runs.test_accuracy.to_numpy())
    best = [max(point.validation_accuracy for point in curve) for curve in runs.curve]
    assert found.best == pytest.approx(100 - 100 * np.mean(best)) and found.best <= found.validation


@pytest.mark.parametrize(
    ("suite", "budget", "state"),
    [("a0-published", 1.0, "reproduced"), ("a0-small", 0.1, "shown only"), ("a01", 1.0, "not run")],
)
def test_a_budget_that_cuts_steps_shows_figures_and_judges_none(tmp_path, suite, budget, state):
    made = []
    for seed, accuracy in enumerate((0.98, 0.9805, 0.9795, 0.9802, 0.98)):
        one = record(Arm("dense", "dense"), "digits/mlp", seed)
        one["suite"], one["quality"]["test"]["accuracy"], one["config"]["budget"] = suite, accuracy, budget
        made.append(one)
    figures = [
        papers.Figure(row=str(v), value=v, spread=0.1, n=5, task="digits/mlp", arm="dense") for v in (98.0, 97.0)
    ]
    table = papers.Table(name="1", unit="accuracy %", checked=True, conditions="", experiment="a0", figures=figures)
    runs = records.load(write(made, tmp_path))
    first, _ = papers.outcomes([PAPER.model_copy(update={"tables": (table,)})], runs)
    assert first.state == state
    shown = papers.of_study([PAPER.model_copy(update={"tables": (table,)})], suite, runs)
    assert len(shown) == (0 if state == "not run" else 2)


def test_a_run_that_two_studies_hold_counts_in_both(tmp_path):
    made = [record(Arm("dense", "dense"), "digits/mlp", seed) for seed in range(3)]  # of the suite that did them first
    runs = records.load(write(made, tmp_path / "made"))
    for study in ("a0", "a1"):
        (tmp_path / "public" / study).mkdir(parents=True)
        records.save(runs, tmp_path / "public" / study / "records.parquet")
    figures = [papers.Figure(row=str(v), value=v, task="digits/mlp", arm="dense") for v in (98.0, 97.0)]
    tables = tuple(
        papers.Table(name=name, unit="accuracy %", checked=True, conditions="", experiment=name, figures=figures)
        for name in ("a0", "a1")
    )
    there = records.studies(tmp_path / "public", tmp_path / "nothing")
    assert [one.n for one in papers.outcomes([PAPER.model_copy(update={"tables": tables})], there)] == [3] * 4
    assert len(records.published(tmp_path / "public")) == 3


def test_the_order_of_a_table_is_kendalls_tau():
    paper, table = TABLES[0]
    rows = [papers.Figure(row=str(value), value=value) for value in (1.0, 2.0, 3.0)]

    def found(ours):
        return [papers.Outcome(paper, table, row, "not decided", o) for row, o in zip(rows, ours, strict=True)]

    assert papers.order(found([(1.1,), (2.2,), (2.9,)])) == (pytest.approx(1.0), None, 3)
    assert papers.order(found([(3.0,), (2.0,), (1.0,)])) == (pytest.approx(-1.0), None, 3)
    assert papers.order(found([(1.0,), (2.0,), ()])) is None
    apart = papers.order(found([(1.0, 1.2), (2.0, 2.2), (3.0, 3.2)]))
    assert apart.interval == (1.0, 1.0)  # no choice of seeds turns two rows round
    close = papers.order(found([(1.0, 3.0), (2.0, 2.1), (2.2, 1.9)]))
    assert close.interval.low < close.interval.high


@pytest.mark.parametrize("text", ["", "title: x", "title: [", "[1]"])
def test_a_file_that_is_no_paper_is_one_sentence(tmp_path, text):
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"wrong.yaml: no paper .*; dst.yaml shows the form") as caught:
        papers.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_the_command_lists_every_paper_and_writes_a_page(tmp_path, command):
    (tmp_path / "results").mkdir()
    code, out, _ = command("papers", "--results", str(tmp_path / "results"), "--output", str(tmp_path / "p.md"))
    assert code == 0 and all(paper.name in out for paper in FOUND)
    assert "figures of" in out and "make reproduce SUITE=a3_dynamic_mnist" in out
    page = (tmp_path / "p.md").read_text()
    assert page.count("\n## ") == len(FOUND) and "not measured" in page and "nan" not in page.lower().split()
    assert np.char.count(page, "### ") == len(TABLES)
