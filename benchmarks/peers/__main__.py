"""``python -m benchmarks.peers``: make an environment for each peer that has no environment yet, and print which peers
cannot be installed. Also fill the queues that are copied for the rounds. Downloads packages from PyPI and npm."""

from __future__ import annotations

from ..sizes import FULL
from .driver import Row, filled
from .environments import peers

for peer in peers():
    why = peer.make()
    print(f"{peer.name}: {why or 'ready'}", flush=True)
    for setting in peer.settings if peer.needs and not why else ():
        for count in (FULL.few, FULL.many):
            filled(Row(peer, setting), count)
