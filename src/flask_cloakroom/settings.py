"""Read single settings from ``app.config``: each value has one type, or a SettingError at start says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from .errors import SettingError

#: The longest lifetime in seconds: a hundred years, which some applications set for "always".
LONGEST_LIFETIME: Final = 100 * 366 * 24 * 3600


class Reader:
    """Reads settings. Raises :class:`SettingError` for a value of a wrong type.

    It keeps the configuration private: the configuration's ``repr()`` shows every key and password of the application.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def __getitem__(self, name: str) -> Any:
        return self._config.get(name)

    def with_overrides(self, others: Mapping[str, Any]) -> Reader:
        """Return a reader whose settings in ``others`` win."""
        return Reader({**self._config, **others})

    def boolean(self, name: str) -> bool:
        """Return True or False. 1 and 0 are allowed: ``app.config.from_prefixed_env()`` makes them of "1" and "0".

        Text is refused, because "False" would count as true.
        """
        value = self[name]
        if type(value) is int and value in (0, 1):
            return bool(value)
        if not isinstance(value, bool):
            hint = ". In an environment variable write true, false, 1 or 0" if isinstance(value, str) else ""
            raise SettingError(name, f"must be True or False, not {describe_value(value)}{hint}")
        return value

    def text(self, name: str) -> str:
        """Return a str."""
        value = self[name]
        if not isinstance(value, str):
            raise SettingError(name, f"must be a str, not {describe_value(value)}")
        return value

    def integer(self, name: str, *, at_least: int, at_most: int | None = None) -> int:
        """Return an int between ``at_least`` and ``at_most``."""
        value = self[name]
        if type(value) is not int or value < at_least or (at_most is not None and value > at_most):
            bounds = f"at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"
            raise SettingError(name, f"must be a whole number, {bounds}, not {describe_value(value)}")
        return int(value)

    def seconds(self, name: str, *, at_least: int, at_most: int = LONGEST_LIFETIME) -> int:
        """Return the whole seconds of a timedelta or a number, rounded up."""
        value = self[name]
        length = value.total_seconds() if isinstance(value, timedelta) else value
        if not is_number(length) or not at_least <= length <= at_most:
            bounds = f"from {at_least} to {at_most}"
            raise SettingError(name, f"must be a timedelta or seconds, {bounds}, not {describe_value(value)}")
        return -int(-length // 1)


def is_number(value: Any) -> bool:
    """Tell whether ``value`` is an int or a float, and not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def describe_value(value: Any) -> str:
    """Return a number with its type, and of any other value only the type: it may be a secret in the wrong setting."""
    kind = type(value).__name__
    return f"{value!r} ({kind})" if isinstance(value, int | float | timedelta) else kind
