"""Classes that an application registered, so that sessions can store their values."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from enum import Enum, Flag
from functools import partial
from typing import Any, TypeVar, overload

from .codec import is_known, registered_classes, registered_names

C = TypeVar("C", bound=type[Any])


@overload
def register_type(cls: C, *, name: str | None = None) -> C: ...
@overload
def register_type(
    cls: C, *, name: str | None = None, encode: Callable[[Any], Any], decode: Callable[[Any], Any]
) -> C: ...
@overload
def register_type(*, name: str | None = None) -> Callable[[C], C]: ...
def register_type(
    cls: Any = None,
    *,
    name: str | None = None,
    encode: Callable[[Any], Any] | None = None,
    decode: Callable[[Any], Any] | None = None,
) -> Any:
    """Let sessions store the values of a class. Usable as a decorator; returns the class.

    An Enum is stored by its member's name, a Flag by the names of its bits, a dataclass by its fields; any other
    class needs ``encode``, which returns something storable, and ``decode``, which makes the value from that
    again. ``name`` stands in the stored data for the class, so it must stay when the class moves; by default module
    and qualified name.

    Raises TypeError for a class that is neither and has no functions, a dataclass whose constructor needs what is no
    field, or a type that is stored without being registered; ValueError if another class has the name.
    """
    if cls is None:
        return partial(register_type, name=name, encode=encode, decode=decode)
    if is_known(cls):
        raise TypeError(f"{cls!r} is stored as what it is, so there is nothing to register")
    if (encode is None) is not (decode is None):
        raise TypeError("encode= and decode= belong together")
    if encode is None or decode is None:
        encode, decode = _functions_for(cls)
    name = name or f"{cls.__module__}.{cls.__qualname__}"
    taken = registered_names.get(name)
    if taken is not None and (taken[0].__module__, taken[0].__qualname__) != (
        cls.__module__,
        cls.__qualname__,
    ):
        raise ValueError(f"the name {name!r} is registered for {taken[0].__qualname__}; give another name=")
    registered_classes[cls] = (name, encode)
    registered_names[name] = (cls, decode)
    return cls


def storable(value: Any) -> Any:
    """Return what a value of a registered class is stored as, or the value itself."""
    registered = registered_classes.get(type(value))
    return value if registered is None else registered[1](value)


def _functions_for(cls: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    if isinstance(cls, type) and issubclass(cls, Flag):
        return _bits_of, partial(_from_bits, cls)
    if isinstance(cls, type) and issubclass(cls, Enum):
        return (lambda member: member.name), (lambda member_name: cls[member_name])
    if isinstance(cls, type) and dataclasses.is_dataclass(cls):
        _check_constructor(cls)
        return partial(_fields_of, cls), partial(_from_fields, cls)
    raise TypeError(f"{cls!r} is neither an Enum nor a dataclass: register it with encode= and decode=")


def _check_constructor(cls: Any) -> None:
    """Refuse a dataclass whose stored fields would not be enough to make it again."""
    fields = {field.name for field in dataclasses.fields(cls) if field.init}
    for parameter in inspect.signature(cls).parameters.values():
        variable = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if parameter.default is parameter.empty and not variable and parameter.name not in fields:
            raise TypeError(
                f"{cls!r} needs {parameter.name!r}, which is no field: register it with encode= and decode="
            )


def _bits_of(value: Any) -> list[Any]:
    """Return the names of a Flag's bits, and the bits that have none. A combination is no member by itself."""
    nameless = value.value
    for member in value:
        nameless &= ~member.value
    return [[member.name for member in value], nameless]


def _from_bits(cls: Any, stored: list[Any]) -> Any:
    names, bits = stored
    for name in names:
        bits |= cls[name].value
    return cls(bits)


def _fields_of(cls: Any, value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(cls)}


def _from_fields(cls: Any, stored: dict[str, Any]) -> Any:
    """Make the instance through its constructor, so that a field added since then gets its default."""
    arguments = {field.name for field in dataclasses.fields(cls) if field.init}
    value = cls(**{name: stored[name] for name in stored if name in arguments})
    for field in dataclasses.fields(cls):
        if not field.init and field.name in stored:
            object.__setattr__(value, field.name, stored[field.name])
    return value
