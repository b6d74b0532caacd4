#!/usr/bin/env python3
"""part_faults.py [--most N] - system calls of quern run and quern join go wrong, or the process is killed in their place; then they are run again.

For several jobs in every layout: all parts are made once. Then for each function (pwrite, fsync and fdatasync, rename, ftruncate,
fallocate, open, copy_file_range) and each n up to the number of its calls, at most N (default 60): the n-th call of join, or of one
part with everything else made, fails with EIO or the process dies there. The final name shows nothing or the whole output; the same
command again, and join where it was a part, give the bytes of the undivided command, and nothing is left beside them.
QUERN and CC name the programs, MODELS the directory that make_models.py has filled. Standard library only.
"""
import argparse, concurrent.futures, hashlib, json, os, shutil, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(HERE, "..", "build", "quern")))
MODELS = os.path.realpath(os.environ.get("MODELS", os.path.join(HERE, "..", "build", "test-models")))
HF, HF_B, HF_C, DENSE = (MODELS + "/" + n for n in ("hf", "hf-b", "hf-c", "dense-f16.gguf"))
TIES = ["merge", "--method", "ties", "--base", HF, "--model", HF_B, "--model", HF_C, "--param", "weight=0.5", "--param", "density=0.5"]
# name: options of plan, the command
JOBS = {
    "files": (["--layout", "files"], ["quantize", DENSE, "out.gguf", "Q4_0"]),
    "joined": (["--layout", "joined"], ["quantize", DENSE, "out.gguf", "F32"]),
    "ranges": (["--layout", "ranges"], ["quantize", DENSE, "out.gguf", "F32"]),
    "set": (["--layout", "joined"], ["quantize", "--keep-split", MODELS + "/split-00001-of-00003.gguf", "out", "Q4_0"]),
    "stages": (["--layout", "ranges", "--stages"], TIES + ["out"]),
    "shards": (["--layout", "ranges"], TIES + ["--out-shard-size", "1M", "out"]),
}
# Files of a split set get their names one after the other.
ONE_BY_ONE = ("files", "set")
CALLS = ("pwrite", "fsync", "rename", "ftruncate", "fallocate", "open", "copy")


def quern(work, *words, fault=None, count=None):
    env = dict(os.environ, QUERN_SYNC="0.002")
    if fault or count:
        env["LD_PRELOAD"] = LIBRARY
        env["FAULT" if fault else "FAULT_COUNT"] = fault or count
    done = subprocess.run((QUERN,) + words, cwd=work, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    return done.returncode, done.stdout.decode(errors="replace")


def must(work, *words):
    code, said = quern(work, *words)
    if code != 0:
        sys.exit("%s: exit %d: %s" % (" ".join(words), code, said))


def digest(work):
    """Of what lies under the final names."""
    sums = []
    for name in sorted(n for n in os.listdir(work) if n.startswith("out")):
        path = os.path.join(work, name)
        for file in [path] if os.path.isfile(path) else sorted(os.path.join(path, n) for n in os.listdir(path)):
            with open(file, "rb") as f:
                sums.append((os.path.relpath(file, work), hashlib.sha256(f.read()).hexdigest()))
    return sums


def prepare(base, job):
    """A directory in which all parts are made, one with all but the second, and what join must give."""
    options, words = JOBS[job]
    whole, ready, lacks = (os.path.join(base, job + s) for s in ("-whole", "", "-lacks"))
    os.mkdir(ready)
    must(ready, "plan", "-q", "--parts", "3", *options, *words)
    with open(os.path.join(ready, "job.plan")) as f:
        plan = json.load(f)
    for k in range(plan["stats_parts"]):
        must(ready, "run", "-q", "job.plan", "--stage", "stats", "--part", str(k + 1))
    for k in range(plan["parts"]):
        if k == 1:
            shutil.copytree(ready, lacks)
            must(lacks, "run", "-q", "job.plan", "--part", "3")
        must(ready, "run", "-q", "job.plan", "--part", str(k + 1))
    shutil.copytree(ready, whole)
    must(whole, "join", "-q", "job.plan")
    if job != "files":
        os.mkdir(whole + "-plain")
        must(whole + "-plain", *words, "-q")
        if digest(whole) != digest(whole + "-plain"):
            sys.exit("%s: joined, other bytes than those of the undivided command" % job)
    return ready, lacks, digest(whole)


def trial(job, start, words, fault, normal):
    """What is wrong, or None."""
    top = tempfile.mkdtemp(prefix="quern-part-fault.")
    work = os.path.join(top, "w")
    try:
        shutil.copytree(start, work)
        code, said = quern(work, *words, fault=fault)
        if code not in (0, 5, -9) and not (fault.startswith("open") and code in (3, 4)):
            return "exit %d: %s" % (code, said)
        if code == 5 and not said:
            return "without a word"
        if words[0] == "join" and job not in ONE_BY_ONE and digest(work) not in ([], normal):
            return "something else lies under the final name"
        if words[0] == "run":
            again, told = quern(work, *words)
            if again != 0:
                return "then again: exit %d: %s" % (again, told)
        # Another join may find that the first had come to its end.
        again, told = quern(work, "join", "-q", "job.plan")
        if again not in (0, 7) or digest(work) != normal:
            return "then join: exit %d, %s: %s" % (again, "other bytes" if digest(work) != normal else "", told)
        left = [n for n in os.listdir(work) if n.startswith(".")]
        return "left behind: %s" % left if left and again == 0 else None
    except subprocess.TimeoutExpired:
        return "did not end"
    finally:
        shutil.rmtree(top, ignore_errors=True)


def trials(base, job, most):
    ready, lacks, normal = prepare(base, job)
    for start, words in ((ready, ("join", "-q", "job.plan")), (lacks, ("run", "-q", "-j", "2", "job.plan", "--part", "2"))):
        work = os.path.join(base, "count-" + job + words[0])
        shutil.copytree(start, work)
        code, said = quern(work, *words, count=work + ".txt")
        if code != 0:
            sys.exit("%s: exit %d undisturbed: %s" % (job, code, said))
        with open(work + ".txt") as f:
            calls = {name: int(n) for name, n in map(str.split, f)}
        for call in CALLS:
            step = max(1, -(-calls[call] // most))
            for i, kind in enumerate(("kill", "EIO")):
                for n in range(1 + i % step, calls[call] + 1, step):
                    yield job, start, words, "%s %d %s" % (call, n, kind), normal


def main():
    global LIBRARY
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ask.add_argument("--most", type=int, default=60)
    ask.add_argument("--job", choices=list(JOBS))
    args = ask.parse_args()
    base = tempfile.mkdtemp(prefix="quern-part-faults.")
    LIBRARY = os.path.join(base, "faultio.so")
    try:
        subprocess.run([os.environ.get("CC", "cc").split()[-1], "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", LIBRARY,
                        os.path.join(HERE, "faultio.c"), "-ldl"], check=True)
        tasks = [t for job in ([args.job] if args.job else JOBS) for t in trials(base, job, args.most)]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            wrong = [(t, what) for t, what in zip(tasks, pool.map(lambda t: trial(*t), tasks)) if what]
    finally:
        shutil.rmtree(base, ignore_errors=True)
    for (job, _, words, fault, _), what in wrong[:20]:
        print("%s: %s: %s: %s" % (job, words[0], fault, what))
    if wrong:
        sys.exit("part_faults: %d of %d trials went wrong" % (len(wrong), len(tasks)))
    print("%d faults in parts and joins, all survived" % len(tasks))


if __name__ == "__main__":
    main()
