"""``Session(app)``, and two decorators for views."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, TypeVar, cast

from flask import Flask
from flask import session as flask_session

from .interface import ServerSessionInterface
from .outage import answer_store_errors
from .outcome import answer_failures
from .session import ServerSession

F = TypeVar("F", bound=Callable[..., Any])

#: ``flask.session``, typed as a session on the server.
session = cast(ServerSession, flask_session)


class Session:
    """Keep ``flask.session`` on the server. One Session object can set up any number of applications."""

    def __init__(self, app: Flask | None = None) -> None:
        """Call :meth:`init_app` if ``app`` is given."""
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Keep the sessions of ``app`` in the store that the settings in ``app.config`` name.

        Raises :class:`~flask_cloakroom.errors.SettingError` for a wrong setting.
        """
        app.session_interface = ServerSessionInterface(app)
        answer_failures(app)
        answer_store_errors(app)


def locked_session(*, timeout: float = 10.0, lease: float = 30.0) -> Callable[[F], F]:
    """Decorate a view so that it runs in ``session.lock(timeout=…, lease=…)``.

    So no two requests of one session run views with this decorator at the same time.

    ``timeout`` and ``lease`` are in seconds. The view raises the errors of :meth:`ServerSession.lock`.
    """
    return lambda view: _run_within(view, lambda: session.lock(timeout=timeout, lease=lease))


def passive(view: F) -> F:
    """Decorate a view so that its requests do not extend the session. Use this decorator for a page that polls."""

    def begin() -> AbstractContextManager[None]:
        session.passive = True
        return nullcontext()

    return _run_within(view, begin)


def _run_within(view: F, begin: Callable[[], AbstractContextManager[None]]) -> F:
    """Return a view that runs in the context of ``begin()``. It is a coroutine function if ``view`` is one."""
    if inspect.iscoroutinefunction(view):

        @wraps(view)
        async def run_async(*args: Any, **kwargs: Any) -> Any:
            with begin():
                return await view(*args, **kwargs)

        return run_async  # type: ignore[return-value]

    @wraps(view)
    def run(*args: Any, **kwargs: Any) -> Any:
        with begin():
            return view(*args, **kwargs)

    return run  # type: ignore[return-value]
