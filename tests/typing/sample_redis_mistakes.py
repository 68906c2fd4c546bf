"""Mistakes with ``FlaskRedis`` that a type checker finds: each line with the comment ``# error`` is one."""

from flask import Flask

from flask_cloakroom import FlaskRedis

app = Flask(__name__)
redis_client = FlaskRedis(app)
FlaskRedis("app")  # error
FlaskRedis(app, config_prefix=5)  # error
FlaskRedis(app, strict="yes")  # error
redis_client.init_app()  # error
redis_client.set("only a key")  # error
redis_client.expire("key", [])  # error
redis_client.no_such_command("key")  # error
redis_client.exec("argument")  # error
redis_client.multi(5)  # error
wrong: int = redis_client.exec()  # error
redis_client.hget("only a name")  # error
