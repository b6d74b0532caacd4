#!/usr/bin/env python3
"""power_loss.py [--states N] [--short] - what a disk may hold after a power failure: the final name is right, and --resume goes on.

powerlog.c logs all that a run changes and syncs. A crash state is a moment in that log and what the disk kept: all that was synced
before; of later writes any, in pages of 4 KiB that may be torn at a sector; of later changes of a directory the first few, or any
that fit together; sizes likewise. The state is put into a new directory (stat(2) shows the old inodes, which the journal knows).
There the final name must show the old output or the complete new one, and a run with --resume must end with the bytes of an
undisturbed run and nothing beside them. Replaying the whole log must give what the run left, or the log is not the whole truth.
QUERN, CC and MODELS as in faults.py. Standard library only.
"""
import argparse, collections, hashlib, os, random, shutil, struct, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(HERE, "..", "build", "quern")))
MODELS = os.path.realpath(os.environ.get("MODELS", os.path.join(HERE, "..", "build", "test-models")))
PAGE, SECTOR = 4096, 512

JOBS = {
    "quantize": ["quantize", MODELS + "/wide.gguf", "out", "IQ4_XS"],
    "replace": ["quantize", "-f", MODELS + "/wide.gguf", "out", "Q4_K"],
    "split": ["quantize", "--keep-split", MODELS + "/split-00001-of-00003.gguf", "out", "IQ3_S"],
    "directory": ["merge", "--method", "ties", "--base", MODELS + "/hf", "--model", MODELS + "/hf-b", "--model", MODELS + "/hf-c", "--param",
                  "weight=0.6,0.5", "--param", "density=0.5", "--out-shard-size", "1M", "out"],
    "replace-directory": ["merge", "-f", "--method", "slerp", "--base", MODELS + "/hf", "--model", MODELS + "/hf-b", "--param", "t=0.3",
                          "--out-shard-size", "1M", "out"],
    "convert": ["convert", "--pre", "gpt-2", MODELS + "/hf", "out.gguf", "-t", "q6_k"],
    "record": ["quantize", "--provenance", MODELS + "/wide.gguf", "out", "Q4_K"],
    "extract": ["lora", "extract", MODELS + "/hf", MODELS + "/hf-b", "out", "--rank", "4"],
}
OLD = {"replace": ["quantize", MODELS + "/wide.gguf", "out", "Q8_0"],
       "replace-directory": ["merge", "--method", "linear", "--model", MODELS + "/hf-b", "--model", MODELS + "/hf-c", "--param", "weight=0.5",
                             "out"]}

Record = collections.namedtuple("Record", "kind ino dir dir2 at name name2 data")


def read_log(path):
    with open(path, "rb") as f:
        raw = f.read()
    at, found = 0, []
    while at < len(raw):
        kind, ino, dir_, dir2, where, nbytes, nname, nname2 = struct.unpack_from("<8Q", raw, at)
        at += 64
        name, name2 = raw[at:at + nname].decode(), raw[at + nname:at + nname + nname2].decode()
        at += nname + nname2
        data = raw[at:at + nbytes]
        at += nbytes
        found.append(Record(chr(kind), ino, dir_, dir2, where, name, name2, data))
    return found


class Disk:
    """What is synced, and per inode the changes since."""

    def __init__(self, work):
        self.root = os.stat(work).st_ino
        self.files, self.dirs, self.pending = {}, {}, collections.defaultdict(list)
        self.load(work, self.root)

    def load(self, path, ino):
        self.dirs[ino] = {}
        for e in os.scandir(path):
            self.dirs[ino][e.name] = e.inode()
            if e.is_dir():
                self.load(e.path, e.inode())
            else:
                with open(e.path, "rb") as f:
                    self.files[e.inode()] = bytearray(f.read())

    def take(self, r):
        """The next record of the log."""
        if r.kind == "s":
            todo = self.pending.pop(r.ino, [])
            (self.change_dir if r.ino in self.dirs else self.change_file)(r.ino, todo)
        elif r.kind in "cdrxu":
            if r.kind == "c":
                # A file that was there once may have given its number to this one.
                self.files[r.ino] = bytearray()
                self.pending.pop(r.ino, None)
            elif r.kind == "d":
                self.dirs[r.ino] = {}
            assert r.kind not in "rx" or r.dir == r.dir2
            self.pending[r.dir].append(r)
        else:
            self.pending[r.ino].append(r)

    def change_dir(self, ino, records):
        entries = self.dirs[ino]
        for r in records:
            if r.kind in "cd":
                entries[r.name] = r.ino
            elif r.kind == "u":
                entries.pop(r.name, None)
            elif r.kind == "r" and r.name in entries:
                entries[r.name2] = entries.pop(r.name)
            elif r.kind == "x" and r.name in entries and r.name2 in entries:
                entries[r.name], entries[r.name2] = entries[r.name2], entries[r.name]

    def change_file(self, ino, records):
        content = self.files[ino]
        for r in records:
            if r.kind == "t" and r.at < len(content):
                del content[r.at:]
            end = r.at + len(r.data)
            if r.kind in "tgw" and end > len(content):
                content.extend(bytes(end - len(content)))
            if r.kind == "w":
                content[r.at:end] = r.data

    def lose_power(self, rng):
        """Keeps of what is not synced whatever chance keeps."""
        for ino in list(self.pending):
            records = self.pending.pop(ino)
            kept = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
            if ino in self.dirs:
                first = records[:rng.randrange(len(records) + 1)]
                self.change_dir(ino, first if rng.random() < 0.5 else [r for r in records if rng.random() < kept])
            elif ino in self.files:
                self.change_file(ino, [piece for r in records for piece in pieces(r, kept, rng)])


def pieces(r, kept, rng):
    """Of a record: all, nothing, some pages, parts of pages."""
    if r.kind != "w":
        if rng.random() < kept:
            yield r
        return
    at = r.at
    while at < r.at + len(r.data):
        end = min(at // PAGE * PAGE + PAGE, r.at + len(r.data))
        if rng.random() < kept:
            torn = end if rng.random() < 0.9 else min(end, at // PAGE * PAGE + SECTOR * rng.randrange(1, 8))
            if torn > at:
                yield r._replace(at=at, data=r.data[at - r.at:torn - r.at])
        at = end


def put_back(disk, ino, path, numbers):
    """The files of a directory; numbers get new and old inodes."""
    numbers += [os.stat(path).st_ino, ino]
    for name, child in disk.dirs[ino].items():
        target = os.path.join(path, name)
        if child in disk.dirs:
            os.mkdir(target)
            put_back(disk, child, target, numbers)
        else:
            with open(target, "wb") as f:
                f.write(disk.files[child])
            numbers += [os.stat(target).st_ino, child]


def outputs(work):
    """Name to digest, of what has its final name."""
    found = {}
    for top, _, names in os.walk(work):
        if os.path.basename(top).startswith("."):
            continue
        for name in names:
            if not name.startswith("."):
                with open(os.path.join(top, name), "rb") as f:
                    found[os.path.relpath(os.path.join(top, name), work)] = hashlib.sha256(f.read()).hexdigest()
    return found


def run(work, words, **env):
    done = subprocess.run([QUERN, *words, "-j", "2", "--mem", "16MiB"], cwd=work, env=dict(os.environ, QUERN_SYNC="0.002", **env),
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=300)
    return done.returncode, done.stderr.decode(errors="replace")


class Trace:
    """One job, undisturbed, with its log."""

    def __init__(self, base, job, library):
        self.job, self.library = job, library
        self.work = os.path.join(base, job)
        os.mkdir(self.work)
        if job in OLD:
            code, text = run(self.work, OLD[job])
            if code:
                sys.exit("%s: exit %d: %s" % (job, code, text))
        self.old = outputs(self.work)
        self.start = Disk(self.work)
        log = os.path.join(base, job + ".log")
        code, text = run(self.work, JOBS[job], LD_PRELOAD=library, POWER_LOG=log)
        if code:
            sys.exit("%s: exit %d: %s" % (job, code, text))
        self.records = read_log(log)
        os.unlink(log)
        self.want = outputs(self.work)
        self.syncs = sum(r.kind == "s" for r in self.records)
        self.check()
        shutil.rmtree(self.work)

    def disk(self, moment):
        disk = Disk.__new__(Disk)
        disk.root, disk.pending = self.start.root, collections.defaultdict(list)
        disk.files = {i: bytearray(f) for i, f in self.start.files.items()}
        disk.dirs = {i: dict(d) for i, d in self.start.dirs.items()}
        for r in self.records[:moment]:
            disk.take(r)
        return disk

    def check(self):
        """Is the log the whole truth?"""
        disk = self.disk(len(self.records))
        for ino in list(disk.pending):
            records = disk.pending.pop(ino)
            if ino in disk.dirs or ino in disk.files:
                (disk.change_dir if ino in disk.dirs else disk.change_file)(ino, records)
        copy = self.work + ".copy"
        os.mkdir(copy)
        put_back(disk, disk.root, copy, [])
        if outputs(copy) != self.want or sorted(os.listdir(copy)) != sorted(os.listdir(self.work)):
            sys.exit("%s: the log does not tell all" % self.job)
        shutil.rmtree(copy)

    def moment(self, rng):
        """Half of them near the end, where names change."""
        n = len(self.records)
        last = next(i for i, r in enumerate(self.records) if r.kind in "rx")
        return rng.randrange(n + 1) if rng.random() < 0.5 else rng.randrange(max(0, last - 12), n + 1)

    def trial(self, rng):
        """What is wrong, or None; and what the final name showed."""
        moment = self.moment(rng)
        disk = self.disk(moment)
        disk.lose_power(rng)
        work = self.work + ".state"
        os.mkdir(work)
        try:
            numbers = []
            put_back(disk, disk.root, work, numbers)
            got, where = outputs(work), "%s: %d of %d: " % (self.job, moment, len(self.records))
            new = got == self.want
            # Files of a split set get their names one after the other, a record after its file.
            part = self.job in ("split", "record") and got.items() <= self.want.items()
            if got != self.old and not new and not part:
                return where + "the final name shows neither the old output nor the new one: %s" % sorted(got), "", 0
            code, text = run(work, JOBS[self.job] + ["--resume"], LD_PRELOAD=self.library, POWER_INODES=" ".join(map(str, numbers)))
            if code not in (0, 7) or (code == 7 and not new):
                return where + "resuming gave exit %d: %s" % (code, text), "", 0
            if outputs(work) != self.want:
                return where + "other bytes after resuming", "", 0
            left = [n for n in os.listdir(work) if n.startswith(".")]
            if left and code == 0:
                return where + "left behind: %s" % left, "", 0
            kept = text.partition("going on with an interrupted run: ")[2].partition(" %")[0]
            return None, "new" if new else "part" if part and got else "old" if self.old else "none", float(kept or 0)
        finally:
            shutil.rmtree(work)


def main():
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ask.add_argument("--states", type=int, default=240)
    ask.add_argument("--short", action="store_true", help="three states of each job")
    ask.add_argument("--job", choices=list(JOBS))
    ask.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    args = ask.parse_args()
    rng, names = random.Random(args.seed), [args.job] if args.job else list(JOBS)
    base = tempfile.mkdtemp(prefix="quern-power.")
    wrong, shown, kept = [], collections.Counter(), []
    try:
        library = os.path.join(base, "powerlog.so")
        subprocess.run([os.environ.get("CC", "cc").split()[-1], "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", library,
                        os.path.join(HERE, "powerlog.c"), "-pthread"], check=True)
        states = 3 * len(names) if args.short else args.states
        for k, job in enumerate(names):
            trace = Trace(base, job, library)
            for _ in range(states // len(names) + (k < states % len(names))):
                what, seen, share = trace.trial(rng)
                shown[seen] += 1
                kept.append(share)
                if what:
                    wrong.append(what)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    for what in wrong[:20]:
        print(what)
    if wrong:
        sys.exit("power_loss: %d of %d states went wrong; seed %d" % (len(wrong), len(kept), args.seed))
    print("%d crash states, all resumed to the same bytes" % len(kept))
    print("seed %d; final name showed %s; kept on average %.0f %%, something in %d" %
          (args.seed, ", ".join("%s %d" % s for s in shown.items()), sum(kept) / len(kept), sum(k > 0 for k in kept)), file=sys.stderr)


if __name__ == "__main__":
    main()
