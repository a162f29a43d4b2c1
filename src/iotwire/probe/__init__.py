"""What a TLS endpoint answers to ClientHellos of each kind, without any certificate of ours.

A hello is sent for each version of TLS, with and without SNI, and with each ALPN name and none; the answer to it is the
server's first words, which are not encrypted. No handshake is finished. This tells apart a service that accepts what a
route would send, one that refuses it, and something on the way that answers in its place: what to know when port 443
"does not work" in a plant's network.
"""

from __future__ import annotations

from .advice import advise
from .endpoint import probe_endpoint
from .hello import TLS_1_2, TLS_1_3, ProbeHello, ProbeResult, plan_hellos

__all__ = [
    "TLS_1_2",
    "TLS_1_3",
    "ProbeHello",
    "ProbeResult",
    "advise",
    "plan_hellos",
    "probe_endpoint",
]
