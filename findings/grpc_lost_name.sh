#!/usr/bin/env bash
# grpcio 1.85.1: no channel option limits the pauses between look-ups of a name that leads nowhere.
#
# A client calls a server by name five times a second. The channel's options ask for pauses of 0.1 s to 0.5 s between
# attempts to connect, and for at most 0.5 s between two look-ups of the name. The name server says that there is no
# such name. One would expect a look-up about twice a second, so that the name is used as soon as it leads somewhere.
# gRPC looks it up after 1 s, 1.6 s, 2.6 s, 4.1 s and so on, each a fifth more or less: after a long outage, a server
# is not found for many seconds after its name is back. A new channel looks the name up at once.
#
# The script printed
#   pauses between look-ups of one channel: 1.0 1.5 3.0 4.4 s
#   a new channel looked the name up after 0.00 s
# The pauses vary by a fifth. The script fails if a pause of one channel is below 0.7 s or if the last is below 3 s, or
# if a new channel waits for more than 0.5 s. It needs Python 3.10 or newer, and asks nothing but this machine.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check grpcio==1.85.1
cat >"$folder/ask.py" <<'PYTHON'
import socket
import struct
import threading
import time

import grpc

OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.dns_min_time_between_resolutions_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]
asked = []  # when the address of the name was asked for


def answer(names):
    """Answer every question with "there is no such name"."""
    while True:
        question, sender = names.recvfrom(4096)
        end = question.index(0, 12) + 1
        kind = struct.unpack(">H", question[end : end + 2])[0]
        if kind == 1:  # an IPv4 address
            asked.append(time.monotonic())
        head = question[:2] + struct.pack(">HHHHH", 0x8583, 1, 0, 0, 0)
        names.sendto(head + question[12 : end + 4], sender)


def call(channel):
    try:
        channel.unary_unary("/any.Service/Any", _registered_method=True)(b"", timeout=0.2)
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED), error


names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("127.0.0.1", 0))
threading.Thread(target=answer, args=(names,), daemon=True).start()
url = f"dns://127.0.0.1:{names.getsockname()[1]}/server.test.:8001"

channel = grpc.insecure_channel(url, options=OPTIONS)
began = time.monotonic()
while time.monotonic() < began + 11:
    call(channel)
    time.sleep(0.2)
rounds = [time for last, time in zip([-1.0, *asked], asked) if time > last + 0.1]  # one look-up may ask twice
pauses = [after - before for before, after in zip(rounds, rounds[1:])]
print("pauses between look-ups of one channel:", *(f"{pause:.1f}" for pause in pauses), "s")
assert len(pauses) >= 3 and min(pauses) > 0.7 and max(pauses) > 3, "the pauses are shorter now"

asked.clear()
began = time.monotonic()
call(grpc.insecure_channel(url, options=OPTIONS))
print(f"a new channel looked the name up after {asked[0] - began:.2f} s")
assert asked[0] - began < 0.5
PYTHON
GRPC_VERBOSITY=NONE "$folder/venv/bin/python" "$folder/ask.py"
