"""``FlaskRedis``: the Redis client that a Flask application shares. Flask-Redis's class, without its edges."""

from __future__ import annotations

import contextlib
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flask import Flask, current_app

from .context import scope_or_none, this_app
from .errors import SettingError, TransactionError
from .redis_connections import Connector, ExternalClient, connect
from .secret import Secret
from .signals import redis_lost, redis_moved, redis_restored

if TYPE_CHECKING:
    from redis import Redis as _Client
else:
    _Client = object

DEFAULT_URL: Final = "redis://localhost:6379/0"

#: Where an application keeps the list of its clients. Prefixes are stored in lower case, so no prefix can be this.
EXTENSION_KEY: Final = "Cloakroom.redis"

# What has connections and commands of its own, and needs their answers: a lock that were only queued would seem to be
# held.
_NEVER_QUEUED: Final = frozenset(
    {"lock", "pipeline", "pubsub", "monitor", "client", "transaction", "register_script", "connection_pool", "close"}
    | {"scan_iter", "hscan_iter", "sscan_iter", "zscan_iter"}
)

_SIGNALS: Final = {"lost": redis_lost, "restored": redis_restored, "moved": redis_moved}


class FlaskRedis(_Client):
    """A client for each application that it was set up for; whatever the driver's client has, this has too.

    ``redis_client.get("key")`` asks the present application's client. Outside of an application's context it is the
    only application's, if there is only one.

    Everything that asks for the same URL with the same options shares one pool of connections: several instances, the
    sessions, several applications of one process.
    """

    def __init__(
        self, app: Flask | None = None, strict: bool = True, config_prefix: str = "REDIS", **kwargs: Any
    ) -> None:
        """With ``app``, do :meth:`init_app` at once.

        ``config_prefix``: the URL is ``app.config[config_prefix + "_URL"]``. ``strict`` chooses nothing any more, as
        the driver has only one class. ``kwargs`` are options of the driver's client (``decode_responses``,
        ``socket_timeout`` …), and ``max_connections``; those in the URL win.
        """
        self.config_prefix = config_prefix
        self.provider_class: Any = None
        self.provider_kwargs = kwargs
        self._connectors: weakref.WeakKeyDictionary[Flask, Connector] = weakref.WeakKeyDictionary()
        # By the context that it belongs to, and the application's client. Where there is no context, by the thread.
        self._transactions: weakref.WeakKeyDictionary[Any, dict[Connector, Any]] = weakref.WeakKeyDictionary()
        self._in_thread = threading.local()
        if app is not None:
            self.init_app(app)

    @classmethod
    def from_custom_provider(cls, provider: Any, app: Flask | None = None, **kwargs: Any) -> FlaskRedis:
        """Return an instance on clients that ``provider.from_url(url, **kwargs)`` makes. redis-py need not be there.

        ``kwargs`` are those of the constructor. Raises AssertionError if ``provider`` is None.
        """
        if provider is None:  # no assert statement, which python -O leaves out
            raise AssertionError("the custom provider is None; hand over a class that has from_url(url, **options)")
        instance = cls(**kwargs)
        instance.provider_class = provider
        if app is not None:
            instance.init_app(app)
        return instance

    def init_app(self, app: Flask, **kwargs: Any) -> None:
        """Set up ``app``'s client: its URL is read and checked now; it connects at its first command.

        ``kwargs`` add to those of the constructor, for this application alone. Afterwards
        ``app.extensions[config_prefix.lower()]`` is this instance.

        Raises :class:`~flask_cloakroom.errors.SettingError` for a URL or option that can't be, and ImportError (with
        what to install) if a driver is missing.
        """
        setting = f"{self.config_prefix}_URL"
        url = app.config.get(setting, DEFAULT_URL)
        if isinstance(url, str):
            url = Secret(url)  # it may hold a password, which no error report may show
        options = {**self.provider_kwargs, **kwargs}
        if self.provider_class is not None:
            connector: Connector = ExternalClient(self.provider_class.from_url(url, **options))
        else:
            connector = self._connect(app, setting, url, options)
        connector.listen(_Announcer(self, app))
        connector.warn_in_production(app)
        self._connectors[app] = connector
        app.extensions[self.config_prefix.lower()] = self
        clients: dict[str, FlaskRedis] = app.extensions.setdefault(EXTENSION_KEY, {})
        clients[self.config_prefix] = self

    def _connect(self, app: Flask, setting: str, url: Any, options: dict[str, Any]) -> Connector:
        if not isinstance(url, str):
            raise SettingError(setting, f"must be a URL as a str, not {type(url).__name__}")
        try:
            return connect(url, folder=Path(app.instance_path), **options)
        except ValueError as error:
            raise SettingError(setting, str(error)) from None

    def connector_for(self, app: Flask | None = None) -> Connector:
        """Return how ``app``'s client is had, or the present application's, without connecting.

        Raises RuntimeError if this instance was not set up for it, or if it is not clear which application is meant.
        """
        if app is None:
            app = this_app() if current_app else self._only_app()
        connector = self._connectors.get(app)
        if connector is None:
            raise RuntimeError(
                f"FlaskRedis({self.config_prefix!r}) was not set up for the application {app.name!r}: "
                f"call init_app(app) before it is used"
            )
        return connector

    def _only_app(self) -> Flask:
        apps = list(self._connectors)
        if len(apps) == 1:
            return apps[0]
        if not apps:
            raise RuntimeError(
                f"FlaskRedis({self.config_prefix!r}) was not set up for any application that is still there: "
                f"call init_app(app), or make it with FlaskRedis(app), and keep the application"
            )
        raise RuntimeError(
            f"FlaskRedis({self.config_prefix!r}) serves {len(apps)} applications, and outside of their contexts it is "
            f"not clear which is meant: use it in a view, or inside `with app.app_context():`"
        )

    @property
    def _redis_client(self) -> Any:
        """The present application's client, or None before :meth:`init_app`: a name that Flask-Redis has."""
        return self.connector_for().client if self._connectors else None

    def _target(self) -> Any:
        """Return what a method is called on: the transaction that is open here, or the client."""
        if self._transactions or hasattr(self._in_thread, "transaction"):
            transaction = self._open_transaction()
            if transaction is not None:
                return transaction
        return self.connector_for().client

    def multi(self) -> Any:
        """Open a transaction for the present context: what this instance is called with is queued until :meth:`exec`.

        Other requests, threads and contexts are not concerned. Returns the driver's pipeline, for commands in a chain;
        end it here, with :meth:`exec`. Without that nothing of it is sent, and it ends with the context. Raises
        :class:`~flask_cloakroom.errors.TransactionError` if one is open.
        """
        if self._open_transaction() is not None:
            raise TransactionError("multi(): a transaction is open here already; end it with exec() or discard()")
        connector = self.connector_for()
        pipeline = connector.client.pipeline(transaction=True)
        context = scope_or_none()
        if context is None:
            self._in_thread.transaction = pipeline
        else:
            self._transactions.setdefault(context, {})[connector] = pipeline
        return pipeline

    def exec(self) -> list[Any]:
        """Run what was queued since :meth:`multi`, all of it or nothing, and return the results in their order.

        Raises :class:`~flask_cloakroom.errors.TransactionError` if no transaction is open here, and the driver's
        errors. The transaction is over in every case.
        """
        pipeline = self._end_transaction("exec")
        try:
            results: list[Any] = pipeline.execute()
        finally:
            pipeline.reset()
        return results

    def discard(self) -> None:
        """Forget what was queued since :meth:`multi`. Raises :class:`~flask_cloakroom.errors.TransactionError`."""
        self._end_transaction("discard").reset()

    def _open_transaction(self) -> Any:
        context = scope_or_none()
        if context is None:
            return getattr(self._in_thread, "transaction", None)
        # A request may push another application's context.
        return self._transactions.get(context, {}).get(self.connector_for())

    def _end_transaction(self, name: str) -> Any:
        transaction = self._open_transaction()
        if transaction is None:
            raise TransactionError(f"{name}() without multi(): no transaction is open in this context")
        context = scope_or_none()
        if context is None:
            del self._in_thread.transaction
        else:
            transactions = self._transactions[context]
            del transactions[self.connector_for()]
            if not transactions:
                del self._transactions[context]
        return transaction

    def _answering(self) -> Any:
        """Return the client for what needs its answer at once. Raises TransactionError where answers are put off."""
        if self._open_transaction() is not None:
            raise TransactionError("this needs its answer at once, and a transaction gives it at exec(): call get()")
        return self.connector_for().client

    if not TYPE_CHECKING:  # type checkers know the driver's methods, and any name would be one of them

        def __getattr__(self, name: str) -> Any:
            # Only called for what this class does not have. Copying and pickling ask for it before __init__ ran.
            if name.startswith("__") or "_connectors" not in self.__dict__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return getattr(self.connector_for().client if name in _NEVER_QUEUED else self._target(), name)

    def __dir__(self) -> list[str]:
        names = set(super().__dir__())
        with contextlib.suppress(Exception):  # not set up, or a cluster that cannot be asked
            names.update(dir(self._target()))
        return sorted(names)

    def __getitem__(self, name: Any) -> Any:
        """The value of a key. Raises KeyError if there is none."""
        return self._answering()[name]

    def __setitem__(self, name: Any, value: Any) -> None:
        self._target()[name] = value

    def __delitem__(self, name: Any) -> None:
        del self._target()[name]

    def __contains__(self, name: Any) -> bool:  # type: ignore[override]
        return bool(self._answering().exists(name))

    def __enter__(self) -> Any:
        return self._target().__enter__()

    def __exit__(self, *details: Any) -> None:
        self._target().__exit__(*details)

    def __repr__(self) -> str:
        leads_to = {app.name: connector.label for app, connector in list(self._connectors.items())}
        return f"<FlaskRedis {self.config_prefix} {leads_to}>"


class _Announcer:
    """Sends a signal for what happens to an application's connections, while both live."""

    def __init__(self, client: FlaskRedis, app: Flask) -> None:
        self._client = weakref.ref(client)
        self._app = weakref.ref(app)

    def __call__(self, event: str, **details: Any) -> None:
        client, app = self._client(), self._app()
        if client is not None and app is not None and event in _SIGNALS:
            _SIGNALS[event].send(app, client=client, **details)
