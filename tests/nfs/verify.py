#!/usr/bin/env python3
"""Checks every version that a store holds.

    verify.py ROOT [KNOWN]

Each must be what its manifest says and, if a file KNOWN lists versions line by line, one of these. Prints how many there are.
"""
import os, sys

import trees

root, known = sys.argv[1], sys.argv[2:]
known = set(open(known[0]).read().split()) if known else None
wrong = 0
folders = os.listdir(f"{root}/versions")
for folder in folders:
    try:
        trees.published(root, folder)
        assert known is None or folder.partition(".")[0] in known, f"{folder}: never was on the volume"
    except (OSError, AssertionError) as error:
        wrong += 1
        print(f"WRONG: {error}")
        if os.path.isdir(f"{root}/versions/{folder}"):
            for line in trees.manifest(trees.read(f"{root}/versions/{folder}")).decode().splitlines():
                print(f"  {line[:12]} {line[66:]}")
trees.current(root)
print(f"{len(folders)} versions, {wrong} wrong")
sys.exit(1 if wrong else 0)
