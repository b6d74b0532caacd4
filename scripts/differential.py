#!/usr/bin/env python3
"""differential.py - bend sound files at random and ask two readers: do quern and the reference agree?

Everything that quern takes the reference must take; what only the reference takes quern must refuse for one of the reasons that it has of
its own. Those are listed below, with counts of what was found. The same seed makes the same files.

  --gguf N --safetensors N   files of each format (default: 20000)
  --seed N                   (default: 1)
  --llama DIR                a tree of llama.cpp or ggml, whose gguf.cpp is the reference for GGUF
  --python EXE               a Python with safetensors, the reference for safetensors
  --work DIR                 where the driver is built
QUERN names the program. Standard library only.
"""
import argparse, collections, json, os, random, re, shutil, struct, subprocess, sys, tempfile

import compare_readers

BATCH = 250  # as many as one command takes
NUMBERS = [0, 1, 2, 3, 4, 7, 8, 0x20, 0x7F, 0x80, 0x100, 0x8000, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**61, 2**62, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1]

# Why quern refuses what the reference takes, by the kind of the error.
OWN_REASONS = {
    "gguf": {
        "key": "keys of 1 to 65535 bytes of UTF-8 without NUL", "name": "names that are not empty, of UTF-8 without NUL", "kv-value": "bools of 0 and 1",
        "alignment": "alignments from 8 to 2^20", "kv-type": "split.* and general.architecture of the documented types", "split": "split.no below split.count",
        "overflow": "sums that wrap in the reference", "string-length": "strings of at most 64 MiB",
        # A container is taken by both; check also asks what a model needs.
        "arch": "a model names its architecture", "hparam": "block_count fits the tensors",
    },
    "safetensors": {
        "duplicate": "no name twice; the reference takes the last", "name": "names that are not empty and hold no U+0000", "entry": "entries are objects",
        "dtype": "types are strings", "shape": "at most 32 dimensions, each below 2^63",
        "overflow": "the product without zeros fits in 64 bits", "json-depth": "64 levels of nesting",
    },
}

DRIVER = r"""
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ggml.h"
#include "gguf.h"
static int takes(const char *path)
{
    struct ggml_context *ctx = nullptr;
    const struct gguf_init_params all = {false, &ctx}, header = {true, &ctx};
    return gguf_init_from_file(path, all) ? 0 : gguf_init_from_file(path, header) ? 2 : 1;
}
int main(void)
{
    static char path[4096];
    freopen("/dev/null", "w", stderr);
    setenv("GGML_NO_BACKTRACE", "1", 1);
    const int null = open("/dev/null", O_WRONLY);
    while (fgets(path, sizeof path, stdin)) {
        path[strcspn(path, "\n")] = 0;
        const pid_t child = fork();
        if (child == 0) {
            dup2(null, STDOUT_FILENO);
            _exit(takes(path));
        }
        int status;
        waitpid(child, &status, 0);
        putchar(WIFEXITED(status) ? "arh"[WEXITSTATUS(status)] : 'c');
    }
}
"""


# ---- changes --------------------------------------------------------------------------------------------------------------------------


def header_end(data, kind):
    if kind == "safetensors":
        return 8 + struct.unpack_from("<Q", data)[0]
    return max(len(data) - 256, 24)


def change_bits(dice, data, end):
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(end)
        data[at] ^= 1 << dice.randrange(8)


def change_number(dice, data, end):
    width = dice.choice((4, 8))
    at = dice.randrange(max(end - width, 1))
    data[at:at + width] = (dice.choice(NUMBERS) & (1 << 8 * width) - 1).to_bytes(width, "little")


def change_span(dice, data, end):
    """Delete, repeat or move a few bytes."""
    a, n = dice.randrange(end), dice.randint(1, 24)
    piece = bytes(data[a:a + n])
    what = dice.randrange(3)
    if what == 0:
        del data[a:a + n]
    elif what == 1:
        data[a:a] = piece
    else:
        b = dice.randrange(end)
        data[b:b + len(piece)] = piece


def change_size(dice, data, end):
    if dice.random() < 0.5:
        del data[dice.randrange(len(data)):]
    else:
        data += bytes(dice.randint(1, 64))


def change_text(dice, data, end):
    """JSON: another number, another word, a repeated entry; with the length in front made right."""
    text = data[8:end].decode("latin-1")
    digits = [m.span() for m in re.finditer(r"\d+", text)]
    what = dice.randrange(4)
    if what < 2 and digits:
        a, b = dice.choice(digits)
        text = text[:a] + str(dice.choice(NUMBERS + [dice.randrange(64)])) + text[b:]
    elif what == 2:
        a = dice.randrange(len(text))
        text = text[:a] + dice.choice(['"', ",", ":", "[", "]", "{", "}", "\\", "0", "-", ".", " ", "null", "\\u0000", "true", "1e3"]) + text[a + dice.randrange(3):]
    else:
        entries = [m.span() for m in re.finditer(r'"[^"]*": ?\{[^{}]*\}', text)]
        if entries:
            a, b = dice.choice(entries)
            text = text[:b] + ", " + text[a:b] + text[b:]
    data[:end] = struct.pack("<Q", len(text)) + text.encode("latin-1")


def bent(dice, data, kind):
    data = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        end = min(header_end(data, kind), len(data)) if len(data) >= 24 else len(data)
        if end < 9:
            break
        changes = [change_bits, change_number, change_span, change_size]
        if kind == "safetensors":
            changes = [change_text] * 5 + [change_bits, change_span, change_size]
        dice.choice(changes)(dice, data, end)
    return bytes(data)


# ---- verdicts -------------------------------------------------------------------------------------------------------------------------


def ask_quern(paths):
    """The kind of the error for each; None when it is taken."""
    run = subprocess.run([compare_readers.QUERN, "check", "--json", "-q", "-j1", *paths], capture_output=True)
    verdicts = json.loads(run.stdout)
    assert len(verdicts) == len(paths), run.returncode
    return [v.get("error") for v in verdicts]


class Driver:
    """Paths in, a letter for each out: a taken, r refused, h header taken and data refused, c crashed."""

    def __init__(self, words):
        self.words = words

    def ask(self, paths):
        run = subprocess.run(self.words, input="\n".join(paths) + "\n", capture_output=True, text=True)
        assert len(run.stdout) == len(paths), run
        return run.stdout


PYTHON_DRIVER = """
import sys, safetensors
for line in sys.stdin:
    try:
        with open(line.rstrip(), "rb") as f:
            safetensors.deserialize(f.read())
        print("a", end="")
    except safetensors.SafetensorError:
        print("r", end="")
"""


def has_duplicate(data):
    """Does the header of a safetensors file name something twice? Then the first of the two may be wrong besides."""
    found = []

    def look(pairs):
        keys = [k for k, _ in pairs]
        found.extend(k for k in keys if keys.count(k) > 1)
        return dict(pairs)
    try:
        json.loads(data[8:header_end(data, "safetensors")], object_pairs_hook=look)
    except ValueError:
        pass
    return bool(found)


WORDS = {"a": "taken", "r": "refused", "h": "refused", "c": "CRASHES"}


def compare(kind, n, seed, driver, corpus):
    folder = os.path.join(corpus, kind)
    sound = [os.path.join(folder, f) for f in sorted(os.listdir(folder)) if f.startswith("ok_")]
    sound = [f for f in sound if os.path.getsize(f) < 1 << 14]
    bases = [open(f, "rb").read() for f in sound]
    dice = random.Random(seed)
    counts, own, wrong = collections.Counter(), collections.Counter(), []
    # In memory where there is such a place: these are many small files.
    room = tempfile.mkdtemp(prefix="quern-differential.", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    paths = [os.path.join(room, "%d.%s" % (i, kind)) for i in range(BATCH)]
    try:
        for done in range(0, n, BATCH):
            files = [bent(dice, dice.choice(bases), kind) for _ in range(min(BATCH, n - done))]
            for path, data in zip(paths, files):
                with open(path, "wb") as f:
                    f.write(data)
            used = paths[:len(files)]
            for path, data, ours, theirs in zip(used, files, ask_quern(used), driver.ask(used)):
                # Where the last tensor ends without padding, it cannot load all data as one piece; llama.cpp's loader takes such files.
                unpadded = theirs == "h" and not ours
                counts[("refused" if ours else "taken") + " by quern, " + ("taken but for padding at the end" if unpadded else WORDS[theirs])] += 1
                if ours and theirs == "a" and kind == "safetensors" and has_duplicate(data):
                    ours = "duplicate"
                if ours and theirs == "a":
                    own[ours] += 1
                fine = theirs == "c" or (theirs in "ah" if not ours else theirs in "rh" or ours in OWN_REASONS[kind])
                if not fine:
                    wrong.append((ours, theirs, data))
    finally:
        shutil.rmtree(room)
    print("\n%s, %d files made from %d sound ones, seed %d" % (kind, n, len(bases), seed))
    for what, k in sorted(counts.items()):
        print("  %8d %s" % (k, what))
    for what, k in own.most_common():
        print("  %8d refused by quern alone: %s (%s)" % (k, what, OWN_REASONS[kind].get(what, "NOT DOCUMENTED")))
    for i, (ours, theirs, data) in enumerate(wrong[:20]):
        path = os.path.join(tempfile.gettempdir(), "differential-%d.%s" % (i, kind))
        with open(path, "wb") as f:
            f.write(data)
        print("  differ: quern %s, reference %s: %s" % (ours or "takes it", theirs, path))
    return len(wrong)


def build_gguf_driver(tree, work):
    compare_readers.DRIVER = DRIVER
    return compare_readers.build_driver(tree, "gguf-batch", work, ["-O2"])


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--gguf", type=int, default=20000)
    args.add_argument("--safetensors", type=int, default=20000)
    args.add_argument("--seed", type=int, default=1)
    for name in ("llama", "python", "work"):
        args.add_argument("--" + name)
    args = args.parse_args()
    work = args.work or tempfile.mkdtemp(prefix="quern-differential.")
    os.makedirs(work, exist_ok=True)
    corpus = os.path.join(work, "corpus")
    subprocess.run([sys.executable, "-B", os.path.join(compare_readers.ROOT, "tests/make_corpus.py"), corpus], check=True, stderr=subprocess.DEVNULL)
    wrong = 0
    if args.llama:
        wrong += compare("gguf", args.gguf, args.seed, Driver([build_gguf_driver(args.llama, work)]), corpus)
    if args.python:
        wrong += compare("safetensors", args.safetensors, args.seed, Driver([args.python, "-c", PYTHON_DRIVER]), corpus)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
