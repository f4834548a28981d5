"""Compare the synchronous guard with python-socketio alone: processor time per operation, within one run.

    python bench/sync.py [--quick] [--mode threading|gevent]

Both servers run side by side on one core and take turns, after each has got warm. The server without the guard verifies
its tokens with PyJWT in the connect handler. Times are the server's, with all its threads.

``connect`` opens a WebSocket, joins with a token, and leaves; ``refused`` does so with a bad token. ``echo`` is an
event with an acknowledgement, handled in a thread or greenlet of its own, which is python-socketio's default; ``echo,
one thread`` is the same with ``async_handlers=False``. ``deliver`` is one of the 50 packets of a broadcast.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "socketio"))
from load import Load, Operation
from servers import Peer
from turns import FULL, QUICK, Effort, Prepare, side_by_side

AUDIENCE = 50
MODES = ("threading", "gevent")


def deliver(load: Load) -> Operation:
    return load.spread(load.connect(AUDIENCE), 4)


OPERATIONS: Mapping[str, tuple[Prepare, bool]] = {  # and whether each event has a thread of its own
    "connect": (Load.admitted, True),
    "refused": (Load.refused, True),
    "echo": (Load.echo, True),
    "echo, one thread": (Load.echo, False),
    "deliver": (deliver, False),
}


def peer(mode: str, *, guard: bool, threads: bool) -> Peer:
    environment = {"MODE": mode, "GUARD": "yes" if guard else "", "HANDLERS": "yes" if threads else ""}
    return Peer("guard" if guard else "alone", (sys.executable, "-P", "sync.py"), environment=environment)


def compare(mode: str, threads: bool, effort: Effort) -> None:
    peers = [peer(mode, guard=guard, threads=threads) for guard in (False, True)]
    with side_by_side((peer.name, peer) for peer in peers) as turns:
        for name, (prepare, in_threads) in OPERATIONS.items():
            if in_threads is not threads:
                continue
            rounds = turns.measure(dict.fromkeys(turns.loads, prepare), effort)
            turns.part()
            errors = [found["error"] for one in rounds for found in one.values() if "error" in found]
            if errors or len(turns.loads) < len(peers):
                print(f"| {mode} | {name} | {errors or turns.errors} |", flush=True)
                continue
            alone, guard = ([one[key]["cpu_us"] for one in rounds] for key in ("alone", "guard"))
            ratio = statistics.median(with_it / without for without, with_it in zip(alone, guard, strict=True))
            costs = f"{statistics.median(alone):.0f} | {statistics.median(guard):.0f} | {ratio:.2f}"
            print(f"| {mode} | {name} | {costs} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="The synchronous guard next to python-socketio alone.")
    parser.add_argument("--quick", action="store_true", help="short rounds")
    parser.add_argument("--mode", choices=MODES, help="one of the two")
    options = parser.parse_args()
    print("| mode | operation | alone, µs | guard, µs | ratio |\n| --- | --- | --: | --: | --: |")
    for mode in [options.mode] if options.mode else MODES:
        for threads in (True, False):
            compare(mode, threads, QUICK if options.quick else FULL)


if __name__ == "__main__":
    main()
