"""Browser and system of a User-Agent header in words, by the library ua-parser if it is installed."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any


@lru_cache(256)
def browser_and_system(user_agent: str | None) -> tuple[str | None, str | None]:
    """Return browser and system of a User-Agent header, such as ("Firefox 140", "Windows 10").

    An unknown browser is the whole header, and an unknown system is None. Without the extra ``agents`` all are unknown.
    """
    parse = _parser()
    if not user_agent or parse is None:
        return user_agent or None, None
    found = parse(user_agent)
    browser, system = found.user_agent, found.os
    named = user_agent if browser is None or browser.family == "Other" else _with_version(browser)
    return named, None if system is None or system.family == "Other" else _with_version(system)


def _with_version(part: Any) -> str:
    return f"{part.family} {part.major}" if part.major else str(part.family)


@cache
def _parser() -> Any:
    try:
        from ua_parser import parse
    except ImportError:
        return None
    return parse
