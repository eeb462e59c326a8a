"""Records that are kept as JSON objects: typed fields, read strictly or as far as they fit."""

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any, Self

from clusterkit.errors import shown


@dataclass(frozen=True)
class JsonRecord:
    """Base of dataclasses whose fields are the keys of a JSON object.

    Attributes
    ----------
    other : dict
        Keys that this version does not know: a newer one wrote them, and they are kept.
    """

    other: dict[str, Any] = field(default_factory=dict, kw_only=True, repr=False)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read an object whose every key must fit its field.

        Raises
        ------
        KeyError
            A key without a default is missing.
        ValueError
            A value is not of its field's type.
        """
        return cls._read(values, strict=True)

    @classmethod
    def fitting(cls, values: dict[str, Any]) -> Self:
        """Read an object that somebody may have edited: what does not fit gets its default."""
        return cls._read(values, strict=False)

    @classmethod
    def _read(cls, values: dict[str, Any], strict: bool) -> Self:
        hints = typing.get_type_hints(cls)
        names = [item.name for item in dataclasses.fields(cls) if item.name != "other"]
        read = {}
        for name in names:
            if name in values:
                try:
                    read[name] = _fitted(hints[name], values[name], strict)
                except ValueError as error:
                    if strict:
                        raise ValueError(f"{name}: {error}") from error
            elif strict and _is_required(cls, name):
                raise KeyError(name)
        return cls(**read, other={k: v for k, v in values.items() if k not in names})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, in the order of the fields."""
        names = [item.name for item in dataclasses.fields(self) if item.name != "other"]
        return {name: _plain(getattr(self, name)) for name in names} | self.other

    def __getitem__(self, key: str) -> Any:
        """Return one of the plain values: ``record["data"]["images"]``."""
        return self.to_dict()[key]


def _is_required(cls: type[JsonRecord], name: str) -> bool:
    (item,) = (item for item in dataclasses.fields(cls) if item.name == name)
    return item.default is item.default_factory is dataclasses.MISSING


def _plain(value: Any) -> Any:
    if isinstance(value, JsonRecord):
        return value.to_dict()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _fitted(hint: Any, value: Any, strict: bool) -> Any:
    """Return a value of JSON as the type says; ValueError: it is of another type."""
    if hint is Any:
        return value
    if isinstance(hint, types.UnionType):
        return _fitted_to_any(typing.get_args(hint), value, strict)
    kind = typing.get_origin(hint) or hint
    inner = typing.get_args(hint)[-1:] or (Any,)
    if kind is list and isinstance(value, list):
        return _fitted_items(inner[0], dict(enumerate(value)), strict, list)
    if kind is dict and isinstance(value, dict):
        return _fitted_items(inner[0], value, strict, dict)
    if isinstance(value, dict) and issubclass(kind, JsonRecord):
        return _inner_record(kind, value) if strict else kind.fitting(value)
    if kind is float and type(value) in (int, float) and _is_finite(value):
        return float(value)
    if kind in (int, str, bool, type(None)) and type(value) is kind:
        return value
    name = getattr(kind, "__name__", str(kind))
    raise ValueError(f"{shown(str(value))} is not of type {name}")


def _inner_record(kind: type[JsonRecord], value: dict[str, Any]) -> JsonRecord:
    try:
        return kind.from_dict(value)
    except KeyError as error:
        raise ValueError(f"no key {error}") from error


def _fitted_to_any(hints: tuple[Any, ...], value: Any, strict: bool) -> Any:
    for hint in hints:
        try:
            return _fitted(hint, value, strict)
        except ValueError as error:
            last = error
    raise last


def _fitted_items(hint: Any, items: dict[Any, Any], strict: bool, kind: type) -> Any:
    read = {}
    for key, item in items.items():
        try:
            read[key] = _fitted(hint, item, strict)
        except ValueError:
            if strict:
                raise
    return list(read.values()) if kind is list else read


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
