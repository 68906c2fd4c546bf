"""Servers that only the tests of stores need: one that asks for a password, a replica, and what stands in between."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.servers.redis_server import START_TIMEOUT, RedisServer, free_port, require, wait_for_port


class VolatileRedisServer(RedisServer):
    """A redis-server that keeps nothing on disk: many times faster than one that waits for it at each write."""

    options: Sequence[str] = ()
    #: The port on which a node of a cluster talks to the others.
    bus = 0

    def start(self) -> None:
        """Start it, empty."""
        program = require("redis-server", "redis-server")
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "no", "--daemonize", "no", *self.options]
        with (self.folder / "log").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        wait_for_port(self.port)

    def stop(self) -> None:
        """Kill it: nothing of it is wanted any more, and an orderly end takes it a tenth of a second."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class GuardedRedisServer(VolatileRedisServer):
    """One with a password, on TCP, TLS and a Unix socket."""

    password = "hunter2-and-more"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.socket = folder / "redis.sock"
        self.certificate, key = make_certificate(folder)
        self._tls_port = tls_port = free_port()
        self.options = ["--unixsocket", str(self.socket), "--requirepass", self.password]
        self.options += ["--tls-port", str(tls_port), "--tls-auth-clients", "no"]
        self.options += ["--tls-cert-file", str(self.certificate), "--tls-key-file", str(key)]
        self.url = f"redis://:{self.password}@127.0.0.1:{self.port}/0"
        self.unix_url = f"unix://:{self.password}@{self.socket}?db=0"
        self.tls_url = f"rediss://:{self.password}@127.0.0.1:{tls_port}/0?ssl_ca_certs={self.certificate}"

    def start(self) -> None:
        """Start it, empty; it listens on all three when this returns."""
        super().start()
        wait_for_port(self._tls_port)
        while not self.socket.exists():
            time.sleep(0.01)


class Sentinel(VolatileRedisServer):
    """A Sentinel that watches one server under the name ``cloakroom``."""

    def __init__(self, folder: Path, watched: RedisServer) -> None:
        super().__init__(folder)
        self._watched = watched.port

    def start(self) -> None:
        """Start it."""
        program = require("redis-server", "redis-server")
        settings = self.folder / "sentinel.conf"
        lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {self.folder}"]
        lines += [f"sentinel monitor cloakroom 127.0.0.1 {self._watched} 1"]
        settings.write_text("\n".join(lines))
        with (self.folder / "log").open("ab") as output:
            self._process = subprocess.Popen([program, str(settings), "--sentinel"], stdout=output, stderr=output)
        wait_for_port(self.port)


class RedisCluster:
    """Three masters that share the slots among them."""

    SLOTS = 16384

    def __init__(self, folder: Path) -> None:
        self._nodes: list[VolatileRedisServer] = []
        for number in range(3):
            (folder / str(number)).mkdir()
            node = VolatileRedisServer(folder / str(number))
            node.bus = free_port()
            node.options = ["--cluster-enabled", "yes", "--cluster-port", str(node.bus)]
            self._nodes.append(node)

    def start(self) -> None:
        """Start the nodes, wait until all of them know of each other, and make the one ``client``, which takes long."""
        count = len(self._nodes)
        for node in self._nodes:
            node.start()
        clients = [admin(node) for node in self._nodes]
        for number, client in enumerate(clients):
            first, end = (self.SLOTS * at // count for at in (number, number + 1))
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
            client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for client in clients:
            for node in self._nodes:
                client.execute_command("CLUSTER MEET", "127.0.0.1", node.port, node.bus)
        deadline = time.monotonic() + START_TIMEOUT
        while not all(len(client.cluster("SLOTS")) == count and self._is_up(client) for client in clients):
            assert time.monotonic() < deadline, "the cluster does not come up"
            time.sleep(0.02)
        for client in clients:
            client.close()
        self.client = redis.RedisCluster(host="127.0.0.1", port=self._nodes[0].port)

    def _is_up(self, client: Any) -> bool:
        return bool(client.cluster("INFO")["cluster_state"] == "ok")

    def stop(self) -> None:
        """Close the client and end the nodes."""
        self.client.close()
        for node in self._nodes:
            node.stop()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 that vouches for itself, and its key; return where they are."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(encoding))
    key_file.write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    return certificate_file, key_file


class Proxy:
    """A TCP proxy in front of a server, with a say in what becomes of each answer. One thread for each direction."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        #: Given a connection's number, from 0 on, and bytes of an answer, returns what the client gets instead. None
        #: cuts the connection, b"" swallows the answer.
        self.on_answer: Callable[[int, bytes], bytes | None] = lambda number, answer: answer
        #: Bytes that went to the server, by connection.
        self.sent: list[bytearray] = []
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def _run(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._upstream))
            self._sockets += [client, server]
            number = len(self.sent)
            self.sent.append(bytearray())
            self._run(self._pump, client, server, self._on_command, number)
            self._run(self._pump, server, client, lambda *answer: self.on_answer(*answer), number)

    def _on_command(self, number: int, command: bytes) -> bytes:
        self.sent[number].extend(command)
        return command

    def _pump(
        self,
        source: socket.socket,
        target: socket.socket,
        change: Callable[[int, bytes], bytes | None],
        number: int,
    ) -> None:
        try:
            while data := source.recv(65536):
                changed = change(number, data)
                if changed is None:
                    break
                target.sendall(changed)
        except OSError:
            pass
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut everything."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)


class CutAnswers:
    """For :attr:`Proxy.on_answer`: let the next ``count`` answers get lost, with their connections."""

    def __init__(self, count: int = 1) -> None:
        self.left = count

    def __call__(self, number: int, answer: bytes) -> bytes | None:
        if self.left == 0:
            return answer
        self.left -= 1
        return None


class DelayAnswers:
    """For :attr:`Proxy.on_answer`: let a share of the answers come late."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._random = random.Random(15)
        #: The share of late answers, from 0 to 1.
        self.share = 0.0
        #: The number of late answers so far.
        self.late = 0

    def __call__(self, number: int, answer: bytes) -> bytes:
        if self._random.random() < self.share:
            self.late += 1
            time.sleep(self._seconds)
        return answer


def admin(server: RedisServer) -> Any:
    """Return a client for the test itself, to look at the server from outside. The caller closes it."""
    return redis.Redis.from_url(server.url)
