"""What benches/compare-s3 and benches/compare-volume share: contenders that take turns, and a table of their costs."""
import contextlib, filecmp, os, shutil, statistics, subprocess, sys
from collections import namedtuple

from measure import HOME, Bench, Daemon, verdict_on

Cost = namedtuple("Cost", "wall cpu peak")


def measured(command, env=os.environ):
    """What a command costs; it starts when nothing waits to be written to the disk any more."""
    os.sync()
    usage = [sys.executable, "-I", "-S", HOME / "benches/usage.py"]
    done = subprocess.run([*usage, *command], env=env, capture_output=True, text=True)
    status, *cost = done.stdout.split() or ["nothing"]
    if status != "0":
        sys.exit(f"{' '.join(map(str, command))} ended with {status}: {done.stderr[-2000:]}")
    return Cost(*map(float, cost))


def same(one, other):
    """Whether two folders hold the same files with the same content."""
    files = lambda folder: {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    names = files(one)
    return names == files(other) and not any(filecmp.cmpfiles(one, other, names, shallow=False)[1:])


class Peer:
    """Whoever makes a folder equal to the source with what `command` returns for it."""

    def __init__(self, bench, name, command, env=os.environ):
        self.name, self.command, self.env, self.root = name, command, env, bench.fresh(name.split()[0])

    def sync(self, root):
        return measured(self.command(root), self.env)

    def holds(self, root):
        return root


class Once:
    """`dagsync once`."""

    def __init__(self, bench, source):
        self.bench, self.source, self.root = bench, source, bench.fresh("once")
        self.name = f"dagsync once, {source.name}"

    def sync(self, root):
        return measured([self.bench.dagsync, "once", "--root", root], self.bench.env(self.source))

    def holds(self, root):
        return root / "current"


class Polling:
    """`dagsync run`, of which only what one sync costs is counted."""

    def __init__(self, bench, source, **settings):
        self.name, self.daemon = f"dagsync run, {source.name}", Daemon(bench, source, **settings)
        self.root = self.daemon.root

    def polls(self, count):
        self.daemon.forget_peak()
        spent = lambda: self.daemon.metric("dagsync_sync_duration_seconds_sum")
        before, syncs = spent(), self.daemon.syncs()
        _, cpu = self.daemon.polls(count)
        return Cost((spent() - before) / (self.daemon.syncs() - syncs), cpu, self.daemon.peak())

    def update(self):
        os.sync()
        self.daemon.forget_peak()
        return Cost(*self.daemon.update(), self.daemon.peak())

    def holds(self, root):
        return root / "current"


class Contest(Bench):
    """Whoever brings the folder `tree` from where it can be read."""

    def __init__(self, folder, runs, dagsync, files):
        super().__init__(folder, runs, dagsync)
        self.files, self.tree, self.changes = files, folder / "tree", 0

    def change(self, name):
        """Makes one file of the tree longer."""
        self.changes += 1
        with open(self.tree / name, "a") as file:
            file.write(f"# change {self.changes}\n")

    def rounds(self, contenders, before=lambda: None):
        """Contenders are pairs of a name and what is measured; the costs of each."""
        costs = {name: [] for name, _ in contenders}
        for n in range(self.runs):
            before()
            turn = n % max(1, len(contenders))
            for name, act in contenders[turn:] + contenders[:turn]:
                costs[name].append(act())
        return {n: Cost(*(f(v) for f, v in zip((statistics.median,) * 2 + (max,), zip(*c)))) for n, c in costs.items()}

    def checked(self, contender, root):
        if not same(self.tree, contender.holds(root)):
            sys.exit(f"{contender.name} did not bring what lies in the source")

    def up_to_date(self, contenders):
        """Gives each a folder that is up to date."""
        for contender in contenders:
            contender.sync(contender.root)
            self.checked(contender, contender.root)
        return contenders

    @contextlib.contextmanager
    def daemons(self, sources, **settings):
        with contextlib.ExitStack() as running:
            daemons = [Polling(self, source, **settings) for source in sources]
            for each in daemons:
                running.enter_context(each.daemon)
                self.checked(each, each.root)
            yield daemons

    def first_copies(self, contenders):
        def first(contender):
            root = self.fresh("cold")
            cost = contender.sync(root)
            self.checked(contender, root)
            shutil.rmtree(root)
            return cost

        return self.rounds([(each.name, lambda each=each: first(each)) for each in contenders])

    def updates(self, commands, daemons, change):
        """What it costs each of them to bring a change."""

        def update(contender, act):
            cost = act()
            self.checked(contender, contender.root)
            return cost

        acts = [(each, lambda each=each: each.sync(each.root)) for each in commands]
        acts += [(each, each.update) for each in daemons]
        return self.rounds([(each.name, lambda pair=(each, act): update(*pair)) for each, act in acts], before=change)

    def report(self, case, costs, to, wanted):
        """Prints a table with dagsync's ratios to each of `to`; by name what is wanted, times in proportion to the first."""
        case = f"{self.files:,} files, {case}"
        print(f"{case:<36} {'wall':>11} {'CPU':>11} {'peak':>9}   to {', '.join(to)}: wall, CPU")
        for name, cost in costs.items():
            line = f"  {name:<34} {cost.wall * 1e3:8.1f} ms {cost.cpu * 1e3:8.1f} ms {cost.peak:6.1f} MB"
            if name.startswith("dagsync"):
                ratios = [(cost.wall / costs[peer].wall, cost.cpu / costs[peer].cpu) for peer in to]
                line += "  " + ",".join(f" {wall:5.2f} {cpu:5.2f}" for wall, cpu in ratios)
                got = {"wall": ratios[0][0], "CPU": ratios[0][1], "MB": cost.peak}
                line += "  " + verdicts(f"{case}, {name}", got, wanted.get(name, {}))
            print(line.rstrip(), flush=True)


def verdicts(name, got, wanted):
    word = lambda unit, most: f"{unit} wanted <= {most:.2g} {verdict_on(f'{name}, {unit}', got[unit] <= most)}"
    return "; ".join(word(unit, most) for unit, most in wanted.items())
