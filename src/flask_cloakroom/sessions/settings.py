"""The settings of ``app.config`` that concern sessions: read once, checked once, here."""

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
from ..redis_connections.url import REDIS_SCHEMES
from ..secret import Secret, SecretBytes
from ..settings import LONGEST_LIFETIME, Reader, describe_value, is_number
from ..stores import DEFAULT_FILE, Owners, Store, StoreOptions, open_store

log = logging.getLogger("flask_cloakroom.sessions")

#: Flash messages of parallel requests are all kept, also while another request shows those before, which it has taken.
DEFAULT_MERGE: Final[dict[Any, Any]] = {FLASHES: "append", FLASH_LEASES: merge_leases}

#: Where Flask-Session looks when SESSION_TYPE is "redis" and nothing else is said; so do we, for the code that is
#: moved over. Never in the place of something that was said.
DEFAULT_REDIS: Final = "redis://localhost:6379/0"

_REDIS_SETTINGS: Final = ("SESSION_REDIS", "REDIS_URL")

#: Settings of this package that Flask doesn't know, with their defaults.
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
    "SESSION_STORE_TIMEOUT": 2.0,
    "SESSION_LIMIT_PER_USER": None,
    "SESSION_LIMIT_POLICY": "oldest",
    "USER_SESSION_MERGE": None,
    "USER_SESSION_LIFETIME": DEFAULT_LIFETIME,
}
_NO_LONGER_NEEDED: Final = {
    "SESSION_USE_SIGNER": "ids are random and stored hashed, so there is nothing to sign",
    "SESSION_SERIALIZATION_FORMAT": "there is one format, and it keeps the types",
    "SESSION_CLEANUP_N_REQUESTS": "expired sessions are purged without being told",
}

#: The longest that an absolute lifetime may be, in seconds: it is stored as a moment in 32 bits, which end in 2106.
LONGEST_ABSOLUTE_LIFETIME: Final = LONGEST_LIFETIME // 2

#: The longest that a store may be waited for, in seconds. No page that takes longer has anybody waiting for it.
LONGEST_TIMEOUT: Final = 3600


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """All of them, checked."""

    cookie: Cookie
    lifetimes: Lifetimes
    tickets: Tickets
    make_store: Callable[[], Store]
    permanent: bool = True
    refresh_each_request: bool = True
    strategies: Mapping[Any, Strategy] = field(default_factory=dict)
    encrypt: bool = False
    max_bytes: int = 1024 * 1024
    limit: SessionLimit | None = None
    user_data: UserDataSettings = field(default_factory=UserDataSettings)

    @classmethod
    def read(cls, app: Flask) -> SessionSettings:
        """Return the application's settings. Raises :class:`SettingError`, which names the first wrong one."""
        read = Reader({**DEFAULTS, **app.config})
        _warn_of_misspelled(app)
        return cls(
            cookie=read_cookie(read),
            lifetimes=_read_lifetimes(read),
            tickets=_read_tickets(read, app),
            make_store=_read_store(read, app),
            permanent=read.boolean("SESSION_PERMANENT"),
            refresh_each_request=read.boolean("SESSION_REFRESH_EACH_REQUEST"),
            strategies=_read_strategies(read, "SESSION_MERGE", DEFAULT_MERGE),
            encrypt=_read_encryption(read),
            max_bytes=read.integer("SESSION_MAX_BYTES", at_least=1024),
            limit=_read_limit(read),
            user_data=_read_user_data(read),
        )

    def make_repository(self, store: Store | None = None) -> Repository:
        """Return what opens and saves sessions as these settings say. Raises :class:`SettingError`.

        ``store``: one that is open already, for the one that they name.
        """
        store = self.make_store() if store is None else store
        if self.limit is not None and not isinstance(store, Owners):
            raise SettingError(
                "SESSION_LIMIT_PER_USER", f"needs a store that knows whose sessions it has; {store} doesn't"
            )
        # What a visitor has lies in their session, under other keys. Of two ids that were made at once either will do.
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
        # A tenth of the lifetime, so that no visitor loses more than that of it, and ten minutes at the most, so
        # that "last seen" says something.
        refresh = min(idle // 10, 600)
    elif refresh >= idle:
        raise SettingError("SESSION_REFRESH_AFTER", f"must be shorter than PERMANENT_SESSION_LIFETIME ({idle} s)")
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
            "USER_SESSION_MERGE", f"its keys must be str, as those of user_session are, not {describe_value(wrong)}"
        )
    return UserDataSettings(
        strategies,
        read.seconds("USER_SESSION_LIFETIME", at_least=1),
        tuple(_read_secrets(read)),
    )


def _read_secrets(read: Reader) -> Iterator[SecretBytes]:
    """Yield what user data is sealed with. Only with SESSION_ENCRYPTION is it asked for, and then checked."""
    if not read["SECRET_KEY"]:
        return  # the first one seals, so without it there is none
    for key in (read["SECRET_KEY"], *(read["SECRET_KEY_FALLBACKS"] or ())):
        if isinstance(key, str | bytes):
            yield SecretBytes(key.encode() if isinstance(key, str) else key)


def _read_strategies(read: Reader, setting: str, defaults: Mapping[Any, str]) -> dict[Any, Strategy]:
    declared = {} if read[setting] is None else read[setting]
    if not isinstance(declared, Mapping):
        raise SettingError(setting, f"must be a dict of key to strategy, not {describe_value(declared)}")
    strategies: dict[Any, Strategy] = {}
    for key, strategy in {**defaults, **declared}.items():
        if isinstance(strategy, str) and strategy in STRATEGIES:
            strategies[key] = STRATEGIES[strategy]
        elif callable(strategy):
            strategies[key] = strategy
        else:
            known = ", ".join(STRATEGIES)
            raise SettingError(setting, f"{key!r}: must be one of {known}, or a function, not {strategy!r}")
    return strategies


def _read_limit(read: Reader) -> SessionLimit | None:
    policy = read["SESSION_LIMIT_POLICY"]
    if policy not in ("oldest", "refuse"):
        raise SettingError("SESSION_LIMIT_POLICY", f'must be "oldest" or "refuse", not {describe_value(policy)}')
    if read["SESSION_LIMIT_PER_USER"] is None:
        return None
    return SessionLimit(read.integer("SESSION_LIMIT_PER_USER", at_least=1), policy)


def _read_encryption(read: Reader) -> bool:
    wanted = read.boolean("SESSION_ENCRYPTION")
    if wanted and importlib.util.find_spec("cryptography") is None:
        raise SettingError("SESSION_ENCRYPTION", "needs a package: pip install flask-cloakroom[encryption]")
    return wanted


def _read_store(read: Reader, app: Flask) -> Callable[[], Store]:
    """Return what makes the store, having checked by making one that it can be made. None connects by that."""
    timeout = read["SESSION_STORE_TIMEOUT"]
    if not is_number(timeout) or not 0 < timeout <= LONGEST_TIMEOUT:
        bounds = f"more than 0 and at most {LONGEST_TIMEOUT}"
        raise SettingError("SESSION_STORE_TIMEOUT", f"must be seconds, {bounds}, not {describe_value(timeout)}")
    place = StoreOptions(Path(app.instance_path), read.text("SESSION_KEY_PREFIX"), float(timeout))
    setting, wanted = _wanted_store(read, app)
    if _is_flask_redis(wanted):
        return lambda: _from_flask_redis(setting, wanted, app, place)  # which may yet be set up for this application
    if not isinstance(wanted, str):
        store = _from_object(setting, wanted, place)
        return lambda: store

    def make() -> Store:
        is_redis = wanted.partition("://")[0] in REDIS_SCHEMES
        if setting in _REDIS_SETTINGS and not is_redis:
            schemes = ", ".join(f"{scheme}://" for scheme in sorted(REDIS_SCHEMES))
            raise SettingError(setting, f"must begin with one of {schemes}; SESSION_STORE takes other stores' URLs")
        try:
            return open_store(wanted, place)
        except ImportError as error:
            raise SettingError(setting, str(error)) from error
        except ValueError as error:
            # What the driver says of a URL may repeat a part of it, and that the password.
            advice = "is no valid URL: redis://name:password@host:6379/0, with / : @ # in them as %2F %3A %40 %23"
            raise SettingError(setting, advice if is_redis else str(error)) from None

    make().close()
    return make


def _wanted_store(read: Reader, app: Flask) -> tuple[str, Any]:
    """Return the setting that decides, and the URL or object that it says."""
    store, kind, redis = read["SESSION_STORE"], read["SESSION_TYPE"], read["SESSION_REDIS"]
    if isinstance(store, str):
        store = Secret(store)  # a URL may hold a password
    if isinstance(redis, str):
        redis = Secret(redis)
    if store is not None:
        if kind is not None:
            raise SettingError("SESSION_STORE", "is set, and so is SESSION_TYPE; keep one of them")
        return "SESSION_STORE", store
    if kind in ("redis", None) and redis is not None:
        return "SESSION_REDIS", redis
    if kind in ("redis", None) and read["REDIS_URL"]:
        # The application's own client, if it has one, because it may know more than the URL says.
        client = app.extensions.get("redis")
        return "REDIS_URL", client if _is_flask_redis(client) else Secret(read["REDIS_URL"])
    if kind == "redis":
        return "SESSION_REDIS", DEFAULT_REDIS
    if kind is None or kind == "sqlite":
        return "SESSION_TYPE", f"sqlite:///{DEFAULT_FILE}"
    if kind == "memory":
        return "SESSION_TYPE", "memory://"
    shown = repr(kind) if isinstance(kind, str) and kind.isidentifier() else describe_value(kind)
    raise SettingError("SESSION_TYPE", f'must be "sqlite", "redis" or "memory", not {shown}')


def _is_flask_redis(wanted: Any) -> bool:
    # By what it can do: the class stands above this package. By its class, because an instance hands on every name.
    return hasattr(type(wanted), "connector_for")


def _from_flask_redis(setting: str, wanted: Any, app: Flask, place: StoreOptions) -> Store:
    from ..stores.redis.store import RedisStore

    try:
        return RedisStore(wanted.connector_for(app), prefix=place.prefix, timeout=place.timeout)
    except RuntimeError as error:
        raise SettingError(setting, str(error)) from error


def _from_object(setting: str, wanted: Any, place: StoreOptions) -> Store:
    if isinstance(wanted, type):
        raise SettingError(setting, f"is the class {wanted.__name__}; give it an object, {wanted.__name__}(…)")
    if setting in _REDIS_SETTINGS:
        from ..stores.redis.store import RedisStore

        try:
            return RedisStore(wanted, prefix=place.prefix, timeout=place.timeout)
        except TypeError as error:
            raise SettingError(setting, f"must be a client or a URL: {error}") from error
    missing = [verb for verb in ("load", "create", "replace", "touch", "delete") if not hasattr(wanted, verb)]
    if missing:
        kind = type(wanted).__name__
        raise SettingError(setting, f"must be a URL or a store; {kind} has no {', '.join(missing)}()")
    store: Store = wanted
    return store


def _warn_of_misspelled(app: Flask) -> None:
    known = [*DEFAULTS, *(name for name in app.default_config if "SESSION_" in name)]
    for name in app.config:
        if name in _NO_LONGER_NEEDED:
            log.info("%s has no effect: %s", name, _NO_LONGER_NEEDED[name])
        elif name.startswith(("SESSION_", "PERMANENT_", "USER_SESSION_")) and name not in known:
            close = difflib.get_close_matches(name, known, 1, 0.85)
            if close:
                log.warning("%s is not a setting; did you mean %s?", name, close[0])
