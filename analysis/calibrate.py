"""Whether intervals cover and false claims stay rare: whole studies are made up, judged as a page does, and counted.

python -m hundredfold.analysis.calibrate [simulations] [seeds ...]
python -m hundredfold.analysis.calibrate page     puts the table of the last time into docs/measurement.md

Every study has a dense arm and its repeat, small dense networks, the method on trial, its twin, six static arms and six
dynamic ones, all tested on one draw of examples. Three worlds put what is true on the border of different claims, where
an error is likeliest: a method that changes nothing, one on the front of small dense networks half a point below dense,
and one that saves exactly a hundredfold at exactly two points more. Nothing here is measured.
"""

from __future__ import annotations

import base64
import json
import math
import sys
import time
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from hundredfold.analysis import claims, markers, parallel, statistics
from hundredfold.analysis.claims.base import FLAGSHIP
from hundredfold.analysis.records import COLUMNS, Point
from hundredfold.analysis.statistics import SUPPORTED
from hundredfold.analysis.study import Study

EXAMPLES, CANDIDATES = 300, 6  # of the test set; arms of the static and of the dynamic family
BY_EXAMPLE, BY_ARM, BY_SEED = 0.8, 0.5, 0.15  # spread of an example, of it for an arm, and of a seed, in probits
ENERGY, BLOCK = 0.03, 0.05  # spread of log joules of a run, and of what all runs of a seed share
NOMINAL, ALLOWED = 0.95, 0.02
OUTPUT = Path("results/calibration.json")


class Made(NamedTuple):
    """An arm as it truly is: accuracy in the population, and joules of dense over its own."""

    label: str
    method: str
    family: str
    accuracy: float
    saving: float
    density: float = 0.25
    twin_of: str | None = None
    replicate: int = 0


DENSE = Made("dense", "dense", "dense", 0.90, 1.0, 1.0)
AROUND = [
    DENSE,
    DENSE._replace(replicate=1),
    Made("dense_small 0.25", "dense_small", "dense_control", 0.895, 2.0),
    Made("dense_small 0.06", "dense_small", "dense_control", 0.875, 4.0, 0.06),
]
FAMILIES = [
    Made(f"{family} {i}", f"{family}_{i}", family, 0.89, 1.0)
    for family in ("static", "dynamic")
    for i in range(CANDIDATES)
]


def world(accuracy: float, saving: float) -> list[Made]:
    """All arms of a study whose method truly is so; its twin and the static arms are as accurate as the method."""
    method = Made(f"{FLAGSHIP} 0.25", FLAGSHIP, "neurons", accuracy, saving)
    twin = method._replace(label="twin 0.25", method="twin", family="control", twin_of=FLAGSHIP)
    return [*AROUND, method, twin, *(arm._replace(accuracy=accuracy) for arm in FAMILIES)]


WORLDS = {  # name -> its arms, and the claims that do not hold in it, most of them by nothing
    "nothing changes": (
        world(0.90, 1.0),
        ("any_saving", "importance_matters", "dynamic_beats_static", "beats_static", "overfitting_falls",
         "cheaper_deployment", "both_at_once", "energy_100x", "accuracy_gain"),
    ),
    "on the dense front": (
        world(0.895, 2.0),
        ("above_small_dense", "cheaper_at_equal_accuracy", "no_accuracy_lost", "importance_matters", "both_at_once"),
    ),
    "exactly the claim": (world(0.92, 100.0), ("energy_100x", "accuracy_gain", "both_at_once")),
}  # fmt: skip


def made_up(arms: Sequence[Made], seeds: int, generator: np.random.Generator) -> pd.DataFrame:
    """Records of a study, one row a run, as `records.load` gives them."""
    total = math.sqrt(1 + BY_EXAMPLE**2 + BY_ARM**2 + BY_SEED**2)
    example, block = generator.normal(0, BY_EXAMPLE, EXAMPLES), generator.normal(0, BLOCK, seeds)
    own = {arm.label: generator.normal(0, BY_ARM, EXAMPLES) for arm in arms}
    rows = []
    for seed in range(seeds):
        fates: dict[str, float] = {}
        for arm in arms:
            fate = fates.setdefault(arm.label, generator.normal(0, BY_SEED))
            level = stats.norm.ppf(arm.accuracy) * total
            right = level + example + own[arm.label] + fate + generator.normal(0, 1, EXAMPLES) > 0
            expected = stats.norm.cdf((level + fate) / math.sqrt(total**2 - BY_SEED**2))
            joules = 100 / arm.saving * math.exp(block[seed] + generator.normal(0, ENERGY))
            rows.append(_row(arm, seed, right, expected + generator.normal(0, 0.005), joules, generator))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(arm: Made, seed: int, right: np.ndarray, validation: float, joules: float, generator: Any) -> dict[str, Any]:
    loss = 0.3 + generator.normal(0, 0.01)
    density = None if arm.method == "dense" else arm.density
    flops = 1e12 / arm.saving
    told = dict.fromkeys(COLUMNS) | {
        "run_id": f"{arm.label}-{seed}", "machine": "made up", "replicate": arm.replicate, "status": "finished",
        "suite": "calibration", "task": "made/up", "dataset": "made", "model": "up", "method": arm.method,
        "label": arm.label, "family": arm.family, "twin_of": arm.twin_of, "simulated": False, "seed": seed,
        "options": {} if density is None else {"density": density}, "steps": 100, "metric": "accuracy",
        "test_accuracy": float(right.mean()), "test_loss": loss, "test_examples": float(EXAMPLES),
        "correct": base64.b64encode(np.packbits(right).tobytes()).decode(), "validation_accuracy": validation,
        "validation_loss": loss, "evidence": "measured", "source": "made up", "domains": ["made up"],
        "phases_j": {"train": joules, "test": joules / 100}, "training_j": joules, "unmetered_fraction": 0.0,
        "executed_flops": flops, "ideal_flops": flops, "selection_flops": 0.0, "prunable_density": arm.density,
        "active_parameters": 1e6 * arm.density, "weights_sha256": f"{arm.label}-{seed}", "cores": 2, "threads": 1,
        "precision": "float32", "config": {"budget": 1.0}, "budget": 1.0, "started": "9999-01-01", "load_average": 0.5,
        "training_s": joules, "commit": "made up", "dirty": False,
    }  # fmt: skip
    curve = [_point(fraction, validation, joules, loss) for fraction in (0.5, 1.0)]
    return told | {"curve": curve}


def _point(fraction: float, validation: float, joules: float, loss: float) -> Point:
    reached, spent = validation * fraction, joules * fraction
    return Point(round(100 * fraction), fraction, loss - 0.1, reached, loss, spent, spent, 0.0)


def once(case: tuple[str, int, int]) -> dict[str, Any]:
    """What one made-up study says: which intervals cover, and which false claims are supported."""
    name, seeds, number = case
    arms, false = WORLDS[name]
    generator = np.random.default_rng([number, seeds, list(WORLDS).index(name)])
    study = Study(made_up(arms, seeds, generator))
    (task,) = study.tasks
    truth = next(arm for arm in arms if arm.method == FLAGSHIP)
    (arm,) = task.of_method(FLAGSHIP)
    verdicts = {verdict.claim.name: verdict for verdict in claims.judge(study)}
    alone = {claim.name: claim.evaluate(task).p_supported for claim in claims.discover() if claim.name in false}
    return {
        "energy covered": _holds(arm.energy_ratio.interval, truth.saving),
        "accuracy covered": _holds(arm.difference.interval, truth.accuracy - DENSE.accuracy),
        "seeds alone covered": _holds(_by_seeds(arm), truth.accuracy - DENSE.accuracy),
        "alone": {claim: p is not None and p < 0.05 for claim, p in alone.items()},
        "page": any(verdicts[claim].word == SUPPORTED for claim in false),
    }


def _by_seeds(arm: Any) -> statistics.Interval | None:
    """The interval that takes the test set for the whole population."""
    pairs = arm.pairs(arm.baseline, "test_accuracy")
    return statistics.mean_interval(pairs.arm - pairs.baseline)


def _holds(interval: statistics.Interval | None, value: float) -> bool:
    return interval is not None and interval.low <= value <= interval.high


def calibrate(simulations: int, seeds: Sequence[int], output: Path = OUTPUT) -> int:
    """Simulate, print a table and write it; exit code 1 if a figure is off by more than it may be."""
    rows, start = [], time.monotonic()
    print(f"{simulations} made-up studies of {len(WORLDS)} worlds with {', '.join(map(str, seeds))} seeds each")
    for n, name in product(seeds, WORLDS):
        found = parallel.each(once, [(name, n, number) for number in range(simulations)], 8)
        rows.append(_summary(name, n, found))
        print(f"{name}, {n} seeds: {time.monotonic() - start:.0f} s", file=sys.stderr)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps({"simulations": simulations, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(f"{table(output)}\n\nWritten: {output}")
    return int(any(row["off"] for row in rows))


def table(source: Path) -> str:
    """What a simulation has found, in Markdown."""
    found = json.loads(source.read_text(encoding="utf-8"))
    shown = pd.DataFrame([_shown(row) for row in found["rows"]]).to_markdown(index=False, disable_numparse=True)
    return f"{shown}\n\n{found['simulations']} studies a row."


def _summary(name: str, seeds: int, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares over simulations, and what is off by more than ALLOWED beyond the simulation's own error."""
    shares = {key: float(np.mean([one[key] for one in found])) for key in found[0] if key != "alone"}
    alone = {claim: float(np.mean([one["alone"][claim] for one in found])) for claim in found[0]["alone"]}
    noise = 2 * math.sqrt(NOMINAL * (1 - NOMINAL) / len(found))
    off = [key for key in ("energy covered", "accuracy covered") if shares[key] < NOMINAL - ALLOWED - noise]
    off += [claim for claim, share in alone.items() if share > 1 - NOMINAL + ALLOWED + noise]
    off += ["page"] if shares["page"] > 1 - NOMINAL + ALLOWED + noise else []
    return {"world": name, "seeds": seeds, **shares, "alone": alone, "off": off}


def _shown(row: dict[str, Any]) -> dict[str, str]:
    worst = max(row["alone"], key=lambda claim: row["alone"][claim])
    percent = partial("{:.1f} %".format)
    return {
        "world": row["world"],
        "seeds": str(row["seeds"]),
        "95 % of energy ratio covers": percent(100 * row["energy covered"]),
        "95 % of accuracy covers": percent(100 * row["accuracy covered"]),
        "over seeds alone": percent(100 * row["seeds alone covered"]),
        "pages with a false claim supported": percent(100 * row["page"]),
        "worst claim by itself at 5 %": f"{percent(100 * row['alone'][worst])} ({worst})",
        "off": ", ".join(row["off"]) or "nothing",
    }


def main(arguments: list[str]) -> int:
    """Exit code 2 for a mistake."""
    if arguments == ["page"]:
        return markers.fill([], "calibration", (str(OUTPUT), "docs/measurement.md"), table)
    try:
        simulations, *seeds = [int(word) for word in arguments] or [500]
        if simulations < 1 or any(n < 2 for n in seeds):
            raise ValueError
    except ValueError:
        print("calibrate: expected a number of simulations and numbers of seeds, at least 2", file=sys.stderr)
        return 2
    return calibrate(simulations, seeds or (3, 5, 10))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
