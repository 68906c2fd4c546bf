"""Mixins for the driver's pool and connections: a connection limit, a watch, and less work for each command."""

from __future__ import annotations

import os
import sys
import weakref
from types import ModuleType
from typing import Any, ClassVar, Final

from ..forking import call_in_child
from .limit import ConnectionLimit, IdleConnections, Permit, TooManyConnectionsError, close_all
from .watch import ServerWatch

#: The default of the option ``timeout``: the seconds that a command waits for a free connection.
ACQUIRE_TIMEOUT: Final = 5.0


class SharedConnection:
    """A mixin for the driver's connection classes. It finds the server's address, and reports events to the watch."""

    def __init__(self, *, watch: ServerWatch, route: Any = None, **options: Any) -> None:
        self._watch = watch
        #: The object that finds the server's address before each connect, for Sentinel and the embedded server. None if
        #: the address is fixed.
        self._route = route
        #: The value of ServerWatch.generation at the time when this connection was made.
        self.generation = 0
        #: The exception that the thread was handling already when it got this connection from the pool.
        self.outer_exception: BaseException | None = None
        self.permit: Permit
        super().__init__(**options)

    def _connect(self) -> Any:
        generation = self._watch.generation
        try:
            if self._route is not None:
                self._route.set_address(self)
            connected = super()._connect()  # type: ignore[misc]
        except Exception as error:
            self._watch.report_lost(error, generation)
            raise
        self._watch.report_connected()
        self.generation = self._watch.generation
        return connected

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Return the server's answer. If a former master refuses a write, raise the driver's ConnectionError.

        The driver then connects again, and finds the new master.
        """
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except Exception as error:
            if self._route is not None:
                self._route.handle_error(self, error)
            raise


class LimitedPool:
    """A mixin for the driver's ``ConnectionPool``. At the connection limit it waits for a connection.

    If a connection is idle, a command gets it without a lock. The driver's own methods use the attributes
    ``_available_connections`` and ``_in_use_connections``, so this class uses the same names.
    """

    errors: ClassVar[ModuleType]
    default_connection_class: ClassVar[Any]
    wrap: ClassVar[Any]
    fixed_options: ClassVar[dict[str, Any]]
    make_watch: ClassVar[Any] = ServerWatch

    connection_class: Any
    connection_kwargs: dict[str, Any]
    pid: int

    def __init__(
        self,
        connection_class: Any = None,
        max_connections: int | None = None,
        *,
        timeout: float = ACQUIRE_TIMEOUT,
        limit: ConnectionLimit | None = None,
        watch: ServerWatch | None = None,
        **options: Any,
    ) -> None:
        """Make a pool. ``timeout`` is the longest wait for a free connection in seconds.

        Without ``limit`` and ``watch`` the pool makes its own. The pools of a cluster's nodes do so.
        """
        if limit is None:
            limit = ConnectionLimit(max_connections) if max_connections else ConnectionLimit()
        if watch is None:
            watch = self.make_watch(f"{options.get('host')}:{options.get('port')}")
        self.limit = limit
        self.watch = watch
        self._acquire_timeout = timeout
        #: A function that asks Sentinel again which server is the master. None without Sentinel.
        self._recheck_master = getattr(options.get("route"), "recheck_master", None)
        self._available_connections = IdleConnections()
        # A WeakSet, because an exception can come before the caller has stored its connection in a variable. Then
        # nothing else refers to the connection, and Python deletes the connection and its permit.
        self._in_use_connections: weakref.WeakSet[Any] = weakref.WeakSet()
        options = {**self.fixed_options, **{k: v for k, v in options.items() if k != "maint_notifications_config"}}
        options["watch"] = watch
        super().__init__(  # type: ignore[call-arg]
            connection_class=self.wrap(connection_class or self.default_connection_class),
            max_connections=limit.maximum,
            **options,
        )
        limit.add_pool(self._available_connections)
        call_in_child(self.reset)
        collections = (self._available_connections, self._in_use_connections)
        weakref.finalize(self, close_all, limit, *collections).atexit = False

    def reset(self) -> None:
        """Remove all connections without closing them: a forked child must not use the sockets of its parent."""
        self._available_connections.clear()
        self._in_use_connections.clear()
        self.pid = os.getpid()

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """Return a connection that is ready for a command. The caller must give it back with :meth:`release`."""
        if self._recheck_master is not None:
            self._recheck_master()
        try:
            connection = self._acquire() if self.limit.waiters else self._available_connections.pop()
        except IndexError:
            connection = self._acquire()
        self._in_use_connections.add(connection)
        connection.outer_exception = sys.exception()
        try:
            if connection._sock is None:
                self._connect(connection)
            else:
                self._replace_if_stale(connection)
        except BaseException:
            self.release(connection)
            raise
        return connection

    def _acquire(self) -> Any:
        try:
            found = self.limit.acquire(self._available_connections, self._acquire_timeout)
        except TooManyConnectionsError:
            kind = getattr(self.errors, "MaxConnectionsError", self.errors.ConnectionError)
            raise kind(
                f"All {self.limit.maximum} connections to Redis ({self.watch.label}) are in use, and none became free "
                f"in {self._acquire_timeout} s. Raise max_connections, or find the code that keeps connections busy."
            ) from None
        if type(found) is not Permit:
            return found
        try:
            connection = self.make_connection()
            connection.permit = found
        except BaseException:
            self.limit.release(found)
            raise
        return connection

    def _replace_if_stale(self, connection: Any) -> None:
        """Connect again if the server has closed this idle connection, or if it has unread bytes of an old answer."""
        try:
            if not connection.can_read():
                return
        except (self.errors.ConnectionError, self.errors.TimeoutError, OSError):
            pass
        generation = connection.generation
        connection.disconnect()
        self._connect(connection)
        self.watch.report_replaced(generation)

    def _connect(self, connection: Any) -> None:
        connection.connect()
        # With TLS (sockets with "pending") unread bytes are normal: the server sends TLS session tickets at the start.
        if not hasattr(connection._sock, "pending") and connection.can_read():
            raise self.errors.ConnectionError("A new connection to Redis has unread bytes. Check the server's address.")

    def make_connection(self) -> Any:
        """Return a new connection, which connects at its first use. The caller must give it a permit of the limit."""
        return self.connection_class(**self.connection_kwargs)

    def release(self, connection: Any) -> None:
        """Put a connection back into the pool. Close it first if it may have an unread answer."""
        try:
            self._in_use_connections.remove(connection)
        except KeyError:
            if connection.pid != self.pid:  # the parent process made it before the fork: close this child's copy
                connection.disconnect()
            return
        error = sys.exception()
        if error is not None:
            # A signal handler, the end of a greenlet or another thread can raise an exception between command and
            # answer. The driver does not expect this: it would take the answer for the answer to the next command.
            if error is not connection.outer_exception and not isinstance(error, self.errors.RedisError):
                connection.disconnect()
        elif getattr(connection, "_should_reconnect", False):
            connection.disconnect()
        connection.outer_exception = None
        self._available_connections.append(connection)
        if self.limit.waiters:
            self.limit.wake_first()

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the idle connections, and by default also those in use. A closed one connects again at its next use."""
        idle = []
        while self._available_connections:
            try:
                idle.append(self._available_connections.pop())
            except IndexError:  # another thread has taken it
                break
        for connection in [*idle, *(list(self._in_use_connections) if inuse_connections else ())]:
            connection.disconnect()
        self._available_connections.extend(idle)
        if self.limit.waiters:
            self.limit.wake_first()

    def disconnect_free_connections(self, moving_address_src: str | None = None) -> None:
        """Close the idle connections, for a cluster's client after a failover.

        The driver's own method needs a lock that this pool does not use. Without the lock, that method would close a
        connection that another thread has begun to use.
        """
        self.disconnect(inuse_connections=False)

    def set_retry(self, retry: Any) -> None:
        """Set the driver's retry object ``retry`` for all present and later connections of the pool."""
        self.connection_kwargs["retry"] = retry
        for connection in [*list(self._available_connections), *list(self._in_use_connections)]:
            connection.retry = retry
