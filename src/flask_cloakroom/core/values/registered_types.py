"""Register classes of an application, so that sessions can store their instances."""

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
    """Register a class, so that sessions can store its instances. Return the class. Usable as a decorator.

    An Enum is stored by its member's name, a Flag by the names of its bits, and a dataclass by its fields. Any other
    class needs two functions: ``encode`` turns an instance into a storable value, and ``decode`` turns this value into
    an instance. ``name``: the name of the class in the store. The name must stay the same when the class gets another
    name or module. The default is the module and the qualified name of the class.

    Raises TypeError for a class that needs ``encode`` and ``decode`` if they are missing. Raises TypeError also for a
    dataclass whose constructor needs an argument that is no field, and for a type that needs no registration. Raises
    ValueError if another class was registered with this name.
    """
    if cls is None:
        return partial(register_type, name=name, encode=encode, decode=decode)
    if is_known(cls):
        raise TypeError(f"{cls!r} can be stored without registration. Remove the call of register_type.")
    if (encode is None) is not (decode is None):
        raise TypeError("encode= and decode= belong together. Give both arguments, or neither of them.")
    if encode is None or decode is None:
        encode, decode = _functions_for(cls)
    name = name or f"{cls.__module__}.{cls.__qualname__}"
    other = registered_names[name][0] if name in registered_names else cls
    # When a module is reloaded, its class is a new object with the same name. It may be registered again.
    if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(f"The name {name!r} is registered for {other.__qualname__}. Give another name=.")
    registered_classes[cls] = (name, encode)
    registered_names[name] = (cls, decode)
    return cls


def storable(value: Any) -> Any:
    """Return the storable form of an instance of a registered class, and any other value unchanged."""
    registered = registered_classes.get(type(value))
    return value if registered is None else registered[1](value)


def _functions_for(cls: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Return the functions ``encode`` and ``decode`` for an Enum, a Flag or a dataclass. Raise TypeError for others."""
    if isinstance(cls, type) and issubclass(cls, Flag):
        return _flag_to_stored, partial(_flag_from_stored, cls)
    if isinstance(cls, type) and issubclass(cls, Enum):
        return (lambda member: member.name), (lambda member_name: cls[member_name])
    if isinstance(cls, type) and dataclasses.is_dataclass(cls):
        _check_constructor(cls)
        return partial(_fields_of, cls), partial(_from_fields, cls)
    raise TypeError(f"{cls!r} is neither an Enum nor a dataclass. Register it with encode= and decode=.")


def _check_constructor(cls: Any) -> None:
    """Raise TypeError for a dataclass whose constructor needs an argument that is no field, such as an InitVar."""
    fields = {field.name for field in dataclasses.fields(cls) if field.init}
    for parameter in inspect.signature(cls).parameters.values():
        variable = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if parameter.default is parameter.empty and not variable and parameter.name not in fields:
            raise TypeError(
                f"{cls!r} needs {parameter.name!r}, which is no field. Register it with encode= and decode="
            )


def _flag_to_stored(value: Any) -> list[Any]:
    """Return the storable form of a Flag: the names of its bits, and a number that has all bits without a name."""
    nameless = value.value
    for member in value:
        nameless &= ~member.value
    return [[member.name for member in value], nameless]


def _flag_from_stored(cls: Any, stored: list[Any]) -> Any:
    names, bits = stored
    for name in names:
        bits |= cls[name].value
    return cls(bits)


def _fields_of(cls: Any, value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(cls)}


def _from_fields(cls: Any, stored: dict[str, Any]) -> Any:
    """Return an instance of ``cls`` with the stored fields. A field that was added later gets its default."""
    arguments = {field.name for field in dataclasses.fields(cls) if field.init}
    value = cls(**{name: stored[name] for name in stored if name in arguments})
    for field in dataclasses.fields(cls):
        if not field.init and field.name in stored:
            object.__setattr__(value, field.name, stored[field.name])
    return value
