"""A master, its replicas, and the Sentinels that watch them: real servers for tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from support.servers.groups import FAILOVER_TIMEOUT, MemberServer, ServerGroup, free_ports, wait_until
from support.servers.redis_server import require, wait_for_port


class MemberSentinel(MemberServer):
    """A Sentinel of several. It writes what it learns into its file of settings."""

    #: Lines of that file, besides those which say where it listens.
    settings: Sequence[str] = ()

    def start(self) -> None:
        """Start it, or start it again with what it had learned."""
        program = require("redis-server", "redis-server")
        file = self.folder / "sentinel.conf"
        if not file.exists():
            lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.folder}", *self.settings]
            file.write_text("\n".join(lines))
        with (self.folder / "log").open("ab") as output:
            self._process = subprocess.Popen([program, str(file), "--sentinel"], stdout=output, stderr=output)
        wait_for_port(self.port)


class SentinelSetup(ServerGroup):
    """A master with two replicas, and three Sentinels that agree by two on who is the master."""

    SERVICE = "cloakroom"
    REPLICAS = 2
    SENTINELS = 3
    QUORUM = 2
    #: Milliseconds without an answer after which a Sentinel holds the master for down.
    DOWN_AFTER = 1000
    #: Milliseconds that a failover may take; after twice as many, a vote that nobody has won is held again.
    GIVE_UP_AFTER = 3000

    def __init__(self, folder: Path, *, password: str | None = None, sentinel_password: str | None = None) -> None:
        """With a password, the servers, the Sentinels or both ask for it."""
        super().__init__(password)
        count = 1 + self.REPLICAS
        ports = free_ports(count + self.SENTINELS)
        self.ports, self.sentinel_ports = ports[:count], ports[count:]
        for number, port in enumerate(self.ports):
            server = MemberServer(folder / str(number))
            server.options = ["--repl-diskless-sync-delay", "0"]
            if number:
                server.options += ["--replicaof", "127.0.0.1", str(self.ports[0])]
            if password:
                server.options += ["--requirepass", password, "--masterauth", password]
            self.add(server, port)
        self.sentinels = ServerGroup(sentinel_password)
        for number, port in enumerate(self.sentinel_ports):
            sentinel = MemberSentinel(folder / f"sentinel-{number}")
            sentinel.settings = list(self._settings(password, sentinel_password))
            self.sentinels.add(sentinel, port)
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        self.place = f"{hosts}/{self.SERVICE}/0"
        self.url = f"redis+sentinel://{self.place}"

    def _settings(self, password: str | None, sentinel_password: str | None) -> Iterator[str]:
        yield f"sentinel monitor {self.SERVICE} 127.0.0.1 {self.ports[0]} {self.QUORUM}"
        yield f"sentinel down-after-milliseconds {self.SERVICE} {self.DOWN_AFTER}"
        yield f"sentinel failover-timeout {self.SERVICE} {self.GIVE_UP_AFTER}"
        yield f"sentinel parallel-syncs {self.SERVICE} 1"
        if password:
            yield f"sentinel auth-pass {self.SERVICE} {password}"
        if sentinel_password:
            yield f'requirepass "{sentinel_password}"'

    def start(self) -> None:
        """Start all, and wait until the Sentinels know of the replicas and of each other."""
        for server in self.servers.values():
            server.start()
        wait_until(lambda: self.connected_replicas(self.ports[0]) == self.REPLICAS, "the replicas are connected")
        wait_until(lambda: self.is_replicated(self.ports[0]), "the replicas have what the master has")
        for server in self.sentinels.servers.values():
            server.start()
        # By itself a Sentinel asks a new master for the first time after 1 s, and with DOWN_AFTER of 1 s may find it
        # down right then: there would be a second failover, now and then.
        self._let_sentinels(PING_PERIOD=250)
        with self._in_a_hurry():
            wait_until(lambda: all(map(self._knows_all, self.sentinel_ports)), "the Sentinels know of all")

    def _let_sentinels(self, **milliseconds: int) -> None:
        for port in self.sentinels.up():
            for name, value in milliseconds.items():
                self.sentinels.admin(port).execute_command("SENTINEL DEBUG", name.replace("_", "-"), value)

    @contextmanager
    def _in_a_hurry(self) -> Iterator[None]:
        """Let the Sentinels tell of themselves, ask the servers and act on it more often than is usual.

        How fast they hold a master for down is left as it is.
        """
        self._let_sentinels(PUBLISH_PERIOD=100, INFO_PERIOD=100)
        yield
        self._let_sentinels(PUBLISH_PERIOD=2000, INFO_PERIOD=10000)

    def _knows_all(self, sentinel: int) -> bool:
        client = self.sentinels.admin(sentinel)
        replicas = client.sentinel_slaves(self.SERVICE)
        good = [replica for replica in replicas if replica["master-link-status"] == "ok" and not replica["is_sdown"]]
        others = client.sentinel_sentinels(self.SERVICE)
        return len(good) == self.REPLICAS and len([each for each in others if each["runid"]]) == self.SENTINELS - 1

    def stop(self) -> None:
        """End everything."""
        self.sentinels.stop()
        super().stop()

    # -- what a test asks ---------------------------------------------------------------------------------

    def master_ports(self) -> set[int]:
        """Return what the Sentinels that are up say where the master is: one port, if they agree."""
        clients = [self.sentinels.admin(port) for port in self.sentinels.up()]
        answers = [client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", self.SERVICE) for client in clients]
        return {int(port) for _, port in answers}

    def master_port(self) -> int:
        """Return what a Sentinel says where the master is."""
        client = self.sentinels.admin(self.sentinels.up()[0])
        _, port = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", self.SERVICE)
        return int(port)

    # -- what happens to a setup --------------------------------------------------------------------------

    def kill_master(self) -> int:
        """Kill the master; return its port."""
        port = self.master_port()
        self.kill(port)
        return port

    def pause_master(self) -> int:
        """Let the master hang; return its port, for :meth:`resume`."""
        port = self.master_port()
        self.pause(port)
        return port

    def wait_for_new_master(self, old: int, timeout: float = FAILOVER_TIMEOUT) -> tuple[int, float]:
        """Wait until all Sentinels name another master and it is one; return its port and how many seconds it took."""

        def promoted() -> bool:
            (port,) = named if len(named := self.master_ports()) == 1 else [old]
            return port != old and self.admin(port).info("replication")["role"] == "master"

        seconds = wait_until(promoted, "a new master is there", timeout)
        return self.master_port(), seconds

    def wait_until_replica(self, port: int, *, hurry: bool = True) -> float:
        """Wait until a former master has become a replica and has what the new one has; return seconds.

        Sentinels ask every 10 s, and make a replica of what has said for 8 s that it is a master. With ``hurry`` it
        takes them half a second.
        """

        def is_replica() -> bool:
            said = self.admin(port).info("replication")
            up_to_date = said["role"] == "slave" and said["master_link_status"] == "up"
            return bool(up_to_date and self.is_replicated(said["master_port"]))

        with self._in_a_hurry() if hurry else nullcontext():
            return wait_until(is_replica, "the former master is a replica", FAILOVER_TIMEOUT)

    def restart(self, port: int, *, hurry: bool = True) -> float:
        """Start a server again that was killed, empty, and wait until it is a replica; return how many seconds."""
        self.servers[port].start()
        return self.wait_until_replica(port, hurry=hurry)
