"""Read and check the settings of sessions in ``app.config``."""

from __future__ import annotations

import difflib
import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from flask import Flask

from ..cookies import Cookie, read_cookie
from ..core.entries.lifetimes import Lifetimes
from ..core.entries.tickets import MAX_TICKET_BYTES, MIN_TICKET_BYTES, TICKET_BYTES, Tickets
from ..core.sessions.repository import Repository
from ..core.sessions.session_registry import SessionLimit
from ..core.user_data.repository import DEFAULT_LIFETIME, UserDataSettings
from ..core.user_data.visitor import VISITOR_PREFIX
from ..core.values.flashes import merge_leases
from ..core.values.merge import STRATEGIES, Strategy
from ..core.values.own_keys import FLASH_LEASES, FLASHES, VISITOR_ID_KEY
from ..errors import SettingError
from ..first_use import tell
from ..redis_connections.url import REDIS_SCHEMES
from ..secret import Secret, SecretBytes
from ..settings import LONGEST_LIFETIME, Reader, describe_value, is_number
from ..stores import DEFAULT_FILE, Owners, Store, StoreOptions, open_store

log = logging.getLogger("flask_cloakroom.sessions")

#: The merge strategies for flash messages, as defaults of SESSION_MERGE. Without them, two parallel requests that flash
#: would lose one of their messages.
DEFAULT_MERGE: Final[dict[Any, Any]] = {FLASHES: "append", FLASH_LEASES: merge_leases}

#: The URL of the server for SESSION_TYPE = "redis" without a URL. Flask-Session has the same default.
DEFAULT_REDIS: Final = "redis://localhost:6379/0"

_REDIS_SETTINGS: Final = ("SESSION_REDIS", "REDIS_URL")
#: The default of SESSION_STORE_TIMEOUT in seconds.
DEFAULT_TIMEOUT: Final = 2.0

#: The settings of this package that Flask does not have, with their defaults.
DEFAULTS: Final[dict[str, Any]] = {
    "SESSION_STORE": None,
    "SESSION_TYPE": None,
    "SESSION_REDIS": None,
    "SESSION_PERMANENT": True,
    "SESSION_KEY_PREFIX": "session:",
    "SESSION_ID_LENGTH": TICKET_BYTES,
    "SESSION_NAMESPACE": None,
    "SESSION_ABSOLUTE_LIFETIME": None,
    "SESSION_RENEW_EVERY": None,
    "SESSION_REFRESH_AFTER": None,
    "SESSION_MERGE": None,
    "SESSION_MAX_BYTES": 1024 * 1024,
    "SESSION_ENCRYPTION": False,
    "SESSION_STORE_TIMEOUT": DEFAULT_TIMEOUT,
    "SESSION_LIMIT_PER_USER": None,
    "SESSION_LIMIT_POLICY": "oldest",
    "USER_SESSION_MERGE": None,
    "USER_SESSION_LIFETIME": DEFAULT_LIFETIME,
}
_NO_LONGER_NEEDED: Final = {
    "SESSION_USE_SIGNER": "tickets are random, so they need no signature",
    "SESSION_SERIALIZATION_FORMAT": "this package has only one format, which preserves the types of values",
    "SESSION_CLEANUP_N_REQUESTS": "expired sessions are purged automatically",
}

#: The longest absolute lifetime in seconds. The end of a session is stored as a Unix time in 32 bits. The last such
#: time is in the year 2106.
LONGEST_ABSOLUTE_LIFETIME: Final = LONGEST_LIFETIME // 2

#: The longest SESSION_STORE_TIMEOUT in seconds. No visitor waits longer for a page.
LONGEST_TIMEOUT: Final = 3600


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """The checked settings of an application's sessions."""

    cookie: Cookie
    lifetimes: Lifetimes
    tickets: Tickets
    make_store: Callable[[], Store]
    #: SESSION_STORE_TIMEOUT in seconds: the longest wait for an answer of the store, and for another thread's load.
    timeout: float = DEFAULT_TIMEOUT
    permanent: bool = True
    refresh_each_request: bool = True
    strategies: Mapping[Any, Strategy] = field(default_factory=dict)
    encrypt: bool = False
    max_bytes: int = 1024 * 1024
    limit: SessionLimit | None = None
    user_data: UserDataSettings = field(default_factory=UserDataSettings)

    @classmethod
    def read(cls, app: Flask) -> SessionSettings:
        """Return the settings of ``app``. Raises :class:`SettingError` for the first wrong setting."""
        read = Reader({**DEFAULTS, **app.config})
        _warn_of_misspelled(app)
        return cls(
            cookie=read_cookie(read),
            lifetimes=_read_lifetimes(read),
            tickets=_read_tickets(read, app),
            make_store=_read_store(read, app),
            timeout=float(read["SESSION_STORE_TIMEOUT"]),
            permanent=read.boolean("SESSION_PERMANENT"),
            refresh_each_request=read.boolean("SESSION_REFRESH_EACH_REQUEST"),
            strategies=_read_strategies(read, "SESSION_MERGE", DEFAULT_MERGE),
            encrypt=_read_encryption(read),
            max_bytes=read.integer("SESSION_MAX_BYTES", at_least=1024),
            limit=_read_limit(read),
            user_data=_read_user_data(read),
        )

    def make_repository(self, store: Store | None = None) -> Repository:
        """Return the repository of the sessions in ``store``. Without ``store``, make the store that the settings name.

        Raises :class:`SettingError` if a setting needs an owner index and the store has none.
        """
        store = self.make_store() if store is None else store
        if self.limit is not None and not isinstance(store, Owners):
            raise SettingError(
                "SESSION_LIMIT_PER_USER", f"needs an owner index, which {store} lacks. Use Redis, SQLite or memory."
            )
        # Visitor data is in the session, under session keys with a prefix. If two parallel requests each made a visitor
        # id, the session may keep either of the two ids.
        visitors = {VISITOR_PREFIX + key: strategy for key, strategy in self.user_data.strategies.items()}
        return Repository(
            store,
            self.tickets,
            lifetimes=self.lifetimes,
            strategies={**self.strategies, **visitors, VISITOR_ID_KEY: STRATEGIES["last"]},
            encrypt=self.encrypt,
            max_bytes=self.max_bytes,
            limit=self.limit,
            user_data=self.user_data,
        )


def _read_lifetimes(read: Reader) -> Lifetimes:
    idle = read.seconds("PERMANENT_SESSION_LIFETIME", at_least=1)
    absolute, renew, refresh = (
        None if read[name] is None else read.seconds(name, at_least=least, at_most=most)
        for name, least, most in (
            ("SESSION_ABSOLUTE_LIFETIME", 1, LONGEST_ABSOLUTE_LIFETIME),
            ("SESSION_RENEW_EVERY", 1, LONGEST_LIFETIME),
            ("SESSION_REFRESH_AFTER", 0, LONGEST_LIFETIME),
        )
    )
    if refresh is None:
        # A tenth of the idle timeout, so that a session expires too early by a tenth at most. And at most ten minutes,
        # so that session.last_seen is exact enough to show.
        refresh = min(idle // 10, 600)
    elif refresh >= idle:
        raise SettingError("SESSION_REFRESH_AFTER", f"must be less than PERMANENT_SESSION_LIFETIME, which is {idle} s")
    return Lifetimes(idle, absolute, renew, refresh)


def _read_tickets(read: Reader, app: Flask) -> Tickets:
    length = read.integer("SESSION_ID_LENGTH", at_least=MIN_TICKET_BYTES, at_most=MAX_TICKET_BYTES)
    namespace = app.name if read["SESSION_NAMESPACE"] is None else read.text("SESSION_NAMESPACE")
    try:
        return Tickets(namespace, length)
    except ValueError as error:
        raise SettingError("SESSION_NAMESPACE", str(error)) from error


def _read_user_data(read: Reader) -> UserDataSettings:
    strategies = _read_strategies(read, "USER_SESSION_MERGE", {})
    wrong = next((key for key in strategies if not isinstance(key, str)), None)
    if wrong is not None:
        raise SettingError(
            "USER_SESSION_MERGE", f"must be a dict whose keys are str, as in user_session, not {describe_value(wrong)}"
        )
    return UserDataSettings(
        strategies,
        read.seconds("USER_SESSION_LIFETIME", at_least=1),
        tuple(_read_secrets(read)),
    )


def _read_secrets(read: Reader) -> Iterator[SecretBytes]:
    """Yield the secret keys for the encryption of user data, the newest first. Only SESSION_ENCRYPTION uses them."""
    if not read["SECRET_KEY"]:
        return  # the first yielded key encrypts new data, and a fallback key must not do that
    for key in (read["SECRET_KEY"], *(read["SECRET_KEY_FALLBACKS"] or ())):
        if isinstance(key, str | bytes):
            yield SecretBytes(key.encode() if isinstance(key, str) else key)


def _read_strategies(read: Reader, setting: str, defaults: Mapping[Any, str]) -> dict[Any, Strategy]:
    declared = {} if read[setting] is None else read[setting]
    if not isinstance(declared, Mapping):
        raise SettingError(setting, f"must be a dict from keys to merge strategies, not {describe_value(declared)}")
    strategies: dict[Any, Strategy] = {}
    for key, strategy in {**defaults, **declared}.items():
        if isinstance(strategy, str) and strategy in STRATEGIES:
            strategies[key] = STRATEGIES[strategy]
        elif callable(strategy):
            strategies[key] = strategy
        else:
            known = ", ".join(STRATEGIES)
            raise SettingError(setting, f"{key!r} must map to one of {known}, or to a function, not to {strategy!r}")
    return strategies


def _read_limit(read: Reader) -> SessionLimit | None:
    policy = read["SESSION_LIMIT_POLICY"]
    if policy not in ("oldest", "refuse"):
        raise SettingError("SESSION_LIMIT_POLICY", f'must be "oldest" or "refuse", not {describe_value(policy)}')
    if read["SESSION_LIMIT_PER_USER"] is None:
        return None
    return SessionLimit(read.integer("SESSION_LIMIT_PER_USER", at_least=1), policy)


def _read_encryption(read: Reader) -> bool:
    encrypts = read.boolean("SESSION_ENCRYPTION")
    if encrypts and importlib.util.find_spec("cryptography") is None:
        raise SettingError("SESSION_ENCRYPTION", "needs cryptography. Run: pip install flask-cloakroom[encryption]")
    return encrypts


def _read_store(read: Reader, app: Flask) -> Callable[[], Store]:
    """Return a function that makes the store. Make and close a store now, to check the settings without a connection.

    Raises SettingError.
    """
    timeout = read["SESSION_STORE_TIMEOUT"]
    if not is_number(timeout) or not 0 < timeout <= LONGEST_TIMEOUT:
        bounds = f"more than 0 and at most {LONGEST_TIMEOUT} seconds"
        raise SettingError("SESSION_STORE_TIMEOUT", f"must be a number, {bounds}, not {describe_value(timeout)}")
    options = StoreOptions(Path(app.instance_path), read.text("SESSION_KEY_PREFIX"), float(timeout))
    setting, value = _store_setting(read, app)
    if _is_flask_redis(value):
        # Find the connector later, because the client's init_app(app) may not have been called yet.
        return lambda: _redis_store(setting, lambda: value.connector_for(app), options)
    if not isinstance(value, str):
        store = _from_object(setting, value, options)
        return lambda: store

    def make() -> Store:
        is_redis = value.partition("://")[0] in REDIS_SCHEMES
        if setting in _REDIS_SETTINGS and not is_redis:
            schemes = ", ".join(f"{scheme}://" for scheme in sorted(REDIS_SCHEMES))
            raise SettingError(setting, f"must begin with one of {schemes}. For another store set SESSION_STORE.")
        try:
            return open_store(value, options)
        except ImportError as error:
            raise SettingError(setting, str(error)) from error
        except ValueError as error:
            # The driver's text may contain a part of the URL, and so a part of the password. Do not show it.
            advice = "must be a valid URL. Write redis://name:password@host:6379/0, with / : @ # as %2F %3A %40 %23."
            raise SettingError(setting, advice if is_redis else str(error)) from None

    make().close()
    return make


def _store_setting(read: Reader, app: Flask) -> tuple[str, Any]:
    """Return the name of the setting that selects the store, and its value: a URL or an object."""
    store_type, values = read["SESSION_TYPE"], (read[name] for name in ("SESSION_STORE", "SESSION_REDIS"))
    store, redis = (Secret(value) if isinstance(value, str) else value for value in values)  # a URL may have a password
    if store is not None:
        if store_type is not None:
            raise SettingError("SESSION_STORE", "is set, and SESSION_TYPE is set too. Remove one of the two settings.")
        return "SESSION_STORE", store
    if store_type in ("redis", None) and redis is not None:
        return "SESSION_REDIS", redis
    if store_type in ("redis", None) and read["REDIS_URL"]:
        # Prefer the application's own client, because it may have more options than the URL.
        client = app.extensions.get("redis")
        return "REDIS_URL", client if _is_flask_redis(client) else Secret(read["REDIS_URL"])
    if store_type == "redis":
        return "SESSION_REDIS", DEFAULT_REDIS
    if store_type is None or store_type == "sqlite":
        return "SESSION_TYPE", f"sqlite:///{DEFAULT_FILE}"
    if store_type == "memory":
        return "SESSION_TYPE", "memory://"
    given = (
        repr(store_type) if isinstance(store_type, str) and store_type.isidentifier() else describe_value(store_type)
    )
    raise SettingError("SESSION_TYPE", f'must be "sqlite", "redis" or "memory", not {given}')


def _is_flask_redis(value: Any) -> bool:
    # This module cannot import FlaskRedis, so look for its method. Look in the class, because hasattr() is true for
    # every name of a FlaskRedis object.
    return hasattr(type(value), "connector_for")


def _redis_store(setting: str, find_client: Callable[[], Any], options: StoreOptions) -> Store:
    from ..stores.redis.store import RedisStore

    try:
        return RedisStore(find_client(), prefix=options.prefix, timeout=options.timeout)
    except RuntimeError as error:
        raise SettingError(setting, str(error)) from error
    except TypeError as error:
        raise SettingError(setting, f"must be a Redis client or a URL. {error}") from error


def _from_object(setting: str, value: Any, options: StoreOptions) -> Store:
    if isinstance(value, type):
        raise SettingError(setting, f"is the class {value.__name__}. It must be an object: {value.__name__}(…).")
    if setting in _REDIS_SETTINGS:
        return _redis_store(setting, lambda: value, options)
    missing = [verb for verb in ("load", "create", "replace", "touch", "delete") if not hasattr(value, verb)]
    if missing:
        class_name = type(value).__name__
        raise SettingError(setting, f"must be a URL or a store. {class_name} has no {', '.join(missing)}().")
    store: Store = value
    return store


def _warn_of_misspelled(app: Flask) -> None:
    known = [*DEFAULTS, *(name for name in app.default_config if "SESSION_" in name)]
    for name in app.config:
        if name in _NO_LONGER_NEEDED:
            tell(log.info, "%s has no effect: %s. Remove this setting.", name, _NO_LONGER_NEEDED[name])
        elif name.startswith(("SESSION_", "PERMANENT_", "USER_SESSION_")) and name not in known:
            close = difflib.get_close_matches(name, known, 1, 0.85)
            if close:
                tell(log.warning, "%s is not a setting; did you mean %s?", name, close[0])
