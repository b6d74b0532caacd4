#!/usr/bin/env python3
"""kill_resume.py [--kills N] [--stops N] [--seed S] [--only TEXT] [--keep DIR] - interrupt runs at random moments, resume, compare bytes.

Every command that writes is run once undisturbed. Then, N times over the commands in turn: start it, kill it (SIGKILL, or with
--stops SIGINT, SIGTERM and SIGHUP) at a random moment, now and then kill the run that resumes as well, resume to the end. What lies
under the final name must at any time be the old output or the complete new one; the end must have the bytes of the undisturbed
run, and nothing may be left beside it. Threads and memory change from run to run. Prints one line; exit 1 when anything is wrong.
QUERN names the program. Standard library only.
"""
import argparse, collections, hashlib, json, os, random, re, shutil, signal, struct, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(ROOT, "build", "quern")))
LAYERS, EMBD, FF, HEADS, KV_HEADS, VOCAB = 20, 256, 512, 4, 2, 320
# High bytes of bfloat16 weights: around 0.01 of either sign.
HIGH = bytes([0x3B, 0x3C, 0xBB, 0xBC][i % 4] for i in range(256))


def weights(seed, n):
    raw = bytearray(random.Random(seed).randbytes(2 * n))
    raw[1::2] = raw[1::2].translate(HIGH)
    return bytes(raw)


def shapes():
    kv = EMBD // HEADS * KV_HEADS
    yield "model.embed_tokens.weight", (VOCAB, EMBD)
    yield "model.norm.weight", (EMBD,)
    yield "lm_head.weight", (VOCAB, EMBD)
    for i in range(LAYERS):
        for name, shape in (("input_layernorm", (EMBD,)), ("post_attention_layernorm", (EMBD,)), ("mlp.gate_proj", (FF, EMBD)),
                            ("mlp.up_proj", (FF, EMBD)), ("mlp.down_proj", (EMBD, FF)), ("self_attn.q_proj", (EMBD, EMBD)),
                            ("self_attn.k_proj", (kv, EMBD)), ("self_attn.v_proj", (kv, EMBD)), ("self_attn.o_proj", (EMBD, EMBD))):
            yield "model.layers.%d.%s.weight" % (i, name), shape


def make_model(path, seed, like):
    """A Llama of 13 million weights, with the tokenizer of the command-line tests' model."""
    os.mkdir(path)
    head, data, at = {}, [], 0
    for k, (name, shape) in enumerate(shapes()):
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        head[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + 2 * n]}
        data.append(weights("%s/%d" % (seed, k), n))
        at += 2 * n
    text = json.dumps(head).encode()
    with open(os.path.join(path, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))
    with open(os.path.join(like, "config.json")) as f:
        config = json.load(f)
    config.update(num_hidden_layers=LAYERS, hidden_size=EMBD, intermediate_size=FF, num_attention_heads=HEADS,
                  num_key_value_heads=KV_HEADS, vocab_size=VOCAB)
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(config, f)
    for name in os.listdir(like):
        if name.startswith("tokenizer") or name == "generation_config.json":
            shutil.copy(os.path.join(like, name), path)


def make_matrix(path, rng):
    """An importance matrix of the older form, of the layers' matrices."""
    entries = [("blk.%d.%s.weight" % (i, name), FF if name == "ffn_down" else EMBD) for i in range(40 * LAYERS)
               for name in ("attn_q", "ffn_up", "ffn_down")]
    with open(path, "wb") as f:
        f.write(struct.pack("<i", len(entries)))
        for name, n in entries:
            values = struct.pack("<%df" % n, *[rng.random() + 0.1 for _ in range(n)])
            f.write(struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 7, n) + values)
        f.write(struct.pack("<i", 7) + struct.pack("<i", 4) + b"text")


JOBS = {
    "quantize": ["quantize", "model.gguf", "OUT.gguf", "Q5_K_M"],
    "quantize-split": ["quantize", "--keep-split", "split-00001-of-00005.gguf", "OUT", "IQ4_XS"],
    "quantize-stats": ["quantize", "--stats", "model.gguf", "OUT.gguf", "Q6_K"],
    "quantize-dir": ["quantize", "--shard-size", "5M", "a", "OUT", "F8_E4M3"],
    "convert": ["convert", "--pre", "gpt-2", "a", "OUT.gguf", "-t", "q4_k_m"],
    "convert-split": ["convert", "--pre", "gpt-2", "a", "OUT", "-t", "f16", "--split-max-tensors", "40"],
    "merge-ties": ["merge", "--method", "ties", "--base", "a", "--model", "b", "--model", "c", "--param", "weight=0.6,0.5",
                   "--param", "density=0.5", "--out-shard-size", "6M", "--dtype", "bfloat16", "OUT"],
    "merge-slerp": ["merge", "--method", "slerp", "--base", "a", "--model", "b", "--param", "t=0.4", "OUT.safetensors"],
    "merge-recipe": ["merge", "recipe.yml", "OUT"],
    "pack": ["pack", "a", "b", "c", "model.gguf", "-o", "OUT.qpk"],
    "pack-base": ["pack", "b", "c", "--base", "a", "--level", "9", "-o", "OUT.qpk"],
    "unpack": ["unpack", "all.qpk", "OUT"],
    "unpack-base": ["unpack", "tuned.qpk", "OUT"],
    "merge-one-pass": ["merge", "--method", "dare_ties", "--base", "a", "--model", "b", "--model", "c", "--param", "weight=0.5", "--param",
                       "density=0.6", "--pre", "gpt-2", "OUT.gguf", "Q4_K_M"],
    "lora-extract": ["lora", "extract", "a", "b", "OUT", "--rank", "8"],
    "quantize-record": ["quantize", "--provenance", "model.gguf", "OUT.gguf", "Q4_K"],
    "merge-record": ["merge", "--provenance", "--method", "linear", "--base", "a", "--model", "b", "--param", "weight=0.5",
                     "--out-shard-size", "6M", "OUT"],
    "rebuild": ["rebuild", "record.gguf.quern.json", "-o", "OUT.gguf"],
    "imatrix-combine": ["imatrix", "combine", "x.dat", "y.dat", "-o", "OUT.gguf"],
}
RECIPE = """merge_method: model_stock
base_model: a
models: [{model: b}, {model: c}]
dtype: float32
"""


def digest(work, out):
    """Of all files that make up an output; None when there are none."""
    found = hashlib.sha256()
    names = sorted(n for n in os.listdir(work) if n == out or (n.startswith(out) and n[len(out)] in "-."))
    for name in names:
        path = os.path.join(work, name)
        files = [path] if os.path.isfile(path) else sorted(os.path.join(d, n) for d, _, inside in os.walk(path) for n in inside)
        for file in files:
            with open(file, "rb") as f:
                found.update(os.path.relpath(file, work).encode() + b"\0" + hashlib.sha256(f.read()).digest())
    return found.hexdigest() if names else None


def unfinished(work):
    """Journals and part files; records stay."""
    return [n for n in os.listdir(work) if n.startswith(".") and "quern" in n]


def remove(work, out):
    for name in os.listdir(work):
        if name.startswith(out) or name.startswith("." + out):
            path = os.path.join(work, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)


class Trial:
    def __init__(self, work, rng):
        self.work, self.rng, self.wrong, self.kept = work, rng, [], []
        self.counts = collections.Counter()

    def command(self, job, *more):
        words = [w.replace("OUT", "out") for w in JOBS[job]]
        return [QUERN, *words, "-j", str(self.rng.choice((1, 2, 3))), "--mem", self.rng.choice(("24MiB", "64MiB", "256MiB")), *more]

    def start(self, job, *more):
        env = dict(os.environ, QUERN_SYNC="0.005")
        return subprocess.Popen(self.command(job, *more), cwd=self.work, env=env, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True)

    def finish(self, job, *more):
        run = self.start(job, *more)
        text = run.communicate()[1]
        return run.returncode, text

    def report(self, job, what):
        self.wrong.append("%s: %s" % (job, what))

    def check_final(self, job, old, want):
        got = digest(self.work, "out")
        # Several GGUF files get their names one after the other, an output before its record; a run that resumes completes them.
        if got not in (old, want) and not ("record" in job or old is None and "split" in job):
            self.report(job, "neither the old output nor the new one is there")

    def interrupt(self, job, number, wait, *more):
        """True when the run was stopped before its end."""
        run = self.start(job, *more)
        try:
            run.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            run.send_signal(number)
            asked = time.monotonic()
            text = run.communicate()[1]
            took = time.monotonic() - asked
            if number != signal.SIGKILL and run.returncode not in (0, 128 + number, -number):
                self.report(job, "exit %d after signal %d: %s" % (run.returncode, number, text))
            if number != signal.SIGKILL and took > 1.0:
                self.counts["slow"] += 1
        if run.returncode in (-signal.SIGKILL, 128 + number, -number):
            return True
        # The run before may have been killed between its last system call and its end.
        if run.returncode != 0 and not (run.returncode == 7 and "--resume" in more and digest(self.work, "out") == self.want):
            self.report(job, "exit %d" % run.returncode)
        return False

    def resume(self, job, want, *more):
        code, text = self.finish(job, "--resume", *more)
        kept = re.search(r"going on with an interrupted run: ([0-9.]+) %", text)
        self.kept.append(float(kept.group(1)) if kept else 0.0)
        # It may have been killed between its last system call and its end.
        if code == 7 and digest(self.work, "out") == want:
            self.counts["complete"] += 1
        elif code != 0:
            self.report(job, "resume gave exit %d: %s" % (code, text))
        if digest(self.work, "out") != want:
            self.report(job, "other bytes after resuming")
        left = unfinished(self.work)
        if left:
            self.report(job, "left behind: %s" % left)

    def round(self, job, number, seconds, want):
        old, force = None, []
        self.want = want
        if self.rng.random() < 0.3 and not any(word in job for word in ("split", "extract", "unpack")):
            self.finish(job)  # something to replace
            old, force = digest(self.work, "out"), ["-f"]
        if self.interrupt(job, number, self.rng.uniform(0, seconds), *force):
            self.counts["interrupted"] += 1
            self.check_final(job, old, want)
            while self.rng.random() < 0.3:
                if not self.interrupt(job, number, self.rng.uniform(0, seconds), "--resume", *force):
                    break
                self.counts["twice"] += 1
                self.check_final(job, old, want)
            if digest(self.work, "out") != want or old is not None or unfinished(self.work):
                self.resume(job, want, *force)
        elif digest(self.work, "out") != want:
            self.report(job, "other bytes")
        remove(self.work, "out")


def prepare(work, like, rng):
    for name in ("a", "b", "c"):
        make_model(os.path.join(work, name), name, like)
    for name in ("x.dat", "y.dat"):
        make_matrix(os.path.join(work, name), rng)
    with open(os.path.join(work, "recipe.yml"), "w") as f:
        f.write(RECIPE)
    for words in (["convert", "--pre", "gpt-2", "a", "model.gguf"], ["convert", "--pre", "gpt-2", "a", "split", "--split-max-tensors", "40"],
                  ["pack", "a", "b", "c", "model.gguf", "-o", "all.qpk"], ["pack", "b", "c", "--base", "a", "-o", "tuned.qpk"],
                  ["quantize", "--provenance", "model.gguf", "record.gguf", "Q5_K"]):
        subprocess.run([QUERN, *words, "-q"], cwd=work, check=True)


def main():
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ask.add_argument("--kills", type=int, default=0)
    ask.add_argument("--stops", type=int, default=0)
    ask.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    ask.add_argument("--like", default=os.path.join(ROOT, "build", "test-models", "hf"), help="whose tokenizer to take")
    ask.add_argument("--only", default="", help="jobs with this in their names")
    ask.add_argument("--keep", help="work in this directory and leave it")
    args = ask.parse_args()
    # In the background of a shell they are ignored, and a program that is started then leaves it at that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    rng = random.Random(args.seed)
    work = args.keep or tempfile.mkdtemp(prefix="quern-kill.")
    os.makedirs(work, exist_ok=True)
    trial = Trial(work, rng)
    try:
        prepare(work, args.like, rng)
        want, seconds = {}, {}
        names = [job for job in JOBS if args.only in job]
        for job in names:
            start = time.monotonic()
            code, text = trial.finish(job)
            seconds[job] = time.monotonic() - start
            want[job] = digest(work, "out")
            if code != 0:
                trial.report(job, "exit %d undisturbed: %s" % (code, text))
            remove(work, "out")
        started = 0
        for number, rounds in ((signal.SIGKILL, args.kills), (0, args.stops)):
            goal = trial.counts["interrupted"] + rounds
            while trial.counts["interrupted"] < goal and len(trial.wrong) < 10:
                job = names[started % len(names)]
                started += 1
                trial.round(job, number or rng.choice((signal.SIGINT, signal.SIGTERM, signal.SIGHUP)), seconds[job], want[job])
    finally:
        if not args.keep:
            shutil.rmtree(work, ignore_errors=True)
    for line in trial.wrong:
        print(line)
    if trial.wrong:
        sys.exit("kill_resume: seed %d" % args.seed)
    kept = sorted(trial.kept)
    print("%d runs interrupted, %d of them more than once: all resumed to the same bytes" %
          (trial.counts["interrupted"] + trial.counts["twice"], trial.counts["twice"]))
    print("seed %d; kept on average %.0f %%, something in %d of %d; %d had ended when they were killed; %d took over a second to stop" %
          (args.seed, sum(kept) / max(1, len(kept)), sum(k > 0 for k in kept), len(kept), trial.counts["complete"],
           trial.counts["slow"]), file=sys.stderr)


if __name__ == "__main__":
    main()
