#!/usr/bin/env python3
"""faults.py [--short] - every system call that a small job makes goes wrong once, then the job is resumed.

For each job and each function (pread, pwrite, fsync and fdatasync, rename, ftruncate, fallocate, open, copy_file_range, malloc) and
each n up to the number of its calls: the n-th call fails with EIO, ENOSPC or ENOMEM, is interrupted (EINTR), is short, or the process
is killed in its place. Then: exit code 0 means the right bytes; any other exit code is the documented one, and the final name
shows what it showed before. A run with --resume gives the right bytes, and nothing is left beside them. --short takes every
thirteenth n. QUERN and CC name the programs, MODELS the directory that make_models.py has filled. Standard library only.
"""
import argparse, collections, concurrent.futures, hashlib, os, shutil, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(HERE, "..", "build", "quern")))
MODELS = os.path.realpath(os.environ.get("MODELS", os.path.join(HERE, "..", "build", "test-models")))

JOBS = {
    "quantize": ["quantize", MODELS + "/wide.gguf", "out.gguf", "Q4_0"],
    "copy": ["quantize", MODELS + "/dense-f16.gguf", "out.gguf", "COPY"],
    "split": ["quantize", "--keep-split", MODELS + "/split-00001-of-00003.gguf", "out", "Q4_0"],
    "merge": ["merge", "--method", "slerp", "--base", MODELS + "/hf", "--model", MODELS + "/hf-b", "--param", "t=0.3",
              "--out-shard-size", "1M", "out"],
    "record": ["quantize", "--provenance", MODELS + "/wide.gguf", "out.gguf", "Q4_0"],
}
# How each function can go wrong, and the exit code that is right; None: the job must succeed.
FAULTS = {
    "pread": {"EIO": 5, "EINTR": None, "short": None, "kill": -9},
    "pwrite": {"EIO": 5, "ENOSPC": 5, "EINTR": None, "short": None, "kill": -9},
    "fsync": {"EIO": 5, "kill": -9},
    "rename": {"EIO": 5, "kill": -9},
    "ftruncate": {"EIO": 5, "kill": -9},
    "fallocate": {"ENOSPC": 5, "kill": -9},
    "open": {"EIO": 5, "kill": -9},
    "copy": {"EIO": None, "short": None, "kill": -9},
    "malloc": {"ENOMEM": 6, "ENOMEM+": 6},
}


def outputs(work):
    return sorted(n for n in os.listdir(work) if n.startswith("out"))


def digest(work):
    all_ = hashlib.sha256()
    for name in outputs(work):
        path = os.path.join(work, name)
        for file in [path] if os.path.isfile(path) else sorted(os.path.join(path, n) for n in os.listdir(path)):
            with open(file, "rb") as f:
                all_.update(os.path.relpath(file, work).encode() + b"\0" + f.read())
    return all_.hexdigest() if outputs(work) else None


def run(work, job, fault=None, count=None, resume=False):
    env = dict(os.environ, QUERN_SYNC="0.002")
    if fault or count:
        env["LD_PRELOAD"] = LIBRARY
        env["FAULT" if fault else "FAULT_COUNT"] = fault or count
    words = [QUERN, *JOBS[job], "-q", "-j", "2", "--mem", "16MiB"] + (["--resume"] if resume else [])
    done = subprocess.run(words, cwd=work, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=120)
    return done.returncode, done.stderr.decode(errors="replace")


def trial(job, call, n, kind, want):
    """What is wrong, and the exit code."""
    right = FAULTS[call][kind]
    work = tempfile.mkdtemp(prefix="quern-fault.")
    try:
        code, text = run(work, job, fault="%s %d %s" % (call, n, kind))
        where = "%s: %s %d %s: exit %d: " % (job, call, n, kind, code)
        got = digest(work)
        if code == 0:
            # Some calls are only tried: their failure is made good.
            return where + "other bytes" if got != want else None, code
        # Files of a split set get their names one after the other, and a record after its output; other outputs all at once.
        named = got == want or (job in ("split", "record") and call in ("rename", "fsync", "open", "malloc")) or kind == "kill"
        if code != right and not (call == "open" and code in (3, 4)):
            return where + "expected %s: %s" % (right, text), code
        if got is not None and not (named or call == "fsync"):
            return where + "something lies under the final name", code
        code, text = run(work, job, resume=True)
        if code not in (0, 7) or digest(work) != want:
            return where + "then resumed: exit %d, %s: %s" % (code, "other bytes" if digest(work) != want else "", text), code
        left = [x for x in os.listdir(work) if x.startswith(".") and "quern" in x]
        return where + "left behind: %s" % left if left and code == 0 else None, code
    except subprocess.TimeoutExpired:
        return "%s: %s %d %s: did not end" % (job, call, n, kind), 0
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main():
    global LIBRARY
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ask.add_argument("--short", action="store_true")
    ask.add_argument("--job", choices=list(JOBS))
    args = ask.parse_args()
    base = tempfile.mkdtemp(prefix="quern-faults.")
    LIBRARY = os.path.join(base, "faultio.so")
    counts, wrong = collections.Counter(), []
    try:
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", LIBRARY,
                        os.path.join(HERE, "faultio.c"), "-ldl"], check=True)
        tasks = []
        for job in [args.job] if args.job else JOBS:
            work = os.path.join(base, job)
            os.mkdir(work)
            code, text = run(work, job, count=os.path.join(base, "count"))
            if code:
                sys.exit("%s: exit %d undisturbed: %s" % (job, code, text))
            want = digest(work)
            with open(os.path.join(base, "count")) as f:
                calls = {name: int(n) for name, n in map(str.split, f)}
            for call, kinds in FAULTS.items():
                # Thousands of allocations differ little from each other.
                step = 13 if args.short else 1
                step = max(step, calls[call] // (20 if args.short else 400))
                for i, kind in enumerate(kinds):
                    for n in range(1 + i % step, calls[call] + 1, step):
                        tasks.append((job, call, n, kind, want))
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for task, (what, code) in zip(tasks, pool.map(lambda t: trial(*t), tasks)):
                counts[task[1]] += 1
                if what:
                    wrong.append(what)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    for what in wrong[:20]:
        print(what)
    if wrong:
        sys.exit("faults: %d of %d trials went wrong" % (len(wrong), len(tasks)))
    print("%d faults, all survived" % len(tasks))
    print(", ".join("%s %d" % c for c in counts.items()), file=sys.stderr)


if __name__ == "__main__":
    main()
