#!/usr/bin/env python3
"""Makes a folder with generation N of some DAGs and prints its version.

    make.py FOLDER N [BYTES]

BYTES of noise are put beside them, for a volume that has no room for these.
"""
import os, sys

import trees

folder, n, *noise = sys.argv[1:]
tree = {f"team{i % 3}/dag{i}.py": f"# {i} of generation {int(n) // (1 + i % 4)}\n".encode() * 40 for i in range(24)}
tree["generation"] = n.encode()
tree["common/helpers.py"] = f"# {n}\n".encode() * 20_000
if noise:
    tree["noise.bin"] = os.urandom(int(noise[0]))
trees.write(tree, folder)
print(trees.version(tree))
