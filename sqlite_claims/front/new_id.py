"""New names for instances that the caller does not name."""

from __future__ import annotations

import os
import time
import uuid


def new_id() -> str:
    """Return a new UUID of version 7, which begins with the time, so that names sort in the order of their creation."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    # The layout of RFC 9562: 48 bits of time, the version (7), 12 random bits, the variant (0b10), 62 random bits.
    number = (milliseconds & (2**48 - 1)) << 80 | 7 << 76 | random >> 68 << 64 | 0b10 << 62 | random & (2**62 - 1)
    return str(uuid.UUID(int=number))
