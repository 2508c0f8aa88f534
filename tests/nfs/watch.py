#!/usr/bin/env python3
"""Reads a store's current version over and over, as another pod does, until SIGTERM.

    watch.py ROOT [SECONDS BETWEEN]

Every time the whole tree must be what its manifest says, and the number in the file `generation` must never fall.
"""
import os, signal, sys, time

import trees

root, pause = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 0.02
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
reads, wrong, seen, newest, longest = 0, 0, [], -1, 0.0
while not stop:
    began = time.monotonic()
    try:
        folder, tree = trees.current(root)
        generation = int(tree.get("generation", b"-1"))
        if folder not in seen:
            seen.append(folder)
            print(f"{time.monotonic():.1f}: generation {generation} in {folder[:12]}", flush=True)
        assert generation >= newest, f"generation {generation} after {newest}"
        newest = generation
        reads += 1
    except (OSError, AssertionError) as error:
        wrong += 1
        print(f"{time.monotonic():.1f}: WRONG: {error!r}", flush=True)
    longest = max(longest, time.monotonic() - began)
    time.sleep(pause)
print(f"read {reads} times, {len(seen)} versions, newest generation {newest}, longest read {longest:.1f} s, wrong {wrong}", flush=True)
os._exit(1 if wrong or not reads else 0)
