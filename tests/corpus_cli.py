#!/usr/bin/env python3
"""corpus_cli.py [--short] [--plain] [CORPUS] - every file of make_corpus.py through the commands.

Each file is inspected, checked and used for a real run: quantized, given as a recipe to merge, as --imatrix, or unpacked. Expected are the exit
code and the kind of the list, a complete JSON result, one line of talk for a mistake, nothing raw on a terminal, nothing left behind,
little time and memory; and all the same once more in 512 MiB of address space. Seven sound files are also cut at many places, and bits of
them flipped: whatever is said of those, it is said properly.

  --short   one file of every kind, in seconds
  --plain   without limits of time, memory and address space: for instrumented builds
  CORPUS    a corpus that exists already; else one is made (with the large files unless --short)
QUERN names the program. Standard library only.
"""
import argparse, json, os, random, resource, shutil, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(HERE, "..", "build", "quern")))
MIB = 1 << 20

# Seconds of processor time and MiB of memory for files that are slow and large on purpose; others have 0.1 s and 64 MiB.
PROBES = {
    "gguf/ok_keys_200k.gguf": (1, 300), "gguf/ok_tensors_60k.gguf": (1, 300), "safetensors/big_header_limit.safetensors": (0.5, 300),
    # Checking values takes a plan for every tensor.
    "safetensors/big_million_tensors.safetensors": (3, 420),
}
SHORT_SECONDS, SMALL_MIB = 0.1, 64

# Exit codes by kind, where they are not those of malformed input (3).
CODES = {("", "-"): 0, ("", "is-pickle"): 4, ("", "io"): 5, ("", "ambiguous"): 2, ("", "requantize"): 2, ("", "type"): 4, ("", "usage"): 2,
         ("pack", "base"): 2, ("pack", "pack-version"): 4,
         ("imatrix", "is-pickle"): 3, ("imatrix", "is-model"): 4, ("imatrix", "split"): 4, ("misfit", "imatrix"): 2, ("", "values"): 1}

# Sound files that a command has a reason of its own to refuse. GGUF has no U8, no bools and no 4-bit floats.
CHECK = {"ok_nan_inf": "values"}
QUANTIZE = {"ok_nan_inf": "nonfinite", "ok_blocks": "requantize", "ok_name_long.safetensors": "name", "single_gguf": "usage"}
QUANTIZE.update({n: "type" for n in ("ok_empty_between ok_zero_hides_size ok_every_type ok_other_order ok_eight_dims ok_max_dims ok_odd_address "
                                     "ok_half_bytes ok_many big_second_past_4_gib big_million_tensors").split()})
CODES["safetensors", "name"] = 2  # of the output, for the one above; see code_of()

# Sound files that are cut and bent, and what reads them.
GOOD = ["safetensors/ok_every_type.safetensors", "safetensors/ok_metadata.safetensors", "gguf/ok_three.gguf", "gguf/ok_all_scalars.gguf",
        "index/two_shards/model.safetensors.index.json", "imatrix/dat_plain.dat", "pack/ok_plain.qpk"]

wrong, nruns = [], 0
slowest, largest = (0, ""), (0, "")


def by_name(table, name):
    return next((kind for part, kind in table.items() if part in name), None)


def code_of(row, kind):
    if row["kind"] == "config":
        return 3 if kind == "too-large" else 2
    if row["err"] == kind and (row["kind"], kind) == ("safetensors", "name"):
        return 3
    return CODES.get((row["kind"], kind), CODES.get(("", kind), 3))


class Run:
    """One command, with what it took."""

    def __init__(self, words, address_space=None):
        def limits():
            if address_space:
                resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            p = subprocess.Popen([QUERN, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=limits)
            _, status, usage = os.wait4(p.pid, 0)
            p.returncode = self.code = os.waitstatus_to_exitcode(status)
            self.seconds = usage.ru_utime + usage.ru_stime
            self.mib = usage.ru_maxrss / 1024
            out.seek(0), err.seek(0)
            self.out, self.err = self.short_form(out), err.read().decode(errors="backslashreplace")
        try:
            self.result = json.loads(self.out)
        except ValueError:
            self.result = None

    @staticmethod
    def short_form(out):
        """What was printed. A list of a million tensors is read elsewhere: a child counts the memory of its parent as its own."""
        if os.fstat(out.fileno()).st_size < MIB:
            return out.read()
        return subprocess.run([sys.executable, "-c", "import json, sys; json.load(sys.stdin); print('{}')"], stdin=out, capture_output=True).stdout

    @property
    def kind(self):
        verdict = self.result[0] if isinstance(self.result, list) and self.result else self.result
        if not isinstance(verdict, dict):
            return "no JSON"
        if verdict.get("bad") and verdict.get("sound") is False:
            return "values"
        return verdict.get("error", "-")


def manners(run, many_lines=False):
    """What is not as it should be in how it says what it says."""
    raw = [c for c in run.err + run.out.decode(errors="backslashreplace") if (ord(c) < 32 and c != "\n") or ord(c) == 127]
    if raw:
        yield "raw control bytes in what it prints: %r" % raw[:5]
    lines = [l for l in run.err.splitlines() if not l.startswith("note: ")]
    said = [l for l in lines if l.startswith("quern: ")]
    refused = run.kind not in ("-", "values")
    if len(said) != len(lines) and run.kind != "values":
        yield "a line of unknown sort: %r" % run.err[:400]
    if refused and (not said or (len(said) > 1 and not many_lines)) or (not refused and said):
        yield "%d lines about what is wrong" % len(said)
    if refused and isinstance(run.result, dict):
        absent = [k for k in ("error", "found", "status") if k not in run.result]
        text = all(isinstance(run.result.get(k, ""), str) for k in ("error", "file", "tensor", "found", "expected"))
        if absent or not text or run.result["status"] != run.code:
            yield "the JSON is not what is documented: %r" % run.out[:400]


def mistakes(run, row, kind):
    """What is not as it should be."""
    if run.code != code_of(row, kind) or run.kind != kind:
        yield "exit code %d, %s; expected %d, %s\n%s" % (run.code, run.kind, code_of(row, kind), kind, run.err[:400])
    # A recipe's mistakes are told all at once.
    yield from manners(run, row["kind"] == "config")


def limits_broken(run, row, words):
    global slowest, largest
    seconds, mib = PROBES.get(row["file"], (SHORT_SECONDS, SMALL_MIB))
    # Others that are busy on the same processors make every run look slower: the best of a few counts.
    took = run.seconds
    for _ in range(4):
        took = min(took, Run(words).seconds) if took > seconds else took
    if row["file"] not in PROBES:
        slowest = max(slowest, (took, row["file"]))
        largest = max(largest, (run.mib, row["file"]))
    if took > seconds:
        yield "%.3f s of processor time, expected at most %.1f" % (took, seconds)
    if run.mib > mib:
        yield "%.0f MiB, expected at most %d" % (run.mib, mib)


def commands(row, path, room, sound_model):
    """(words, kind that must come) of the commands that take this file."""
    name, expected = row["file"], row["err"]
    big = "big_" in name
    out = os.path.join(room, "out.gguf")
    if row["kind"] == "config":
        return [(["merge", "--json", path, os.path.join(room, "out")], expected)]
    if row["kind"] in ("imatrix", "misfit"):
        own = [(["imatrix", "show", "--json", path], expected)] if row["kind"] == "imatrix" and expected != "nonfinite" else []
        # Q8_0 has no use for importance.
        types = ("Q4_0", "Q8_0") if row["kind"] == "imatrix" else ("Q4_0",)
        return own + [(["quantize", "--json", "--imatrix", path, sound_model, out, t], expected) for t in types]
    if row["kind"] == "pack":
        # Its directory is read by inspect, too; and what holds no model still comes out.
        read = "-" if expected in ("pack-frame", "base") else expected
        return [(["inspect", "--json", path], read), (["check", "--json", path], expected),
                (["unpack", "--json", path, os.path.join(room, "out")], "-" if "odd_" in name else expected)]
    read = expected if expected not in ("arch", "hparam") and "block_count_string" not in name and "head_count_float" not in name else "-"
    found = [(["inspect", "--json", path], read)]
    # Reading and writing gigabytes of zeros is no test of headers.
    if not big or expected != "-" or name in PROBES:
        words = ["--mem", "1GiB"] if name in PROBES else []
        found.append((["check", "--json", *words, path], by_name(CHECK, name) or expected))
    words = [] if row["kind"] == "gguf" else ["--keep-names", "--arch", "llama"]
    words += ["--dry-run"] if big else []
    words += ["--mem", "1GiB"] if name in PROBES else []
    found.append((["quantize", "--json", *words, path, out, "Q8_0"], by_name(QUANTIZE, name) or expected))
    return found


def try_file(row, path, room, sound_model, plain):
    global nruns
    for words, kind in commands(row, path, room, sound_model):
        def wrote():
            left = sorted(os.listdir(room))
            for n in left:
                full = os.path.join(room, n)
                shutil.rmtree(full) if os.path.isdir(full) else os.unlink(full)
            return left

        def complain(what):
            wrong.append("%s: %s\n    %s" % (row["file"], what, " ".join(words)))

        run = Run(words)
        nruns += 1
        for what in mistakes(run, row, kind):
            complain(what)
        writes = words[0] in ("quantize", "merge", "unpack") and kind == "-" and "--dry-run" not in words
        left = wrote()
        if left != ([os.path.basename(words[-1]) if row["kind"] == "pack" else "out.gguf"] if writes else []):
            complain("it leaves %s" % left)
        if plain:
            continue
        for what in limits_broken(run, row, words):
            complain(what)
        again = Run(words, 512 * MIB)
        nruns += 1
        wrote()
        if (again.code, again.kind) != (run.code, run.kind):
            complain("in 512 MiB of address space: exit code %d, %s\n%s" % (again.code, again.kind, again.err[:400]))


def bent_copies(data, rounds):
    """(what was done, bytes): cut at rounds places, and as many bits flipped."""
    dice = random.Random(len(data))
    for i in range(rounds):
        yield "cut", data[:i * len(data) // rounds]
    for i in range(rounds):
        bit = dice.randrange(len(data) * 8)
        yield "bit %d" % bit, data[:bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1:]


def try_bent(corpus, room, rounds):
    global nruns
    for name in GOOD:
        own = os.path.join(room, "bent")
        shutil.copytree(os.path.dirname(os.path.join(corpus, name)), own) if "/two_shards/" in name else os.mkdir(own)
        path = os.path.join(own, os.path.basename(name))
        with open(os.path.join(corpus, name), "rb") as f:
            data = f.read()
        for what, bent in bent_copies(data, rounds):
            with open(path, "wb") as f:
                f.write(bent)
            out = os.path.join(room, "out.gguf")
            words = ["--imatrix", path, os.path.join(corpus, "gguf/ok_three.gguf"), out, "Q4_0"] if name.endswith(".dat") else [path, out, "F16"]
            words += [] if name.endswith((".dat", ".gguf")) else ["--keep-names", "--arch", "llama"]
            run = Run(["quantize", "--json", *words])
            nruns += 1
            said = list(manners(run))
            # A .dat may end before the number of chunks and before the data set.
            if run.code not in (0, 2, 3, 4) or (what == "cut" and run.code == 0 and len(data) - len(bent) > 9):
                said.append("exit code %d: %s" % (run.code, run.err[:400]))
            if os.path.exists(out) != (run.code == 0) or len(os.listdir(room)) != 1 + (run.code == 0):
                said.append("it leaves %s" % os.listdir(room))
            if run.code == 0:
                os.unlink(out)
            wrong.extend("%s, %s: %s" % (name, what, s) for s in said)
        shutil.rmtree(own)


def one_of_each(rows):
    seen = {}
    for r in rows:
        which = r["kind"], r["err"]
        seen[which] = seen.get(which, 0) + 1
        if seen[which] == 1 or (r["err"] == "-" and seen[which] % 8 == 0):
            yield r


def main():
    args = argparse.ArgumentParser()
    args.add_argument("corpus", nargs="?")
    args.add_argument("--short", action="store_true")
    args.add_argument("--plain", action="store_true")
    args = args.parse_args()
    scratch = tempfile.mkdtemp(prefix="quern-corpus.")
    try:
        corpus = args.corpus
        if not corpus:
            corpus = os.path.join(scratch, "corpus")
            big = [] if args.short else ["--big"]
            subprocess.run([sys.executable, "-B", os.path.join(HERE, "make_corpus.py"), corpus, *big], check=True, stderr=subprocess.DEVNULL)
        with open(os.path.join(corpus, "MANIFEST.json")) as f:
            rows = json.load(f)
        room = os.path.join(scratch, "room")
        os.mkdir(room)
        chosen = list(one_of_each(rows)) if args.short else rows
        for row in chosen:
            try_file(row, os.path.join(corpus, row["file"]), room, os.path.join(corpus, "gguf/ok_three.gguf"), args.plain)
        try_bent(corpus, room, 6 if args.short else 100)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for w in wrong:
        print("corpus_cli: " + w, file=sys.stderr)
    print("%d files, %d runs; apart from the probes the slowest took %.0f ms (%s), the largest %.0f MiB (%s)"
          % (len(chosen), nruns, slowest[0] * 1e3, slowest[1], largest[0], largest[1]), file=sys.stderr)
    print("corpus_cli: " + ("%d things went wrong" % len(wrong) if wrong else "all went well"))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
