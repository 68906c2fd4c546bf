"""The process that keeps one embedded server: starts it, and ends it when nobody uses it any more.

It is run as a script, with nothing of this package or its dependencies on the path, and imports only what starts
fast: it is the larger part of the wait for a server. Nothing happens when it is imported.
"""

from __future__ import annotations

import _thread
import fcntl
import os
import select
import signal
import sys
import time

SOCKET = "server.sock"
LOG = "server.log"
#: Locked shared by every process that uses the server, for as long as it does.
USERS_LOCK = "users.lock"
#: Locked by the keeper for its whole life, and by nobody else.
KEEPER_LOCK = "keeper.lock"
#: Locked by the starter, and from it by inheritance the keeper and the server: free means that none of them is there.
SERVER_LOCK = "server.lock"

#: Seconds that the server gets to write out its data and end, before it is killed. It needs some milliseconds; what it
#: has acknowledged is with the kernel already, and no kill takes it back from there.
SHUTDOWN_PATIENCE = 5.0

OPTIONS = [
    *("--port", "0", "--unixsocket", SOCKET, "--unixsocketperm", "700", "--dir", ".", "--databases", "16"),
    *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
    *("--logfile", LOG, "--loglevel", "notice", "--hide-user-data-from-log", "yes"),
    *("--daemonize", "no", "--enable-debug-command", "no", "--enable-module-command", "no"),
]


def main(folder: int, lock: int, program: str) -> None:
    """Keep a server in the folder that is open as ``folder``, under the lock that was taken on ``lock``; never return.

    The caller has a server lock on ``lock`` and uses the server itself (else it would be ended at once).
    """
    # The process that started this one waits for it and has no child left: nobody else's waitpid meets the keeper,
    # and no zombie of it stays behind.
    if os.fork():
        os._exit(0)
    os.fchdir(folder)
    os.close(folder)
    os.umask(0o077)
    # A server that inherits an ignored or blocked SIGTERM would be hard to end.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    users = os.open(USERS_LOCK, os.O_RDWR | os.O_NOFOLLOW)
    # The others hold this one for a moment, to see whether there is a keeper.
    fcntl.flock(os.open(KEEPER_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), fcntl.LOCK_EX)
    os.set_inheritable(lock, True)
    server = _start_server(program)
    # A thread, and not a signal handler that interrupts the waiting: a signal that comes just before the wait begins
    # would interrupt nothing.
    _thread.start_new_thread(_end_with_the_last_user, (users, server))
    os.waitpid(server, 0)
    # The locks go with the process: who comes in the meantime waits for a shutdown that is complete.
    os._exit(0)


def _end_with_the_last_user(users: int, server: int) -> None:
    try:
        fcntl.flock(users, fcntl.LOCK_EX)
    finally:  # also if the lock cannot be had: a server that nothing ends would be worse than none
        os.kill(server, signal.SIGTERM)
        time.sleep(SHUTDOWN_PATIENCE)
        os.kill(server, signal.SIGKILL)


def _start_server(program: str) -> int:
    """Return the process id of a server that ends when this process does, however that ends."""
    alive, held = os.pipe()  # nothing is ever written; `held` is open in this process alone
    server = os.fork()
    if server:
        os.close(alive)
        return server
    try:
        os.close(held)
        os.dup2(alive, 0)
        _be_ended_when_closed(0)
        os.execv(program, [program, *OPTIONS])  # noqa: S606 -- no shell is wanted
    finally:
        os._exit(1)


def _be_ended_when_closed(pipe: int) -> None:
    """Let the kernel send SIGTERM to this process when the other end of ``pipe`` is closed.

    Only Linux lets one choose the signal. Elsewhere the server of a keeper that was killed stays until somebody wants
    to use it, and is ended then (``EmbeddedServer``).
    """
    if sys.platform != "linux":
        return
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([pipe], [], [], 0)[0]:
        raise SystemExit("the keeper ended before its server began")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
