"""Plug-ins are found by file name, and every mistake in their options is one clear sentence."""

import importlib
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

from hundredfold.methods.options import Fraction, Within, check_options
from hundredfold.replication import registry


@dataclass(frozen=True)
class Plugin:
    pass


@dataclass(frozen=True)
class Schedule:
    interval: int = 100
    stop: float = 0.75


@dataclass(frozen=True)
class Rigl(Plugin):
    """Drops small weights and grows large gradients.

    Source: Evci et al. 2020.
    """

    density: float = 0.1  # fraction kept
    rounds: int = 3
    exact: bool = False
    allocation: str = "erk"
    limit: int | None = None
    widths: tuple[int, ...] = (8, 8)
    betas: tuple[float, float] = (0.9, 0.99)
    update: Schedule = field(default_factory=Schedule)

    def __post_init__(self):
        if not 0 < self.density <= 1:
            raise ValueError(f"density={self.density}: expected a fraction in (0, 1]")


@dataclass(frozen=True)
class Bare(Plugin):
    pass


@dataclass(frozen=True)
class Demanding(Plugin):
    """Has an option without a default."""

    density: float


REGISTRY = {"rigl": Rigl, "dense": Bare, "demanding": Demanding}


def create(name, **options):
    return registry.create("method", REGISTRY, name, **options)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a function: file name -> source of a fresh package, importable until the test ends."""

    def write(**files):
        root = tmp_path / "plugins_under_test"
        root.mkdir()
        (root / "__init__.py").write_text("")
        head = "from dataclasses import dataclass\nfrom plugins_under_test.base import Base\n"
        (root / "base.py").write_text("class Base: pass\n")
        for name, source in files.items():
            (root / f"{name}.py").write_text(head + textwrap.dedent(source))
        monkeypatch.syspath_prepend(tmp_path)
        import plugins_under_test.base

        return plugins_under_test, plugins_under_test.base.Base

    yield write
    for name in [name for name in sys.modules if name.startswith("plugins_under_test")]:
        del sys.modules[name]


PLUGIN = "@dataclass(frozen=True)\nclass {name}(Base): pass\n"


def test_a_class_is_registered_under_its_file_name(package):
    module, base = package(b=PLUGIN.format(name="Other"), a=PLUGIN.format(name="One"))
    found = registry.discover(module, base)
    assert list(found) == ["a", "b"] and found["b"].__name__ == "Other"
    assert registry.discover("plugins_under_test", base) == found


def test_private_modules_private_classes_imports_and_helpers_are_not_plugins(package):
    module, base = package(
        a=PLUGIN.format(name="One") + PLUGIN.format(name="_Hidden"),
        b="from plugins_under_test.a import One",
        _c=PLUGIN.format(name="Three"),
        d="class Free: pass",
    )
    assert list(registry.discover(module, base)) == ["a"]


def test_two_public_classes_in_one_file_are_an_error(package):
    module, base = package(a=PLUGIN.format(name="One") + PLUGIN.format(name="Two"))
    with pytest.raises(TypeError, match="one public Base a file, found One, Two"):
        registry.discover(module, base)


def test_a_class_that_is_not_a_frozen_dataclass_is_an_error(package):
    module, base = package(a="class One(Base): pass")
    with pytest.raises(TypeError, match="frozen"):
        registry.discover(module, base)


def test_an_unknown_name_lists_the_choices_and_the_closest():
    with pytest.raises(ValueError) as error:
        create("rigll")
    assert str(error.value) == "method=rigll: unknown, did you mean rigl?; choose one of demanding, dense, rigl"


def test_a_name_unlike_any_gets_no_suggestion():
    with pytest.raises(ValueError, match="^method=foo: unknown; choose one of demanding, dense, rigl$"):
        create("foo")


def test_an_unknown_field_lists_the_fields():
    with pytest.raises(ValueError, match="^method.foo: rigl has no such field; it has density, rounds, exact, "):
        create("rigl", foo=1)


def test_a_misspelt_field_gets_a_suggestion():
    with pytest.raises(ValueError, match="method.densty: rigl has no such field, did you mean density"):
        create("rigl", densty=0.5)


def test_a_plugin_without_options_says_so():
    with pytest.raises(ValueError, match="^method.density: dense has no such field; it has no options$"):
        create("dense", density=0.5)


def test_a_missing_option_is_named():
    with pytest.raises(ValueError, match="^method.density: not given and demanding has no default"):
        create("demanding")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": "high"}, "method.density='high': expected a finite number"),
        ({"density": True}, "method.density=True: expected a finite number"),
        ({"density": float("nan")}, "method.density=nan: expected a finite number"),
        ({"density": None}, "method.density=None: expected a finite number"),
        ({"rounds": 1.5}, "method.rounds=1.5: expected a whole number"),
        ({"rounds": True}, "method.rounds=True: expected a whole number"),
        ({"exact": 1}, "method.exact=1: expected true or false"),
        ({"allocation": 3}, "method.allocation=3: expected a text"),
        ({"limit": "x"}, "method.limit='x': expected a whole number or null"),
        ({"widths": 8}, "method.widths=8: expected a list, each item a whole number"),
        ({"widths": [8, 0.5]}, "method.widths[1]=0.5: expected a whole number"),
        ({"betas": [0.9]}, "method.betas=[0.9]: expected a list of 2: a finite number, a finite number"),
        ({"update": 3}, "method.update=3: expected Schedule"),
        ({"update": {"stop": "x"}}, "method.update.stop='x': expected a finite number"),
        ({"update": {"foo": 3}}, "method.update.foo: Schedule has no such field; it has interval, stop"),
        ({"density": 1.3}, "method.density=1.3: expected a fraction in (0, 1]"),
    ],
)
def test_a_wrong_value_says_what_was_given_and_what_is_allowed(options, message):
    with pytest.raises(ValueError) as error:
        create("rigl", **options)
    assert str(error.value) == message


@dataclass(frozen=True)
class Bounded(Plugin):
    """Has a range and choices."""

    rounds: Annotated[int, Within(1, 9, what="a whole number")] = 3
    scale: Literal[0.5, 1.0] = 1.0
    pair: tuple[Fraction, Fraction] = (0.5, 1.0)

    def __post_init__(self):
        check_options(self)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 10}, "method.rounds=10: expected a whole number in [1, 9]"),
        ({"rounds": 1.5}, "method.rounds=1.5: expected a whole number"),
        ({"scale": 0.7}, "method.scale=0.7: expected one of 0.5, 1.0"),
        ({"scale": True}, "method.scale=True: expected one of 0.5, 1.0"),
        ({"pair": [0.5, 2]}, "method.pair[1]=2: expected a fraction in (0, 1]"),
    ],
)
def test_an_annotation_says_what_is_allowed(options, message):
    with pytest.raises(ValueError) as error:
        registry.create("method", {"bounded": Bounded}, "bounded", **options)
    assert str(error.value) == message


def test_a_whole_number_serves_as_a_choice_among_fractions():
    made = registry.create("method", {"bounded": Bounded}, "bounded", scale=1)
    assert made.scale == 1.0 and type(made.scale) is float


def test_plugins_are_found_in_folders_and_no_two_have_one_name(package):
    module, base = package(a=PLUGIN.format(name="One"))
    folder = Path(module.__path__[0]) / "family"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    head = "from dataclasses import dataclass\nfrom plugins_under_test.base import Base\n"
    (folder / "b.py").write_text(head + PLUGIN.format(name="Two"))
    importlib.invalidate_caches()
    assert list(registry.discover(module, base)) == ["a", "b"]
    registry.discover.cache_clear()
    (folder / "a.py").write_text(head + PLUGIN.format(name="Three"))
    importlib.invalidate_caches()
    with pytest.raises(TypeError, match="has that name already"):
        registry.discover(module, base)


def test_plain_values_become_the_annotated_types():
    made = create("rigl", density=1, limit=4, widths=[1, 2, 3], betas=[0, 1], update={"interval": 7})
    assert made == Rigl(1.0, limit=4, widths=(1, 2, 3), betas=(0.0, 1.0), update=Schedule(7))
    assert type(made.density) is float and type(made.betas[0]) is float


def test_defaults_need_no_options():
    assert create("rigl") == Rigl()


def test_describe_gives_the_first_line_and_every_option_with_its_comment():
    line, options = registry.describe(Rigl)
    assert line == "Drops small weights and grows large gradients."
    assert options[0] == ("density", "a finite number", 0.1, "fraction kept")
    assert [option.name for option in options] == [
        "density", "rounds", "exact", "allocation", "limit", "widths", "betas", "update",
    ]  # fmt: skip
    assert options[4].type == "a whole number or null" and options[-1].default == Schedule()


def test_a_class_without_a_docstring_is_described_by_its_module():
    assert registry.describe(Bare)[0] == __doc__


def test_a_part_of_nested_options_keeps_the_rest_of_the_fields_own_default():
    @dataclass(frozen=True)
    class Late(Plugin):
        update: Schedule = Schedule(stop=0.9)

    made = registry.create("method", {"late": Late}, "late", update={"interval": 3})
    assert made.update == Schedule(interval=3, stop=0.9)
