"""The driver's pool and connections, with a bound, a watch, and nothing that is not needed on the way of a command."""

from __future__ import annotations

import os
import sys
import weakref
from types import ModuleType
from typing import Any, ClassVar, Final

from ..forking import call_in_child
from .limit import Bound, Idle, Room, TooManyConnectionsError, close_left_over
from .watch import Watch

#: Seconds that a command waits for a connection when all are in use, unless the option ``timeout`` says otherwise.
WAIT: Final = 5.0


class SharedConnection:
    """Mixed in before a connection class of the driver: finds out where to connect, and tells the watch."""

    def __init__(self, *, watch: Watch, route: Any = None, **options: Any) -> None:
        self._watch = watch
        #: Says where to connect, each time anew: Sentinel, the embedded server. None for an address that stands.
        self._route = route
        #: How much the watch had noticed when this was connected.
        self.made_since = 0
        #: What was being handled already when this connection was taken from its pool.
        self.handled_before: BaseException | None = None
        #: Its room under the bound.
        self.room: Room
        super().__init__(**options)

    def _connect(self) -> Any:
        since = self._watch.news
        try:
            if self._route is not None:
                self._route.lead(self)
            connected = super()._connect()  # type: ignore[misc]
        except Exception as error:
            self._watch.lost(error, since)
            raise
        self._watch.connected()
        self.made_since = self._watch.news
        return connected

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read an answer. That of a master which became a replica ends the connection: the next one asks anew."""
        if self._route is None:
            return super().read_response(*args, **options)  # type: ignore[misc]
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except Exception as error:
            self._route.check(self, error)
            raise


class BoundedPool:
    """Mixed in before the driver's ``ConnectionPool``: at most so many connections, and waiting instead of failing.

    No lock is taken while a connection lies idle. The names of the two attributes are the driver's, whose other methods
    then work as they are.
    """

    errors: ClassVar[ModuleType]
    default_connection_class: ClassVar[Any]
    wrap: ClassVar[Any]
    fixed_options: ClassVar[dict[str, Any]]
    make_watch: ClassVar[Any] = Watch

    connection_class: Any
    connection_kwargs: dict[str, Any]
    pid: int

    def __init__(
        self,
        connection_class: Any = None,
        max_connections: int | None = None,
        *,
        timeout: float = WAIT,
        bound: Bound | None = None,
        watch: Watch | None = None,
        **options: Any,
    ) -> None:
        """Without ``bound`` and ``watch`` it has its own: a node of a cluster, whose pools the driver makes."""
        if bound is None:
            bound = Bound(max_connections) if max_connections else Bound()
        if watch is None:
            watch = self.make_watch(f"{options.get('host')}:{options.get('port')}")
        self.bound = bound
        self.watch = watch
        self._wait = timeout
        #: Asks Sentinel anew, where there is one; else None.
        self._look_again = getattr(options.get("route"), "look_again", None)
        self._available_connections = Idle()
        # Weak, because an exception may come before the caller has noted that it has the connection: the connection and
        # its room then go with the last reference.
        self._in_use_connections: weakref.WeakSet[Any] = weakref.WeakSet()
        options = {**self.fixed_options, **{k: v for k, v in options.items() if k != "maint_notifications_config"}}
        options["watch"] = watch
        super().__init__(  # type: ignore[call-arg]
            connection_class=self.wrap(connection_class or self.default_connection_class),
            max_connections=bound.most,
            **options,
        )
        bound.join(self._available_connections)
        call_in_child(self.reset)
        places = (self._available_connections, self._in_use_connections)
        weakref.finalize(self, close_left_over, bound, *places).atexit = False

    def reset(self) -> None:
        """Forget every connection, as a forked child must: the sockets are the parent's."""
        self._available_connections.clear()
        self._in_use_connections.clear()
        self.pid = os.getpid()

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """Return a connection that is ready for a command, and is the caller's until it is released."""
        if self._look_again is not None:
            self._look_again()
        try:
            connection = self._take() if self.bound.waiting else self._available_connections.pop()
        except IndexError:
            connection = self._take()
        self._in_use_connections.add(connection)
        connection.handled_before = sys.exception()
        try:
            if connection._sock is None:
                self._connect(connection)
            else:
                self._refresh(connection)
        except BaseException:
            self.release(connection)
            raise
        return connection

    def _take(self) -> Any:
        try:
            found = self.bound.room(self._available_connections, self._wait)
        except TooManyConnectionsError:
            kind = getattr(self.errors, "MaxConnectionsError", self.errors.ConnectionError)
            raise kind(
                f"all {self.bound.most} connections to Redis ({self.watch.label}) are in use, and none became free in "
                f"{self._wait} s; raise max_connections, or look for what holds them"
            ) from None
        if type(found) is not Room:
            return found
        try:
            connection = self.make_connection()
            connection.room = found
        except BaseException:
            self.bound.closed(found)
            raise
        return connection

    def _refresh(self, connection: Any) -> None:
        """Replace a connection that the server closed while it lay idle, or that has an answer nobody waited for."""
        try:
            if not connection.can_read():
                return
        except (self.errors.ConnectionError, self.errors.TimeoutError, OSError):
            pass
        since = connection.made_since
        connection.disconnect()
        self._connect(connection)
        self.watch.replaced(since)

    def _connect(self, connection: Any) -> None:
        connection.connect()
        # After a TLS handshake there are bytes that are no answer: the server's session tickets.
        if not hasattr(connection._sock, "pending") and connection.can_read():
            raise self.errors.ConnectionError("Connection not ready")

    def make_connection(self) -> Any:
        """Make a connection, which connects when it is used. Counting it is up to the caller."""
        return self.connection_class(**self.connection_kwargs)

    def release(self, connection: Any) -> None:
        """Take a connection back."""
        try:
            self._in_use_connections.remove(connection)
        except KeyError:
            if connection.pid != self.pid:  # the parent's, which its child gives back: close our copy of it
                connection.disconnect()
            return
        error = sys.exception()
        if error is not None:
            # What a signal handler, a greenlet's end or somebody else's thread raises may come between command and
            # answer, outside of the driver's own precautions. The answer would be taken for the next command's.
            if error is not connection.handled_before and not isinstance(error, self.errors.RedisError):
                connection.disconnect()
        elif getattr(connection, "_should_reconnect", False):
            connection.disconnect()
        connection.handled_before = None
        self._available_connections.append(connection)
        if self.bound.waiting:
            self.bound.wake()

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the idle connections, and, unless told otherwise, those that are in use; all can be used again."""
        idle = []
        while self._available_connections:
            try:
                idle.append(self._available_connections.pop())
            except IndexError:  # another thread took it
                break
        for connection in [*idle, *(list(self._in_use_connections) if inuse_connections else ())]:
            connection.disconnect()
        self._available_connections.extend(idle)
        if self.bound.waiting:
            self.bound.wake()

    def disconnect_free_connections(self, moving_address_src: str | None = None) -> None:
        """Close the idle connections, as a cluster's client wants after a failover.

        The driver's own method goes through them under a lock, which nobody takes here who takes a connection: it would
        close one that another thread has begun to use.
        """
        self.disconnect(inuse_connections=False)

    def set_retry(self, retry: Any) -> None:
        """Let every connection try again as ``retry`` says, from now on."""
        self.connection_kwargs["retry"] = retry
        for connection in [*list(self._available_connections), *list(self._in_use_connections)]:
            connection.retry = retry
