#!/usr/bin/env python3
"""compare_readers.py - what other readers do with the corpus of malformed files, beside quern.

Nothing of theirs is part of this repository: their sources and programs are named, drivers of twenty lines are built around them in a
directory of its own.

  --llama DIR     a llama.cpp tree: its gguf.cpp, with and without sanitizers, and DIR/build/bin/llama-quantize
  --ggml DIR      a ggml tree, --ik DIR an ik_llama.cpp tree: the same, without llama-quantize
  --python EXE    a Python that has gguf, safetensors and mergekit (the last also torch)
  --work DIR      where drivers are built and the corpus is made (default: a new directory under /tmp)
  --only TEXT     readers whose name has TEXT
  --json FILE     every verdict, for later

A file counts as refused cleanly when the reader says so: exit code 1, or an exception for malformed input. Every other exception is raw,
a signal or a sanitizer's report is a crash, 20 seconds of processor time are a hang. What only a model or a set of files must keep
(no architecture, layers that do not fit, missing members) is not asked of readers of one container. Standard library only.
"""
import argparse, json, os, resource, signal, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(ROOT, "build", "quern")))
CPU_SECONDS, WALL_SECONDS, ADDRESS_SPACE = 20, 1200, 6 << 30  # the clock is for what waits, on a busy machine too

DRIVER = r"""
#include <cstring>
#include "ggml.h"
#if __has_include("gguf.h")
#include "gguf.h"
#endif
int main(int argc, char **argv)
{
    const bool full = argc > 2 && strcmp(argv[1], "full") == 0;
    struct ggml_context *ctx = nullptr;
    const struct gguf_init_params params = {!full, &ctx};
    if (!gguf_init_from_file(argv[2], params))
        return 1;
    volatile char sum = 0;
    for (ggml_tensor *t = full ? ggml_get_first_tensor(ctx) : nullptr; t; t = ggml_get_next_tensor(ctx, t))
        if (const size_t n = ggml_nbytes(t))
            sum += ((const char *)t->data)[0] + ((const char *)t->data)[n - 1];
    return 0;
}
"""

# Refused by a rule of quern's own; the formats leave it open, or the reference takes it.
STRICTER = set("""
name_with_nul names_equal_to_nul name_twice_same name_twice_escaped name_twice_shapes metadata_key_twice metadata_key_twice_of_many entry_array
dtype_object shape_100k_dims shape_33_dims shape_two_to_63 depth_65 name_empty
key_too_long key_with_nul key_not_utf8 bool_2 bool_array_255 alignment_1 alignment_2 alignment_4 alignment_1073741824 alignment_2147483648
name_not_utf8 string_over_64_mib keys_1000001 tensors_1000001 array_over_1_gib
two_homes shard_path too_many_shards map_twice not_utf8 index_and_single component_256 path_suffix
""".split())
# What a container does not show.
MODEL_KINDS = {"arch", "hparam", "split", "missing-shard"}
MODEL_CASES = ("architecture_number", "architecture_array", "block_count_string", "head_count_float", "split_", "/set_")
# Data are not read with the header alone.
DATA_CASES = ("short_data", "no_data", "lying_size", "page_edge", "offset_behind_file", "no_padding")


def case_of(row):
    name = os.path.splitext(os.path.basename(row["file"]))[0]
    return name[4:] if name.startswith("bad_") else name


# ---- readers in Python: one process per file, forked from one that has imported everything --------------------------------------------


def read_safetensors(path):
    import safetensors
    with open(path, "rb") as f:
        safetensors.deserialize(f.read())


def read_gguf_py(path):
    import gguf
    for t in gguf.GGUFReader(path).tensors:
        t.data.reshape(-1)[:1]


def read_safetensors_local(path):
    from pathlib import Path
    from gguf.utility import SafetensorsLocal
    for t in SafetensorsLocal(Path(path)).tensors.values():
        t.mmap_bytes()


def read_mergekit(path):
    from mergekit.io.lazy_tensor_loader import LazyTensorLoader
    loader = LazyTensorLoader.from_disk(path, lazy_unpickle=False)
    for name in list(loader.index.tensor_paths):
        loader.get_tensor(name)


DRIVERS = {"safetensors": read_safetensors, "gguf-py": read_gguf_py, "SafetensorsLocal": read_safetensors_local, "mergekit": read_mergekit}


def import_all(name):
    import_of = {"safetensors": "safetensors", "gguf-py": "gguf", "SafetensorsLocal": "gguf.utility", "mergekit": "mergekit.io.lazy_tensor_loader"}
    __import__(import_of[name])


def is_clean(error):
    """Does the exception say that the file is malformed?"""
    kinds = [c.__name__ for c in type(error).__mro__]
    return "SafetensorError" in kinds or ("ValueError" in kinds and "UnicodeError" not in kinds) or isinstance(error, FileNotFoundError)


def child_of_driver(read, path):
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        read(path)
    except Exception as error:
        os._exit(1 if is_clean(error) else 2)
    os._exit(0)


def drive(name):
    """Paths on stdin, a line of JSON for each on stdout."""
    import_all(name)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            child_of_driver(DRIVERS[name], line.rstrip("\n"))
        start = time.monotonic()
        while True:
            pid, status, usage = os.wait4(child, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - start > WALL_SECONDS:
                os.kill(child, signal.SIGXCPU)
            time.sleep(0.002)
        print(json.dumps(verdict(status, usage, b"", {0: "accepted", 1: "refused", 2: "raw"})), flush=True)


# ---- any reader -------------------------------------------------------------------------------------------------------------------


def verdict(status, usage, err, codes):
    code = os.waitstatus_to_exitcode(status)
    seconds = usage.ru_utime + usage.ru_stime
    said = codes.get(code, "crash" if code < 0 or code in (99, 134, 136, 139) else "refused")
    if -code in (signal.SIGXCPU, signal.SIGKILL) or seconds >= CPU_SECONDS:
        said = "hang"
    return {"said": said, "code": code, "seconds": round(seconds, 4), "mib": usage.ru_maxrss // 1024, "ubsan": b"runtime error:" in err,
            "asan": b"ERROR: AddressSanitizer" in err}


def run_program(words, limited, codes):
    def limits():
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
        if limited:
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    env = dict(os.environ, ASAN_OPTIONS="exitcode=99:detect_leaks=0:max_allocation_size_mb=6000:allocator_may_return_null=1", UBSAN_OPTIONS="print_stacktrace=0", GGML_NO_BACKTRACE="1")
    with tempfile.TemporaryFile() as err:
        p = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err, preexec_fn=limits, env=env)
        timer = time.monotonic()
        while True:
            pid, status, usage = os.wait4(p.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - timer > WALL_SECONDS:
                p.send_signal(signal.SIGXCPU)
            time.sleep(0.001)
        p.returncode = 0
        err.seek(0)
        found = verdict(status, usage, err.read(1 << 20), codes)
    if found["asan"]:
        found["said"] = "crash"
    return found


class Reader:
    def __init__(self, name, kinds, model=False, data=True, limited=True):
        self.name, self.kinds, self.model, self.data, self.limited = name, kinds, model, data, limited

    def judges(self, row):
        if row["kind"] not in self.kinds:
            return False
        if not self.model and row["kind"] == "gguf" and (row["err"] in MODEL_KINDS or any(c in row["file"] for c in MODEL_CASES)):
            return False
        return self.data or not any(c in row["file"] for c in DATA_CASES)


class Program(Reader):
    def __init__(self, name, kinds, words, codes=None, **more):
        super().__init__(name, kinds, **more)
        self.words = words
        self.codes = codes or {0: "accepted"}

    def read_all(self, rows, corpus, work):
        out = os.path.join(work, "out.gguf")
        for row in rows:
            words = [w.format(path=os.path.join(corpus, row["file"]), out=out, good=os.path.join(corpus, "gguf/ok_three.gguf")) for w in self.words]
            yield run_program(words, self.limited, self.codes)
            if os.path.exists(out):
                os.unlink(out)


class Python(Reader):
    def __init__(self, name, kinds, exe, driver, **more):
        super().__init__(name, kinds, **more)
        self.words = [exe, os.path.abspath(__file__), "--driver", driver]

    def read_all(self, rows, corpus, work):
        p = subprocess.Popen(self.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for row in rows:
            p.stdin.write(os.path.join(corpus, row["file"]) + "\n")
            p.stdin.flush()
            yield json.loads(p.stdout.readline())
        p.stdin.close()
        p.wait()


def build_driver(tree, name, work, flags):
    """A program around the tree's gguf reader; None when it does not build."""
    source = os.path.join(tree, "ggml") if os.path.isdir(os.path.join(tree, "ggml", "src")) else tree
    src, include = os.path.join(source, "src"), os.path.join(source, "include")
    objects = []
    program = os.path.join(work, name)
    if os.path.exists(program):
        return program
    os.makedirs(program + ".objects", exist_ok=True)
    common = [*flags, "-w", "-D_GNU_SOURCE", '-DGGML_VERSION="x"', '-DGGML_COMMIT="x"', "-I" + include, "-I" + src]
    # What a reader never calls may be missing: kernels, quantizers, backends.
    for file in ("ggml.c", "ggml.cpp", "ggml-threading.cpp", "gguf.cpp"):
        if os.path.exists(os.path.join(src, file)):
            compiler = ["gcc", "-std=c11"] if file.endswith(".c") else ["g++", "-std=c++17"]
            objects.append(os.path.join(program + ".objects", file + ".o"))
            subprocess.run([*compiler, *common, "-c", os.path.join(src, file), "-o", objects[-1]], check=True)
    driver = os.path.join(work, "driver.cpp")
    with open(driver, "w") as f:
        f.write(DRIVER)
    subprocess.run(["g++", "-std=c++17", *common, driver, *objects, "-o", program, "-lm", "-lpthread", "-ldl", "-no-pie", "-Wl,--unresolved-symbols=ignore-all"], check=True)
    return program


def readers(args, work):
    # Exit code 1: it has read everything, and tells where values are NaN.
    yield Program("**quern** check", ("safetensors", "gguf", "index"), [QUERN, "check", "--mem", "1GiB", "-q", "{path}"], codes={0: "accepted", 1: "accepted"}, model=True)
    yield Program("**quern** quantize Q8_0", ("gguf",), [QUERN, "quantize", "-q", "-f", "{path}", "{out}", "Q8_0"], model=True)
    yield Program("**quern** quantize --imatrix", ("imatrix",), [QUERN, "quantize", "-q", "-f", "--imatrix", "{path}", "{good}", "{out}", "Q4_0"])
    asan = ["-O1", "-g", "-fsanitize=address,undefined"]
    for tree, name, flags in ((args.llama, "llama.cpp gguf.cpp", []), (args.ggml, "ggml gguf.cpp", []), (args.ik, "ik_llama.cpp gguf", ["-march=native", "-DGGML_USE_IQK_MULMAT=1"])):
        if not tree:
            continue
        slug = name.split(".")[0].split()[0]
        if args.only in name + ", header":
            yield Program(name + ", header", ("gguf",), [build_driver(tree, slug + "-header", work, ["-O2", *flags]), "header", "{path}"], data=False)
        if args.only in name + ", all, ASan+UBSan":
            yield Program(name + ", all, ASan+UBSan", ("gguf",), [build_driver(tree, slug + "-asan", work, asan + flags), "full", "{path}"], limited=False)
    quantize = args.llama and os.path.join(args.llama, "build/bin/llama-quantize")
    if quantize and os.path.exists(quantize):
        yield Program("llama-quantize Q8_0", ("gguf",), [quantize, "{path}", "{out}", "Q8_0", "1"], model=True)
        yield Program("llama-quantize --imatrix", ("imatrix",), [quantize, "--imatrix", "{path}", "{good}", "{out}", "Q4_0", "1"])
    if args.python:
        yield Python("gguf-py GGUFReader", ("gguf",), args.python, "gguf-py")
        yield Python("safetensors (Rust)", ("safetensors",), args.python, "safetensors")
        yield Python("gguf-py SafetensorsLocal", ("safetensors",), args.python, "SafetensorsLocal")
        yield Python("mergekit LazyTensorLoader", ("index",), args.python, "mergekit")


# ---- the tables -------------------------------------------------------------------------------------------------------------------


def count(found, said):
    return sum(v["said"] == said for _, v in found)


def table_row(reader, found):
    good = [f for f in found if f[0]["expect"] == "accept"]
    bad = [f for f in found if f[0]["expect"] == "reject"]
    accepted = [r for r, v in bad if v["said"] == "accepted"]
    ours = sum(case_of(r) in STRICTER for r in accepted)
    refused = [v["seconds"] for _, v in bad if v["said"] in ("refused", "raw")]
    cells = [reader.name, "%d / %d / %d / %d" % (count(good, "accepted"), count(good, "refused") + count(good, "raw"), count(good, "crash"), count(good, "hang")),
             count(bad, "refused"), count(bad, "raw"), "%d (%d)" % (len(accepted), ours), count(bad, "crash"), count(bad, "hang"),
             sum(v["ubsan"] for _, v in found), max(v["mib"] for _, v in bad), round(1000 * max(refused, default=0))]
    return "| " + " | ".join(str(c) for c in cells) + " |"


HEADINGS = ["reader", "good: loads / refuses / crashes / hangs", "bad: refused cleanly", "raw exception", "accepted (of these by our stricter rules only)", "crash", "hang",
            "UBSan hit", "most memory on a bad file, MiB", "most time to refuse one, ms"]


def print_tables(results):
    for kind in ("safetensors", "gguf", "index", "imatrix"):
        rows = [(reader, [f for f in found if f[0]["kind"] == kind]) for reader, found in results]
        rows = [(r, f) for r, f in rows if f]
        if not rows:
            continue
        most = max((f for _, f in rows), key=len)
        print("\n%s: %d files that are sound, %d that are not\n" % (kind, sum(r["expect"] == "accept" for r, _ in most), sum(r["expect"] == "reject" for r, _ in most)))
        print("| " + " | ".join(HEADINGS) + " |\n|" + "---|" * len(HEADINGS))
        for reader, found in rows:
            print(table_row(reader, found))


def main():
    args = argparse.ArgumentParser()
    for name in ("llama", "ggml", "ik", "python", "work", "only", "json", "driver", "corpus"):
        args.add_argument("--" + name)
    args.set_defaults(only="")
    args = args.parse_args()
    if args.driver:
        return drive(args.driver)
    work = args.work or tempfile.mkdtemp(prefix="quern-readers.")
    corpus = args.corpus or os.path.join(work, "corpus")
    os.makedirs(work, exist_ok=True)
    if not args.corpus:
        subprocess.run([sys.executable, "-B", os.path.join(ROOT, "tests/make_corpus.py"), corpus, "--big"], check=True)
    with open(os.path.join(corpus, "MANIFEST.json")) as f:
        rows = json.load(f)
    results = []
    for reader in readers(args, work):
        if args.only not in reader.name:
            continue
        chosen = [r for r in rows if reader.judges(r) and not ("big_" in r["file"] and r["expect"] == "accept")]
        found = list(zip(chosen, reader.read_all(chosen, corpus, work)))
        results.append((reader, found))
        print("%s: %d files" % (reader.name, len(found)), file=sys.stderr)
    print_tables(results)
    if args.json:
        with open(args.json, "w") as f:
            json.dump([{"reader": r.name, "file": row["file"], "expect": row["expect"], "err": row["err"], **v} for r, found in results for row, v in found], f, indent=0)


if __name__ == "__main__":
    main()
