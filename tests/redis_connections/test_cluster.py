"""A cluster moves slots and loses masters while visitors change their sessions."""

from __future__ import annotations

import time
import uuid
from typing import Any

from flask import session

from flask_cloakroom import FlaskRedis
from flask_cloakroom.redis_connections.endpoint import RETRIES
from support.redis.session_load import Load, Outage, Visitor, make_app
from support.servers.groups import SixNodeCluster
from support.sites.requests_on_app import send, ticket_of

#: Seconds that the URL below gives a node for its answer.
TIMEOUT = 0.5
#: Seconds in which a request is answered: it asks the store twice, and each time the client tries so often, with pauses
#: of less than half a second.
LONGEST_ON_CLUSTER = 2 * ((1 + RETRIES) * TIMEOUT + 0.5)


class TestMigration:
    """A slot moves from one master to another, as when a cluster grows."""

    def test_nothing_is_seen_of_it(self, six_node_cluster: SixNodeCluster) -> None:
        """At each of its stages every session is there, can be changed, moved and ended, and new ones begin.

        Their entries share a hash tag, and so the slot. Three more visitors never pause.
        """
        cluster = six_node_cluster
        tag = f"{{{uuid.uuid4().hex}}}"
        app = make_app(cluster.url, SESSION_KEY_PREFIX=f"{tag}:")
        app.add_url_rule("/rotate", "rotate", lambda: str(session.rotate()))  # type: ignore[attr-defined]
        app.add_url_rule("/logout", "logout", lambda: str(session.destroy()))  # type: ignore[attr-defined]
        client = FlaskRedis(app)
        visitors = [Visitor(app) for _ in range(12)]
        source = cluster.master_of(visitors[0].name)
        target = next(port for port in cluster.masters() if port != source)
        seen: list[str] = []

        def look(stage: str) -> None:
            seen.append(stage)
            for visitor in [*visitors, Visitor(app)]:
                assert send(app, f"/mark/{stage}", visitor.ticket).status_code == 200
                expected = seen if visitor in visitors else [stage]
                assert sorted(send(app, "/marks", visitor.ticket).json) == sorted(expected)
            moved = ticket_of(send(app, "/rotate", Visitor(app).ticket))
            assert send(app, "/marks", moved).json == []
            assert send(app, "/logout", moved).status_code == 200
            assert send(app, "/marks", moved).status_code == 500
            assert client.incr(f"{tag}n") == len(seen)

        with Load(app) as load:
            cluster.migrate_slot(cluster.slot_of(tag), source, target, look)
            load.wait_for_service()
        assert tuple(seen) == cluster.STAGES
        assert cluster.master_of(visitors[0].name) == target
        assert cluster.errors(source, "ASK") > 0
        assert load.count(503) == 0
        load.assert_nothing_lost()
        print(f"{cluster.errors(source, 'ASK')} × ASK; {load}")


def test_master_is_killed(own_cluster: SixNodeCluster) -> None:
    """Nothing that its replica had is lost, errors are 503, and service comes back without anybody's doing.

    When the killed one is started again, as a replica, nothing is seen of that.
    """
    cluster = own_cluster
    with Load(make_app(cluster.url), cluster, cluster.master_of) as load:
        old = cluster.master_of(load.shared.name)
        outage = Outage(load)
        replica, _ = cluster.kill_master(old)
        outage.wait_for_end()
        cluster.restart(old)
        assert cluster.replicas_of(replica) == [old]
        time.sleep(1)
        print(outage.check())
    load.assert_nothing_lost()


def test_paused_master_comes_back(own_cluster: SixNodeCluster) -> None:
    """The same with a master that hangs, and is a replica when it goes on. Who waits long enough sees nothing of it.

    How long that is the URL says: the driver's client is asked as it is.
    """
    cluster = own_cluster
    with Load(make_app(f"{cluster.url}?socket_timeout={TIMEOUT}"), cluster, cluster.master_of) as load:
        old = cluster.master_of(load.shared.name)
        (replica,) = cluster.replicas_of(old)
        outage = Outage(load)
        cluster.pause(old)
        cluster.wait_for_promotion(replica)
        outage.wait_for_end()
        cluster.resume(old)
        cluster.wait_until_well()
        time.sleep(1)
        print(outage.check(longest=LONGEST_ON_CLUSTER, is_seen=False))
    load.assert_nothing_lost()
    assert cluster.master_of(load.shared.name) != old


def test_planned_failover(own_cluster: SixNodeCluster) -> None:
    """Each master changes places with its replica, as for an upgrade: nothing is seen of it at all."""
    cluster = own_cluster
    with Load(make_app(cluster.url), cluster, cluster.master_of) as load:
        time.sleep(0.5)
        for master in cluster.masters():
            cluster.fail_over(master)
            load.wait_for_service()
        time.sleep(0.5)
    print(load)
    assert load.count(503) == 0
    load.assert_nothing_lost()


def test_idle_connections_are_closed_by_who_has_them(six_node_cluster: SixNodeCluster) -> None:
    """The driver closes a node's idle connections after a failover: none that another thread can take then."""
    app = make_app(six_node_cluster.url)
    client = FlaskRedis(app)
    client.set("x", 1)
    pool: Any = client.get_redis_connection(client.get_node_from_key("x")).connection_pool
    connection = pool._available_connections[0]
    to_be_had: list[bool] = []
    close = connection.disconnect

    def disconnect(*args: Any, **options: Any) -> None:
        to_be_had.append(connection in pool._available_connections)
        close(*args, **options)

    connection.disconnect = disconnect
    pool.disconnect_free_connections()
    assert to_be_had == [False]
    assert connection in pool._available_connections
    del connection.disconnect
    assert client.get("x") == b"1"
