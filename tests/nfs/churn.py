#!/usr/bin/env python3
"""Replaces the DAGs on a volume, round after round, in every way people do.

    churn.py VOLUME KNOWN ROUNDS URL...

KNOWN receives the true version of each round, before the round begins. After every third round the volume is left alone
until the daemons at all URLs are on it.
"""
import json, os, random, shutil, subprocess, sys, time, urllib.request

import trees

volume, known, rounds, urls = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
local = "/tmp/churn"
chance = random.Random(int(os.environ.get("GT_SEED", "1")))
PATIENCE = 120


def content(size):
    return f"# {chance.getrandbits(64):016x}\n".encode().ljust(size, b".")


def first():
    tree = {f"team{team}/dag{dag}.py": content(200) for team in range(3) for dag in range(5)}
    tree["common/helpers.py"] = content(3000)
    tree["common/big.sql"] = content(300_000)
    return tree


def changed(tree, structure):
    """Some files with other content of the same size, the large one among them; besides, one more and one less."""
    tree = dict(tree)
    for path in chance.sample(sorted(tree), 4) + ["common/helpers.py"]:
        tree[path] = content(len(tree[path]))
    if structure:
        teams = [[path for path in sorted(tree) if path.startswith(f"team{team}/")] for team in range(3)]
        del tree[chance.choice(max(teams, key=len))]
        tree[f"team{chance.randrange(3)}/new{chance.getrandbits(32):08x}.py"] = content(200)
    return tree


def staged(tree):
    """All with one modification time, which tools that keep times bring along."""
    trees.write(tree, f"{local}/new")
    for at, _, names in os.walk(f"{local}/new"):
        for name in names:
            os.utime(os.path.join(at, name), (1_700_000_000, 1_700_000_000))
    return f"{local}/new"


def run(*command):
    subprocess.run(command, check=True)


def remove_others(tree):
    for path in trees.read(volume):
        if path not in tree:
            os.unlink(f"{volume}/{path}")


def copy(tree):
    run("cp", "-r", staged(tree) + "/.", volume)
    remove_others(tree)


def rsync(tree):
    run("rsync", "-a", "--checksum", "--delete", staged(tree) + "/", volume)


def rsync_in_place(tree):
    run("rsync", "-a", "--checksum", "--delete", "--inplace", staged(tree) + "/", volume)


def move_folders(tree):
    """Each top folder is made beside the volume's DAGs and changes places with the old one."""
    for name in sorted({path.split("/")[0] for path in tree}):
        part = {path[len(name) + 1:]: tree[path] for path in tree if path.startswith(name + "/")}
        aside = os.path.dirname(volume)
        trees.write(part, f"{aside}/incoming")
        if os.path.isdir(f"{volume}/{name}"):
            os.rename(f"{volume}/{name}", f"{aside}/outgoing")
        os.rename(f"{aside}/incoming", f"{volume}/{name}")
        shutil.rmtree(f"{aside}/outgoing", ignore_errors=True)


def edit(tree):
    """In place and in two goes of equal length, so that size and often time stay as they were."""
    before = trees.read(volume)
    for path in sorted(tree):
        if tree[path] != before.get(path):
            for attempt in (b"#" * len(tree[path]), tree[path]):
                with open(f"{volume}/{path}", "r+b") as file:
                    file.write(attempt)


def on(url):
    try:
        with urllib.request.urlopen(f"{url}/v1/status", timeout=5) as answer:
            return json.load(answer)["version"]
    except (OSError, ValueError):
        return None


def wait_for(version):
    end = time.monotonic() + PATIENCE
    while any(on(url) != f"sha256:{version}" for url in urls):
        if time.monotonic() > end:
            return False
        time.sleep(0.3)
    return True


WAYS = [copy, rsync, move_folders, edit, rsync_in_place]
tree, waits, missed, odd = first(), [], [], 0
with open(known, "a") as list_of_versions:
    for number in range(rounds):
        way = WAYS[number % len(WAYS)] if number else copy
        tree = changed(tree, structure=way is not edit)
        version = trees.version(tree)
        print(version, file=list_of_versions, flush=True)
        way(tree)
        if trees.version(trees.read(volume)) != version:
            odd += 1
            print(f"round {number}, {way.__name__}: the volume is not what was written")
        if number % 3 == 0 or number == rounds - 1:
            began = time.monotonic()
            if wait_for(version):
                waits.append(time.monotonic() - began)
            else:
                missed.append(number)
                print(f"round {number}, {way.__name__}: {version[:12]} was not reached: {[on(url) for url in urls]}", flush=True)
        else:
            time.sleep(chance.choice([0, 0, 0.3, 1, 2, 3]))
waits.sort()
print(f"{rounds} rounds, {len(waits)} of {len(waits) + len(missed)} quiet states reached by {len(urls)} readers", end="")
print(f", after {waits[0]:.1f} to {waits[-1]:.1f} s, median {waits[len(waits) // 2]:.1f} s" if waits else "")
sys.exit(1 if missed or odd else 0)
