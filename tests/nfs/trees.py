"""A tree as {path: bytes}, its version by the definition and not by dagsync's code, and published trees as a reader sees them."""
import errno, hashlib, os, shutil, time


def manifest(tree):
    return b"".join(hashlib.sha256(tree[path]).hexdigest().encode() + b"  " + path.encode() + b"\n"
                    for path in sorted(tree, key=os.fsencode))


def version(tree):
    return hashlib.sha256(manifest(tree)).hexdigest()


def write(tree, folder):
    """A fresh folder with exactly this tree."""
    shutil.rmtree(folder, ignore_errors=True)
    for path, content in tree.items():
        os.makedirs(os.path.dirname(f"{folder}/{path}"), exist_ok=True)
        with open(f"{folder}/{path}", "wb") as file:
            file.write(content)


def read(folder):
    tree = {}
    for at, _, names in os.walk(folder, onerror=raise_it):
        for name in names:
            path = os.path.join(at, name)
            tree[os.path.relpath(path, folder)] = again(lambda: read_file(path))
    return tree


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def raise_it(error):
    raise error


def again(call):
    """NFS answers ESTALE now and then for what another client has just replaced; a reader tries again, as Airflow does."""
    for _ in range(20):
        try:
            return call()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            time.sleep(0.05)
    return call()


def current(root):
    """The folder that the store's link names, complete and as its manifest says, or an AssertionError."""
    folder = os.path.basename(again(lambda: os.readlink(f"{root}/current")))
    return folder, published(root, folder)


def published(root, folder):
    """What `sha256sum -c` checks, and that nothing lies there besides."""
    hex = folder.partition(".")[0]
    promised = again(lambda: read_file(f"{root}/.dagsync/manifests/{hex}"))
    assert hashlib.sha256(promised).hexdigest() == hex, f"{folder}: the manifest has another version"
    tree = again(lambda: read(f"{root}/versions/{folder}"))
    found = manifest(tree)
    if found != promised:
        differ = sorted(set(found.decode().splitlines()) ^ set(promised.decode().splitlines()))
        raise AssertionError(f"{folder}: {len(differ)} lines differ from the manifest: {differ[:6]}")
    return tree
