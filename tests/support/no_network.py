"""Runs commands where every packet and every question for a name is counted.

`python -m support.no_network TASKS` is started in network and mount namespaces of its own, by
root of its own user namespace: a line of JSON for each task says what it did. There, all names are
asked of a resolver that knows none and writes them down, and the one way out is an interface that
leads to nobody; no address is asked for there, so that every packet counted is one that a program
sent.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from support.hub import Repository, running_hub

NAMESPACES = ("unshare", "--user", "--map-root-user", "--net", "--mount")
INTERFACES = """
set -e
ip link set lo up
ip link add out0 type veth peer name far0
for each in out0 far0; do echo 1 > /proc/sys/net/ipv6/conf/$each/disable_ipv6; done
ip address add 10.9.8.7/24 dev out0
ip link set out0 up arp off
ip link set far0 up
ip route add default dev out0
mount --bind "$1" /etc/resolv.conf
"""
SELF_CHECK = """
import socket
try:
    socket.getaddrinfo("name.example", 80)
except OSError:
    pass
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 9))
"""
COMMIT = "1" * 40


def permitted() -> bool:
    """Whether this user may have such namespaces here."""
    with tempfile.NamedTemporaryFile() as file:
        command = [*NAMESPACES, "sh", "-c", INTERFACES, "sh", file.name]
        try:
            return subprocess.run(command, capture_output=True).returncode == 0
        except FileNotFoundError:
            return False


def record_names(asked: list[str]) -> None:
    """Answer every question for a name with NXDOMAIN (RFC 1035, 4.1), and keep the name."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    while True:
        question, sender = server.recvfrom(512)
        parts, at = [], 12
        while question[at]:
            parts.append(question[at + 1 : at + 1 + question[at]].decode("ascii", "replace"))
            at += 1 + question[at]
        asked.append(".".join(parts))
        flags = struct.pack(">HHHHH", 0x8183, 1, 0, 0, 0)
        server.sendto(question[:2] + flags + question[12 : at + 5], sender)


def packets_out() -> int:
    """How many packets have left by an interface that is not loopback."""
    return sum(
        int(line.split()[10])
        for line in Path("/proc/net/dev").read_text().splitlines()
        if line.strip().startswith("out0:")
    )


def main(tasks: list[dict]) -> None:
    """Carry out each task: its words, and variables beside this process's."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("nameserver 127.0.0.1\n")
        file.flush()
        subprocess.run(["sh", "-c", INTERFACES, "sh", file.name], check=True)
        asked: list[str] = []
        threading.Thread(target=record_names, args=(asked,), daemon=True).start()
        files = {"config.json": b"{}", "model.safetensors": b"x" * 1000}
        with running_hub({"maker/thing": Repository(COMMIT, files)}) as hub:
            for task in tasks:
                before = packets_out()
                asked.clear()
                variables = {k: v.replace("HUB", hub.url) for k, v in task["variables"].items()}
                done = subprocess.run(
                    task["words"], capture_output=True, text=True, env={**os.environ, **variables}
                )
                found = {
                    "status": done.returncode,
                    "said": done.stdout + done.stderr,
                    "names": sorted(set(asked)),
                    "packets": packets_out() - before,
                }
                print(json.dumps({task["name"]: found}), flush=True)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
