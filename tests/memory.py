#!/usr/bin/env python3
"""memory.py [--short] - how much memory runs take does not depend on how large models and tensors are.

Sparse models of one huge tensor, with a few rows that are not zero where 31 and 32 bits end. Peak memory (VmHWM, RssAnon) of 32,
128 and 512 MiB and of 8 GiB must lie within 10 % of each other; 8 GiB are quantized and merged with 128 MiB for program and page
cache together (a control group, where one can be made) and with as much address space (ulimit -v), to the right bytes; 64 GiB are
planned, and a run over them is started. --short leaves out all above 512 MiB but the plan. DIR (default: the temporary directory)
must have 12 GiB free, or the largest parts are skipped with a note. QUERN as in faults.py. Standard library only.
"""
import argparse, json, os, resource, shutil, signal, struct, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import make_models

QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(HERE, "..", "build", "quern")))
COLS, MIB, GIB = 4096, 1 << 20, 1 << 30
LIMIT = 128 * MIB
wrong, skipped = [], []


def expect(what, fine):
    if not fine:
        wrong.append(what)


def row(seed):
    return make_models.pack([(x - 65535) / 1e6 for x in make_models.uniform("memory%d" % seed, COLS)], "F16")


def marks(nrows):
    """Row number to its bytes: first, last, and where 2^31 and 2^32 elements or bytes are passed."""
    places = {0, nrows - 1} | {(1 << bits) // COLS // k + d for bits in (31, 32) for k in (1, 2) for d in (-1, 0, 1)}
    return {p: row(p) for p in places if 0 <= p < nrows}


def fill(f, start, rows):
    for at, raw in rows.items():
        f.seek(start + at * 2 * COLS)
        f.write(raw)


def gguf(path, nbytes, rows=None):
    """Two tensors, of nbytes and of one row. Nothing is zero where marks are."""
    nrows = nbytes // (2 * COLS)
    head = b"GGUF" + struct.pack("<IQQ", 3, 2, 2) + make_models.kv("general.architecture", "str", "big")
    head += make_models.kv("general.file_type", "u32", 1)
    for name, dims, at in (("huge.weight", (COLS, nrows), 0), ("last.weight", (COLS, 1), nrows * 2 * COLS)):
        head += make_models.text(name) + struct.pack("<I2Q", 2, *dims) + struct.pack("<IQ", 1, at)
    start = (len(head) + 31) // 32 * 32
    with open(path, "wb") as f:
        f.write(head)
        f.truncate(start + (nrows + 1) * 2 * COLS)
        fill(f, start, marks(nrows) if rows is None else rows)
        f.seek(start + nrows * 2 * COLS)
        f.write(row(-1))
    return nrows


def safetensors(path, nbytes):
    nrows = nbytes // (2 * COLS)
    text = json.dumps({"huge.weight": {"dtype": "F16", "shape": [nrows, COLS], "data_offsets": [0, nrows * 2 * COLS]}}).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + nrows * 2 * COLS)
        fill(f, 8 + len(text), marks(nrows))
    return nrows, 8 + len(text)


def tensors_of(path):
    """Name to what quern inspect tells about it."""
    told = subprocess.run([QUERN, "inspect", "--json", path], stdout=subprocess.PIPE, check=True).stdout
    return {t["name"]: t for t in json.loads(told)["tensors"]}


# ---- running and measuring

class Group:
    """A control group with little memory; None when none can be made."""

    def __init__(self):
        self.path = None
        for base, file in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
            path = os.path.join(base, "quern-test.%d" % os.getpid())
            try:
                os.mkdir(path)
                with open(os.path.join(path, file), "w") as f:
                    f.write(str(LIMIT))
                self.path = path
                return
            except OSError:
                if os.path.isdir(path):
                    os.rmdir(path)

    def enter(self):
        with open(os.path.join(self.path, "cgroup.procs"), "w") as f:
            f.write(str(os.getpid()))

    def close(self):
        if self.path:
            os.rmdir(self.path)


def measure(words, cwd, before=None):
    """Exit code, stderr, peak VmHWM and peak RssAnon in KiB."""
    peak = {"VmHWM:": 0, "RssAnon:": 0}
    run = subprocess.Popen([QUERN, *words], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=before)
    while run.poll() is None:
        try:
            with open("/proc/%d/status" % run.pid) as f:
                lines = f.read()
            # Not before it is quern.
            if lines.startswith("Name:\tquern"):
                for line in lines.splitlines():
                    key = line.split()[0]
                    if key in peak:
                        peak[key] = max(peak[key], int(line.split()[1]))
        except OSError:
            break
        time.sleep(0.002)
    said = run.communicate()[1].decode(errors="replace")
    return run.returncode, said, peak["VmHWM:"], peak["RssAnon:"]


def small_space():
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))


OPTIONS = ["-q", "-f", "-j", "2", "--mem", "64MiB"]


def jobs(name):
    model, other = name + ".safetensors", name + "-b.safetensors"  # the same file: zeros that merge
    yield "quantize", ["quantize", *OPTIONS, name + ".gguf", "out.gguf", "Q4_K"]
    yield "slerp", ["merge", *OPTIONS, "--method", "slerp", "--base", model, "--model", other, "--param", "t=0.5", "out.safetensors"]
    yield "ties", ["merge", *OPTIONS, "--method", "ties", "--base", model, "--model", other, "--model", other, "--param", "weight=0.5",
                   "--param", "density=0.5", "out.safetensors"]


def clean(work):
    for name in os.listdir(work):
        if name.startswith("out") or name.startswith(".out"):
            os.unlink(os.path.join(work, name))


def same_at_any_size(work, sizes, short):
    """Peak memory within 10 % of each other; prints the table."""
    found = {}
    for mib in sizes:
        gguf(os.path.join(work, "%d.gguf" % mib), mib * MIB)
        safetensors(os.path.join(work, "%d.safetensors" % mib), mib * MIB)
        os.link(os.path.join(work, "%d.safetensors" % mib), os.path.join(work, "%d-b.safetensors" % mib))
        for job, words in jobs(str(mib)):
            if (short or mib > 512) and job != "quantize":
                continue
            code, said, hwm, anon = measure(words, work)
            expect("%s of %d MiB: exit %d: %s" % (job, mib, code, said), code == 0)
            found.setdefault(job, []).append((mib, hwm, anon))
            clean(work)
        for end in ".gguf", ".safetensors", "-b.safetensors":
            os.unlink(os.path.join(work, "%d%s" % (mib, end)))
    for job, rows in found.items():
        for column, what in ((1, "VmHWM"), (2, "RssAnon")):
            values = [r[column] for r in rows]
            expect("%s: %s %s KiB" % (job, what, values), max(values) <= 1.1 * min(values) and min(values) > 0)
        print("%s: %s" % (job, ", ".join("%d MiB: %.1f MiB (anonymous %.1f)" % (m, h / 1024, a / 1024) for m, h, a in rows)), file=sys.stderr)


def little_memory(work, group):
    """8 GiB with 128 MiB; the rows that are not zero, and some that are, have the bytes they have in a small model."""
    nrows = gguf(os.path.join(work, "big.gguf"), 8 * GIB)
    places = marks(nrows)
    order = sorted(places)
    small = {i: places[p] for i, p in enumerate(order)}
    gguf(os.path.join(work, "small.gguf"), (len(order) + 1) * 2 * COLS, small)
    words = ["quantize", *OPTIONS]
    code, said, _, _ = measure([*words, "small.gguf", "small-q.gguf", "Q4_K"], work)
    expect("small: exit %d: %s" % (code, said), code == 0)
    ways = [("ulimit -v", small_space)] + ([("control group", group.enter)] if group.path else [])
    for what, before in ways:
        clean(work)
        code, said, hwm, _ = measure([*words, "big.gguf", "out.gguf", "Q4_K"], work, before)
        expect("8 GiB, %s: exit %d: %s" % (what, code, said), code == 0)
        if code == 0:
            compare_rows(work, nrows, order)
            print("quantize 8 GiB with 128 MiB (%s): %.1f MiB" % (what, hwm / 1024), file=sys.stderr)
    clean(work)
    os.unlink(os.path.join(work, "big.gguf"))
    if not group.path:
        skipped.append("no control group can be made here: 128 MiB by ulimit -v only")


def compare_rows(work, nrows, order):
    each = COLS // 256 * 144
    big, small = os.path.join(work, "out.gguf"), os.path.join(work, "small-q.gguf")
    with open(big, "rb") as b, open(small, "rb") as s:
        b_at = tensors_of(big)["huge.weight"]["offset"]
        s_at = tensors_of(small)["huge.weight"]["offset"]

        def read(f, start, i):
            f.seek(start + i * each)
            return f.read(each)

        zero = read(s, s_at, len(order))
        for i, p in enumerate(order):
            expect("row %d of 8 GiB has other bytes" % p, read(b, b_at, p) == read(s, s_at, i))
        step = nrows // 999
        for p in range(5, nrows, step):
            expect("row %d of 8 GiB is not zero" % p, p in order or read(b, b_at, p) == zero)
        b.seek(tensors_of(big)["last.weight"]["offset"])
        s.seek(tensors_of(small)["last.weight"]["offset"])
        expect("what comes after 8 GiB has other bytes", b.read() == s.read())


def merge_of_5_gib(work, before):
    """More than 2^31 elements, offsets beyond 2^32; two equal models have themselves as their mean."""
    nrows, start = safetensors(os.path.join(work, "big.safetensors"), 5 * GIB)
    code, said, hwm, _ = measure(["merge", *OPTIONS, "--method", "linear", "--model", "big.safetensors", "--model", "big.safetensors",
                                  "--param", "weight=0.5", "out.safetensors"], work, before)
    expect("merge of 5 GiB: exit %d: %s" % (code, said), code == 0)
    if code == 0:
        with open(os.path.join(work, "out.safetensors"), "rb") as f:
            f.seek(0)
            begin = 8 + struct.unpack("<Q", f.read(8))[0]
            for p, raw in marks(nrows).items():
                f.seek(begin + p * 2 * COLS)
                expect("row %d of 5 GiB has other bytes" % p, f.read(2 * COLS) == raw)
            f.seek(0, 2)
            expect("5 GiB became %d bytes" % f.tell(), f.tell() == begin + 5 * GIB)
        print("merge of 5 GiB with 128 MiB: %.1f MiB" % (hwm / 1024), file=sys.stderr)
    clean(work)
    os.unlink(os.path.join(work, "big.safetensors"))


def plan_of_64_gib(work, start_it):
    """Sizes and offsets of a tensor of 64 GiB; with start_it a run over it is begun and stopped."""
    nrows = gguf(os.path.join(work, "giant.gguf"), 64 * GIB)
    told = tensors_of(os.path.join(work, "giant.gguf"))
    begin = told["huge.weight"]["offset"]
    expect("inspect: %s" % told, told["last.weight"]["offset"] == begin + 64 * GIB and told["huge.weight"]["shape"] == [nrows, COLS])
    words = ["quantize", "--pure", "-j", "2", "--mem", "64MiB", "giant.gguf", "out.gguf", "TQ1_0"]
    # A row of 4096 is 16 blocks of 54 bytes; a tensor of one row stays F16.
    need = nrows * COLS // 256 * 54 + 2 * COLS
    dry = subprocess.run([QUERN, *words, "--dry-run", "--json"], cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    plan = json.loads(dry.stdout or b"{}")
    expect("plan of 64 GiB: exit %d: %s" % (dry.returncode, plan), plan.get("weights") == (nrows + 1) * COLS and
           plan["input_bytes"] == (nrows + 1) * COLS * 2 and need <= plan["output_bytes"] <= need + 4096)
    if start_it:
        run = subprocess.Popen([QUERN, *words, "-q"], cwd=work, stderr=subprocess.PIPE)
        time.sleep(4)
        part = os.path.join(work, ".out.gguf.quern-part")
        size = os.path.getsize(part) if os.path.exists(part) else 0
        run.send_signal(signal.SIGINT)
        said = run.communicate()[1].decode(errors="replace")
        expect("start of 64 GiB: exit %d, part of %d bytes: %s" % (run.returncode, size, said),
               run.returncode == 130 and size == plan["output_bytes"] and "--resume" in said)
    clean(work)
    os.unlink(os.path.join(work, "giant.gguf"))


def main():
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ask.add_argument("--short", action="store_true")
    ask.add_argument("dir", nargs="?")
    args = ask.parse_args()
    # In the background of a shell they are ignored, and a program that is started then leaves it at that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    work = tempfile.mkdtemp(prefix="quern-memory.", dir=args.dir)
    group = Group()
    try:
        free = os.statvfs(work).f_bavail * os.statvfs(work).f_frsize
        large = not args.short and free > 12 * GIB
        if not args.short and not large:
            skipped.append("8 GiB and the start of 64 GiB: the disk has %.1f GiB free, of 12" % (free / GIB))
        same_at_any_size(work, (32, 128, 512, 8192) if large else (32, 128, 512), args.short)
        if large:
            little_memory(work, group)
            merge_of_5_gib(work, group.enter if group.path else small_space)
        plan_of_64_gib(work, large)
    finally:
        group.close()
        shutil.rmtree(work, ignore_errors=True)
    for what in skipped:
        print("skipped: " + what, file=sys.stderr)
    for what in wrong[:20]:
        print(what)
    if wrong:
        sys.exit("memory: %d checks went wrong" % len(wrong))
    print("memory: the same for any size")


if __name__ == "__main__":
    main()
