"""Fields of a configuration: their ranges and help beside them, and values checked by these.

A field is annotated with what is allowed and what it is for::

    size: Annotated[int, Range(32, 4096), Doc("Pixels per side.")] = 224
"""

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from clusterkit.errors import ConfigError, nearest_name

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Lowest and highest value allowed, both included.

    Attributes
    ----------
    low, high : float
    hint : str
        What to do about a value out of range, where that is not plain; it follows the message.
    """

    low: float
    high: float
    hint: str = ""


@dataclass(frozen=True)
class Check:
    """A condition that a range cannot state.

    Attributes
    ----------
    function : callable
        Takes a value of the field's type; true: it is allowed.
    words : str
        The condition in words, to follow "must be".
    """

    function: Callable[[Any], bool]
    words: str


@dataclass(frozen=True)
class Doc:
    """One line that says what a field is for."""

    text: str


@dataclass(frozen=True)
class Setting:
    """One field of a configuration, described.

    Attributes
    ----------
    key : str
        As in TOML, with its table: ``image.size``.
    type : str
        The type in words, e.g. ``whole number or none``.
    default : object
    allowed : str
        Values allowed, in words; "": all of the type.
    help : str
        One line.
    choices : tuple of str
        The values allowed of a field that takes one of a few; empty: any other field.
    """

    key: str
    type: str
    default: Any
    allowed: str
    help: str
    choices: tuple[str, ...] = ()

    @property
    def default_text(self) -> str:
        """The default as a command line takes it: ``none`` for None, ``true`` for True."""
        return plain(self.default)


# Beyond it a whole number cannot be made a real one.
_LARGEST_WHOLE = 10**300

_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", list: "list"}


def plain(value: Any) -> str:
    """Return a value in words: ``none``, ``true``, ``0.05``, ``[0, 100]``, or the text itself."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class _Field:
    """A field's annotation, taken apart."""

    kinds: tuple[type, ...]
    optional: bool
    choices: tuple[str, ...]
    range: Range | None
    check: Check | None
    doc: str

    @classmethod
    def of(cls, annotation: Any) -> "_Field":
        hint, marks = annotation, {}
        if typing.get_origin(annotation) is Annotated:
            hint, *others = typing.get_args(annotation)
            marks = {type(mark): mark for mark in others}
        if typing.get_origin(hint) is Literal:
            kinds, optional, choices = (str,), False, typing.get_args(hint)
        else:
            options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
            optional, choices = type(None) in options, ()
            kinds = tuple(typing.get_origin(o) or o for o in options if o is not type(None))
        doc = marks[Doc].text if Doc in marks else ""
        return cls(kinds, optional, choices, marks.get(Range), marks.get(Check), doc)

    @property
    def allowed(self) -> str:
        """The values allowed, in words."""
        if self.choices:
            return ", ".join(self.choices)
        if self.check:
            return self.check.words
        return f"{plain(self.range.low)} to {plain(self.range.high)}" if self.range else ""


def describe(cls: type, prefix: str = "") -> Iterator[Setting]:
    """Yield the settings of a tree of dataclasses, in the order of their fields."""
    hints = typing.get_type_hints(cls, include_extras=True)
    defaults = cls()
    for item in dataclasses.fields(cls):
        key, default = prefix + item.name, getattr(defaults, item.name)
        if dataclasses.is_dataclass(default):
            yield from describe(type(default), key + ".")
            continue
        found = _Field.of(hints[item.name])
        words = "one of" if found.choices else " or ".join(_WORDS[kind] for kind in found.kinds)
        none = " or none" * found.optional
        yield Setting(key, words + none, default, found.allowed, found.doc, found.choices)


def build(cls: type[T], values: dict[str, Any], where: str, prefix: str = "") -> T:
    """Build a tree of dataclasses from nested dicts; keys left out keep their defaults.

    Raises
    ------
    ConfigError
        A key is unknown (the nearest known one is named), or a value is of the wrong type or not
        allowed. The message begins with `where`.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            raise ConfigError(
                f"{where}: unknown key '{prefix}{key}'{nearest_name(key, hints)}; "
                f"allowed: {', '.join(hints)}"
            )
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: [{prefix}{key}] must be a table, not {value!r:.200}")
            arguments[key] = build(typing.cast(type, hint), value, where, f"{prefix}{key}.")
        else:
            arguments[key] = _checked(_Field.of(hint), value, f"{where}: {prefix}{key}")
    return cls(**arguments)


def _checked(field: _Field, value: Any, name: str) -> Any:
    """Return a value as the field holds it; `name` begins the message of an error."""
    if field.choices:
        if value not in field.choices:
            raise ConfigError(f"{name} = {value!r:.200}; allowed: {', '.join(field.choices)}")
        return value
    # TOML has no null, so "none" is how a file switches an optional value off.
    if field.optional and (value is None or value == "none"):
        return None
    if float in field.kinds and type(value) is int and abs(value) < _LARGEST_WHOLE:
        value = float(value)
    if type(value) not in field.kinds:
        names = " or ".join(kind.__name__ for kind in field.kinds)
        raise ConfigError(f"{name} = {value!r:.200} must be of type {names}")
    if field.check and not field.check.function(value):
        raise ConfigError(f"{name} = {value!r:.200} must be {field.check.words}")
    if field.range and not field.range.low <= value <= field.range.high:
        low, high, hint = field.range.low, field.range.high, field.range.hint
        raise ConfigError(f"{name} = {value!r:.200} must be between {low:g} and {high:g}{hint}")
    return value


def is_number(value: Any) -> bool:
    """Whether a value from a file is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)
