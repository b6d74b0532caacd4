#!/usr/bin/env python3
"""bench.py [quantize] [merge] [convert] [onepass] [pack] [memory] [kernels] - measure quern, next to its peers where they are there.

Peers are named by the environment:
  LLAMA_QUANTIZE=/path/to/llama-quantize   MERGEKIT_YAML=/path/to/mergekit-yaml
  CONVERT_HF_TO_GGUF="/path/to/python /path/to/convert_hf_to_gguf.py"
Without them only quern's own figures are printed. Also read:
  QUERN=build/quern   BENCH_DIR=build/bench-data (needs about 35 GB; 1 GB with SMALL=1)   ROUNDS=5   MERGEKIT_ROUNDS=3   SMALL=1 (quick and meaningless)
  JOBS="f16:Q4_K_M ties hf:Q8_0 ..." (of the quantize, merge and convert sections, only these)

  ZIPNN_PYTHON=/path/to/python (one that has the package zipnn; for the pack section)

Method: contenders take turns, in alternating order, after one unmeasured round that also brings the inputs into the page
cache; output files are removed before each run; the table shows medians over the rounds. CPU time is user + system
of the whole process tree, peak memory the largest resident set of a process. Prints Markdown. Standard library only.
"""
import os, platform, shlex, shutil, statistics, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
QUERN = os.environ.get("QUERN", os.path.join(ROOT, "build", "quern"))
KERNELS = None # bench-kernels, beside it
DIR = os.path.abspath(os.environ.get("BENCH_DIR", os.path.join(ROOT, "build", "bench-data")))
SMALL = os.environ.get("SMALL", "") not in ("", "0")
ROUNDS = int(os.environ.get("ROUNDS", "2" if SMALL else "5"))
MERGEKIT_ROUNDS = int(os.environ.get("MERGEKIT_ROUNDS", min(ROUNDS, 3)))
LLAMA_QUANTIZE = os.environ.get("LLAMA_QUANTIZE")
MERGEKIT = os.environ.get("MERGEKIT_YAML")
CONVERT = shlex.split(os.environ.get("CONVERT_HF_TO_GGUF", ""))
MEDIUM, LARGE, HUGE = ("small", "small", "medium") if SMALL else ("medium", "large", "huge")
JOBS = os.environ.get("JOBS", "").split()
LOG = os.path.join(DIR, "log.txt")


def path(*parts):
    return os.path.join(DIR, *parts)


class Run:
    """One finished process: wall and CPU seconds, peak resident bytes."""

    def __init__(self, command):
        with open(LOG, "a") as log:
            log.write("$ %s\n" % " ".join(command))
            log.flush()
            done = subprocess.run([tool("measure")] + command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)
        if done.returncode != 0:
            with open(LOG) as log:
                tail = log.read()[-2000:]
            sys.exit("bench: failed with %d: %s\n%s" % (done.returncode, " ".join(command), tail))
        self.wall, self.cpu, kib = map(float, done.stdout.split())
        self.rss = kib * 1024


def tool(name):
    """A helper of this directory, compiled on first use."""
    program, source = path(name), os.path.join(HERE, name + ".c")
    if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
        subprocess.run(["cc", "-O2", "-o", program, source], check=True)
    return program


def remove(target):
    if os.path.isdir(target):
        shutil.rmtree(target)
    elif os.path.exists(target):
        os.unlink(target)


def read_through(target):
    """Bring a file, or the files of a directory, into the page cache."""
    files = [os.path.join(target, f) for f in os.listdir(target)] if os.path.isdir(target) else [target]
    buffer = bytearray(1 << 20)
    for name in files:
        with open(name, "rb", buffering=0) as f:
            while f.readinto(buffer):
                pass


def drop_from_cache(target):
    """As models that were downloaded some time ago: what is read from the disk lies in larger pieces in the page cache than what
    was written in small ones, which makes reading it cheaper, for everybody."""
    files = [os.path.join(target, f) for f in os.listdir(target)] if os.path.isdir(target) else [target]
    for name in files:
        with open(name, "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def take_turns(contenders, inputs, rounds=ROUNDS, slow=None):
    """contenders: {label: (command, output)}; slow: {label: rounds} of those that run in the first rounds only and have none
    to warm up. Returns {label: [Run]}."""
    results, slow = {label: [] for label in contenders}, slow or {}
    for number in range(-1, rounds):
        order = list(contenders) if number % 2 else list(reversed(contenders))
        for label in order:
            if label in slow and not 0 <= number < slow[label]:
                continue
            command, output = contenders[label]
            remove(output)
            for i in inputs:
                read_through(i)
            run = Run(command)
            if number >= 0:
                results[label].append(run)
            if number < rounds - 1:
                remove(output)
    return results


def median(runs, what):
    return statistics.median(getattr(r, what) for r in runs)


def spread(runs, what):
    values = [getattr(r, what) for r in runs]
    return "%.2f (%.2f-%.2f)" % (statistics.median(values), min(values), max(values))


def table(head, rows):
    rows = [head] + [[str(c) for c in r] for r in rows]
    widths = [max(len(r[i]) for r in rows) for i in range(len(head))]
    rows.insert(1, ["-" * w for w in widths])
    for r in rows:
        print("| " + " | ".join(c.ljust(w) for c, w in zip(r, widths)) + " |")
    print(flush=True)


def mib(nbytes):
    return "%.0f MiB" % (nbytes / 2**20)


def say(text):
    print(text + "\n", flush=True)


# ---- models

def make_model(*args):
    """Writes a model once; returns its path."""
    target = args[3]
    done = target + ".done"
    if not os.path.exists(done):
        remove(target)
        subprocess.run([tool("make_model")] + list(args), check=True)
        os.sync() # so that the write-back of the inputs is not in the figures
        drop_from_cache(target)
        with open(done, "w"):
            pass
    return target


def gguf(kind, size):
    return make_model("gguf", kind, size, path("%s-%s.gguf" % (size, kind)))


def hf(kind, size, variant):
    return make_model("hf", kind, size, path("%s-%s-%d" % (size, kind, variant)), str(variant))


def message(*fields):
    """A protobuf message of (number, value): integers and short bytes."""
    out = b""
    for number, value in fields:
        key = number << 3 | (2 if isinstance(value, bytes) else 0)
        for part in (key, len(value) if isinstance(value, bytes) else value):
            out += bytes([part]) if part < 128 else bytes([part & 127 | 128, part >> 7])
        out += value if isinstance(value, bytes) else b""
    return out


def hf_with_tokenizer(kind, size, variant):
    """A SentencePiece model with bytes and letters: fewer tokens than the model has, converters fill up."""
    model = hf(kind, size, variant)
    normal, unknown, control, byte = 1, 2, 3, 6
    pieces = [("<unk>", unknown), ("<s>", control), ("</s>", control)] + [("<0x%02X>" % b, byte) for b in range(256)]
    pieces += [(c, normal) for c in "\u2581abcdefghijklmnopqrstuvwxyz"]
    text = b"".join(message((1, message((1, p.encode()), (3, t)))) for p, t in pieces)
    with open(os.path.join(model, "tokenizer.model"), "wb") as f:
        f.write(text + message((2, message((3, 2), (35, 1))), (3, message((1, b"identity"))))) # BPE with bytes to fall back on
    return model


def nweights(size):
    """Of a model of this size: its bf16 file has two bytes for each and a small header."""
    return os.path.getsize(os.path.join(hf("sparse", size, 0), "model.safetensors")) / 2


def recipe(name, method, models, base=None, parameters=""):
    text = "merge_method: %s\n" % method
    if base:
        text += "base_model: %s\n" % base
    text += "models:\n" + "".join("  - model: %s\n%s" % m for m in models)
    text += parameters + "dtype: bfloat16\n"
    target = path(name + ".yml")
    with open(target, "w") as f:
        f.write(text)
    return target


# ---- (a) quantize

def bench_quantize():
    print("## Quantizing %.0f M weights, GGUF to GGUF, input in the page cache\n" % (nweights(MEDIUM) / 1e6))
    if not LLAMA_QUANTIZE:
        say("LLAMA_QUANTIZE is not set: no comparison with llama-quantize.")
    rows = []
    for kind in ("bf16", "f16"):
        source = gguf(kind, MEDIUM)
        for to in ("Q8_0", "Q4_0", "Q4_K_M"):
            if JOBS and kind + ":" + to not in JOBS:
                continue
            # The simple types alone, the mixes as people use them.
            pure = ["--pure"] if to.endswith("_0") else []
            contenders, outputs = {}, {}
            for threads in ("1", "2"):
                out = outputs["quern", threads] = path("out-quern-%s.gguf" % threads)
                contenders["quern", threads] = ([QUERN, "quantize", "-q", "-j", threads] + pure + [source, out, to], out)
                if LLAMA_QUANTIZE:
                    out = outputs["llama-quantize", threads] = path("out-llama-%s.gguf" % threads)
                    contenders["llama-quantize", threads] = ([LLAMA_QUANTIZE] + pure + [source, out, to, threads], out)
            results = take_turns(contenders, [source])
            same = {subprocess.run(["sha256sum", o], capture_output=True, check=True).stdout.split()[0] for o in outputs.values()}
            for label in sorted(results, key=lambda k: (k[1], k[0])):
                runs, rate = results[label], nweights(MEDIUM) / 1e6
                peer = results.get(("llama-quantize", label[1]))
                ratio = [median(peer, w) / median(runs, w) for w in ("cpu", "wall")] if peer and label[0] == "quern" else None
                rows.append([kind + " to " + to, label[0], label[1], spread(runs, "wall"), spread(runs, "cpu"), "%.0f" % (rate / median(runs, "cpu")),
                             mib(max(r.rss for r in runs)), "%.1fx CPU, %.1fx wall" % tuple(ratio) if ratio else ""])
            if len(same) != 1:
                say("**Output files differ** for %s to %s." % (kind, to))
            for o in outputs.values():
                remove(o)
    table(["job", "program", "threads", "wall s", "CPU s", "Mweights per CPU s", "peak RSS", "llama-quantize / quern"], rows)
    if LLAMA_QUANTIZE:
        say("All output files of a job were compared and are identical unless said otherwise above.")


# ---- (b) merge

# What mergekit's CPU time should be at least, in units of quern's.
TARGETS = {"slerp": 8, "linear": 8, "ties": 30, "dare_ties": 15, "model_stock": 15, "karcher": 15}


def merge_recipes(base, a, b):
    """{method: (models, recipe file)}"""
    half, dense = "    parameters: {weight: 0.5}\n", "    parameters: {weight: 0.5, density: 0.5}\n"
    plain, weighted, pruned = ([(m, p) for m in (a, b)] for p in ("", half, dense))
    return {"slerp": ([a, b], recipe("slerp", "slerp", plain, a, "parameters: {t: 0.4}\n")),
            "linear": ([a, b], recipe("linear", "linear", weighted)),
            "ties": ([base, a, b], recipe("ties", "ties", pruned, base)),
            "dare_ties": ([base, a, b], recipe("dare_ties", "dare_ties", pruned, base)),
            "model_stock": ([base, a, b], recipe("model_stock", "model_stock", plain, base)),
            "karcher": ([base, a, b], recipe("karcher", "karcher", [(base, "")] + plain))}


def copy_script(files, to):
    """Copies files as cp does and waits until they are on the disk."""
    copies = ["%s/%d" % (to, i) for i in range(len(files))]
    return " && ".join(["mkdir " + to] + ["cp %s %s" % pair for pair in zip(files, copies)] + ["sync " + " ".join(copies)])


def bench_merge():
    print("## Merging bf16 models of %.0f M weights, inputs in the page cache\n" % (nweights(MEDIUM) / 1e6))
    if not MERGEKIT:
        say("MERGEKIT_YAML is not set: no comparison with mergekit.")
    os.environ.update(OMP_NUM_THREADS="2", MKL_NUM_THREADS="2", HF_HUB_OFFLINE="1")
    out, copy, theirs = path("out-quern"), path("out-copy"), path("out-mergekit")
    for method, (models, yml) in merge_recipes(*(hf("bf16", MEDIUM, v) for v in range(3))).items():
        if JOBS and method not in JOBS:
            continue
        contenders = {"quern -j %s" % n: ([QUERN, "merge", "-q", "-j", n, yml, out + n], out + n) for n in ("1", "2")}
        contenders["cp + sync"] = (["sh", "-c", copy_script([os.path.join(m, "model.safetensors") for m in models], copy)], copy)
        if MERGEKIT:
            contenders["mergekit -j 2"] = ([MERGEKIT, "-j", "2", "--no-copy-tokenizer", yml, theirs], theirs)
        results = take_turns(contenders, models, slow={"mergekit -j 2": MERGEKIT_ROUNDS})
        quern, rows = results["quern -j 2"], []
        for label, runs in results.items():
            ratio = ""
            if label == "cp + sync":
                ratio = "quern takes %.2fx its CPU" % (median(quern, "cpu") / median(runs, "cpu"))
            elif label.startswith("mergekit"):
                times = median(runs, "cpu") / median(quern, "cpu")
                ratio = "%.1fx quern's CPU (target %d), %.1fx its wall" % (times, TARGETS[method], median(runs, "wall") / median(quern, "wall"))
            rows.append([method, label, spread(runs, "wall"), spread(runs, "cpu"), mib(max(r.rss for r in runs)), ratio])
        for o in (out + "1", out + "2", copy, theirs):
            remove(o)
        # At once: mergekit takes its time, and a run that is stopped keeps what it measured.
        table(["method", "program", "wall s", "CPU s", "peak RSS", "against quern -j 2"], rows)


# ---- (c) convert, and all in one pass

def in_turn(*commands):
    """One process that runs several."""
    return ["sh", "-c", " && ".join(shlex.join(c) for c in commands)]


def size_of(target):
    if os.path.isdir(target):
        return sum(os.path.getsize(os.path.join(target, f)) for f in os.listdir(target))
    return os.path.getsize(target) if os.path.exists(target) else 0


def comparison(results, unit, between):
    """A row for each contender; unit: whose CPU time the others are measured in; between: {label: bytes of files between}."""
    rows = []
    for label, runs in results.items():
        times = median(runs, "cpu") / median(results[unit], "cpu")
        rows.append([label, spread(runs, "wall"), spread(runs, "cpu"), "%.2f" % times, mib(max(r.rss for r in runs)), mib(between.get(label, 0))])
    table(["program", "wall s", "CPU s", "times the CPU of " + unit, "peak RSS", "files in between"], rows)


def bench_convert():
    print("## A Hugging Face directory of %.0f M bf16 weights to GGUF, input in the page cache\n" % (nweights(MEDIUM) / 1e6))
    if not CONVERT:
        say("CONVERT_HF_TO_GGUF is not set: no comparison with the script.")
    model, out, copy = hf_with_tokenizer("bf16", MEDIUM, 0), path("out-quern.gguf"), path("out-copy")
    theirs, between = path("out-script.gguf"), path("out-between.gguf")
    for to in ("Q8_0", "Q4_K_M"):
        if JOBS and "hf:" + to not in JOBS:
            continue
        contenders = {"cp + sync": (["sh", "-c", copy_script([os.path.join(model, "model.safetensors")], copy)], copy)}
        for threads in ("1", "2"):
            contenders["quern -j " + threads] = ([QUERN, "quantize", "-q", "-f", "-j", threads, model, out, to], out)
        label = "script" if to == "Q8_0" else "script, llama-quantize"
        if CONVERT and to == "Q8_0":
            contenders[label] = (CONVERT + [model, "--outfile", theirs, "--outtype", "q8_0"], theirs)
        elif CONVERT and LLAMA_QUANTIZE:
            contenders[label] = (in_turn(CONVERT + [model, "--outfile", between, "--outtype", "bf16"], [LLAMA_QUANTIZE, between, theirs, to, "2"]), theirs)
        results = take_turns(contenders, [model], slow={label: MERGEKIT_ROUNDS})
        print("### %s\n" % to)
        comparison(results, "cp + sync" if to == "Q8_0" else "quern -j 2", {label: size_of(between)})
        for o in (out, copy, theirs, between):
            remove(o)


def bench_onepass():
    print("## Two bf16 models of %.0f M weights merged (SLERP) to a Q4_K_M GGUF\n" % (nweights(MEDIUM) / 1e6))
    models = [hf_with_tokenizer("bf16", MEDIUM, v) for v in range(2)]
    yml = recipe("onepass", "slerp", [(m, "") for m in models], models[0], "parameters: {t: 0.4}\n")
    out, theirs, merged, between = path("out-quern.gguf"), path("out-script.gguf"), path("out-mergekit"), path("out-between.gguf")
    contenders, slow = {"quern -j 2": ([QUERN, "merge", "-q", "-f", "-j", "2", yml, out, "Q4_K_M"], out)}, {}
    label = "mergekit, script, llama-quantize"
    if MERGEKIT and CONVERT and LLAMA_QUANTIZE:
        os.environ.update(OMP_NUM_THREADS="2", MKL_NUM_THREADS="2", HF_HUB_OFFLINE="1")
        contenders[label] = (in_turn(["rm", "-rf", merged], [MERGEKIT, "-j", "2", "--no-copy-tokenizer", yml, merged],
                                     ["cp", os.path.join(models[0], "tokenizer.model"), merged], CONVERT + [merged, "--outfile", between, "--outtype", "bf16"],
                                     [LLAMA_QUANTIZE, between, theirs, "Q4_K_M", "2"]), theirs)
        slow[label] = MERGEKIT_ROUNDS
    else:
        say("The chain needs MERGEKIT_YAML, CONVERT_HF_TO_GGUF and LLAMA_QUANTIZE: no comparison.")
    results = take_turns(contenders, models, slow=slow)
    comparison(results, "quern -j 2", {label: size_of(merged) + size_of(between)})
    for o in (out, theirs, merged, between):
        remove(o)


# ---- (d) memory

def bench_memory():
    print("## Peak memory, 2 threads, default --mem\n")
    out = path("out-memory.gguf")
    jobs = []
    for kind, size, what in (("bf16", LARGE, "large"), ("sparse", HUGE, "huge, sparse")):
        source = gguf(kind, size)
        for to in ("Q8_0", "Q4_0"):
            jobs.append(("quantize to " + to, size, what, lambda s=source, t=to: [QUERN, "quantize", "-q", "-j", "2", "--pure", s, out, t], out))
        a, b, c = (hf(kind, size, v) for v in range(3))
        half = "    parameters: {weight: 0.5}\n"
        for name, r in (("linear", recipe("memory-linear-" + size, "linear", [(a, half), (b, half)])),
                        ("slerp", recipe("memory-slerp-" + size, "slerp", [(a, ""), (b, "")], a, "parameters: {t: 0.4}\n")),
                        ("ties", recipe("memory-ties-" + size, "ties", [(a, half), (b, half)], c, "parameters: {density: 0.5}\n"))):
            jobs.append(("merge " + name, size, what, lambda r=r: [QUERN, "merge", "-q", "-j", "2", r, path("out-memory")], path("out-memory")))
    rows = []
    for job, size, what, command, output in jobs:
        remove(output)
        run = Run(command())
        remove(output)
        rows.append([job, "%.1f GiB (%s)" % (nweights(size) * 2 / 2**30, what), mib(run.rss), "%.1f" % run.wall])
    table(["job", "size of each bf16 model", "peak RSS", "wall s"], rows)


# ---- (e) kernels

# ---- packs

ZIPNN = """import statistics, sys, time, zipnn
data = open(sys.argv[1], 'rb').read()
data, coder, times = data[len(data) % 2:], zipnn.ZipNN(bytearray_dtype='bfloat16', threads=1), []
for number in range(int(sys.argv[2]) + 1):
    start = time.process_time()
    small = coder.compress(bytearray(data))
    between = time.process_time()
    again = coder.decompress(small)
    times.append((between - start, time.process_time() - between))
assert again == data
print(len(small), *(statistics.median(t) for t in zip(*times[1:])))
"""


def zipnn(model):
    """What ZipNN makes of a model's weights in memory: bytes, CPU seconds to compress and to decompress. None without it."""
    python = os.environ.get("ZIPNN_PYTHON", sys.executable)
    done = subprocess.run([python, "-W", "ignore", "-c", ZIPNN, os.path.join(model, "model.safetensors"), str(ROUNDS)],
                          capture_output=True, text=True)
    return [float(x) for x in done.stdout.split()[-3:]] if done.returncode == 0 else None


def bench_pack():
    base, tuned = hf("bf16", MEDIUM, 0), hf("bf16", MEDIUM, 1)
    pack, delta, out, gguf_out = path("base.qpk"), path("tuned.qpk"), path("unpacked"), path("from-pack.gguf")
    quern = lambda *words: [QUERN, *words, "-q", "-j", "1"]
    subprocess.run(quern("pack", base, "-o", pack, "-f"), check=True)
    subprocess.run(quern("pack", tuned, "-o", delta, "--base", base, "-f"), check=True)
    original, peer = size_of(base), zipnn(base)
    print("Sizes: %s packed %.1f %%%s; a fine-tune of it against it %.1f %%." % (
        mib(original), 100 * size_of(pack) / original, ", ZipNN %.1f %%" % (100 * peer[0] / original) if peer else "",
        100 * size_of(delta) / size_of(tuned)))
    print()
    rows, cpu = [], {}
    rate = lambda seconds: "%.0f MB/s" % (original / 1e6 / seconds)
    for label, command, output, inputs in (
            ("pack", quern("pack", base, "-o", path("again.qpk")), path("again.qpk"), [base]),
            ("pack against a base", quern("pack", tuned, "-o", path("again.qpk"), "--base", base), path("again.qpk"), [base, tuned]),
            ("unpack", quern("unpack", pack, out), out, [pack]),
            ("unpack with its base", quern("unpack", delta, out), out, [delta, base]),
            ("read all (check)", [QUERN, "check", "-q", "-j", "1", pack], out, [pack]),
            ("read all, with its base", [QUERN, "check", "-q", "-j", "1", delta], out, [delta, base]),
            ("read all, not packed", [QUERN, "check", "-q", "-j", "1", base], out, [base]),
            ("the same with SHA-256", [QUERN, "check", "-q", "-j", "1", "--sha256", base], out, [base])):
        runs = take_turns({label: (command, output)}, inputs)[label]
        cpu[label] = median(runs, "cpu")
        rows.append([label, spread(runs, "wall"), spread(runs, "cpu"), rate(cpu[label]), mib(median(runs, "rss"))])
    digests = cpu["the same with SHA-256"] - cpu["read all, not packed"]
    for label in ("pack", "unpack"):
        rows.append([label + ", less SHA-256", "", "%.2f" % (cpu[label] - digests), rate(cpu[label] - digests), ""])
    for label, seconds in zip(("compress", "decompress"), peer[1:] if peer else ()):
        rows.append(["ZipNN, %s in memory" % label, "", "%.2f" % seconds, rate(seconds), ""])
    table(["one thread", "wall s", "CPU s", "of the original per CPU second", "memory"], rows)
    rows = []
    for kind in ("Q4_0", "Q4_K_M", "Q6_K"):
        words = (gguf_out, kind, "--keep-names", "--arch", "llama")
        runs = take_turns({"plain": (quern("quantize", base, *words), gguf_out), "pack": (quern("quantize", pack, *words), gguf_out)},
                          [base, pack])
        rows.append([kind, spread(runs["plain"], "cpu"), spread(runs["pack"], "cpu"),
                     "%+.0f %%" % (100 * (median(runs["pack"], "cpu") / median(runs["plain"], "cpu") - 1))])
    table(["quantize to", "CPU s, plain", "CPU s, from the pack", ""], rows)


def bench_kernels():
    if not os.path.exists(KERNELS):
        say("build/bench-kernels is not there: no kernel figures.")
        return
    # llama.cpp's encoders lie in a library beside its programs.
    library = os.path.join(os.path.dirname(LLAMA_QUANTIZE), "libggml-base.so") if LLAMA_QUANTIZE else ""
    peer = ["-p", library] if os.path.exists(library) else []
    first = (["llama.cpp"] if peer else []) + ["reference"]
    rounds = ["-m", "-r", "3" if SMALL else "11"]
    for what, args, with_peer in (("encoding, data in a core's cache, one thread", ["encode Q", "encode IQ", "encode TQ", "encode MX", "encode NV", "encode im"], True),
                                  ("decoding and merging", ["decode", "encode F16", "encode BF16", "weighted_sum", "pair_dots", "errors", "ties"], False)):
        out = subprocess.run([KERNELS] + rounds + (peer if with_peer else []) + args, capture_output=True, text=True, check=True).stdout.splitlines()
        width = max(line.count("|") for line in out) - 1
        names = first if with_peer and peer else ["reference"]
        tables = names + ["portable", "AVX2", "AVX-512"][:width - 1 - len(names)]
        print("## Kernels: %s, million weights per second (and times the first)\n" % what)
        print("| kernel | %s |\n|%s" % (" | ".join(tables), "---|" * (len(tables) + 1)))
        print("\n".join(out) + "\n", flush=True)


def machine():
    cpu = "unknown CPU"
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) / 2**20
    version = subprocess.run([QUERN, "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    say("%s. %d CPUs, %s, %.0f GiB of memory, Linux %s, %s. Load when started: %.1f. %d rounds: median (lowest-highest)."
        % (version, os.cpu_count(), cpu, memory, platform.release(), compiler, os.getloadavg()[0], ROUNDS))


def main():
    global QUERN, KERNELS
    sections = {"quantize": bench_quantize, "merge": bench_merge, "convert": bench_convert, "onepass": bench_onepass, "pack": bench_pack, "memory": bench_memory, "kernels": bench_kernels}
    wanted = sys.argv[1:] or list(sections)
    if any(w not in sections for w in wanted):
        sys.exit(__doc__.split("\n\n")[0])
    if not os.path.exists(QUERN):
        sys.exit("bench: %s is not there: run make first, or set QUERN" % QUERN)
    os.makedirs(DIR, exist_ok=True)
    remove(LOG)
    KERNELS = os.path.join(os.path.dirname(os.path.abspath(QUERN)), "bench-kernels")
    # A copy: a rebuild in the middle must not change what is measured.
    QUERN = shutil.copy2(QUERN, path("quern"))
    machine()
    for w in wanted:
        sections[w]()


main()
