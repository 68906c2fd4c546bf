"""A site that is checked strictly."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask_redis import FlaskRedis as DropIn
from flask_redis.client import FlaskRedis as FromItsModule

from flask_cloakroom import FlaskRedis, Session, redis_lost

app = Flask(__name__)
redis_client = FlaskRedis(app)
cache: FlaskRedis = FlaskRedis(config_prefix="CACHE", decode_responses=True, max_connections=5)
cache.init_app(app, socket_timeout=3)
session_store = DropIn(app, strict=True, config_prefix="SESSION")
same: FlaskRedis = FromItsModule(app)


class Mine:
    @classmethod
    def from_url(cls, url: str, **options: Any) -> Mine:
        return cls()


custom = FlaskRedis.from_custom_provider(Mine, app)


@app.get("/")
def index() -> str:
    redis_client.set("key", "value", ex=None, px=None, nx=False, xx=False)
    redis_client.incr("n", amount=1)
    redis_client.hset("h", "f", "v")
    redis_client.lpush("l", 1, 2)
    redis_client.sadd("s", 1, 2)
    redis_client.zadd("z", {"a": 1.0})
    redis_client.publish("channel", "message")
    with redis_client.pipeline() as pipeline:
        pipeline.set("a", 1)
        pipeline.get("a")
        pipeline.execute()
    redis_client.multi()
    redis_client["key"] = "value"
    del redis_client["key"]
    results: list[Any] = redis_client.exec()
    redis_client.multi()
    redis_client.discard()
    found = "key" in redis_client
    return f"{results} {found} {redis_client['key']} {redis_client.config_prefix}"


@redis_lost.connect_via(app)
def on_lost(sender: Flask, client: FlaskRedis, cause: str, **rest: object) -> None:
    print(sender.name, client.config_prefix, cause)


app.config["SESSION_REDIS"] = redis_client
Session(app)
