"""Export a user's data as readable JSON, for a user who asks which data the site stores about them."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any

from ..values import codec
from ..values.registered_types import storable


def to_json(values: Mapping[Any, bytes]) -> str:
    """Return all packed values as the text of a JSON object.

    The types of JSON stay as they are. A tuple or set becomes an array. A date or time becomes a text in ISO 8601, a
    timedelta a number of seconds, bytes a text in Base64, and an Enum the name of its member. An instance of a
    registered class becomes the value that ``encode`` returns for it. Any other value becomes its ``str()``. A dict
    with two keys of the same text becomes an array of pairs. A value that cannot be decoded becomes ``{"unreadable":
    its bytes in Base64}``.
    """
    readable = {key: _decoded(packed) for key, packed in values.items()}
    text = json.dumps(readable, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # the text has a lone surrogate, which UTF-8 cannot encode; write it as \ud800
        text = json.dumps(readable, indent=2, allow_nan=False)
    return text


def _decoded(packed: bytes) -> Any:
    try:
        return _readable(codec.unpack(packed))
    except codec.CodecError:
        return {"unreadable": base64.b64encode(packed).decode()}


def _readable(value: Any) -> Any:
    if value is None or type(value) in (str, bool, int):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return _readable_dict(value)
    if isinstance(value, list | tuple | set | frozenset):
        return [_readable(member) for member in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Enum):
        return value.name or str(value)  # a combination of bits of a Flag may have no name
    stored = storable(value)
    return str(value) if stored is value else _readable(stored)


def _readable_dict(value: dict[Any, Any]) -> Any:
    pairs = [(_readable(key), _readable(member)) for key, member in value.items()]
    by_text = {key if isinstance(key, str) else json.dumps(key, ensure_ascii=False): member for key, member in pairs}
    return by_text if len(by_text) == len(pairs) else [list(pair) for pair in pairs]
