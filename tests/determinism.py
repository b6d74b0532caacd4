#!/usr/bin/env python3
"""determinism.py [--short] [--build NAME=QUERN]... - the same bytes, whatever a run does not get told about its output.

Each job (quantizing, with importance too, converting, merging, all in one pass) is run with combinations of: threads, instruction
set, --mem, the input as one file, as 7 shards and as 7 shards in odd order, other builds (compilers, levels of optimization) and
resumed after a kill. All outputs of a job must have one SHA-256. QUERN, CC as in faults.py. Standard library only.
"""
import argparse, collections, hashlib, itertools, json, os, shutil, struct, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(HERE, "..", "build", "quern")))
POCKET = os.path.join(HERE, "..", "build", "pocket")
MODELS = ("base", "code", "prose")
FORMS = ("one", "seven", "odd")
THREADS, CPUS, MEMS = (1, 2, 3, 7, 16), ("portable", "avx2", "avx512"), ("16MiB", "48MiB", "256MiB")

MERGE = ["--base", "base", "--model", "code", "--model", "prose", "--param", "weight=0.5,0.3", "--param", "density=0.4"]
JOBS = {
    "q4_k_m": ["quantize", "GGUF", "out.gguf", "Q4_K_M"],
    "iq2_xs": ["quantize", "--imatrix", "base.imatrix.gguf", "GGUF", "out.gguf", "IQ2_XS"],
    "iq3_s": ["quantize", "--imatrix", "base.imatrix.gguf", "GGUF", "out.gguf", "IQ3_S"],
    "iq4_xs": ["quantize", "GGUF", "out.gguf", "IQ4_XS"],
    "convert": ["convert", "base", "out.gguf", "-t", "q6_k"],
    "ties": ["merge", "--method", "ties", *MERGE, "out.safetensors"],
    "dare": ["merge", "--method", "dare_ties", "--random-seed", "7", *MERGE, "out.safetensors"],
    "slerp": ["merge", "--method", "slerp", "--base", "base", "--model", "code", "--param", "t=0.3", "out.safetensors"],
    "one-pass": ["merge", "--method", "ties", *MERGE, "out.gguf", "Q4_K_M"],
}

Combination = collections.namedtuple("Combination", "build threads cpu mem form kill", defaults=("", 2, "", "256MiB", "one", 0))


def read_model(path):
    """Entries (name, dtype, shape, bytes) in the order of the file, and its metadata."""
    with open(os.path.join(path, "model.safetensors"), "rb") as f:
        head = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    meta = head.pop("__metadata__", None)
    entries = sorted(head.items(), key=lambda e: e[1]["data_offsets"])
    return [(n, e["dtype"], e["shape"], data[slice(*e["data_offsets"])]) for n, e in entries], meta


def write_shard(path, entries, meta):
    head, at = {"__metadata__": meta} if meta else {}, 0
    for name, dtype, shape, raw in entries:
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(head).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(e[3] for e in entries))


def make_form(work, form):
    """The models in this form, under the same names in a directory of their own."""
    os.mkdir(os.path.join(work, form))
    for name in MODELS:
        source, target = os.path.join(POCKET, "pocket-" + name), os.path.join(work, form, name)
        if form == "one":
            shutil.copytree(source, target)
            continue
        os.mkdir(target)
        for file in os.listdir(source):
            if not file.endswith(".safetensors"):
                shutil.copy(os.path.join(source, file), target)
        entries, meta = read_model(source)
        order = range(7) if form == "seven" else (4, 0, 6, 2, 5, 1, 3)
        homes, each = {}, -(-len(entries) // 7)
        for i, shard in enumerate(order):
            file = "model-%05d-of-00007.safetensors" % (shard + 1)
            part = entries[i * each:(i + 1) * each]
            write_shard(os.path.join(target, file), part, meta)
            homes.update((e[0], file) for e in part)
        with open(os.path.join(target, "model.safetensors.index.json"), "w") as f:
            json.dump({"metadata": {}, "weight_map": homes}, f)
    shutil.copy(os.path.join(POCKET, "pocket-base.imatrix.gguf"), os.path.join(work, form, "base.imatrix.gguf"))


def make_ggufs(work):
    """One file; a set of 7; for the odd form a set with other borders."""
    one = os.path.join(work, "one")
    subprocess.run([QUERN, "convert", "-q", "base", "base.gguf"], cwd=one, check=True)
    for form, size in (("seven", 6), ("odd", 11)):
        subprocess.run([QUERN, "convert", "-q", os.path.join(one, "base.gguf"), "base", "--split-max-tensors", str(size)],
                       cwd=os.path.join(work, form), check=True)


def gguf_of(directory):
    return next(n for n in sorted(os.listdir(directory)) if n.startswith("base") and n.endswith(".gguf") and "imatrix" not in n)


def run(work, job, c, builds, library):
    """The digest of the output, or what went wrong."""
    cwd = os.path.join(work, c.form)
    words = [builds[c.build]] + [gguf_of(cwd) if w == "GGUF" else w for w in JOBS[job]]
    words += ["-q", "-j", str(c.threads), "--mem", c.mem]
    env = dict(os.environ, QUERN_SYNC="0.002")
    env.pop("QUERN_CPU", None)
    if c.cpu:
        env["QUERN_CPU"] = c.cpu
    out = os.path.join(cwd, next(w for w in words if w.startswith("out.")))
    if c.kill:
        subprocess.run(words, cwd=cwd, env=dict(env, LD_PRELOAD=library, FAULT="pwrite %d kill" % c.kill), stderr=subprocess.DEVNULL)
        words.append("--resume")
        if os.path.exists(out):
            return "it was over before it was killed"
    done = subprocess.run(words, cwd=cwd, env=env, stderr=subprocess.PIPE)
    if done.returncode:
        return "exit %d: %s" % (done.returncode, done.stderr.decode(errors="replace"))
    with open(out, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    os.unlink(out)
    return digest


def count_writes(work, job, builds, library):
    path = os.path.join(work, "count")
    c = Combination()
    cwd = os.path.join(work, c.form)
    words = [builds[""]] + [gguf_of(cwd) if w == "GGUF" else w for w in JOBS[job]]
    subprocess.run(words + ["-q", "-j", "2", "-f"], cwd=cwd, check=True, stderr=subprocess.DEVNULL,
                   env=dict(os.environ, LD_PRELOAD=library, FAULT_COUNT=path, QUERN_SYNC="0.002"))
    for name in os.listdir(cwd):
        if name.startswith("out."):
            os.unlink(os.path.join(cwd, name))
    with open(path) as f:
        return next(int(n) for name, n in map(str.split, f) if name == "pwrite")


def combinations(cpus, builds, short):
    """Of everything but resuming."""
    if short:
        # Every value of every kind, few of their combinations.
        return [Combination("", THREADS[i % 5], cpus[i % len(cpus)], MEMS[i // 3 % 3], FORMS[i // 2 % 3]) for i in range(10)]
    made = [Combination("", t, c, MEMS[(i + k) % 3], f)
            for i, ((k, t), c, f) in enumerate(itertools.product(enumerate(THREADS), cpus, FORMS))]
    made += [Combination("", 2, cpus[-1], m, "one") for m in MEMS]
    others = [b for b in builds if b]
    made += [Combination(b, t, c, m, "one") for b in others for c in cpus for t, m in ((1, "256MiB"), (7, "16MiB"))]
    return made


def main():
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ask.add_argument("--short", action="store_true")
    ask.add_argument("--job", choices=list(JOBS))
    ask.add_argument("--build", action="append", default=[], metavar="NAME=QUERN")
    args = ask.parse_args()
    builds = {"": QUERN}
    builds.update((n, os.path.abspath(p)) for n, p in (b.split("=", 1) for b in args.build) if os.path.exists(p))
    cpus = [c for c in CPUS if subprocess.run([QUERN, "types"], env=dict(os.environ, QUERN_CPU=c), capture_output=True).returncode == 0]
    work, wrong, total, numbers = tempfile.mkdtemp(prefix="quern-same."), [], 0, []
    try:
        library = os.path.join(work, "faultio.so")
        subprocess.run([os.environ.get("CC", "cc").split()[-1], "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", library,
                        os.path.join(HERE, "faultio.c"), "-ldl"], check=True)
        for form in FORMS:
            make_form(work, form)
        make_ggufs(work)
        for job in [args.job] if args.job else JOBS:
            writes = count_writes(work, job, builds, library)
            points = 2 if args.short else 20
            todo = combinations(cpus, builds, args.short)
            todo += [Combination("", 1 + i % 3, cpus[i % len(cpus)], MEMS[i % 3], "one", n)
                     for i, n in enumerate(sorted({1 + (writes - 2) * k // points for k in range(points)}))]
            found = collections.defaultdict(list)
            for c in todo:
                found[run(work, job, c, builds, library)].append(c)
            total += len(todo)
            numbers.append(len(todo))
            usual = max(found, key=lambda d: len(found[d]))
            wrong += ["%s: %s: %s" % (job, c, d) for d in found if d != usual for c in found[d]]
            if len(usual) != 64:
                wrong.append("%s: %s" % (job, usual))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    for what in wrong[:20]:
        print(what)
    if wrong:
        sys.exit("determinism: %d of %d runs gave something else" % (len(wrong), total))
    print("%d combinations, each with the same bytes" % min(numbers))
    print("%d jobs, %d runs; instruction sets: %s; builds: %s" %
          (1 if args.job else len(JOBS), total, ", ".join(cpus), ", ".join(b or "this one" for b in builds)), file=sys.stderr)


if __name__ == "__main__":
    main()
