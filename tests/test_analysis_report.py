import html
import json
import re
from pathlib import Path

import pandas as pd
import pytest

from hundredfold.analysis import formatting, report, tables
from tests.record_factory import REALISTIC, Arm, diverged, failed, plan_of, study, unmetered, write

FEW = [arm for arm in REALISTIC if arm.method in ("dense", "dense_small", "rigl", "snip", "dsc")]
SCRIPT = "<script>alert('é & 1_000 %')</script>"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A report of one task with a diverged, a failed and a missing run, and an arm with a hostile name."""
    folder = tmp_path_factory.mktemp("built")
    made = study([*FEW, Arm("odd", "neurons", {"density": 0.5}, 1.8, -0.001, label=SCRIPT)], ["digits/mlp"], 3)
    made[9] = diverged(made[9])
    made[10] = failed(made[10], "MemoryError: <b>out</b>")
    write(made[:-1], folder / "results")
    report.build(folder / "results", folder / "reports" / "quick", "quick", plan_of(made))
    return folder / "reports" / "quick", made


def page_of(folder: Path) -> str:
    return (folder / "report.html").read_text()


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<style>.*?</style>|<img[^>]*>", "", page)).split())


def test_every_file_of_a_report_is_there(built):
    folder, _ = built
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"report.html", "records.csv", "records.parquet", "verdicts.json", "verdicts.md"} <= names
    assert {f"tables/digits-mlp.{end}" for end in ("csv", "md", "tex")} <= names
    assert {f"plots/digits-mlp-{plot}.{end}" for plot in report.PLOT_TITLES for end in ("png", "svg")} <= names
    assert not [path for path in folder.parent.iterdir() if path != folder]


def test_the_page_asks_for_nothing_outside_of_it(built):
    page = page_of(built[0])
    assert not re.search(r"<(link|iframe|object)\b|<script[^>]", page) and page.count("<script>") == 1
    assert "fetch(" not in page and "XMLHttpRequest" not in page and "@import" not in page and "url(" not in page
    sources = re.findall(r'src="([^"]{0,30})', page)
    assert len(sources) == len(report.PLOT_TITLES) + 1
    assert all(source.startswith("data:image/svg+xml;base64,") for source in sources)


def test_the_first_line_says_what_the_joules_are(built):
    body = page_of(built[0]).split("<body>")[1]
    first = re.search(r'<p class="first">(.*?)</p>', body).group(1)
    assert first == "Energy on this page is a CPU-time proxy; energy was not measured."


def test_the_answer_comes_first_in_one_sentence_with_a_figure(built):
    folder, _ = built
    body = page_of(folder).split("<body>")[1]
    answer = (folder / "answer.md").read_text().strip()
    assert html.unescape(re.search(r'<p class="answer">(.*?)</p>', body).group(1)) == answer
    assert body.index('class="answer"') < body.index("<figure>") < body.index('id="verdicts"')
    before = text_of(re.sub(r"<details.*?</details>", "", body.split('id="results"')[0], flags=re.DOTALL))
    assert len(before.split()) < 2500


def test_a_hostile_label_is_escaped_everywhere(built):
    folder, _ = built
    page = page_of(folder)
    assert page.count("<script>") == 1 and "&lt;script&gt;" in page and "<b>out</b>" not in page
    assert "<script>" not in (folder / "tables" / "digits-mlp.md").read_text()
    tex = (folder / "tables" / "digits-mlp.tex").read_text()
    assert r"\textless{}script\textgreater{}alert('é \& 1\_000 \%')" in tex


def test_failures_and_exclusions_are_named(built):
    folder, made = built
    text = text_of(page_of(folder))
    assert f"{made[9]['label']}, seed 0 diverged (loss is not finite at step 40)" in text
    assert "seed 0 failed (MemoryError" in text and "seed 2 was planned and has no record" in text
    assert "rigl 0.1, snip 0.1 simulated" in text and "1 of 33 planned runs have no record" in text


def test_no_cell_says_nan(built):
    folder, _ = built
    for path in ("report.html", "tables/digits-mlp.md", "verdicts.md"):
        assert not re.search(r"\b(nan|None|inf)\b", text_of((folder / path).read_text()), re.IGNORECASE), path


def test_the_tables_of_the_page_are_the_csv(built):
    folder, _ = built
    text = text_of(page_of(folder))
    for row in pd.read_csv(folder / "tables" / "digits-mlp.csv").itertuples():
        assert formatting.quantity(row.quality, row.metric).removesuffix(" %") in text
        if row.energy_ratio_n:
            assert formatting.quantity(row.energy_ratio, "ratio") in text


def test_verdicts_are_written_as_data(built):
    verdicts = json.loads((built[0] / "verdicts.json").read_text())
    assert {v["claim"] for v in verdicts} >= {"both_at_once", "energy_100x", "importance_matters"}
    energy = next(v for v in verdicts if v["claim"] == "energy_100x")
    assert energy["verdict"] == "not reachable here" and "energy is a CPU-time proxy" in energy["caps"]
    assert energy["best"]["interval_95"][0] < energy["best"]["estimate"] < energy["best"]["interval_95"][1]
    assert energy["best"]["text"] in (built[0] / "verdicts.md").read_text()


def test_the_records_lie_beside_the_page(built):
    folder, made = built
    assert len(pd.read_parquet(folder / "records.parquet")) == len(pd.read_csv(folder / "records.csv")) == len(made) - 1


def test_latex_tables_are_balanced(built):
    tex = (built[0] / "tables" / "digits-mlp.tex").read_text()
    assert tex.count(r"\begin{") == tex.count(r"\end{") == 2
    bare = re.sub(r"\\[{}%&_#$]", "", tex)
    assert bare.count("{") == bare.count("}")
    rows = [line for line in bare.splitlines() if line.rstrip().endswith("\\\\")]
    assert rows and len({line.count("&") for line in rows}) == 1


NUMBER = re.compile(r"\d[\d,]*\.\d+|\d{2,}")


def render(tmp_path, change=lambda one: one, name="one") -> str:
    """The text of a page."""
    made = [change(one) for one in study(FEW, ["digits/mlp", "topics/gpt"], 3)]
    report.build(write(made, tmp_path / name / "results"), tmp_path / name / "report", "quick", plan_of(made))
    return text_of(page_of(tmp_path / name / "report"))


def scaled(one):
    """The same record with every measured number changed."""
    for block in ("energy", "time", "quality", "flops", "bytes", "density"):
        one[block] = _scale(one[block], one["seed"] + (3 if one["method"] != "dense" else 0))
    return one


def _scale(value, seed):
    if isinstance(value, dict):
        return {key: _scale(item, seed) for key, item in value.items()}
    if isinstance(value, list):
        return [_scale(item, seed) for item in value]
    return value * (0.83 - 0.011 * seed) if isinstance(value, float) else value


@pytest.mark.slow
def test_numbers_come_from_records_and_change_with_them(tmp_path, no_plots):
    before = NUMBER.findall(render(tmp_path))
    after = NUMBER.findall(render(tmp_path, scaled, "two"))
    template = set(NUMBER.findall(text_of(report.TEMPLATE.read_text())))
    stuck = {n for n in set(before) & set(after) if n not in template}
    results = {n for n in before if "." in n} - template
    assert len(results - stuck) > 100
    assert len(stuck & results) < 0.25 * len(results), sorted(stuck)


def test_a_number_typed_by_hand_would_not_change():
    template = text_of(re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "", report.TEMPLATE.read_text()))
    # arithmetic, constants with their source, and the claim; results would be longer
    allowed = {"100", "2026", "2602.19260", "1.5", "90", "95", "45", "4.6", "1.69", "2014", "2021", "31", "32", "10"}
    assert {n for n in NUMBER.findall(template)} <= allowed


@pytest.mark.parametrize(
    ("energy", "sentence"),
    [
        ({"source": "rapl", "evidence": "measured"}, "Energy on this page was measured (rapl)."),
        ({"source": "zeus-apple", "evidence": "modeled"}, "Energy on this page is modeled (zeus-apple)"),
        (None, "Energy was not measured"),
    ],
)
def test_pages_of_every_evidence_class(tmp_path, request, energy, sentence):
    if energy is not None:  # plots of joules are drawn elsewhere; these have to do without any
        request.getfixturevalue("no_plots")
    made = study(FEW[:3] + FEW[-1:], ["topics/gpt"], 2, **(energy or {}))
    if energy is None:
        made = [unmetered(one) for one in made]
    _, verdicts = report.build(write(made, tmp_path / "results"), tmp_path / "report", "quick", None)
    text = text_of(page_of(tmp_path / "report"))
    assert sentence in text and not re.search(r"\bnan\b", text)
    word = {v.claim.name: v.word for v in verdicts}["energy_100x"]
    assert (word == "not measured") == (energy is None)


@pytest.mark.parametrize("keep", [lambda r: r["method"] == "dense", lambda r: r["method"] == "dsc"])
def test_a_study_that_has_only_begun_makes_a_page(tmp_path, keep):
    made = [r for r in study(FEW, ["digits/mlp"], 1) if keep(r)]
    made[-1] = failed(made[-1])
    _, verdicts = report.build(write(made, tmp_path / "results"), tmp_path / "report", "quick", None)
    assert not {v.word for v in verdicts} & {"supported", "refuted", "not reachable here"}
    assert "nan" not in text_of(page_of(tmp_path / "report")).lower().split()


def test_a_mistake_ends_with_two_and_one_sentence(tmp_path, command):
    code, out, err = command("report", "--results", tmp_path / "none", "--output", tmp_path / "report")
    assert code == 2 and out == "" and not (tmp_path / "report").exists()
    assert re.fullmatch(r"hundredfold: no records below .*another folder\n", err)


def test_mistakes_write_nothing(tmp_path, command):
    made = study(FEW, ["digits/mlp"], 1)
    results = write(made, tmp_path / "results")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    plan = tmp_path / "results" / "plan.json"
    for wrong, sentence in {
        ("--suite", "other", "--output", str(tmp_path / "report")): "of the suite 'other'",
        ("--output", str(tmp_path / "taken")): "holds something else than a report",
        ("--output", str(tmp_path / "file")): "is a file",
        ("--output", str(tmp_path / "file" / "report")): "cannot be written",
        ("--plan", str(plan), "--output", str(tmp_path / "report")): "not readable as JSON",
    }.items():
        code, _, err = command("report", "--results", results, *wrong)
        assert code == 2 and sentence in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_report_is_replaced_as_a_whole(tmp_path, no_plots, command):
    results = write(study(FEW, ["digits/mlp"], 2), tmp_path / "results")
    arguments = ("report", "--results", results, "--output", tmp_path / "report")
    assert command(*arguments)[0] == 0
    (tmp_path / "report" / "tables" / "stale.csv").write_text("old")
    first = page_of(tmp_path / "report")
    code, out, _ = command(*arguments)
    assert code == 0 and "not measured" in out
    assert page_of(tmp_path / "report") == first and not (tmp_path / "report" / "tables" / "stale.csv").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report", "results"]


def test_tasks_make_safe_file_names():
    assert tables.file_stem("digits/../mlp x") == "digits----mlp-x"


def test_the_benchmark_of_layers_is_drawn_where_there_is_one(tmp_path, no_plots):
    results = write(study(FEW[:3], ["digits/mlp"], 2), tmp_path / "results")
    report.build(results, tmp_path / "without", "quick", None)
    rows = [
        {"size": 64, "tokens": 32, "density": d, "name": name, "ideal": 1 / d, "speedup": 0.5 / d}
        for d in (0.5, 0.1)
        for name in ("dense", "csr", "torch csr")
    ]
    (results / "benchmark").mkdir()
    (results / "benchmark" / "layers.json").write_text(json.dumps({"rows": rows}))
    report.build(results, tmp_path / "with", "quick", None)
    assert "What skipping saves" in (tmp_path / "with" / "report.html").read_text()
    assert "What skipping saves" not in (tmp_path / "without" / "report.html").read_text()
    assert (tmp_path / "with" / "plots" / "backends.png").stat().st_size > 5000
    (results / "benchmark" / "layers.json").write_text("[]")
    with pytest.raises(ValueError, match="not a benchmark of layers"):
        report.build(results, tmp_path / "again", "quick", None)


def test_the_page_says_how_a_study_was_scaled_and_tuned(tmp_path, no_plots):
    results = write(study(FEW[:3], ["digits/mlp"], 2), tmp_path / "results")
    words = report.About("make reproduce SUITE=x budget=small", "Scaled down <b>", "8 trials of 2 arms: 5 J")
    report.build(results, tmp_path / "report", "quick", None, words)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "make reproduce SUITE=x budget=small" in page and "8 trials of 2 arms: 5 J" in page
    assert "Scaled down &lt;b&gt;" in page and "the same number of trials" in page
