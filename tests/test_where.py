"""Records chosen by what they say, whichever study wrote them."""

import copy

import pytest

from hundredfold.analysis import apart, records, report, selection
from tests.record_factory import REALISTIC, record, study, write

ARMS = [arm for arm in REALISTIC if arm.method in ("dense", "dsc", "rigl")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = study(ARMS, ["digits/mlp", "topics/gpt"], 3)
    for one in made[::2]:
        one["suite"] = "another"
    return records.load(write(made, tmp_path_factory.mktemp("runs")))


CONDITIONS = {
    "dataset=digits": lambda run: run.dataset == "digits",
    "dataset!=digits": lambda run: run.dataset != "digits",
    "method~^ds": lambda run: run.method == "dsc",
    "seed<1": lambda run: run.seed == 0,
    "seed>0 task=topics/gpt": lambda run: run.seed > 0 and run.task == "topics/gpt",
    "budget=1": lambda run: True,
    "suite=quick": lambda run: run.suite == "quick",
    "dataset.characters=null": lambda run: True,
    "simulated=true": lambda run: run.simulated,
}


@pytest.mark.parametrize("text", CONDITIONS)
def test_a_filter_keeps_what_its_conditions_say_and_nothing_else(runs, text):
    found = selection.where(runs, text).runs
    kept = {(run.run_id, run.replicate) for run in found.itertuples()}
    assert kept == {(r.run_id, r.replicate) for r in runs.itertuples() if CONDITIONS[text](r)} and kept


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dataset", "is no condition"),
        ("dataset=nothing", "no record is left after 'dataset=nothing'"),
        ("metod=dsc", "metod: no column or setting; did you mean method?"),
        ("seed<few", "expected a number after <"),
        ("method~(", "is no regular expression"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_one_sentence(runs, text, words):
    with pytest.raises(ValueError) as caught:
        selection.where(runs, text)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_arms_of_one_name_are_told_apart_in_a_page_of_any_records(tmp_path):
    made = [record(ARMS[0], "digits/mlp", seed) for seed in range(2)]
    longer = copy.deepcopy(made)
    for one in longer:
        one["config"]["budget"], one["run_id"] = 0.5, f"{int(one['run_id'], 16) ^ 1:012x}"
    results = write(made + longer, tmp_path / "results")
    report.build(results, tmp_path / "page", "selection", where="method=dense")
    assert sorted(set(records.read(tmp_path / "page" / "records.parquet").label)) == [
        "dense budget=0.5",
        "dense budget=1",
    ]


def test_a_published_table_keeps_every_configuration(tmp_path):
    results = write(study(ARMS[:1], ["digits/mlp"], 2), tmp_path / "results")
    runs = records.load(results)
    records.save(runs, tmp_path / "all.parquet")
    assert list(records.read(tmp_path / "all.parquet").config) == list(runs.config)


def test_many_differing_settings_are_named_where_an_arm_is_unlike_most():
    usual = {"recipe": {"steps": 1, "rate": 0.1, "size": 4, "decay": 0.0}, "seed": 3}
    arms = {name: copy.deepcopy(usual) for name in ("aaaaaaa", "bbbbbbb", "ccccccc", "ddddddd")}
    for name, option in zip(list(arms)[1:], ("steps", "rate", "size"), strict=True):
        arms[name]["recipe"][option] = 9
    arms["ddddddd"]["recipe"]["decay"] = 0.5
    found = apart.differences(arms)
    assert found == {
        "aaaaaaa": "",
        "bbbbbbb": "recipe.steps=9",
        "ccccccc": "recipe.rate=9",
        "ddddddd": "recipe.size=9 recipe.decay=0.5",
    }


def test_old_records_that_do_not_hold_their_configuration_are_kept_beside_others(runs):
    old = runs.config.where((runs.seed > 0) | (runs.dataset != "digits"), None)
    found = selection.where(runs.assign(config=old), "seed<99").runs
    assert len(found) == len(runs) and found.config.isna().any()
