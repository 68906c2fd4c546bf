"""Groups of real Redis servers for tests, and a cluster of six nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from support import clock
from support.servers.redis_server import START_TIMEOUT, free_port
from support.servers.special import VolatileRedisServer

#: Seconds in which a new master must be there. Each setting below leads to about 2.5 s; a vote that nobody wins, as
#: happens on a loaded machine, costs a cluster 4 s more and Sentinels 6 s more.
FAILOVER_TIMEOUT = 30.0

#: What may go wrong with a look at a server that starts, ends or changes its part.
NOT_NOW = (redis.exceptions.RedisError, OSError, LookupError)


def wait_until(holds: Callable[[], object], what: str, timeout: float = START_TIMEOUT) -> float:
    """Wait until something holds on a server, which may not answer yet or no longer; return the seconds."""
    return clock.wait_until(holds, what, timeout, errors=NOT_NOW)


def free_ports(count: int) -> list[int]:
    """Return different ports that nobody listens on."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)


class MemberServer(VolatileRedisServer):
    """A server of a group."""

    @property
    def is_running(self) -> bool:
        """Whether it was started and neither stopped nor killed since."""
        return self._process is not None


class ServerGroup:
    """Servers by port, and the test's own clients of them."""

    def __init__(self, password: str | None = None) -> None:
        self.servers: dict[int, MemberServer] = {}
        self._password = password
        self._admins: dict[int, Any] = {}
        self._paused: set[int] = set()

    def add(self, server: MemberServer, port: int) -> None:
        """Take a server into the group, on this port."""
        server.folder.mkdir()
        server.port = port
        self.servers[port] = server

    def admin(self, port: int) -> Any:
        """Return a plain client of one server, for the test itself. It belongs to the group, and gives up early."""
        if port not in self._admins:
            once_more = Retry(NoBackoff(), 1, supported_errors=(redis.exceptions.ConnectionError,))
            self._admins[port] = self._connect(port, once_more)
        return self._admins[port]

    def _connect(self, port: int, retry: Retry) -> Any:
        options: dict[str, Any] = {"socket_timeout": 2, "socket_connect_timeout": 2, "retry": retry}
        return redis.Redis(port=port, password=self._password, **options)

    def kill(self, port: int) -> None:
        """End a server with SIGKILL, also one that is paused. It keeps nothing on disk."""
        self.servers[port].stop()

    def up(self) -> list[int]:
        """Return the ports of those that are neither killed nor paused."""
        return [port for port, server in self.servers.items() if server.is_running and port not in self._paused]

    def pause(self, port: int) -> None:
        """Let a server hang, by SIGSTOP: its connections stay open and get no answers."""
        self.servers[port].pause()
        self._paused.add(port)

    def resume(self, port: int) -> None:
        """Undo :meth:`pause`. What was sent to the server meanwhile, it does now."""
        self._paused.discard(port)
        self.servers[port].resume()

    def connected_replicas(self, master: int) -> int:
        """Return how many replicas are connected to a master, also those that are not up to date yet."""
        return int(self.admin(master).info("replication")["connected_slaves"])

    def is_replicated(self, master: int, marker: bytes = b"written-after", timeout: float = 1.0) -> bool:
        """Return whether every replica of the master, and at least one, has what was written to it before this call.

        Not only one of them: Sentinels promote the one whose last report was of the greater offset, that report may be
        seconds old, and so it may be the one which has less. False if the server is no master or does not answer.
        ``marker`` is a key that it may write to; in a cluster, one of its own.
        """
        try:
            replicas = max(1, self.connected_replicas(master))
            # WAIT speaks of what its own connection has written, so this one writes something after all the others.
            # In a transaction it would not wait.
            with self.admin(master).pipeline(transaction=False) as pipeline:
                pipeline.set(marker, master).wait(replicas, int(timeout * 1000))
                _, acknowledged = pipeline.execute()
        except NOT_NOW:
            return False
        return bool(acknowledged >= replicas)

    def stop(self) -> None:
        """End everything."""
        for client in self._admins.values():
            client.close()
        self._admins.clear()
        for server in self.servers.values():
            server.stop()


class Node(NamedTuple):
    """What a node of a cluster says of one."""

    port: int
    node_id: str
    flags: list[str]
    #: First and last of each range.
    slots: list[tuple[int, int]]
    master_id: str


class SixNodeCluster(ServerGroup):
    """Three masters with a replica each. What it is made of can be asked of any node that is up."""

    SLOTS = 16384
    MASTERS = 3
    #: What :meth:`migrate_slot` pauses at.
    STAGES = ("importing", "migrating", "half moved", "all moved", "assigned on the target", "done")
    OPTIONS = (
        *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000"),
        # A replica may take over however long ago it heard of its master, and stays with the one that it has.
        *("--cluster-replica-validity-factor", "0", "--cluster-allow-replica-migration", "no"),
        *("--repl-diskless-sync-delay", "0"),
    )

    def __init__(self, folder: Path) -> None:
        super().__init__()
        count = 2 * self.MASTERS
        ports = free_ports(2 * count)
        for number, (port, bus) in enumerate(zip(ports[:count], ports[count:], strict=True)):
            server = MemberServer(folder / str(number))
            server.bus = bus
            server.options = [*self.OPTIONS, "--cluster-port", str(bus)]
            self.add(server, port)
        self.ports = ports[:count]
        self.url = "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.ports[: self.MASTERS])

    def start(self) -> None:
        """Start the nodes, and wait until each knows of all others and each replica has what its master has."""
        for server in self.servers.values():
            server.start()
        masters, replicas = self.ports[: self.MASTERS], self.ports[self.MASTERS :]
        for number, port in enumerate(self.ports):
            node = self.admin(port)
            if port in masters:
                first, end = (self.SLOTS * at // self.MASTERS for at in (number, number + 1))
                node.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
            node.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for port in self.ports:
            for other, server in self.servers.items():
                self.admin(port).execute_command("CLUSTER MEET", "127.0.0.1", other, server.bus)
        wait_until(
            lambda: all(len(self.nodes(port)) == len(self.ports) for port in self.ports), "they know of each other"
        )
        for replica, master in zip(replicas, masters, strict=True):
            self.admin(replica).execute_command("CLUSTER REPLICATE", self.node_id(master))
        self.wait_until_well()

    def wait_until_well(self, timeout: float = FAILOVER_TIMEOUT) -> float:
        """Wait until all that are up agree on who has which slot, and all replicas are up to date; return seconds."""
        return wait_until(self._is_well, "the cluster is well", timeout)

    def _is_well(self) -> bool:
        up = self.up()
        views = {self._view(port) for port in up}
        states = [self.admin(port).cluster("INFO")["cluster_state"] for port in up]
        links = [self.admin(port).info("replication").get("master_link_status", "up") for port in up]
        return len(views) == 1 and None not in views and set(states) == {"ok"} and set(links) == {"up"}

    def _view(self, of: int) -> frozenset[tuple[int, object]] | None:
        """Return which slots or which master those have that are up, as one node sees it; None if that is not whole."""
        nodes, up = self.nodes(of), self.up()
        masters = {node.node_id: node.port for node in nodes if node.slots and node.port in up}
        replicas = [(node.port, masters.get(node.master_id)) for node in nodes if node.port in up and not node.slots]
        if len(masters) != self.MASTERS or None in dict(replicas).values():
            return None
        return frozenset([*replicas, *((node.port, tuple(node.slots)) for node in nodes if node.slots)])

    def nodes(self, of: int | None = None) -> list[Node]:
        """Return what one node knows of all, itself included."""
        said = self.admin(of or self.up()[0]).cluster("NODES")
        return [
            Node(
                int(address.partition("@")[0].rpartition(":")[2]),
                told["node_id"],
                told["flags"].split(","),
                [(int(each[0]), int(each[-1])) for each in told["slots"]],
                told["master_id"],
            )
            for address, told in said.items()
            if not {"handshake", "noaddr"} & set(told["flags"].split(","))
        ]

    def node_id(self, port: int) -> str:
        """Return a node's id."""
        return str(self.admin(port).execute_command("CLUSTER MYID").decode())

    def masters(self) -> list[int]:
        """Return the ports of those that have slots, in the order of these."""
        return [node.port for node in sorted(self.nodes(), key=lambda node: node.slots) if node.slots]

    def slot_of(self, key: str | bytes) -> int:
        """Return the slot of a key."""
        return key_slot(key.encode() if isinstance(key, str) else key)

    def master_of(self, key: str | bytes | int) -> int:
        """Return the port of the master that has the slot of a key, or the slot of this number."""
        slot = key if isinstance(key, int) else self.slot_of(key)
        owners = [node.port for node in self.nodes() if any(first <= slot <= last for first, last in node.slots)]
        if len(owners) != 1:
            raise LookupError(f"slot {slot} is with {owners}")  # as it may be for a moment in a failover
        return owners[0]

    def errors(self, port: int, kind: str) -> int:
        """Return how many commands a node has refused in this way, such as ``ASK`` or ``MOVED``."""
        return int(self.admin(port).info("errorstats").get(f"errorstat_{kind}", {"count": 0})["count"])

    def replicas_of(self, port: int) -> list[int]:
        """Return the ports of a master's replicas that are up."""
        (master,) = (node for node in self.nodes() if node.port == port)
        up = self.up()
        return [node.port for node in self.nodes() if node.master_id == master.node_id and node.port in up]

    # -- what happens to a cluster ------------------------------------------------------------------------

    def migrate_slot(
        self, slot: int, source: int, target: int, pause: Callable[[str], None] | None = None, batch: int = 3
    ) -> None:
        """Move a slot between masters, given by port, as an operator's tool does.

        ``pause`` is called at each of :attr:`STAGES`: requests are redirected by ASK while it runs.
        """
        tell = pause or (lambda stage: None)
        old, new = self.admin(source), self.admin(target)
        source_id, target_id = self.node_id(source), self.node_id(target)
        new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
        tell("importing")
        old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target_id)
        tell("migrating")
        self._move_keys(slot, source, target, batch, leave=old.execute_command("CLUSTER COUNTKEYSINSLOT", slot) // 2)
        tell("half moved")
        self._move_keys(slot, source, target, batch, leave=0)
        tell("all moved")
        new.execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)
        tell("assigned on the target")
        for port in (source, *(port for port in self.masters() if port not in (source, target))):
            self.admin(port).execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)
        tell("done")
        self.wait_until_well()

    def _move_keys(self, slot: int, source: int, target: int, batch: int, *, leave: int) -> None:
        old = self.admin(source)
        while (there := old.execute_command("CLUSTER COUNTKEYSINSLOT", slot)) > leave:
            keys = old.execute_command("CLUSTER GETKEYSINSLOT", slot, min(batch, there - leave))
            old.execute_command("MIGRATE", "127.0.0.1", target, "", 0, 5000, "KEYS", *keys)

    def fail_over(self, port: int) -> int:
        """Let a master's replica take its place while both are up, without loss; return the replica's port.

        Not twice in a row: the other masters vote for a new one in the same place every 2 s at most.
        """
        (replica,) = self.replicas_of(port)
        self.admin(replica).execute_command("CLUSTER FAILOVER")
        self.wait_for_promotion(replica)
        return replica

    def kill_master(self, port: int) -> tuple[int, float]:
        """Kill a master; return the port of the replica that took its place, and after how many seconds it had."""
        (replica,) = self.replicas_of(port)
        self.kill(port)
        return replica, self.wait_for_promotion(replica)

    def wait_for_promotion(self, replica: int, timeout: float = FAILOVER_TIMEOUT) -> float:
        """Wait until a replica is a master, and all agree; return after how many seconds that was."""
        seconds = wait_until(lambda: replica in self.masters(), "the replica was promoted", timeout)
        return seconds + self.wait_until_well(timeout)

    def restart(self, port: int) -> None:
        """Start a node again that was killed, empty. It finds its place by itself: a former master as a replica."""
        self.servers[port].start()
        self.wait_until_well()
