#!/usr/bin/env python3
"""run_in_llamacpp.py BIN [REGEX] - convert a small model of every architecture with quern and run it in llama.cpp.

    scripts/run_in_llamacpp.py ~/llama.cpp/build/bin            every model of tests/data/convert
    scripts/run_in_llamacpp.py ~/llama.cpp/build/bin 'gemma.*'  those whose name matches

BIN has llama-completion and llama-embedding. A model loads and generates eight tokens, or, when it is an encoder, makes an embedding; types auto, Q8_0 and Q4_K_M.
Prints a table; exit status 1 when a model does not run that is not named below. QUERN names the program under test. Python 3 only.
"""
import os, re, shutil, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare_converter as models

ENCODERS = ("bert", "roberta", "xlmr", "nomic-bert", "modern-bert")
TYPES = ("auto", "Q8_0", "Q4_K_M")


def run(binaries, name, path):
    """None, or why the model does not run."""
    encoder = name.startswith(ENCODERS)
    program = os.path.join(binaries, "llama-embedding" if encoder else "llama-completion")
    command = [program, "-m", path, "-p", "the miller grinds the grain", "-t", "1", "-c", "64", "--no-warmup"]
    command += [] if encoder else ["-n", "8", "--temp", "0", "-no-cnv", "--ignore-eos", "--perf"]
    for _ in range(20): # its log may be cut off at the end
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return "no answer in two minutes"
        text = done.stdout + done.stderr
        if done.returncode != 0:
            lines = [l for l in text.splitlines() if re.search(r"error|ASSERT|missing|wrong|expected", l)]
            return "exit %d: %s" % (done.returncode, " / ".join(lines[:2])[:300])
        ran = re.search(r"embedding 0:.*" if encoder else r" eval time = .*?/ +(\d+) runs", text)
        if ran and (encoder or int(ran.group(1)) >= 7):
            return "not a number in the embedding" if encoder and "nan" in ran.group(0) else None
    return "nothing was generated"


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    bad = 0
    with tempfile.TemporaryDirectory() as work:
        for name, spec in models.read_bases().items():
            if not re.fullmatch(sys.argv[2] if len(sys.argv) > 2 else ".*", name):
                continue
            spec = dict(spec, dir="model") # llama.cpp goes by names too
            where = models.write_model(spec, work)
            results = []
            for kind in TYPES:
                if name == "gpt-oss" and kind == "Q4_K_M": # its experts are MXFP4 already
                    results.append("-")
                    continue
                out = os.path.join(work, "model.gguf")
                why = models.run_quern(where, out, kind, []) or run(sys.argv[1], name, out)
                results.append("runs" if why is None else "no")
                bad += why is not None
                if why:
                    print("%s %s: %s" % (name, kind, why), flush=True)
            print("| %s | %s | %s |" % (name, spec["config"]["architectures"][0], " | ".join(results)), flush=True)
            shutil.rmtree(where)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
