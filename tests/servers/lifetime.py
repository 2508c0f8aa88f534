"""How long a test server lives: until its standard input closes, or SIGTERM, SIGINT or SIGHUP comes.

Whoever starts one holds the other end of a pipe, so that it ends with them however they end. It prints one line when it
answers, and leaves neither processes nor files behind.
"""
import contextlib, os, shutil, signal, subprocess, sys, tempfile, threading, time
from pathlib import Path

# Looked at where it is safe to end: an exception out of a signal handler could come in the middle of cleaning up.
ending = threading.Event()


def end_with_starter():
    def watch():
        while os.read(0, 4096):
            pass
        ending.set()

    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, lambda *_: ending.set())
    threading.Thread(target=watch, daemon=True).start()


def ready(endpoint, access_key, secret_key):
    with contextlib.suppress(BrokenPipeError):
        print(f"endpoint={endpoint} access_key={access_key} secret_key={secret_key}", flush=True)


class Died(Exception):
    """A child ended, or does not do what it is for."""


class Children:
    """Processes with a folder of their own; both are gone when this is left."""

    def __enter__(self):
        self.at, self.running = Path(tempfile.mkdtemp(prefix="dagsync-server.")), []
        return self

    def __exit__(self, *_):
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.at)

    def start(self, *command):
        """In a group of its own, which a Ctrl-C at the terminal does not reach; it dies with us even if we are killed."""
        with open(self.at / "out", "ab") as out:
            command = ["setpriv", "--pdeathsig", "KILL", *command]
            options = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out, "start_new_session": True}
            self.running.append(subprocess.Popen(command, cwd=self.at, **options))
        return self.running[-1]

    def run(self, *command):
        process = self.start(*command)
        self.eventually(f"{command[0]} ends", lambda: process.poll() is not None)
        self.running.remove(process)
        if process.returncode != 0:
            raise Died(f"{' '.join(command)} ended with {process.returncode}: {self.said()}")

    def eventually(self, what, condition, seconds=60):
        """Waits for it, and for nothing any more once a child died or the end came."""
        deadline = time.monotonic() + seconds
        while True:
            # In this order: what ran to its end is no reason to give up.
            dead = self.dead()
            if condition():
                return
            if dead or time.monotonic() > deadline:
                raise Died(f"it never happened that {what}; ended: {dead}; {self.said()}")
            if ending.wait(0.01):
                sys.exit(0)

    def stay(self):
        """Until the end."""
        while not ending.wait(0.5):
            if dead := self.dead():
                sys.exit(f"ended: {dead}; {self.said()}")

    def dead(self):
        return [process.args[3] for process in self.running if process.poll() is not None]

    def said(self):
        return "".join(f"\n{f.name}: {f.read_text(errors='replace')[-2000:]}" for f in self.at.glob("out*"))
