"""The keeper: the process that starts one embedded server, and ends the server when no process uses it any more.

The keeper runs this file as a script, without this package and its dependencies. It imports only modules that load
fast, because the start of the keeper takes most of the time of a server's start. An import of this file runs nothing.
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
#: The file on which every process that uses the server has a shared lock.
USERS_LOCK = "users.lock"
#: The file on which the keeper has a lock from its start to its end. No other process has this lock for long.
KEEPER_LOCK = "keeper.lock"
#: The file that the starting process locks. The keeper and the server inherit the lock. If the lock is free, neither
#: the keeper nor the server runs.
SERVER_LOCK = "server.lock"

#: Seconds that the server has to write its data and end, before it is killed. It needs some milliseconds. The kernel
#: already has all acknowledged writes, so a kill loses none of them.
SHUTDOWN_TIMEOUT = 5.0

#: The server's options: no TCP port, a socket and data in the folder, and no dangerous commands.
OPTIONS = [
    *("--port", "0", "--unixsocket", SOCKET, "--unixsocketperm", "700", "--dir", ".", "--databases", "16"),
    *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
    *("--logfile", LOG, "--loglevel", "notice", "--hide-user-data-from-log", "yes"),
    *("--daemonize", "no", "--enable-debug-command", "no", "--enable-module-command", "no"),
]


def main(folder: int, lock: int, program: str) -> None:
    """Run a server in ``folder`` as long as any process uses the server, then end this process. Never return.

    ``folder`` is a file descriptor of the open folder, and ``lock`` of the locked file ``server.lock``. ``program`` is
    the path of the server's program. The caller must have a lock on ``users.lock``: otherwise the keeper would end the
    server immediately.
    """
    # The caller waits for the first process, which ends here. Its child is the keeper. So the keeper is no child of the
    # application: waitpid(-1) in the application does not return it, and it becomes no zombie.
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
    # Wait for the lock, because another process may have it for a moment, to see whether a keeper runs.
    fcntl.flock(os.open(KEEPER_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), fcntl.LOCK_EX)
    os.set_inheritable(lock, True)
    server = _start_server(program)
    # Wait for the last user in a thread. With a signal handler, a signal right before waitpid() would be lost.
    _thread.start_new_thread(_end_with_the_last_user, (users, server))
    os.waitpid(server, 0)
    # The end of this process releases its locks. New processes wait for these locks, so they never use an old server.
    os._exit(0)


def _end_with_the_last_user(users: int, server: int) -> None:
    try:
        fcntl.flock(users, fcntl.LOCK_EX)
    finally:  # also if flock() fails: without a keeper that waits, the server would run for ever
        os.kill(server, signal.SIGTERM)
        time.sleep(SHUTDOWN_TIMEOUT)
        os.kill(server, signal.SIGKILL)


def _start_server(program: str) -> int:
    """Start a server that ends when this process ends, even by a kill. Return the server's process id."""
    # No process writes to the pipe. Only this process has the write end open, so its end closes the pipe.
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

    Only on Linux a process can choose the signal. On other systems, a server whose keeper was killed runs until another
    process wants to use it. ``EmbeddedServer`` then ends this server.
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
