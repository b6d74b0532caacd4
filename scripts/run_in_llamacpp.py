#!/usr/bin/env python3
"""run_in_llamacpp.py BIN [REGEX] - convert a small model of every architecture with quern and run it in llama.cpp.

    scripts/run_in_llamacpp.py ~/llama.cpp/build/bin            every model of tests/data/convert
    scripts/run_in_llamacpp.py ~/llama.cpp/build/bin 'gemma.*'  those whose name matches

BIN has llama-completion and llama-embedding. A model loads and generates eight tokens, or, when it is an encoder, makes an embedding; types auto, Q8_0 and Q4_K_M.
Prints a table; exit status 1 when a model does not run. QUERN names the program under test. Python 3 only; with transformers (and the other packages of
compare_converter.py) it also runs a model of each of its classes.
"""
import importlib.util, os, re, shutil, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import compare_converter as models
import converter_variants as variants

ENCODERS = ("bert", "roberta", "xlmr", "nomic-bert", "modern-bert", "distilbert", "camembert", "gemma-embedding", "llama-embed", "t5-encoder")
TYPES = ("auto", "Q8_0", "Q4_K_M")


def run(binaries, name, path):
    """None, or why the model does not run."""
    plain = name.removeprefix("empty/").removeprefix("class/")
    encoder = plain.startswith(ENCODERS)
    program = os.path.join(binaries, "llama-embedding" if encoder else "llama-completion")
    command = [program, "-m", path, "-p", "the miller grinds the grain", "-t", "1", "-c", "64", "--no-warmup"]
    command += ["--pooling", "mean"] if plain in ("llama-embed", "t5-encoder") else []
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


def every_model():
    """Those of tests/data, and, where transformers is there, one of each of its classes."""
    bases = models.read_bases()
    for name, spec in bases.items():
        yield dict(spec, name=name)
    if importlib.util.find_spec("transformers"):
        yield from (v for v in variants.all_variants(bases) if v["name"].startswith(("empty/", "class/")) and v["name"] not in variants.NOT_LOADED)


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    bad = 0
    with tempfile.TemporaryDirectory() as work:
        for spec in every_model():
            name = spec["name"]
            if not re.fullmatch(sys.argv[2] if len(sys.argv) > 2 else ".*", name):
                continue
            if spec.pop("empty", False):
                spec["tensors"] = models.empty_model(spec["config"], "BF16")
            spec["dir"] = "model" # llama.cpp goes by names too
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
