#!/usr/bin/env python3
"""pack_sizes.py BASE TUNED... - the table of docs/packs.md: what quern makes of models, alone and against a base, and of their merge.

BASE and TUNED are directories. QUERN names the program. Everything is unpacked again and compared. Standard library only.
"""
import filecmp, os, subprocess, sys, tempfile

QUERN = os.environ.get("QUERN", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build", "quern"))


def size(path):
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(path, name)) for name in os.listdir(path))


def quern(*words):
    subprocess.run([QUERN, *words, "-q"], check=True)


def row(label, work, model, base):
    pack, out = os.path.join(work, label + ".qpk"), os.path.join(work, label + ".out")
    quern("pack", model, "-o", pack, *(["--base", base] if base else []))
    quern("unpack", pack, out)
    same = filecmp.dircmp(model, out)
    wrong = same.left_only + same.right_only + filecmp.cmpfiles(model, out, same.common_files, shallow=False)[1]
    if wrong:
        sys.exit("%s: not what it was: %s" % (label, ", ".join(wrong)))
    print("| %s | %d | %d | %.1f %% |" % (label, size(model), size(pack), 100 * size(pack) / size(model)), flush=True)
    return pack


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__.split("\n\n")[0])
    base, tuned = sys.argv[1], sys.argv[2:]
    print("| model | bytes | packed | |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="quern-sizes.") as work:
        pack = row("base", work, base, None)
        for model in tuned:
            name = os.path.basename(os.path.abspath(model))
            row(name + " alone", work, model, None)
            row(name + " against the base", work, model, pack)
        if len(tuned) > 1:
            merged = os.path.join(work, "merged")
            models = [w for model in tuned for w in ("--model", model)]
            quern("merge", "--method", "linear", *models, "--param", "weight=0.5", "--no-write-model-card", merged)
            row("their merge alone", work, merged, None)
            row("their merge against the base", work, merged, pack)


main()
