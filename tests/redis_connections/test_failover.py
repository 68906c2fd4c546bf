"""Sentinel's master is killed and paused while visitors change their sessions: losses and times."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from flask import Flask

from flask_cloakroom import FlaskRedis
from flask_cloakroom.signals import redis_lost, redis_moved, redis_restored
from support.clock import CalmClock
from support.redis.session_load import LONGEST, MARGIN, Load, Outage, Visitor, make_app
from support.servers.groups import FAILOVER_TIMEOUT, wait_until
from support.servers.sentinel import SentinelSetup
from support.sites.requests_on_app import send


def load_on(setup: SentinelSetup) -> Load:
    """Return a load whose marks are safe when all replicas of the master that the Sentinels name have them."""
    return Load(make_app(setup.url), setup, lambda name: setup.master_port())


def test_master_is_killed(own_sentinel_setup: SentinelSetup) -> None:
    """Nothing that the replicas had is lost, errors are 503, and service comes back without anybody's doing.

    When the killed one is started again, as a replica, nothing is seen of that.
    """
    setup = own_sentinel_setup
    with load_on(setup) as load:
        outage = Outage(load)
        old = setup.kill_master()
        outage.wait_for_end()
        setup.restart(old)
        time.sleep(1)
        print(outage.check())
    load.assert_nothing_lost()


def test_paused_master_comes_back(own_sentinel_setup: SentinelSetup) -> None:
    """The same with a master that hangs and, when another has its place, goes on as if it were the one.

    No answer comes from its old data, neither while it takes itself for the master nor when it is made a replica.
    """
    setup = own_sentinel_setup
    with load_on(setup) as load:
        outage = Outage(load)
        old = setup.pause_master()
        outage.wait_for_end()
        setup.resume(old)
        time.sleep(1.5)
        assert setup.admin(old).info("replication")["role"] == "master"
        setup.wait_until_replica(old)
        time.sleep(0.5)
        print(outage.check())
    load.assert_nothing_lost()


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_one_failover_after_another(own_sentinel_setup: SentinelSetup) -> None:
    """Eight of them, killed and paused in turn, each former master made a replica in the Sentinels' own time."""
    setup = own_sentinel_setup
    with load_on(setup) as load:
        for number in range(8):
            time.sleep(3)
            outage = Outage(load)
            old = setup.pause_master() if number % 2 else setup.kill_master()
            outage.wait_for_end()
            if number % 2:
                setup.resume(old)
                setup.wait_until_replica(old, hurry=False)
            else:
                setup.restart(old, hurry=False)
            print(outage.check())
    load.assert_nothing_lost()


@pytest.fixture
def patient(own_sentinel_setup: SentinelSetup) -> Flask:
    """An application that waits for five seconds for an answer: longer than a failover takes."""
    app = make_app(own_sentinel_setup.url, SESSION_STORE_TIMEOUT=10.0)
    FlaskRedis(app)
    return app


def test_connections_in_use_do_not_stay_with_a_replaced_master(
    patient: Flask, own_sentinel_setup: SentinelSetup
) -> None:
    """Requests that wait for a master that hangs go to the new one as soon as another request has found it.

    Otherwise they would get their answers from the old one when it goes on, and so would those who use these
    connections after them.
    """
    setup, visitor = own_sentinel_setup, Visitor(patient)
    client: FlaskRedis = patient.extensions["redis"]
    send(patient, "/mark/before", visitor.ticket)
    client.set("x", "before")
    wait_until(lambda: setup.is_replicated(setup.master_port()), "both are replicated")
    old = setup.pause_master()
    during: dict[str, Any] = {}
    waiting = [
        threading.Thread(target=lambda: during.update(page=send(patient, "/mark/during", visitor.ticket))),
        threading.Thread(target=lambda: during.update(x=client.get("x"))),
    ]
    for thread in waiting:
        thread.start()
    setup.wait_for_new_master(old)
    assert all(thread.is_alive() for thread in waiting)
    assert send(patient, "/mark/after", visitor.ticket).status_code == 200
    client.set("x", "after")
    setup.resume(old)
    for thread in waiting:
        thread.join()
    assert during["page"].status_code == 200
    for _ in range(5):
        assert set(send(patient, "/marks", visitor.ticket).json) == {"before", "during", "after"}
        assert client.get("x") == b"after"


def test_client_of_the_application(own_sentinel_setup: SentinelSetup) -> None:
    """Its commands fail by the driver's errors for a while, and then go to the new master; subscribers come along."""
    setup = own_sentinel_setup
    app = Flask("shop")
    app.config["REDIS_URL"] = setup.url
    client = FlaskRedis(app)
    events: list[str] = []

    def note(sender: Flask, *, client: FlaskRedis, **details: Any) -> None:
        events.append(",".join(sorted(details)))

    for signal in (redis_lost, redis_moved, redis_restored):
        signal.connect(note, app)
    client.set("x", 1)
    wait_until(lambda: setup.is_replicated(setup.master_port()), "it is replicated")
    subscriber = client.pubsub()
    subscriber.subscribe("news")
    assert subscriber.get_message(timeout=5)["type"] == "subscribe"
    setup.kill_master()
    errors: set[type[Exception]] = set()
    seconds = wait_until(
        lambda: works(lambda: client.append("x", "0"), errors), "it found the master", FAILOVER_TIMEOUT
    )
    assert client.get("x") == b"10"
    messages: list[Any] = []

    def comes() -> bool:
        client.publish("news", "hello")
        return works(lambda: messages.append(subscriber.get_message(timeout=0.1)), errors) and messages[-1] is not None

    wait_until(lambda: comes() and messages[-1]["type"] == "message", "the subscriber came along")
    subscriber.close()
    assert errors <= {redis.exceptions.ConnectionError, redis.exceptions.TimeoutError}
    assert events[0] == "cause"  # of the signal that it is lost; then that it is back, and that it has moved
    assert set(events[1:]) == {"seconds", "new,old"}
    print(f"{seconds:.2f} s, {[error.__name__ for error in errors]}, {events}")


def works(work: Callable[[], object], errors: set[type[Exception]]) -> bool:
    """Return whether the driver raises no error, which is noted."""
    try:
        work()
    except redis.exceptions.RedisError as error:
        errors.add(type(error))
        return False
    return True


def test_sentinels_that_hang_or_are_gone(own_sentinel_setup: SentinelSetup) -> None:
    """As long as one answers, a new visitor is served. Without any, those are whose connections are open."""
    setup = own_sentinel_setup
    app = make_app(setup.url, SESSION_STORE_TIMEOUT=1.0)
    store: Any = app.session_interface.store  # type: ignore[attr-defined]
    visitor = Visitor(app)
    first, second, third = setup.sentinel_ports
    setup.sentinels.kill(first)
    setup.sentinels.pause(second)
    store.close()  # the connections that lie idle: new ones ask the Sentinels
    assert timed(app, visitor, "third") == 200
    setup.sentinels.kill(third)
    assert timed(app, visitor, "open") == 200
    store.close()
    assert timed(app, visitor, "none") == 503
    setup.sentinels.resume(second)
    assert timed(app, visitor, "second") == 200
    assert set(send(app, "/marks", visitor.ticket).json) == {"third", "open", "second"}


def timed(app: Flask, visitor: Visitor, mark: str) -> int:
    """Return the status of a request, which must come in time."""
    began = time.monotonic()
    status: int = send(app, f"/mark/{mark}", visitor.ticket).status_code
    assert time.monotonic() - began < LONGEST + MARGIN
    return status


def test_server_that_is_no_master_is_refused(own_sentinel_setup: SentinelSetup) -> None:
    """Also if the Sentinels name it, who are the last to learn that somebody has made it a replica."""
    setup = own_sentinel_setup
    app = make_app(setup.url)
    store: Any = app.session_interface.store  # type: ignore[attr-defined]
    visitor = Visitor(app)
    assert timed(app, visitor, "before") == 200
    master = setup.master_port()
    other = next(port for port in setup.ports if port != master)
    setup.admin(other).replicaof("NO", "ONE")
    setup.admin(master).replicaof("127.0.0.1", other)
    store.close()  # the connections that lie idle
    assert setup.master_port() == master
    assert send(app, "/marks", visitor.ticket).status_code == 503
    setup.admin(master).replicaof("NO", "ONE")
    assert timed(app, visitor, "after") == 200


def test_idle_connections_do_not_lead_to_a_replaced_master(own_sentinel_setup: SentinelSetup) -> None:
    """A process that asked for nothing during a failover reads and writes at the new master, and not at the old one.

    Even if that only hung, goes on, and takes itself for the master.
    """
    setup = own_sentinel_setup
    hosts = setup.place.partition("/")[0]
    # Named in another order, they are another place, as for another process.
    other = setup.url.replace(hosts, ",".join(reversed(hosts.split(","))))
    writer, idle = (make_app(url, SESSION_KEY_PREFIX="shared:") for url in (setup.url, other))
    clients: list[FlaskRedis] = [FlaskRedis(app) for app in (writer, idle)]
    visitor = Visitor(writer)
    send(writer, "/mark/before", visitor.ticket)
    for app in (writer, idle):
        assert send(app, "/marks", visitor.ticket).status_code == 200
    for client in clients:
        client.set("x", "before")
    wait_until(lambda: setup.is_replicated(setup.master_port()), "both are replicated")
    old = setup.pause_master()
    setup.wait_for_new_master(old)
    wait_until(lambda: send(writer, "/mark/after", visitor.ticket).status_code == 200, "it is served again")
    wait_until(lambda: _has_set(clients[0], "x", "after"), "so is the client")
    setup.resume(old)
    assert setup.admin(old).info("replication")["role"] == "master"
    assert clients[1].get("x") == b"after"
    assert set(send(idle, "/marks", visitor.ticket).json) == {"before", "after"}
    clients[1].set("y", "kept")
    assert send(idle, "/mark/kept", visitor.ticket).status_code == 200
    setup.wait_until_replica(old)
    assert clients[0].get("y") == b"kept"
    assert set(send(writer, "/marks", visitor.ticket).json) == {"before", "after", "kept"}


def _has_set(client: FlaskRedis, key: str, value: str) -> bool:
    try:
        return bool(client.set(key, value))
    except redis.RedisError:
        return False


def test_sentinels_that_are_all_gone(own_sentinel_setup: SentinelSetup) -> None:
    """Do no harm while the master is there: pages go on, and wait for no Sentinel."""
    setup = own_sentinel_setup
    app = make_app(setup.url)
    visitor = Visitor(app)
    send(app, "/mark/before", visitor.ticket)

    def seconds() -> float:
        with CalmClock() as clock:
            began = clock.time()
            for _ in range(50):
                assert send(app, "/marks", visitor.ticket).status_code == 200
            return clock.time() - began

    with_them = seconds()
    setup.sentinels.stop()
    time.sleep(1.1)
    # Half a second for the one look at the Sentinels that finds none. A wait at each page would be one of minutes.
    assert seconds() < 3 * with_them + 0.5
