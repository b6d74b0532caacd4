#!/usr/bin/env python3
"""compare_chain.py CHECKOUT BIN HFDIR TEXT [TYPE ...] - one pass of quern against convert_hf_to_gguf.py and llama-quantize, and what both files cost.

    scripts/compare_chain.py ~/llama.cpp ~/llama.cpp/build/bin build/pocket/pocket-base text.txt Q4_K_M Q8_0

Compares every tensor of both files, their keys but for those that say how they were made, and the perplexity that llama-perplexity finds over TEXT.
Exit status 1 when a tensor or the perplexity differs. Needs the Python packages of llama.cpp's converter; QUERN names the program under test.
"""
import os, re, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from compare_converter import Converter, QUERN, read_gguf, run_quern

MADE = ("general.file_type", "general.quantization_version", "quantize.")


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        sys.exit("%s: exit %d: %s" % (command[0], done.returncode, done.stderr[-1500:]))
    return done.stdout + done.stderr


def perplexity(program, model, text):
    for _ in range(20): # its log may be cut off at the end
        found = re.search(r"Final estimate: PPL = ([0-9.]+ \+/- [0-9.]+)", run(program, "-m", model, "-f", text, "-t", "2", "-c", "256"))
        if found:
            return found.group(1)
    return "unknown"


def main():
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    (checkout, binaries, model, text), kinds = sys.argv[1:5], sys.argv[5:] or ["Q4_K_M"]
    bad = 0
    with tempfile.TemporaryDirectory() as work:
        between, chained, direct = (os.path.join(work, n + ".gguf") for n in ("between", "chained", "direct"))
        run_quern(model, direct, "auto", [])
        pre = next((k[2] for k in read_gguf(direct)[0] if k[0] == "tokenizer.ggml.pre"), None)
        stopped = Converter(os.path.abspath(checkout)).run(model, between, "auto", pre, [])
        if stopped:
            sys.exit("converter: " + stopped)
        for kind in kinds:
            run(os.path.join(binaries, "llama-quantize"), between, chained, kind, "2")
            run(QUERN, "quantize", model, direct, kind, "--force")
            (ka, ta), (kb, tb) = read_gguf(direct), read_gguf(chained)
            other = [t[0] for t, u in zip(ta, tb) if t != u] if len(ta) == len(tb) else ["their number"]
            keys = [k for k in set(map(repr, ka)) ^ set(map(repr, kb)) if not any(m in k for m in MADE)]
            a, b = (perplexity(os.path.join(binaries, "llama-perplexity"), f, text) for f in (direct, chained))
            bad += bool(other or keys or a != b)
            print("%s %s: %d of %d tensors and %s keys equal; perplexity %s in one pass, %s in two" %
                  (os.path.basename(os.path.normpath(model)), kind, len(ta) - len(other), len(tb), "all" if not keys else "not all", a, b), flush=True)
            for name in other[:5] + keys[:5]:
                print("    " + name)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
