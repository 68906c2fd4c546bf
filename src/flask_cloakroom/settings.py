"""Read single settings from ``app.config``, and check the type of each value when the application starts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from .errors import SettingError

#: The longest lifetime in seconds. It is a hundred years, because some applications set a hundred years for "always".
LONGEST_LIFETIME: Final = 100 * 366 * 24 * 3600


class Reader:
    """Reads settings of an application. Its methods raise :class:`SettingError` for a value of a wrong type.

    The ``repr()`` of a Reader shows no settings. The ``repr()`` of ``app.config`` shows every secret key and password.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def __getitem__(self, name: str) -> Any:
        return self._config.get(name)

    def with_overrides(self, others: Mapping[str, Any]) -> Reader:
        """Return a Reader with the same settings, except that a setting in ``others`` replaces one of the same name."""
        return Reader({**self._config, **others})

    def boolean(self, name: str) -> bool:
        """Return the setting ``name`` as a bool. It may be 1 or 0, which ``app.config.from_prefixed_env()`` can make.

        A str is an error, because the str "False" would count as true.
        """
        value = self[name]
        if type(value) is int and value in (0, 1):
            return bool(value)
        if not isinstance(value, bool):
            hint = ". In an environment variable write true, false, 1 or 0" if isinstance(value, str) else ""
            raise SettingError(name, f"must be True or False, not {describe_value(value)}{hint}")
        return value

    def text(self, name: str) -> str:
        """Return the setting ``name``, which must be a str."""
        value = self[name]
        if not isinstance(value, str):
            raise SettingError(name, f"must be a str, not {describe_value(value)}")
        return value

    def integer(self, name: str, *, at_least: int, at_most: int | None = None) -> int:
        """Return the setting ``name``, which must be an int from ``at_least`` to ``at_most``."""
        value = self[name]
        if type(value) is not int or value < at_least or (at_most is not None and value > at_most):
            bounds = f"at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"
            raise SettingError(name, f"must be a whole number, {bounds}, not {describe_value(value)}")
        return int(value)

    def seconds(self, name: str, *, at_least: int, at_most: int = LONGEST_LIFETIME) -> int:
        """Return the setting ``name`` in whole seconds, rounded up. It must be a timedelta or a number of seconds."""
        value = self[name]
        length = value.total_seconds() if isinstance(value, timedelta) else value
        if not is_number(length) or not at_least <= length <= at_most:
            bounds = f"from {at_least} to {at_most}"
            raise SettingError(name, f"must be a timedelta or seconds, {bounds}, not {describe_value(value)}")
        return -int(-length // 1)


def is_number(value: Any) -> bool:
    """Return True if ``value`` is an int or a float. A bool is no number here."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def describe_value(value: Any) -> str:
    """Describe ``value`` in an error: a number or timedelta with its type, and any other value by its type alone.

    The value of a wrong setting may be a secret, so the error must not show it.
    """
    kind = type(value).__name__
    return f"{value!r} ({kind})" if isinstance(value, int | float | timedelta) else kind
