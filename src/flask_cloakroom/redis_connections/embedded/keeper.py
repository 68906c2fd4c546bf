"""The process that keeps one embedded server: starts it, and ends it when no process uses it any more.

It runs as a script without this package and its dependencies, and imports only modules that load fast: the start of the
keeper is most of the wait for a server. Importing this module runs nothing.
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
#: Every process that uses the server holds a shared lock on this file.
USERS_LOCK = "users.lock"
#: The keeper, and no other process, holds a lock on this file for its whole life.
KEEPER_LOCK = "keeper.lock"
#: The starting process locks this file. The keeper and the server inherit the lock: if it is free, none of them runs.
SERVER_LOCK = "server.lock"

#: Seconds that the server has to write its data and end, before it is killed. It needs some milliseconds. The kernel
#: already has all acknowledged writes, so a kill loses none of them.
SHUTDOWN_TIMEOUT = 5.0

OPTIONS = [
    *("--port", "0", "--unixsocket", SOCKET, "--unixsocketperm", "700", "--dir", ".", "--databases", "16"),
    *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
    *("--logfile", LOG, "--loglevel", "notice", "--hide-user-data-from-log", "yes"),
    *("--daemonize", "no", "--enable-debug-command", "no", "--enable-module-command", "no"),
]


def main(folder: int, lock: int, program: str) -> None:
    """Run a server in the open folder ``folder`` while processes use it, and never return.

    ``folder`` and ``lock`` are file descriptors; ``lock`` is the locked file of the server lock. ``program`` is the
    path of the server's program. The caller must use the server itself, or the keeper would end it at once.
    """
    # The caller waits for this process, which ends here. So the keeper is no child of the application: no waitpid() of
    # the application meets it, and it becomes no zombie.
    if os.fork():
        os._exit(0)
    os.fchdir(folder)
    os.close(folder)
    os.umask(0o077)
    # A server that inherits an ignored or blocked SIGTERM could not be ended with it.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    users = os.open(USERS_LOCK, os.O_RDWR | os.O_NOFOLLOW)
    # Other processes hold this lock for a moment, to see whether there is a keeper.
    fcntl.flock(os.open(KEEPER_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), fcntl.LOCK_EX)
    os.set_inheritable(lock, True)
    server = _start_server(program)
    # In a thread and not in a signal handler: a signal just before waitpid() begins to wait would interrupt nothing.
    _thread.start_new_thread(_end_with_the_last_user, (users, server))
    os.waitpid(server, 0)
    # The locks are free when this process ends. A new user waits until then, so the shutdown is complete.
    os._exit(0)


def _end_with_the_last_user(users: int, server: int) -> None:
    try:
        fcntl.flock(users, fcntl.LOCK_EX)
    finally:  # also if locking fails: a server that nothing ends would be worse than no server
        os.kill(server, signal.SIGTERM)
        time.sleep(SHUTDOWN_TIMEOUT)
        os.kill(server, signal.SIGKILL)


def _start_server(program: str) -> int:
    """Return the process id of a new server that ends when this process does, even if this process is killed."""
    # Nothing is ever written to the pipe. Only this process has the write end open.
    read_end, write_end = os.pipe()
    server = os.fork()
    if server:
        os.close(read_end)
        return server
    try:
        os.close(write_end)
        os.dup2(read_end, 0)
        _end_when_closed(0)
        os.execv(program, [program, *OPTIONS])  # noqa: S606 -- no shell is wanted
    finally:
        os._exit(1)


def _end_when_closed(pipe: int) -> None:
    """Let the kernel send SIGTERM to this process when the other end of ``pipe`` is closed.

    Only Linux allows to choose the signal. On other systems a server whose keeper was killed goes on until a process
    wants to use it; ``EmbeddedServer`` ends it then.
    """
    if sys.platform != "linux":
        return
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([pipe], [], [], 0)[0]:
        raise SystemExit("The keeper ended before its server started. Try again.")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
