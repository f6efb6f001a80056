"""Ports that a test must know before its programs listen there."""

import random
import socket

RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
given = set()


def free_port(ip="127.0.0.1"):
    """A free TCP port outside the range from which the kernel serves port 0 and every connection. A test that runs
    beside this one cannot get it by accident before it is used, as it could one that was bound to port 0 and closed.
    Another one for each call."""
    with open(RANGE, encoding="ascii") as file:
        first, last = map(int, file.read().split())
    ports = range(10000, first) if first > 12000 else range(last + 1, 65536) if last < 60000 else range(10000, 65536)
    while True:
        with socket.socket() as probe:
            try:
                probe.bind((ip, random.choice(ports)))
            except OSError:
                continue
            port = probe.getsockname()[1]
        if port not in given:
            given.add(port)
            return port
