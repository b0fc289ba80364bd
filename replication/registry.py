"""Plug-ins found by file name: a new method, model or data set is one new file.

The file `rigl.py` with one public dataclass registers that class as "rigl". Options arrive as plain values of a
configuration; every mistake a user can make in them is answered with one sentence.
"""

import dataclasses
import difflib
import functools
import importlib
import inspect
import math
import pkgutil
import re
import types
import typing
from typing import Annotated, Any, Literal, NamedTuple, Union

from hundredfold.methods.options import Within

WORDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text", type(None): "null"}
UNIONS = (Union, types.UnionType)


class Option(NamedTuple):
    """One option of a plug-in.

    Attributes:
        default: dataclasses.MISSING where the option must be given.
        comment: the comment on the field's own line, or "".
    """

    name: str
    type: str
    default: Any
    comment: str


@functools.cache
def discover(package, base):
    """Find the plug-ins of a package, importing each of its modules.

    Args:
        package: a package or its dotted name; `base` and modules starting with "_" are skipped, sub-packages are not.
        base: the class that plug-ins derive from.
    Returns:
        module name -> its one public class derived from `base`, sorted by name; modules without one are left out.
    Raises:
        TypeError: two public plug-ins in one file or of one name, or one that is not itself a frozen dataclass.
    """
    package = importlib.import_module(package) if isinstance(package, str) else package
    found = {}
    for module_info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        name = module_info.name.rpartition(".")[2]
        if module_info.ispkg or name == "base" or name.startswith("_"):
            continue
        module = importlib.import_module(module_info.name)
        classes = [value for value in vars(module).values() if _is_plugin(value, module, base)]
        if len(classes) > 1:
            listed = ", ".join(cls.__name__ for cls in classes)
            raise TypeError(f"{module.__name__}: one public {base.__name__} a file, found {listed}; move one out")
        for cls in classes:
            parameters = vars(cls).get("__dataclass_params__")
            if parameters is None or not parameters.frozen:
                raise TypeError(f"{module.__name__}.{cls.__name__}: decorate it with @dataclass(frozen=True)")
            if name in found:
                raise TypeError(f"{module.__name__}: {found[name].__module__} has that name already; rename one")
            found[name] = cls
    return dict(sorted(found.items()))


def name_of(cls):
    """The name by which a plug-in is found: that of its file."""
    return cls.__module__.rpartition(".")[2]


def create(kind, registry, name, /, **options):
    """Make the plug-in `name` with its options checked against the annotations of its fields.

    Args:
        kind: the word for messages: "method", "model" or "dataset".
        registry: name -> class, as `discover` returns it.
        options: plain values; lists serve as tuples, dicts as nested dataclasses, whole numbers as floats.
    Raises:
        ValueError: unknown name or option, an option missing, of the wrong type or out of range.
    """
    if name not in registry:
        choices = ", ".join(sorted(registry))
        raise ValueError(f"{kind}={name}: unknown{suggestion(name, registry)}; choose one of {choices}")
    return make(registry[name], options, path=kind, title=name)


def make(cls, options, path="", title=None):
    """Make a dataclass from plain options; a message names an option by `path` and the class by `title`.

    Raises:
        ValueError: as `create`.
    """
    fields, title = {field.name: field for field in _fields(cls)}, title or cls.__name__
    for name in options:
        if name not in fields:
            has = f"it has {', '.join(fields)}" if fields else "it has no options"
            raise ValueError(f"{_dotted(path, name)}: {title} has no such field{suggestion(name, fields)}; {has}")
    for name, field in fields.items():
        if name not in options and _default(field) is dataclasses.MISSING:
            whole = _dotted(path, name)
            raise ValueError(f"{whole}: not given and {title} has no default for it; set {whole}=...")
    hints = typing.get_type_hints(cls, include_extras=True)
    values = {name: _completed(value, _default(fields[name])) for name, value in options.items()}
    values = {name: convert(value, hints[name], _dotted(path, name)) for name, value in values.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(_placed(str(error), path, fields)) from None


def _placed(message, path, fields):
    """A message about a field, or about the field that a dataclass is itself, with the whole path to it."""
    first = re.match(r"\w*", message)[0]
    above, _, own = path.rpartition(".")
    if first in fields:
        return _dotted(path, message)
    return _dotted(above, message) if first and first == own else message


def describe(cls):
    """Say what a plug-in is and which options it has.

    Returns:
        The first line of its docstring (or of its module's), and a list of `Option`.
    """
    own = vars(cls).get("__doc__") or ""
    # A dataclass without a docstring is given its signature for one.
    text = own if own and not own.startswith(f"{cls.__name__}(") else inspect.getdoc(inspect.getmodule(cls)) or ""
    hints, comments = typing.get_type_hints(cls, include_extras=True), _comments(cls)
    options = [Option(f.name, type_name(hints[f.name]), _default(f), comments.get(f.name, "")) for f in _fields(cls)]
    return text.strip().split("\n")[0], options


def _is_plugin(value, module, base):
    if not inspect.isclass(value) or value.__module__ != module.__name__ or value.__name__.startswith("_"):
        return False
    return issubclass(value, base) and value is not base


def _fields(cls):
    return [field for field in dataclasses.fields(cls) if field.init]


def _default(field):
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _dotted(path, name):
    return f"{path}.{name}" if path else str(name)


def suggestion(name, names):
    """The end of a sentence about an unknown name: the closest of the known ones, if any is close."""
    close = difflib.get_close_matches(str(name), list(names), n=1)
    return f", did you mean {close[0]}?" if close else ""


def _completed(value, default):
    """A part of a nested dataclass's options with the rest of the field's own default; a plug-in brings its own."""
    if isinstance(value, dict) and "name" not in value and dataclasses.is_dataclass(default):
        return {f.name: getattr(default, f.name) for f in _fields(type(default))} | value
    return value


def convert(value, hint, path):
    """Return a plain value as an instance of an annotation.

    Raises:
        ValueError: the value is none, in one sentence that names `path`.
    """
    kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind is Annotated:
        return convert(value, arguments[0], path)
    if kind in UNIONS:
        return _convert_union(value, arguments, hint, path)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _convert_dataclass(value, kind, path)
    if kind is tuple and isinstance(value, (list, tuple)):
        return _convert_tuple(value, arguments, hint, path)
    chosen = [c for c in arguments if c == value and isinstance(c, bool) == isinstance(value, bool)]
    if kind is Literal and chosen:
        return chosen[0]
    if not _fits(value, kind):
        raise ValueError(f"{path}={value!r}: expected {type_name(hint)}")
    return float(value) if kind is float else value


def _fits(value, kind):
    """Whether a value is of a plain type; a whole number serves as a float, a truth value as neither."""
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    if kind in WORDS:
        return type(value) is kind or value is kind
    return kind is Any or inspect.isclass(kind) and isinstance(value, kind)


def _convert_dataclass(value, cls, path):
    """A nested dataclass, or with a `name` that is no field of it a plug-in of its package."""
    if "name" not in value or any(field.name == "name" for field in _fields(cls)):
        return make(cls, value, path)
    options = {name: option for name, option in value.items() if name != "name"}
    return create(path, discover(cls.__module__.rpartition(".")[0], cls), value["name"], **options)


def _convert_union(value, arguments, hint, path):
    # The exact type first, so that 1 stays whole where both int and float are allowed.
    for argument in sorted(arguments, key=lambda argument: argument is not type(value)):
        if isinstance(value, dict) and dataclasses.is_dataclass(argument):
            return convert(value, argument, path)
        try:
            return convert(value, argument, path)
        except ValueError:
            continue
    raise ValueError(f"{path}={value!r}: expected {type_name(hint)}")


def _convert_tuple(value, arguments, hint, path):
    if arguments and arguments[-1] is not Ellipsis and len(value) != len(arguments):
        raise ValueError(f"{path}={value!r}: expected {type_name(hint)}")
    if not arguments or arguments[-1] is Ellipsis:
        arguments = (arguments[0] if arguments else Any,) * len(value)
    items = zip(value, arguments, strict=True)
    return tuple(convert(item, argument, f"{path}[{index}]") for index, (item, argument) in enumerate(items))


def type_name(hint):
    """What an annotation allows, in words."""
    kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind is Annotated:
        return next((str(limit) for limit in arguments if isinstance(limit, Within)), type_name(arguments[0]))
    if kind in UNIONS:
        return " or ".join(type_name(argument) for argument in arguments)
    if kind is Literal:
        return f"one of {', '.join(str(choice) for choice in arguments)}"
    if kind is tuple and arguments[-1] is Ellipsis:
        return f"a list, each item {type_name(arguments[0])}"
    if kind is tuple:
        return f"a list of {len(arguments)}: {', '.join(type_name(argument) for argument in arguments)}"
    return WORDS.get(hint) or getattr(hint, "__name__", str(hint))


def _comments(cls):
    found = {}
    for ancestor in reversed(cls.__mro__):
        found |= _own_comments(ancestor)
    return found


@functools.cache
def _own_comments(cls):
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError):  # built-in, or defined without a file
        return {}
    return dict(re.findall(r"^    (\w+)\s*:[^#\n]*#\s*(.+?)\s*$", source, flags=re.MULTILINE))
