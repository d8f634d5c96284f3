"""Codecs: objects that encode the arguments and the results of handlers as bytes."""

from __future__ import annotations

import json
from typing import Any, Literal, Protocol

from .. import validate
from ..errors import InvalidArgumentError


class Codec(Protocol):
    """The two methods that an object needs to be a codec."""

    def dumps(self, value: Any, /) -> bytes:
        """Return the value as bytes."""

    def loads(self, data: bytes, /) -> Any:
        """Return the value that ``dumps`` has encoded."""


class JsonCodec:
    """The codec ``"json"``. NumPy scalars are encoded as numbers, and a tuple is decoded as a list."""

    def dumps(self, value: Any, /) -> bytes:
        """Return the value as JSON. Raises ``TypeError`` or ``ValueError`` if JSON cannot represent the value."""
        try:
            return json.dumps(value, separators=(",", ":"), default=plain_value).encode()
        except RecursionError:
            raise ValueError("it is nested too deeply") from None

    def loads(self, data: bytes, /) -> Any:
        """Return the value that the JSON text contains. Raises ``ValueError`` if the text is not JSON."""
        return json.loads(data)


def plain_value(value: Any) -> Any:
    """Return a NumPy scalar as a Python number. Raises ``TypeError`` for any other value that JSON cannot represent."""
    if getattr(value, "shape", None) == () and callable(item := getattr(value, "item", None)):
        return item()
    raise TypeError(
        f"JSON cannot represent {type(value).__name__}; convert it to str, int, float, bool, None, list or dict "
        "(an array with tolist(), a dataclass with dataclasses.asdict(), a date with isoformat(), a set with sorted())"
    )


def checked_codec(codec: Literal["json"] | Codec | None) -> Codec | None:
    """Return the codec that the argument ``codec`` of ``TaskRegistry.task`` stands for."""
    if codec == "json":
        return JsonCodec()
    if codec is None or (callable(getattr(codec, "dumps", None)) and callable(getattr(codec, "loads", None))):
        return codec
    raise InvalidArgumentError(
        f"codec must be 'json' or an object with the methods dumps and loads, not {validate.shown(codec)}"
    )


def encoded(codec: Codec, value: object) -> bytes:
    """Return the value as the codec encodes it. Raises ``TypeError`` if the codec does not return ``bytes``."""
    data = codec.dumps(value)
    if not isinstance(data, bytes):
        raise TypeError(f"the codec's dumps must return bytes, not {type(data).__name__}")
    return data
