# SPDX-License-Identifier: ISC
"""Ports for those who must know one before they listen, or at which nobody shall.

The kernel gives its own to whoever asks for any: a port of that range that is free
now is another test's in a moment.  These are from below it, drawn by chance."""

import pathlib
import random
import socket

LEAST = 10000


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def is_free(address, port):
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(family(address), kind) as s:
            try:
                s.bind((address, port))
            except OSError:
                return False
    return True


def free_port(addresses=("127.0.0.1",)):
    """Free at this moment for UDP and TCP at each address."""
    first = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    chance = random.SystemRandom()
    for _ in range(1000):
        port = chance.randrange(LEAST, max(first, LEAST + 1000))
        if all(is_free(a, port) for a in addresses):
            return port
    raise AssertionError("no port is free for all")
