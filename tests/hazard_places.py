"""hazard_places.py - checks of hazards.py about where a run's files are, and who listens to it."""
import os, resource, shutil, signal, subprocess, time

from hazard_room import MODELS, QUERN, WIDE, Room, digest, expect, skipped, undisturbed

HF, HF_B = MODELS + "/hf", MODELS + "/hf-b"
SLERP = ("merge", "-q", "--method", "slerp", "--base", HF, "--model", HF_B, "--param", "t=0.3")


def tree(path):
    """Digests of all files of a directory."""
    return {os.path.relpath(os.path.join(top, n), path): digest(os.path.join(top, n)) for top, _, names in os.walk(path) for n in names}


def mounted(room, name, *options):
    """Mounts something there; the reason when it cannot."""
    os.makedirs(room.file(name), exist_ok=True)
    done = subprocess.run(["mount", *options, room.file(name)], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else None


def small_disks(rounds, rng):
    """A disk of every size up to what the output needs, and a little more: exit code 5 and nothing left that cannot be gone on
    with, or the right bytes."""
    want, _ = undisturbed("quantize", "-q", WIDE, "OUT", "Q4_0")
    with Room() as room:
        room.run("quantize", "-q", WIDE, "out", "Q4_0")
        need = os.path.getsize(room.file("out"))
        steps = 4 if rounds < 50 else 16
        sizes = [need * k // steps for k in range(1, steps)] + [need + 4096 * k for k in range(-2, 6)]
        for size in sizes:
            why = "only root can mount a small disk" if os.getuid() else mounted(room, "disk", "-t", "tmpfs", "-o", "size=%d" % size, "tmpfs")
            if why:
                skipped.append("small disks: " + why)
                return
            try:
                code, text = room.run("quantize", "-q", WIDE, "disk/out", "Q4_0")
                got, left = digest(room.file("disk/out")), os.listdir(room.file("disk"))
                fine = (code == 0 and got == want and left == ["out"]) or (code == 5 and got is None and "disk/out" in text)
                expect("small_disks", "%d of %d: exit %d, left %s: %s" % (size, need, code, left, text), fine)
                expect("small_disks", "%d of %d: left %s" % (size, need, left), code == 0 or not left or "--resume" in text)
            finally:
                subprocess.run(["umount", room.file("disk")], check=True)


def aliases(rounds, rng):
    """An output that is an input by another name (symbolic and hard links, of directories too, bind mounts): refused, input intact."""
    with Room() as room:
        shutil.copy(WIDE, room.file("in"))
        os.symlink("in", room.file("link"))
        os.link(room.file("in"), room.file("hard"))
        for name in ("in", "./in", "link", "hard"):
            for more in ([], ["-f"], ["-f", "--resume"]):
                code, text = room.run("quantize", "-q", *more, "in", name, "Q4_0")
                expect("aliases", "%s %s: exit %d, %s" % (name, more, code, text), code in (2, 7))
        expect("aliases", "the input has changed", digest(room.file("in")) == digest(WIDE))
        shutil.copytree(HF_B, room.file("model"))
        before = tree(room.file("model"))
        os.symlink("model", room.file("way"))
        for name in ("model", "model/", "way", "way/", "./way/../model", "model/model.safetensors"):
            code, text = room.run("merge", "-q", "-f", "--method", "slerp", "--base", HF, "--model", "model", "--param", "t=0.3", name)
            expect("aliases", "%s: exit %d, %s" % (name, code, text), code in (2, 7))
        expect("aliases", "the input directory has changed", tree(room.file("model")) == before)
        why = "only root can mount" if os.getuid() else mounted(room, "bound", "--bind", room.file("model"))
        if why:
            skipped.append("bind mounts: " + why)
            return
        try:
            for name in ("bound", "bound/model.safetensors"):
                code, text = room.run("merge", "-q", "-f", "--method", "slerp", "--base", HF, "--model", "model", "--param", "t=0.3", name)
                expect("aliases", "%s: exit %d, %s" % (name, code, text), code in (2, 5, 7))
            expect("aliases", "the input has changed through a mount", tree(room.file("model")) == before)
        finally:
            subprocess.run(["umount", room.file("bound")], check=True)


def inside_inputs(rounds, rng):
    """An output in the directory of an input: the same bytes, the input as it was."""
    with Room() as room:
        shutil.copytree(HF_B, room.file("model"))
        before = tree(room.file("model"))
        merge = ("merge", "-q", "--method", "slerp", "--base", HF, "--model", "model", "--param", "t=0.3")
        code, text = room.run(*merge, "want")
        expect("inside_inputs", "exit %d, %s" % (code, text), code == 0)
        code, text = room.run(*merge, "model/merged")
        expect("inside_inputs", "directory: exit %d, %s" % (code, text), code == 0)
        want, got = (tree(room.file(n)) for n in ("want", "model/merged"))
        del want["README.md"], got["README.md"]  # it has the name in it
        expect("inside_inputs", "other bytes", want == got)
        code, text = room.run("convert", "-q", "--pre", "gpt-2", "model", "model/model.gguf")
        expect("inside_inputs", "convert: exit %d, %s" % (code, text), code == 0)
        after = {n: d for n, d in tree(room.file("model")).items() if not n.startswith("merged/") and n != "model.gguf"}
        expect("inside_inputs", "the input has changed", after == before)


def shards_that_go(rounds, rng):
    """A shard is removed, cut or replaced by a pipe during a merge: exit code 5, or it was over before. A shard that is a pipe from the
    start, or the same file as another: refused, or the right bytes."""
    with Room() as room:
        start = time.monotonic()
        code, _ = room.run(*SLERP, "-j", "1", "want")
        seconds, want = time.monotonic() - start, tree(room.file("want"))
    for i in range(max(3, rounds // 4)):
        with Room() as room:
            shutil.copytree(HF, room.file("in"))
            shard = room.file("in/model-0000%d-of-00003.safetensors" % rng.randrange(1, 4))
            run = room.start("merge", "-q", "--method", "slerp", "--base", "in", "--model", HF_B, "--param", "t=0.3", "-j", "1", "out")
            time.sleep(rng.uniform(0, seconds))
            if i % 3 == 1:
                os.truncate(shard, rng.randrange(os.path.getsize(shard)))
            else:
                os.unlink(shard)
            if i % 3 == 2:
                os.mkfifo(shard)
            text = run.communicate(timeout=60)[1].decode(errors="replace")
            got = tree(room.file("out")) if os.path.exists(room.file("out")) else None
            # Before its header was read the run knows no better than that the file is short or no file.
            weights = {n: d for n, d in (got or {}).items() if n.endswith(".safetensors")}
            fine = (run.returncode == 0 and weights == {n: d for n, d in want.items() if n.endswith(".safetensors")}) or (
                run.returncode in (3, 5) and got is None)
            expect("shards_that_go", "%d: exit %d: %s" % (i % 3, run.returncode, text), fine)
    with Room() as room:
        shutil.copytree(HF, room.file("in"))
        names = sorted(n for n in os.listdir(room.file("in")) if n.endswith(".safetensors"))
        os.rename(room.file("in/" + names[1]), room.file("kept"))
        os.mkfifo(room.file("in/" + names[1]))
        code, text = room.run("check", "in")
        expect("shards_that_go", "pipe: exit %d: %s" % (code, text), code in (3, 5))
        os.unlink(room.file("in/" + names[1]))
        os.link(room.file("in/" + names[0]), room.file("in/" + names[1]))
        code, text = room.run("check", "in")
        expect("shards_that_go", "twice the same: exit %d: %s" % (code, text), code == 3)


def listeners(rounds, rng):
    """Pipes that nobody reads: the output is complete all the same; what only tells ends by SIGPIPE or with exit code 5."""
    want, _ = undisturbed("quantize", "-q", WIDE, "OUT", "Q4_0")
    for which in ("stdout", "stderr"):
        for words in (["quantize", WIDE, "out", "Q4_0", "--json"], ["quantize", WIDE, "out", "Q4_0", "--progress", "json"],
                      ["inspect", "--json", WIDE], ["check", WIDE]):
            with Room() as room:
                reader, writer = os.pipe()
                os.close(reader)
                streams = dict({"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}, **{which: writer})
                run = subprocess.run([QUERN, *words], cwd=room.path, timeout=120, **streams)
                os.close(writer)
                writes = words[0] == "quantize"
                expect("listeners", "%s %s: exit %d" % (which, words, run.returncode),
                       run.returncode in ((0, 5) if writes else (0, 5, -signal.SIGPIPE)))
                expect("listeners", "%s %s: other bytes" % (which, words), not writes or digest(room.file("out")) == want)


def second_signal(rounds, rng):
    """A second SIGINT, SIGTERM or SIGHUP ends the run at once; what comes after is the same bytes."""
    words = ("quantize", "-q", "-j", "1", WIDE, "out", "IQ3_S")
    want, seconds = undisturbed(*words)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) * max(1, rounds // 30):
        with Room() as room:
            run = room.start(*words)
            time.sleep(rng.uniform(0, seconds))
            asked = time.monotonic()
            # Two that come at once are one to the kernel.
            while run.poll() is None and time.monotonic() - asked < 60:
                run.send_signal(number)
                time.sleep(0.02)
            run.communicate(timeout=60)
            expect("second_signal", "%d: exit %d" % (number, run.returncode), run.returncode in (0, 128 + number, -number))
            expect("second_signal", "%d: took %.1f s" % (number, time.monotonic() - asked), time.monotonic() - asked < 10)
            code, text = room.run(*words, "--resume")
            expect("second_signal", "resumed: exit %d: %s" % (code, text), code in (0, 7) and digest(room.file("out")) == want)


def no_system(rounds, rng):
    """Without /proc, /sys and a temporary directory, in a root of its own: the same bytes. No threads is a mistake."""
    want, _ = undisturbed("quantize", "-q", WIDE, "OUT", "Q4_0")
    with Room() as room:
        code, text = room.run("quantize", "-q", WIDE, "out", "Q4_0", env={"TMPDIR": "/nowhere", "HOME": "/nowhere"})
        expect("no_system", "no TMPDIR: exit %d, %s" % (code, text), code == 0 and digest(room.file("out")) == want)
        code, text = room.run("quantize", "-q", "-j", "0", WIDE, "none", "Q4_0")
        expect("no_system", "0 threads: exit %d, %s" % (code, text), code == 2)
        shell = "mount -t tmpfs none /proc && mount -t tmpfs none /sys && exec \"$0\" quantize -q \"$1\" bare Q4_0"
        if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
            skipped.append("a system without /proc and /sys: unshare -m is not permitted")
            return
        done = subprocess.run(["unshare", "-m", "sh", "-c", shell, QUERN, WIDE], cwd=room.path, capture_output=True, text=True)
        expect("no_system", "no /proc: exit %d, %s" % (done.returncode, done.stderr), done.returncode == 0 and digest(room.file("bare")) == want)


def little_memory_merging(rounds, rng):
    """ulimit -v in sixteen steps, for a merge in one pass to GGUF: exit code 0 or 6, never a crash."""
    words = ("merge", "-q", "--method", "ties", "--base", HF, "--model", HF_B, "--param", "weight=0.5", "--param", "density=0.5", "--pre",
             "gpt-2", "out.gguf", "Q4_K_M")
    with Room() as room:
        code, text = room.run(*words)
        want = digest(room.file("out.gguf"))
    for step in range(0, 16, 5 if rounds < 50 else 1):
        limit = (16 + 12 * step) << 20
        with Room() as room:
            code, text = room.run(*words, before=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
            got = digest(room.file("out.gguf"))
            fine = (code == 0 and got == want) or (code in (6, 127) and got is None)
            expect("little_memory_merging", "%d MiB: exit %d: %s" % (limit >> 20, code, text), fine)


CHECKS = (small_disks, aliases, inside_inputs, shards_that_go, listeners, second_signal, no_system, little_memory_merging)
