"""hazard_room.py - what the checks of hazards.py and hazard_places.py share: a room for a run, and a list of what went wrong."""
import hashlib, json, os, shutil, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(HERE, "..", "build", "quern")))
MODELS = os.path.realpath(os.environ.get("MODELS", os.path.join(HERE, "..", "build", "test-models")))
WIDE = MODELS + "/wide.gguf"
wrong, skipped, ntrials = [], [], [0]


class Room:
    """A directory of its own, with helpers for the job that is disturbed."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="quern-hazard.")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)

    def file(self, name):
        return os.path.join(self.path, name)

    def start(self, *words, before=None, **more):
        more.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen([QUERN, *words], cwd=self.path, stdout=subprocess.DEVNULL, preexec_fn=before, **more)

    def run(self, *words, **more):
        run = self.start(*words, **more)
        text = run.communicate(timeout=300)[1]
        return run.returncode, (text or b"").decode(errors="replace")

    def left(self):
        return [n for n in os.listdir(self.path) if "quern" in n]


def digest(path):
    if not os.path.exists(path):
        return None
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def expect(check, what, fine):
    ntrials[0] += 1
    if not fine:
        wrong.append("%s: %s" % (check, what))


def undisturbed(*words):
    with Room() as room:
        start = time.monotonic()
        code, text = room.run(*[w.replace("OUT", "out") for w in words])
        if code:
            sys.exit("hazards: undisturbed exit %d: %s" % (code, text))
        return digest(room.file("out")), time.monotonic() - start


def data_start(path):
    """How long the header of a GGUF is."""
    told = subprocess.run([QUERN, "inspect", "--json", path], stdout=subprocess.PIPE, check=True).stdout
    return min(t["offset"] for t in json.loads(told)["tensors"])
