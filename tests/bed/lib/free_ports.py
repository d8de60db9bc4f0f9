#!/usr/bin/env python3
"""Draws free ports and prints them as shell defaults.

usage: free_ports.py ADDR NAME [NAME=COUNT ...]
NAME prints `: "${NAME:=PORT}"`, a port free for UDP and TCP; NAME=COUNT prints a range of so many ports, free for UDP,
beginning with an even one. All lie below the range from which the kernel gives ports to clients, so nobody takes one
by chance before its server starts; all are held until the last is drawn."""
import random, socket, sys


def below():
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
            return int(f.read().split()[0])
    except OSError:
        return 32768


def take(addr, port, kind):
    s = socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET, kind)
    try:
        s.bind((addr, port))
    except OSError:
        s.close()
        return None
    return s


def draw(addr, count, held):
    for _ in range(1000):
        first = random.randrange(10000, below() - count, 2)
        kinds = (socket.SOCK_DGRAM, socket.SOCK_STREAM) if count == 1 else (socket.SOCK_DGRAM,)
        got = []
        for port in range(first, first + count):
            for kind in kinds:
                got.append(take(addr, port, kind))
        if all(got):
            held += got
            return first
        for s in filter(None, got):
            s.close()
    sys.exit("no free ports")


def main():
    addr, names, held = sys.argv[1], sys.argv[2:], []
    for name in names:
        name, _, count = name.partition("=")
        first = draw(addr, int(count or 1), held)
        value = f"{first}-{first + int(count) - 1}" if count else first
        print(f': "${{{name}:={value}}}"')


main()
