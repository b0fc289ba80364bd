"""Plug-ins found by file name: a new method, model or data set is one new file.

The file `rigl.py` with one public dataclass registers that class as "rigl". Options arrive as plain values of a
configuration; every mistake a user can make in them is answered with one sentence.
"""

import dataclasses
import difflib
import importlib
import inspect
import math
import pkgutil
import re
import types
import typing
from typing import Any, Literal, NamedTuple, Union

_WORDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a text", type(None): "null"}


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


def discover(package, base):
    """Find the plug-ins of a package, importing each of its modules.

    Args:
        package: a package or its dotted name, searched with its sub-packages; `base` and modules starting with "_" are
            skipped.
        base: the class that plug-ins derive from.
    Returns:
        module name -> its one public class derived from `base`, sorted by name; modules without one are left out.
    Raises:
        TypeError: two public plug-ins in one file, or a plug-in that is not itself a frozen dataclass.
    """
    package = importlib.import_module(package) if isinstance(package, str) else package
    found = {}
    for module_info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        name = module_info.name
        if name == "base" or name.startswith("_"):
            continue
        module = importlib.import_module(f"{package.__name__}.{name}")
        if module_info.ispkg:
            found |= discover(module, base)
            continue
        classes = [value for value in vars(module).values() if _is_plugin(value, module, base)]
        if len(classes) > 1:
            listed = ", ".join(cls.__name__ for cls in classes)
            raise TypeError(f"{module.__name__}: one public {base.__name__} a file, found {listed}; move one out")
        for cls in classes:
            parameters = vars(cls).get("__dataclass_params__")
            if parameters is None or not parameters.frozen:
                raise TypeError(f"{module.__name__}.{cls.__name__}: decorate it with @dataclass(frozen=True)")
            found[name] = cls
    return dict(sorted(found.items()))


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
        raise ValueError(f"{kind}={name}: unknown{_suggestion(name, registry)}; choose one of {choices}")
    return _build(registry[name], options, path=kind, title=name)


def describe(cls):
    """Say what a plug-in is and which options it has.

    Returns:
        The first line of its docstring (or of its module's), and a list of `Option`.
    """
    own = vars(cls).get("__doc__") or ""
    # A dataclass without a docstring is given its signature for one.
    text = own if own and not own.startswith(f"{cls.__name__}(") else inspect.getdoc(inspect.getmodule(cls)) or ""
    hints, comments = typing.get_type_hints(cls), _comments(cls)
    options = [Option(f.name, _type_name(hints[f.name]), _default(f), comments.get(f.name, "")) for f in _fields(cls)]
    return text.strip().split("\n")[0], options


def _is_plugin(value, module, base):
    if not inspect.isclass(value) or value.__module__ != module.__name__ or value.__name__.startswith("_"):
        return False
    return issubclass(value, base) and value is not base


def _fields(cls):
    return [field for field in dataclasses.fields(cls) if field.init]


def _default(field):
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _suggestion(name, names):
    close = difflib.get_close_matches(str(name), list(names), n=1)
    return f", did you mean {close[0]}?" if close else ""


def _build(cls, options, path, title):
    fields = {field.name: field for field in _fields(cls)}
    for name in options:
        if name not in fields:
            has = f"it has {', '.join(fields)}" if fields else "it has no options"
            raise ValueError(f"{path}.{name}: {title} has no such field{_suggestion(name, fields)}; {has}")
    for name, field in fields.items():
        if name not in options and _default(field) is dataclasses.MISSING:
            raise ValueError(f"{path}.{name}: not given and {title} has no default for it; set {path}.{name}=...")
    hints = typing.get_type_hints(cls)
    options = {name: _completed(value, _default(fields[name])) for name, value in options.items()}
    return cls(**{name: _convert(value, hints[name], f"{path}.{name}") for name, value in options.items()})


def _completed(value, default):
    """A part of a nested dataclass's options with the rest of the field's own default; a plug-in brings its own."""
    if isinstance(value, dict) and "name" not in value and dataclasses.is_dataclass(default):
        return {f.name: getattr(default, f.name) for f in _fields(type(default))} | value
    return value


def _convert(value, hint, path):
    """Return `value` as an instance of the annotation `hint`, or raise a ValueError that names `path`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments, hint, path)
    if origin is Literal and any(value == choice and type(value) is type(choice) for choice in arguments):
        return value
    if (origin or hint) is tuple and isinstance(value, (list, tuple)):
        return _convert_tuple(value, arguments, hint, path)
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if hint in (int, bool, str) and type(value) is hint:
        return value
    if hint in (None, type(None)) and value is None:
        return None
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        if "name" in value and not any(f.name == "name" for f in _fields(hint)):  # a plug-in within a plug-in
            options = {name: option for name, option in value.items() if name != "name"}
            return create(path, discover(hint.__module__.rpartition(".")[0], hint), value["name"], **options)
        return _build(hint, value, path, hint.__name__)
    if inspect.isclass(hint) and hint not in _WORDS and isinstance(value, hint):
        return value
    raise ValueError(f"{path}={value!r}: expected {_type_name(hint)}")


def _convert_union(value, arguments, hint, path):
    # The exact type first, so that 1 stays whole where both int and float are allowed.
    for argument in sorted(arguments, key=lambda argument: argument is not type(value)):
        if isinstance(value, dict) and dataclasses.is_dataclass(argument):
            return _convert(value, argument, path)
        try:
            return _convert(value, argument, path)
        except ValueError:
            continue
    raise ValueError(f"{path}={value!r}: expected {_type_name(hint)}")


def _convert_tuple(value, arguments, hint, path):
    if arguments and arguments[-1] is not Ellipsis and len(value) != len(arguments):
        raise ValueError(f"{path}={value!r}: expected {_type_name(hint)}")
    if not arguments or arguments[-1] is Ellipsis:
        arguments = (arguments[0] if arguments else Any,) * len(value)
    items = zip(value, arguments, strict=True)
    return tuple(_convert(item, argument, f"{path}[{index}]") for index, (item, argument) in enumerate(items))


def _type_name(hint):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_name(argument) for argument in arguments)
    if origin is Literal:
        return f"one of {', '.join(str(choice) for choice in arguments)}"
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"a list, each item {_type_name(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)}: {', '.join(_type_name(argument) for argument in arguments)}"
    return _WORDS.get(hint) or getattr(hint, "__name__", str(hint))


def _comments(cls):
    found = {}
    for ancestor in reversed(cls.__mro__):
        try:
            source = inspect.getsource(ancestor)
        except (OSError, TypeError):  # built-in, or defined without a file
            continue
        found.update(re.findall(r"^    (\w+)\s*:[^#\n]*#\s*(.+?)\s*$", source, flags=re.MULTILINE))
    return found
