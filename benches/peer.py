"""git-sync and dagsync in its place, driven by the same variables and measured by the same code, for benches/compare."""
import os, re, signal, subprocess, sys, threading, time, urllib.request
from pathlib import Path

from servers import free_port

TICK = os.sysconf("SC_CLK_TCK")


def variables(source, servers, root, **more):
    """What git-sync needs to bring `source` into `root`; dagsync is given the same."""
    at = servers.at
    return {
        "PATH": os.environ["PATH"],
        "HOME": "/tmp",
        "GITSYNC_REPO": source.url,
        "GITSYNC_REF": "main",
        "GITSYNC_ROOT": str(root),
        "GITSYNC_LINK": "repo",
        "GITSYNC_SSH_KEY_FILE": f"{at}/user",
        "GITSYNC_SSH_KNOWN_HOSTS_FILE": f"{at}/known_hosts",
        "GITSYNC_GIT_CONFIG": f"http.sslCAInfo:{at}/ca.pem",
        **more,
    }


def descendants(pid):
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                todo += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        except OSError:
            pass
    return found


def resident(pid):
    """MB that a process and everything it started have resident; what they share is split among them."""
    total = 0
    for each in descendants(pid):
        try:
            total += int(re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{each}/smaps_rollup").read_text(), re.M)[1])
        except (OSError, TypeError):
            pass
    return total / 1024


class Peak:
    """The most that a process tree has resident while this is open."""

    def __init__(self, pid):
        self.pid, self.most, self.open = pid, 0.0, True
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while self.open:
            self.most = max(self.most, resident(self.pid))
            time.sleep(0.002)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.open = False
        self.thread.join()


def first_peak(command, env):
    """The most that a first sync has resident."""
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with Peak(process.pid) as peak:
        if process.wait() != 0:
            sys.exit(f"{command} ended with {process.returncode}")
    return peak.most


def say_memory(name, texts):
    print(f"{name:<44} {' : '.join(texts)} (PSS of the process tree)", flush=True)


class Running:
    """A git-sync, whoever made it, that runs."""

    def __init__(self, command, env, log):
        self.root, self.port, self.log = Path(env["GITSYNC_ROOT"]), free_port(), log
        env = {**env, "GITSYNC_HTTP_BIND": f"127.0.0.1:{self.port}", "GITSYNC_HTTP_METRICS": "true"}
        self.process = subprocess.Popen(command, env=env, stdout=open(log, "ab"), stderr=subprocess.STDOUT)

    def __enter__(self):
        self.wait_for(lambda: (self.root / "repo").exists() and self.syncs() > 0)
        time.sleep(1)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def wait_for(self, condition):
        deadline = time.monotonic() + 60
        while not condition():
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit(f"it does not come to that: {Path(self.log).read_text()[-2000:]}")
            time.sleep(0.001)

    def cpu(self):
        """Of the process and of all that it started and that have ended."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return sum(map(int, fields[11:15])) / TICK

    def syncs(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
                text = answer.read().decode()
        except OSError:
            return 0
        return sum(float(value) for value in re.findall(r"^git_sync_count_total\S* (\S+)", text, re.M))

    def polls(self, count):
        """What one poll costs, as the mean of `count`."""
        start, cpu, before = time.monotonic(), self.cpu(), self.syncs()
        while (done := self.syncs() - before) < count:
            time.sleep(0.2)
        return (time.monotonic() - start) / done, (self.cpu() - cpu) / done

    def update(self):
        """From the signal until a reader finds the new commit; CPU until all is quiet again."""
        link, cpu, start = os.readlink(self.root / "repo"), self.cpu(), time.monotonic()
        self.process.send_signal(signal.SIGHUP)
        self.wait_for(lambda: os.readlink(self.root / "repo") != link)
        wall = time.monotonic() - start
        time.sleep(1)
        return wall, self.cpu() - cpu

    def peak_of_update(self):
        """The most that is resident from the signal until all is quiet again."""
        with Peak(self.process.pid) as peak:
            self.update()
        return peak.most
