#!/usr/bin/env python3
"""faults.py [--short | --memory] - every system call that a small job makes goes wrong once, then the job is resumed.

For each job and each function (pread, pwrite, fsync and fdatasync, rename, ftruncate, fallocate, open, mkdir, link, copy_file_range,
malloc) and each n up to the number of its calls: the n-th call fails with EIO, ENOSPC or ENOMEM, is interrupted (EINTR), is short (half, or one byte), or the process
is killed in its place. Then: exit code 0 means the right bytes; any other exit code is the documented one, with a message, and the
final name shows what it showed before. A run with --resume gives the right bytes, and nothing is left beside them; where a lack of
memory ended a run early, every fifth is resumed. Jobs that only read must say what they say undisturbed, or fail.
--short takes every thirteenth n or six of them. --memory: only malloc, and no --resume: for a program with AddressSanitizer, which
then looks for leaks. QUERN and CC name the programs, MODELS the directory that make_models.py has filled. Standard library only.
"""
import argparse, collections, concurrent.futures, hashlib, os, shutil, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(HERE, "..", "build", "quern")))
MODELS = os.path.realpath(os.environ.get("MODELS", os.path.join(HERE, "..", "build", "test-models")))
HF, HF_B, HF_C, DENSE = (MODELS + "/" + n for n in ("hf", "hf-b", "hf-c", "dense-f16.gguf"))

# What jobs begin with, made once: a pack, a quantized model and its record, a plan, a plan whose parts are done.
READY = os.path.join(tempfile.gettempdir(), "quern-faults-%d" % os.getpid())
PARTS = ".out.gguf.quern-parts"
PLAN = ["plan", "-q", "--parts", "2", "--layout", "joined", "-o", "job.plan", "quantize", DENSE, "out.gguf", "Q4_0"]
JOBS = {
    "quantize": ["quantize", MODELS + "/wide.gguf", "out.gguf", "Q4_0"],
    "copy": ["quantize", DENSE, "out.gguf", "COPY"],
    "split": ["quantize", "--keep-split", MODELS + "/split-00001-of-00003.gguf", "out", "Q4_0"],
    "slerp": ["merge", "--method", "slerp", "--base", HF, "--model", HF_B, "--param", "t=0.3", "--out-shard-size", "1M", "out"],
    "replace": ["quantize", "-f", MODELS + "/wide.gguf", "out.gguf", "Q8_0"],
    "imatrix": ["quantize", "--stats", "--imatrix", MODELS + "/dense.imatrix.gguf", DENSE, "out.gguf", "IQ4_XS"],
    "convert": ["convert", "--pre", "gpt-2", HF, "out.gguf", "-t", "q8_0"],
    "convert-back": ["convert", DENSE, "out"],
    "resplit": ["convert", DENSE, "out", "--split-max-tensors", "5"],
    "ties": ["merge", "--method", "ties", "--base", HF, "--model", HF_B, "--model", HF_C, "--param", "weight=0.5", "--param", "density=0.5",
             "out"],
    "recipe": ["merge", "recipe.yml", "out"],
    "one-pass": ["merge", "recipe.yml", "out.gguf", "q4_k_m", "--pre", "gpt-2"],
    "adapter": ["merge", "--base", HF, "--lora", MODELS + "/lora:0.5", "out"],
    "record": ["quantize", "--provenance", DENSE, "out.gguf", "Q4_0"],
    "extract": ["lora", "extract", HF, HF_B, "out", "--rank", "4"],
    "combine": ["imatrix", "combine", MODELS + "/dense.imatrix.dat", MODELS + "/dense.imatrix.gguf", "-o", "out.gguf"],
    "inspect": ["inspect", HF],
    "check": ["check", HF, DENSE],
    "compare": ["compare", "-q", "-j", "2", "--mem", "16MiB", HF_B, HF_C],
    "lora-info": ["lora", "info", MODELS + "/lora"],
    "show": ["imatrix", "show", MODELS + "/dense.imatrix.dat"],
    "pack": ["pack", HF_B, "-o", "out.qpk"],
    "unpack": ["unpack", READY + "/hf.qpk", "out"],
    "verify": ["verify", "-j", "2", "--mem", "16MiB", DENSE, READY + "/q4.gguf"],
    "verify-merge": ["verify", "-j", "2", "--mem", "16MiB", "recipe.yml", READY + "/merged"],
    "rebuild": ["rebuild", READY + "/q4.gguf.quern.json", "-o", "out.gguf"],
    "plan": ["out.plan" if w == "job.plan" else w for w in PLAN],
    "run": ["run", "job.plan", "--part", "2"],
    "join": ["join", "job.plan"],
}
READERS = ("inspect", "check", "compare", "lora-info", "show", "verify", "verify-merge")
# What these begin with lies in the directory where they run. They go on by being run again.
BEGIN = {"run": "planned", "join": "parts"}
NO_RESUME = ("plan", "run", "join")
# Files of a split set get their names one after the other, a record after its file; other outputs all at once.
ONE_BY_ONE = ("split", "resplit", "record")
RECIPE = """merge_method: linear
models:
- {model: %s, parameters: {weight: 0.5}}
- {model: %s, parameters: {weight: 0.5}}
dtype: bfloat16
tokenizer: {source: union}
""" % (HF_B, HF_C)
# How each function can go wrong, and the exit code that is right; None: the job must succeed.
FAULTS = {
    "pread": {"EIO": 5, "EINTR": None, "short": None, "byte": None, "kill": -9},
    "pwrite": {"EIO": 5, "ENOSPC": 5, "EINTR": None, "short": None, "byte": None, "kill": -9},
    "fsync": {"EIO": 5, "kill": -9},
    "rename": {"EIO": 5, "kill": -9},
    "ftruncate": {"EIO": 5, "kill": -9},
    "fallocate": {"ENOSPC": 5, "kill": -9},
    "open": {"EIO": 5, "kill": -9},
    "mkdir": {"EIO": 5, "kill": -9},
    "link": {"EIO": None, "kill": -9},
    "copy": {"EIO": None, "short": None, "kill": -9},
    "malloc": {"ENOMEM": 6, "ENOMEM+": 6},
}
OLD = b"what was there before"


def outputs(work, job):
    """A part leaves slices of the output, and a record of them."""
    if job == "run":
        names = os.listdir(os.path.join(work, PARTS)) if os.path.exists(os.path.join(work, PARTS)) else []
        return sorted(os.path.join(PARTS, n) for n in names if n.startswith("slice-") or n.endswith(".done"))
    return sorted(n for n in os.listdir(work) if n.startswith("out"))


def digest(work, job):
    all_ = hashlib.sha256()
    names = outputs(work, job)
    for name in names:
        path = os.path.join(work, name)
        for file in [path] if os.path.isfile(path) else sorted(os.path.join(path, n) for n in os.listdir(path)):
            with open(file, "rb") as f:
                all_.update(os.path.relpath(file, work).encode() + b"\0" + f.read())
    return all_.hexdigest() if names else None


def make_ready():
    """What jobs begin with."""
    planned, parts = READY + "/planned", READY + "/parts"
    os.makedirs(planned)
    write_recipe(READY)

    def quern(*words, cwd=READY):
        subprocess.run([QUERN, *words], cwd=cwd, check=True)

    quern("pack", "-q", HF, "-o", "hf.qpk")
    quern("quantize", "-q", "--provenance", DENSE, "q4.gguf", "Q4_0")
    quern("merge", "-q", "recipe.yml", "merged")
    quern(*PLAN, cwd=planned)
    shutil.copytree(planned, parts)
    for part in "1", "2":
        quern("run", "-q", "job.plan", "--part", part, cwd=parts)


def write_recipe(work):
    with open(os.path.join(work, "recipe.yml"), "w") as f:
        f.write(RECIPE)


def prepare(work, job):
    """What the final name shows before the run."""
    write_recipe(work)
    if job in BEGIN:
        shutil.copytree(os.path.join(READY, BEGIN[job]), work, dirs_exist_ok=True)
    if job == "replace":
        with open(os.path.join(work, "out.gguf"), "wb") as f:
            f.write(OLD)
    return digest(work, job)


def run(work, job, fault=None, count=None, resume=False):
    """Exit code, stdout, stderr."""
    env = dict(os.environ, QUERN_SYNC="0.002")
    if fault or count:
        env["LD_PRELOAD"] = LIBRARY
        env["FAULT" if fault else "FAULT_COUNT"] = fault or count
    words = [QUERN, *JOBS[job]]
    if job not in READERS and job != "plan":
        words += ["-q", "-j", "2", "--mem", "32MiB" if "pack" in job else "16MiB"]
    if resume and job not in NO_RESUME:
        words += ["--resume"]
    done = subprocess.run(words, cwd=work, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def judge_reader(kind, right, normal, got):
    (code, text, said), (normal_code, normal_text, _) = got, normal
    if kind == "kill":
        return None
    if code == normal_code:
        return "other output: %s" % text.decode(errors="replace") if text != normal_text else None
    if code != right and not (right == 5 and code in (3, 4)):
        return "expected %s: %s" % (right, said)
    return None if said or code < 0 else "without a word"


def judge_writer(work, job, call, kind, normal, before, got):
    """What is wrong after the fault."""
    code, _, said = got
    right, now = FAULTS[call][kind], digest(work, job)
    if code == 0:
        # Some calls are only tried: their failure is made good.
        return "other bytes" if now != normal else None
    if code != right and not (call == "open" and code in (3, 4)):
        return "expected %s: %s" % (right, said)
    if not said and code > 0:
        return "without a word"
    named = now == normal or job == "run" or (job in ONE_BY_ONE and call in ("rename", "fsync", "open", "malloc", "pwrite", "ftruncate", "fallocate")) or kind == "kill"
    if now != before and not (named or call == "fsync"):
        return "the final name shows something else"
    return None


def judge_resumed(work, job, normal):
    code, _, said = run(work, job, resume=True)
    same = digest(work, job) == normal
    if code not in (0, 7) or not same:
        return "then resumed: exit %d, %s: %s" % (code, "" if same else "other bytes", said)
    left = [x for x in os.listdir(work) if x.startswith(".") and not (job == "run" and x == PARTS)]
    return "left behind: %s" % left if left and code == 0 else None


def trial(job, call, n, kind, normal):
    """What is wrong, or None."""
    work = tempfile.mkdtemp(prefix="quern-fault.")
    try:
        before = prepare(work, job)
        got = run(work, job, fault="%s %d %s" % (call, n, kind))
        if job in READERS:
            what = judge_reader(kind, FAULTS[call][kind], normal, got)
        else:
            what = judge_writer(work, job, call, kind, normal, before, got)
            if not what and got[0] != 0 and RESUME and (call != "malloc" or n % 5 == 0):
                what = judge_resumed(work, job, normal)
        return what and "%s: %s %d %s: exit %d: %s" % (job, call, n, kind, got[0], what)
    except subprocess.TimeoutExpired:
        return "%s: %s %d %s: did not end" % (job, call, n, kind)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def trials(base, job, args):
    """All of a job, after a run that counts its calls."""
    work = os.path.join(base, job)
    os.mkdir(work)
    prepare(work, job)
    code, text, said = run(work, job, count=os.path.join(base, "count"))
    if code != (1 if job == "compare" else 0):
        sys.exit("%s: exit %d undisturbed: %s" % (job, code, said))
    normal = (code, text, said) if job in READERS else digest(work, job)
    with open(os.path.join(base, "count")) as f:
        calls = {name: int(n) for name, n in map(str.split, f)}
    for call, kinds in FAULTS.items():
        if args.memory and call != "malloc":
            continue
        # Thousands of reads differ little from each other.
        most = args.most or (6 if args.short else 1000 if call == "malloc" else 400)
        step = max(13 if args.short else 1, calls[call] // most)
        for i, kind in enumerate(kinds):
            for n in range(1 + i % step, calls[call] + 1, step):
                yield job, call, n, kind, normal


def main():
    global LIBRARY, RESUME
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ask.add_argument("--short", action="store_true")
    ask.add_argument("--memory", action="store_true")
    ask.add_argument("--most", type=int, help="of every function, at most so many n")
    ask.add_argument("--job", choices=list(JOBS))
    args = ask.parse_args()
    RESUME = not args.memory
    os.environ.setdefault("ASAN_OPTIONS", "verify_asan_link_order=0:allocator_may_return_null=1:exitcode=99")
    base = tempfile.mkdtemp(prefix="quern-faults.")
    LIBRARY = os.path.join(base, "faultio.so")
    counts, wrong = collections.Counter(), []
    try:
        subprocess.run([os.environ.get("CC", "cc").split()[-1], "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", LIBRARY,
                        os.path.join(HERE, "faultio.c"), "-ldl"], check=True)
        make_ready()
        tasks = [t for job in ([args.job] if args.job else JOBS) for t in trials(base, job, args)]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for task, what in zip(tasks, pool.map(lambda t: trial(*t), tasks)):
                counts[task[1]] += 1
                if what:
                    wrong.append(what)
    finally:
        shutil.rmtree(base, ignore_errors=True)
        shutil.rmtree(READY, ignore_errors=True)
    for what in wrong[:20]:
        print(what)
    if wrong:
        sys.exit("faults: %d of %d trials went wrong" % (len(wrong), len(tasks)))
    print("%d faults, all survived" % len(tasks))
    print(", ".join("%s %d" % c for c in counts.items()), file=sys.stderr)


if __name__ == "__main__":
    main()
