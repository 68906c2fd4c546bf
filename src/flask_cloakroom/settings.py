"""Reading ``app.config``: values of one type each, or an error at start that says what was expected."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from .errors import SettingError

#: The longest that a lifetime may be, in seconds: a hundred years, which some write for "always".
LONGEST_LIFETIME: Final = 100 * 366 * 24 * 3600


class Reader:
    """Reads settings; raises :class:`SettingError` for one that is not of the type it must be.

    It holds the configuration, whose own ``repr()`` shows every key and password of the application.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    def __getitem__(self, name: str) -> Any:
        return self._config.get(name)

    def over(self, others: Mapping[str, Any]) -> Reader:
        """Return one that reads ``others`` first."""
        return Reader({**self._config, **others})

    def boolean(self, name: str) -> bool:
        """Read True or False, or 1 or 0, as ``app.config.from_prefixed_env()`` makes them of environment variables.

        A text is refused: "False" would count as true.
        """
        value = self[name]
        if type(value) is int and value in (0, 1):
            return bool(value)
        if not isinstance(value, bool):
            way_out = ". In an environment variable write true, false, 1 or 0" if isinstance(value, str) else ""
            raise SettingError(name, f"must be True or False, not {described(value)}{way_out}")
        return value

    def text(self, name: str) -> str:
        """Read a str."""
        value = self[name]
        if not isinstance(value, str):
            raise SettingError(name, f"must be a str, not {described(value)}")
        return value

    def whole(self, name: str, *, at_least: int, at_most: int | None = None) -> int:
        """Read an int within bounds."""
        value = self[name]
        fits = type(value) is int and value >= at_least and (at_most is None or value <= at_most)
        if not fits:
            bounds = f"at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"
            raise SettingError(name, f"must be a whole number, {bounds}, not {described(value)}")
        return int(value)

    def seconds(self, name: str, *, at_least: int, at_most: int = LONGEST_LIFETIME) -> int:
        """Read a timedelta or a number of seconds; parts of a second round up."""
        value = self[name]
        length = value.total_seconds() if isinstance(value, timedelta) else value
        if not is_number(length) or not at_least <= length <= at_most:
            bounds = f"from {at_least} to {at_most}"
            raise SettingError(name, f"must be a timedelta or seconds, {bounds}, not {described(value)}")
        return -int(-length // 1)


def is_number(value: Any) -> bool:
    """Tell whether it is an int or a float, and no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def described(value: Any) -> str:
    """Return numbers as they are and of everything else only the type: it may be a secret in the wrong place."""
    kind = type(value).__name__
    return f"{value!r} ({kind})" if isinstance(value, int | float | timedelta) else kind
