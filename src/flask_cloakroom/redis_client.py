"""``FlaskRedis``: the Redis client of an application. It replaces the class FlaskRedis of the package Flask-Redis."""

from __future__ import annotations

import contextlib
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flask import Flask, current_app

from .context import current_scope, this_app
from .errors import SettingError, TransactionError
from .redis_connections import Connector, ExternalClient, connect
from .secret import Secret
from .signals import redis_lost, redis_moved, redis_restored

if TYPE_CHECKING:
    from redis import Redis as _Client
else:
    _Client = object

DEFAULT_URL: Final = "redis://localhost:6379/0"

#: The key of ``app.extensions`` for a dict of the application's clients. ``app.extensions`` also has each client under
#: its prefix in lower case. No such prefix equals this key, because this key has a capital letter.
EXTENSION_KEY: Final = "Cloakroom.redis"

# Methods that send commands and need the answers immediately, so a transaction cannot queue them. With a queued
# command, lock() would return a lock that the server does not know.
_NEVER_QUEUED: Final = frozenset(
    {"lock", "pipeline", "pubsub", "monitor", "client", "transaction", "register_script", "connection_pool", "close"}
    | {"scan_iter", "hscan_iter", "sscan_iter", "zscan_iter"}
)

_SIGNALS: Final = {"lost": redis_lost, "restored": redis_restored, "moved": redis_moved}


class FlaskRedis(_Client):
    """A Redis client for one or more applications. It has all methods of the driver's client.

    ``redis_client.get("key")`` uses the client of the current application. Outside of an application context it uses
    the client of the only application that this object was set up for, and raises RuntimeError if it has several.

    All clients of a process with the same URL and the same options share one pool of connections. The session store and
    the clients of other applications are included.
    """

    def __init__(
        self, app: Flask | None = None, strict: bool = True, config_prefix: str = "REDIS", **kwargs: Any
    ) -> None:
        """Make a client. With ``app``, also call :meth:`init_app`.

        ``config_prefix``: the URL is ``app.config[config_prefix + "_URL"]``. ``strict`` is ignored, because the driver
        has only one class now. ``kwargs`` are options of the driver's client (``decode_responses``, ``socket_timeout``
        …), and ``max_connections``. An option in the URL replaces the same option in ``kwargs``.
        """
        self.config_prefix = config_prefix
        self.provider_class: Any = None
        self.provider_kwargs = kwargs
        self._connectors: weakref.WeakKeyDictionary[Flask, Connector] = weakref.WeakKeyDictionary()
        # The open transactions, first by request or application context, then by connector. Outside of any context,
        # each thread has a transaction of its own in self._thread.
        self._transactions: weakref.WeakKeyDictionary[Any, dict[Connector, Any]] = weakref.WeakKeyDictionary()
        self._thread = threading.local()
        if app is not None:
            self.init_app(app)

    @classmethod
    def from_custom_provider(cls, provider: Any, app: Flask | None = None, **kwargs: Any) -> FlaskRedis:
        """Return a FlaskRedis that makes its clients with ``provider.from_url(url, **options)`` instead of redis-py.

        ``kwargs`` are the constructor's arguments. Raises AssertionError if ``provider`` is None.
        """
        if provider is None:  # no assert statement, because python -O leaves it out
            raise AssertionError("The custom provider is None. Pass a class that has from_url(url, **options).")
        instance = cls(**kwargs)
        instance.provider_class = provider
        if app is not None:
            instance.init_app(app)
        return instance

    def init_app(self, app: Flask, **kwargs: Any) -> None:
        """Set up the client of ``app``. This call reads and checks the URL; the client connects at its first command.

        ``kwargs`` are more options, only for this application. They replace options of the constructor. This object is
        stored in ``app.extensions`` under ``config_prefix`` in lower case.

        Raises :class:`~flask_cloakroom.errors.SettingError` for a wrong URL or option. Raises ImportError if no driver
        is installed; the error says what to install.
        """
        setting = f"{self.config_prefix}_URL"
        url = app.config.get(setting, DEFAULT_URL)
        if isinstance(url, str):
            url = Secret(url)  # the URL may contain a password, which no error report may show
        options = {**self.provider_kwargs, **kwargs}
        if self.provider_class is not None:
            connector: Connector = ExternalClient(self.provider_class.from_url(url, **options))
        else:
            connector = self._connect(app, setting, url, options)
        connector.listen(_SignalSender(self, app))
        connector.warn_in_production(app)
        self._connectors[app] = connector
        app.extensions[self.config_prefix.lower()] = self
        clients: dict[str, FlaskRedis] = app.extensions.setdefault(EXTENSION_KEY, {})
        clients[self.config_prefix] = self

    def _connect(self, app: Flask, setting: str, url: Any, options: dict[str, Any]) -> Connector:
        if not isinstance(url, str):
            raise SettingError(setting, f"must be a str with a Redis URL, not {type(url).__name__}")
        try:
            return connect(url, folder=Path(app.instance_path), **options)
        except ValueError as error:
            raise SettingError(setting, str(error)) from None

    def connector_for(self, app: Flask | None = None) -> Connector:
        """Return the connector of ``app``, or of the current application. The call does not connect to the server.

        Raises RuntimeError if this object was not set up for the application. Raises RuntimeError too if no application
        is current and this object has several.
        """
        if app is None:
            app = this_app() if current_app else self._only_app()
        connector = self._connectors.get(app)
        if connector is None:
            raise RuntimeError(
                f"FlaskRedis({self.config_prefix!r}) was not set up for the application {app.name!r}. "
                f"First call init_app(app)."
            )
        return connector

    def _only_app(self) -> Flask:
        apps = list(self._connectors)
        if len(apps) == 1:
            return apps[0]
        if not apps:
            raise RuntimeError(
                f"FlaskRedis({self.config_prefix!r}) was not set up for any application that still exists. "
                f"First call init_app(app), and store the application in a variable."
            )
        raise RuntimeError(
            f"FlaskRedis({self.config_prefix!r}) serves {len(apps)} applications, and outside of their contexts it is "
            f"not clear which is meant. Use it in a view, or inside `with app.app_context():`"
        )

    @property
    def _redis_client(self) -> Any:
        """The driver's client of the current application. None before :meth:`init_app`. Flask-Redis has this name."""
        return self.connector_for().client if self._connectors else None

    def _target(self) -> Any:
        """Return the object that runs a command now: the pipeline of the open transaction, or else the client."""
        if self._transactions or hasattr(self._thread, "transaction"):
            transaction = self._open_transaction()
            if transaction is not None:
                return transaction
        return self.connector_for().client

    def multi(self) -> Any:
        """Open a transaction, which queues this object's commands until :meth:`exec`. Return the driver's pipeline.

        The transaction belongs to the current request or application context, and does not affect other requests. End
        the transaction in the same request with :meth:`exec`. Otherwise it ends with the context, and nothing is sent.
        Raises :class:`~flask_cloakroom.errors.TransactionError` if a transaction is open already.
        """
        if self._open_transaction() is not None:
            raise TransactionError("multi(): a transaction is open already. End it with exec() or discard().")
        connector = self.connector_for()
        pipeline = connector.client.pipeline(transaction=True)
        context = current_scope()
        if context is None:
            self._thread.transaction = pipeline
        else:
            self._transactions.setdefault(context, {})[connector] = pipeline
        return pipeline

    def exec(self) -> list[Any]:
        """Send all queued commands as one transaction, and return their results in order.

        The server runs all commands or none. The transaction has ended after this call, even after an error.

        Raises :class:`~flask_cloakroom.errors.TransactionError` if no transaction is open, and the driver's errors.
        """
        pipeline = self._end_transaction("exec")
        try:
            results: list[Any] = pipeline.execute()
        finally:
            pipeline.reset()
        return results

    def discard(self) -> None:
        """Delete the queued commands and end the transaction.

        Raises :class:`~flask_cloakroom.errors.TransactionError` if no transaction is open.
        """
        self._end_transaction("discard").reset()

    def _open_transaction(self) -> Any:
        context = current_scope()
        if context is None:
            return getattr(self._thread, "transaction", None)
        # Look by connector as well, because a request may push the context of another application.
        return self._transactions.get(context, {}).get(self.connector_for())

    def _end_transaction(self, name: str) -> Any:
        transaction = self._open_transaction()
        if transaction is None:
            raise TransactionError(f"{name}() was called, but no transaction is open. First call multi().")
        context = current_scope()
        if context is None:
            del self._thread.transaction
        else:
            transactions = self._transactions[context]
            del transactions[self.connector_for()]
            if not transactions:
                del self._transactions[context]
        return transaction

    def _client_outside_transaction(self) -> Any:
        if self._open_transaction() is not None:
            raise TransactionError("[] and `in` do not work while a transaction is open. Use get() or exists().")
        return self.connector_for().client

    if not TYPE_CHECKING:  # a type checker knows the driver's methods; with __getattr__ it would accept every name

        def __getattr__(self, name: str) -> Any:
            # Python calls this only for names that this class lacks. copy and pickle call it before __init__ has run.
            if name.startswith("__") or "_connectors" not in self.__dict__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return getattr(self.connector_for().client if name in _NEVER_QUEUED else self._target(), name)

    def __dir__(self) -> list[str]:
        names = set(super().__dir__())
        with contextlib.suppress(Exception):  # init_app() was not called, or a cluster does not answer
            names.update(dir(self._target()))
        return sorted(names)

    def __getitem__(self, name: Any) -> Any:
        """Return the value of the Redis key ``name``. Raises KeyError if the server has no such key."""
        return self._client_outside_transaction()[name]

    def __setitem__(self, name: Any, value: Any) -> None:
        self._target()[name] = value

    def __delitem__(self, name: Any) -> None:
        del self._target()[name]

    def __contains__(self, name: Any) -> bool:  # type: ignore[override]
        return bool(self._client_outside_transaction().exists(name))

    def __enter__(self) -> Any:
        return self._target().__enter__()

    def __exit__(self, *details: Any) -> None:
        self._target().__exit__(*details)

    def __repr__(self) -> str:
        labels = {app.name: connector.label for app, connector in list(self._connectors.items())}
        return f"<FlaskRedis {self.config_prefix} {labels}>"


class _SignalSender:
    """A listener that sends the signals of one application for the events of its connections.

    The references are weak, so that the listener does not keep the application and its client in memory.
    """

    def __init__(self, client: FlaskRedis, app: Flask) -> None:
        self._client = weakref.ref(client)
        self._app = weakref.ref(app)

    def __call__(self, event: str, **details: Any) -> None:
        client, app = self._client(), self._app()
        if client is not None and app is not None and event in _SIGNALS:
            _SIGNALS[event].send(app, client=client, **details)
