#!/usr/bin/env python3
"""hazards.py [--rounds N] [--check NAME] - runs in bad surroundings: other runs, inputs that change, limits, odd names, closed streams.

Each check is a function below; its first line says what it does to the run and what must come of it. Wherever a run ends with exit
code 0 its output must have the bytes of an undisturbed run. QUERN and MODELS as in faults.py. Standard library only.
"""
import argparse, json, os, random, resource, shutil, signal, struct, subprocess, sys, time

import hazard_places
from hazard_room import MODELS, WIDE, Room, data_start, digest, expect, ntrials, skipped, undisturbed, wrong


def two_runs_on_one_output(rounds, rng):
    """Eight runs make one output: one wins, the others end with 7."""
    want, _ = undisturbed("quantize", "-q", WIDE, "OUT", "Q4_K")
    for i in range(max(1, rounds // 4)):
        with Room() as room:
            runs = [room.start("quantize", "-q", *(["--resume"] if i % 2 else []), WIDE, "out", "Q4_K") for _ in range(8)]
            codes = sorted(r.wait() for r in runs)
            for r in runs:
                r.stderr.close()
            # A run that resumes and finds the output complete is content.
            fine = codes[0] == 0 and set(codes) <= {0, 7} and (codes.count(0) == 1 or i % 2)
            expect("two_runs", "exit codes %s" % codes, fine)
            expect("two_runs", "other bytes or leftovers: %s" % room.left(), digest(room.file("out")) == want and not room.left())


def inputs_that_change(rounds, rng):
    """An input is cut, overwritten, touched, replaced or removed during the run: exit code 5, or it was over before."""
    words = ("-q", "-j", "1", "in.gguf", "OUT", "IQ3_S")
    shutil_in = os.path.join(MODELS, "wide.gguf")

    def cut(path):
        os.truncate(path, rng.randrange(os.path.getsize(path)))

    def overwrite(path):
        with open(path, "r+b") as f:
            f.seek(rng.randrange(1 << 20))
            f.write(b"\1\2\3\4")

    def replace(path):
        shutil.copy(path, path + ".new")
        os.rename(path + ".new", path)

    def pipe(path):
        os.unlink(path)
        os.mkfifo(path)

    def edit_header(path):
        """Size and time stay as they were."""
        state = os.stat(path)
        with open(path, "r+b") as f:
            f.seek(32)
            f.write(b"G")
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))

    with Room() as room:
        shutil.copy(shutil_in, room.file("in.gguf"))
        start = time.monotonic()
        room.run("quantize", *[w.replace("OUT", "out") for w in words])
        seconds, want = time.monotonic() - start, digest(room.file("out"))
    for i in range(rounds):
        what = (cut, overwrite, os.utime, replace, os.unlink, pipe, edit_header)[i % 7]
        with Room() as room:
            shutil.copy(shutil_in, room.file("in.gguf"))
            run = room.start("quantize", *[w.replace("OUT", "out") for w in words])
            # Not before the run has looked at it.
            while run.poll() is None and not os.path.exists(room.file(".out.quern-part")):
                time.sleep(0.001)
            time.sleep(rng.uniform(0, seconds * 0.9))
            what(room.file("in.gguf"))
            text = run.communicate()[1].decode(errors="replace")
            got = digest(room.file("out"))
            fine = (run.returncode == 0 and got == want) or (run.returncode == 5 and got is None)
            expect("inputs_that_change", "%s: exit %d: %s" % (what.__name__, run.returncode, text), fine)


def little_memory(rounds, rng):
    """ulimit -v in sixteen steps: exit code 0 or 6, never a crash."""
    want, _ = undisturbed("quantize", "-q", WIDE, "OUT", "Q4_0")
    for step in range(16):
        limit = (16 + 12 * step) << 20
        with Room() as room:
            code, text = room.run("quantize", "-q", WIDE, "out", "Q4_0",
                                  before=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
            # 127: not even the loader had enough.
            fine = (code == 0 and digest(room.file("out")) == want) or (code in (6, 127) and not os.path.exists(room.file("out")))
            expect("little_memory", "%d MiB: exit %d: %s" % (limit >> 20, code, text), fine and (code != 0 or not room.left()))


def file_size_limit(rounds, rng):
    """ulimit -f below the size of the output: exit code 5, nothing under the final name."""
    want, _ = undisturbed("quantize", "-q", WIDE, "OUT", "Q4_0")
    with Room() as room:
        room.run("quantize", "-q", WIDE, "out", "Q4_0")
        size = os.path.getsize(room.file("out"))
        header = data_start(room.file("out"))
    for limit in (0, 1, header - 1, header, size // 4, size // 2, size - 4096, size - 100, size - 1, size):
        with Room() as room:
            def before():
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            code, text = room.run("quantize", "-q", WIDE, "out", "Q4_0", before=before)
            there = os.path.exists(room.file("out"))
            fine = (code == 5 and not there) if limit < size else (code == 0 and digest(room.file("out")) == want)
            expect("file_size_limit", "%d of %d bytes: exit %d: %s" % (limit, size, code, text), fine)


def few_descriptors(rounds, rng):
    """200 shards in, 200 out, 16 descriptors."""
    with Room() as room:
        os.mkdir(room.file("many"))
        homes = {}
        for i in range(200):
            name, file = "t%d.weight" % i, "model-%05d-of-00200.safetensors" % (i + 1)
            head = json.dumps({name: {"dtype": "BF16", "shape": [16, 256], "data_offsets": [0, 8192]}}).encode()
            data = bytearray(random.Random(i).randbytes(8192))
            data[1::2] = bytes([0x3C]) * 4096
            with open(room.file("many/" + file), "wb") as f:
                f.write(struct.pack("<Q", len(head)) + head + data)
            homes[name] = file
        with open(room.file("many/model.safetensors.index.json"), "w") as f:
            json.dump({"metadata": {}, "weight_map": homes}, f)
        few = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
        room.run("quantize", "-q", "many", "one.safetensors", "F16")
        for words in (["many", "few.safetensors"], ["--shard-size", "10K", "-j", "3", "many", "few"], ["few", "back.safetensors"]):
            code, text = room.run("quantize", "-q", *words, "F16" if words[0] != "few" else "COPY", before=few)
            expect("few_descriptors", "%s: exit %d: %s" % (words, code, text), code == 0)
        same = digest(room.file("one.safetensors"))
        expect("few_descriptors", "other bytes", same == digest(room.file("few.safetensors")) == digest(room.file("back.safetensors")))
        expect("few_descriptors", "not 200 shards", len(os.listdir(room.file("few"))) == 201)


def surroundings(rounds, rng):
    """Closed streams, other locales, masks and environments: the same bytes."""
    want, _ = undisturbed("quantize", "-q", WIDE, "OUT", "Q4_0")

    def closed(*numbers):
        return lambda: [os.close(n) for n in numbers]

    env = dict(os.environ)
    trials = {
        "no environment": {"env": {}},
        "decimal comma": {"env": dict(env, LC_ALL="de_DE.UTF-8", LANG="de_DE.UTF-8", LC_NUMERIC="de_DE.UTF-8")},
        "Turkish": {"env": dict(env, LC_ALL="tr_TR.UTF-8")},
        "time zone": {"env": dict(env, TZ="Asia/Kathmandu")},
        "umask 077": {"before": lambda: os.umask(0o77)},
        "umask 000": {"before": lambda: os.umask(0)},
        "nice": {"before": lambda: os.nice(19)},
        "one processor": {"before": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})},
        "no standard input": {"before": closed(0)},
        "no standard output": {"before": closed(1)},
        "no standard error": {"before": closed(2), "stderr": None},
        "none of the three": {"before": closed(0, 1, 2), "stderr": None},
        "full standard error": {"stderr": open("/dev/full", "wb")},
    }
    for what, how in trials.items():
        with Room() as room:
            code, text = room.run("quantize", WIDE, "out", "Q4_0", **how)
            expect("surroundings", "%s: exit %d, %s" % (what, code, text), code == 0 and digest(room.file("out")) == want)
            expect("surroundings", "%s: left %s" % (what, room.left()), not room.left())
            if what.startswith("umask"):
                mode = os.stat(room.file("out")).st_mode & 0o777
                expect("surroundings", "%s: mode %o" % (what, mode), mode == 0o666 & ~int(what[-3:], 8))
    for threads in (1, 64, 10000):
        with Room() as room:
            code, text = room.run("quantize", "-q", "-j", str(threads), WIDE, "out", "Q4_0")
            expect("surroundings", "%d threads: exit %d, %s" % (threads, code, text), code == 0 and digest(room.file("out")) == want)


def names(rounds, rng):
    """Odd names of outputs work, and leave nothing; names that are no place for a file are refused."""
    want, _ = undisturbed("quantize", "-q", WIDE, "OUT", "Q4_0")
    good = ["n" * 255, "n" * 245, b"\xff\xfe\x80".decode("utf-8", "surrogateescape"), "a b\n", "--", "-x", "%n%s", "\u00fc"]
    for name in good:
        with Room() as room:
            code, text = room.run("quantize", "-q", "--", WIDE, name, "Q4_0")
            expect("names", "%r: exit %d, %s" % (name, code, text), code == 0 and digest(room.file(name)) == want)
            expect("names", "%r: left %s" % (name, room.left()), not room.left())
    for name, codes in (("n" * 256, (5,)), ("", (2,)), ("dir/", (2, 4)), ("none/out", (5,)), (".", (2, 7)), ("/dev/null", (7,)), ("/dev/full", (7,)),
                        ("dangling", (7,)), ("loop", (5, 7))):
        with Room() as room:
            os.symlink("nowhere", room.file("dangling"))
            os.symlink("loop", room.file("loop"))
            for more in ([], ["-f"], ["--resume"]):
                code, text = room.run("quantize", "-q", *more, WIDE, name, "Q4_0")
                expect("names", "%r %s: exit %d, %s" % (name, more, code, text), code in codes and not room.left())


def read_only(rounds, rng):
    """A directory that cannot be written to: exit code 5. A disk that fills up, too, and what was made is kept."""
    if os.getuid() != 0:
        skipped.append("a read-only and a full disk: only root can mount them")
        return
    with Room() as room:
        os.mkdir(room.file("disk"))
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", room.file("disk")], capture_output=True)
        if mounted.returncode:
            skipped.append("a read-only and a full disk: mount says %s" % mounted.stderr.decode().strip())
            return
        try:
            subprocess.run(["mount", "-o", "remount,ro", room.file("disk")], check=True)
            for more in ([], ["--resume"], ["--dry-run"]):
                code, text = room.run("quantize", "-q", *more, WIDE, "disk/out", "Q4_0")
                expect("read_only", "%s: exit %d, %s" % (more, code, text), code == 5 or more == ["--dry-run"])
            subprocess.run(["mount", "-o", "remount,rw,size=64m", room.file("disk")], check=True)
            # Room for the weights but not for what goes beside them.
            merge = ["merge", "-q", "--method", "linear", "--model", MODELS + "/hf-b", "--model", MODELS + "/hf-c", "--param",
                     "weight=0.5", "disk/out"]
            subprocess.run(["mount", "-o", "remount,rw,size=%d" % (2691768 + 8192), room.file("disk")], check=True)
            code, text = room.run(*merge)
            expect("read_only", "full: exit %d, %s" % (code, text), code == 5 and not os.path.exists(room.file("disk/out")))
            subprocess.run(["mount", "-o", "remount,rw,size=64m", room.file("disk")], check=True)
            code, text = room.run(*merge, "--resume")
            expect("read_only", "after: exit %d, %s" % (code, text), code == 0 and os.path.exists(room.file("disk/out/config.json")))
            expect("read_only", "left", not any("quern" in n for n in os.listdir(room.file("disk"))))
        finally:
            subprocess.run(["umount", room.file("disk")])


CHECKS = (two_runs_on_one_output, inputs_that_change, little_memory, file_size_limit, few_descriptors, surroundings, names,
          read_only) + hazard_places.CHECKS


def main():
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ask.add_argument("--rounds", type=int, default=200)
    ask.add_argument("--check", choices=[c.__name__ for c in CHECKS])
    ask.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    args = ask.parse_args()
    # In the background of a shell they are ignored, and a program that is started then leaves it at that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    rng = random.Random(args.seed)
    for check in CHECKS:
        if not args.check or check.__name__ == args.check:
            before = ntrials[0]
            check(args.rounds, rng)
            print("%s %d" % (check.__name__, ntrials[0] - before), file=sys.stderr)
    for what in skipped:
        print("skipped: " + what, file=sys.stderr)
    for what in wrong[:20]:
        print(what)
    if wrong:
        sys.exit("hazards: %d of %d trials went wrong; seed %d" % (len(wrong), ntrials[0], args.seed))
    print("hazards: all went well")


if __name__ == "__main__":
    main()
