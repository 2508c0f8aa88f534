"""What all of benches/compare* share: how a command and a daemon are measured, and what they are given."""
import argparse, contextlib, os, re, shutil, signal, subprocess, sys, tempfile, time, urllib.request
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent


def options(about, parts, runs):
    """What every one of these scripts can be asked."""
    options = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=runs)
    options.add_argument("--only", default=",".join(parts))
    options.add_argument("--check", action="store_true", help="exit status 1 when something wanted was missed")
    return options


@contextlib.contextmanager
def workplace():
    """A folder for all that is measured, removed in the end, also when this is stopped from outside."""

    def stop(*_):
        # Once: what follows is cleaning up.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(143)

    signal.signal(signal.SIGTERM, stop)
    folder = Path(tempfile.mkdtemp(prefix="dagsync-compare."))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def binary():
    if name := os.environ.get("BIN"):
        return name
    subprocess.run(["cargo", "build", "--release", "--locked", "--bin", "dagsync"], cwd=HOME, check=True)
    return str(HOME / "target/release/dagsync")


def timed(command, **options):
    """Wall and CPU seconds of a command and everything it started."""
    # dagsync syncs the file system before it publishes; it must not be charged for what the other left unwritten.
    os.sync()
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command} ended with {process.returncode}: {error.decode()}")
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime


def generate(folder, files, size, folders=40):
    """Files of about `size` bytes, or of `size(n)`, that compress like source code."""
    line = "task_{0} = PythonOperator(task_id='task_{0}', python_callable=step_{1}, retries={2})\n"
    for n in range(files):
        lines = (size(n) if callable(size) else size) // 80
        text = "".join(line.format(n * 31 + k, (n * 7919 + k * k) % 9973, k % 5) for k in range(lines))
        part = f"part_{n // 40 % (folders // 40)}" if folders > 40 else ""
        path = folder / f"team_{n % 40}" / part / f"dag_{n}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


MISSED = []


def verdict_on(name, holds):
    if not holds:
        MISSED.append(name)
    return "ok" if holds else "MISSED"


def end(check):
    """Says what was missed."""
    if MISSED:
        print(f"missed: {'; '.join(MISSED)}")
    sys.exit(1 if MISSED and check else 0)


class Bench:
    """Where the contenders work, and what dagsync is told."""

    def __init__(self, folder, runs, dagsync):
        self.folder, self.runs, self.dagsync, self.count = folder, runs, dagsync, 0

    def fresh(self, name):
        self.count += 1
        return self.folder / f"{name}-{self.count}"

    def env(self, source, **more):
        settings = {"DAGSYNC_SOURCE": source.url, "DAGSYNC_HTTP__BIND": "", "DAGSYNC_SCRUB__INTERVAL": "0s"}
        return {"PATH": os.environ["PATH"], "DAGSYNC_LOG__LEVEL": "warn", **settings, **source.settings, **more}


class Daemon:
    """A running daemon whose CPU time and memory are read from /proc."""

    def __init__(self, bench, source, **settings):
        self.root, self.port = bench.fresh("store"), 18480 + bench.count
        self.log = open(bench.folder / "daemon.log", "ab")
        env = bench.env(source, DAGSYNC_HTTP__BIND=f"127.0.0.1:{self.port}", **settings)
        self.process = subprocess.Popen(
            [bench.dagsync, "run", "--root", self.root], env=env, stdout=self.log, stderr=self.log
        )

    def __enter__(self):
        self.wait_for(lambda: (self.root / "current").exists())
        time.sleep(1)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def wait_for(self, condition):
        deadline = time.monotonic() + 300
        while not condition():
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit(f"the daemon does not do it: {Path(self.log.name).read_text()[-2000:]}")
            time.sleep(0.001)

    def cpu(self):
        """CPU seconds, from the clock that clock_getcpuclockid(3) names: /proc counts in steps of 10 ms."""
        return time.clock_gettime(~self.process.pid << 3 | 2)

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            text = answer.read().decode()
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{\S*)? (\S+)", text, re.M))

    def syncs(self):
        return self.metric("dagsync_syncs_total")

    def polls(self, count):
        """What one poll costs, as the mean of `count`."""
        start, cpu, before = time.monotonic(), self.cpu(), self.syncs()
        while (done := self.syncs() - before) < count:
            time.sleep(0.2)
        return (time.monotonic() - start) / done, (self.cpu() - cpu) / done

    def update(self):
        """From the signal until a reader finds the new version; CPU until all is quiet again."""
        link, cpu, start = os.readlink(self.root / "current"), self.cpu(), time.monotonic()
        self.process.send_signal(signal.SIGHUP)
        self.wait_for(lambda: os.readlink(self.root / "current") != link)
        wall = time.monotonic() - start
        time.sleep(0.3)
        return wall, self.cpu() - cpu

    def forget_peak(self):
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def peak(self):
        """The most memory that was resident since, in MB."""
        return self.kib("VmHWM") / 1024

    def kib(self, key):
        return int(re.search(rf"^{key}:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text(), re.M)[1])

    def memory(self, name):
        kib = {key: self.kib(key) for key in ("VmRSS", "RssAnon", "VmHWM")}
        text = ", ".join(f"{key} {value / 1024:.1f} MB" for key, value in kib.items())
        name = f"memory after 200 polls, {name}"
        print(f"{name:<44} {text}; wanted VmRSS < 12 MB {verdict_on(name, kib['VmRSS'] < 12 * 1024)}", flush=True)
