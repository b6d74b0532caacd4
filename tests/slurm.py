#!/usr/bin/env python3
"""slurm.py [--keep]: divided jobs on a real Slurm with three pretend nodes on this machine.

Starts munged, slurmctld and three slurmd as root in a scratch directory (packages slurm-wlm and munge), runs
  an array of a merge to Q4_K_M and its join, in two layouts; a part that fails and is submitted again; parts that are preempted
  by a job of another partition while they work, and requeued; a node that is killed while it works
and compares the outputs with those of the undivided command. QUERN names the program; needs a build and tests/data.
"""
import glob
import hashlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(ROOT, "build/quern")))

# A requeued job waits until its old credentials have expired, and a node takes no job whose credentials it has revoked in the
# same second: cred_expire makes that wait short, and no job is hurried past it.
CONF = """ClusterName=ci
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={dir}/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation={dir}/state
SlurmdSpoolDir={dir}/spool.%n
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd.%n.pid
SlurmctldLogFile={dir}/slurmctld.log
SlurmdLogFile={dir}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
MaxArraySize=100001
KillWait=5
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=all Nodes=n[1-3] Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=300
PartitionName=urgent Nodes=n[1-3] MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def run(*words, **more):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more).stdout


def free_ports(n):
    socks = [socket.socket() for _ in range(n)]
    for s in socks:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in socks]
    for s in socks:
        s.close()
    return ports


class Cluster:
    def __init__(self, path):
        self.dir = path
        os.environ["SLURM_CONF"] = os.path.join(path, "slurm.conf")
        os.makedirs(os.path.join(path, "state"))
        key = os.path.join(path, "munge.key")
        with open(key, "wb") as f:
            f.write(os.urandom(128))
        os.chmod(key, 0o400)
        self.run_munge(key)
        ports = free_ports(4)
        host = socket.gethostname().split(".")[0]
        nodes = "\n".join("NodeName=n%d NodeHostname=%s NodeAddr=127.0.0.1 Port=%d CPUs=2 RealMemory=4000 State=UNKNOWN" %
                          (i, host, ports[i]) for i in (1, 2, 3))
        with open(os.environ["SLURM_CONF"], "w") as f:
            f.write(CONF.format(host=host, port=ports[0], dir=path, nodes=nodes))
        run("slurmctld", "-c", "-i")
        for i in (1, 2, 3):
            run("slurmd", "-N", "n%d" % i)
        self.wait_for_nodes()

    def run_munge(self, key):
        at = lambda name: os.path.join(self.dir, name)
        run("munged", "--force", "--key-file", key, "--socket", at("munge.sock"), "--pid-file", at("munged.pid"),
            "--log-file", at("munged.log"), "--seed-file", at("munged.seed"))

    def wait_for_nodes(self):
        for _ in range(300):
            states = run("sinfo", "-h", "-o", "%T").split()
            if states == ["idle"]:
                return
            time.sleep(0.1)
        raise SystemExit("slurm did not come up: %s" % states)

    def kill(self, pid_file, sig=signal.SIGTERM):
        try:
            with open(os.path.join(self.dir, pid_file)) as f:
                os.kill(int(f.read()), sig)
        except (OSError, ValueError):
            pass

    def stop(self):
        for name in ("slurmd.n1.pid", "slurmd.n2.pid", "slurmd.n3.pid", "slurmctld.pid", "munged.pid"):
            self.kill(name)


def state(job):
    """States of all tasks of a job that slurmctld remembers."""
    out = subprocess.run(("scontrol", "-o", "show", "job", job), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return [w.split("=")[1] for w in out.split() if w.startswith("JobState=")]


def wait_for(job, seconds=240):
    end = time.time() + seconds
    while time.time() < end:
        states = state(job)
        if states and not any(s in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "SUSPENDED") for s in states):
            return states
        time.sleep(0.2)
    raise SystemExit("job %s is still %s" % (job, state(job)))


def sha(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def check(ok, what):
    print(("ok      " if ok else "FAILED  ") + what, flush=True)
    if not ok:
        raise SystemExit(1)


class Trial:
    """A directory with models and a recipe."""

    def __init__(self, path):
        self.dir = path
        for name in ("base", "code", "prose"):
            os.symlink(os.path.join(ROOT, "build/pocket/pocket-" + name), os.path.join(path, name))
        with open(os.path.join(path, "recipe.yml"), "w") as f:
            f.write("merge_method: ties\nbase_model: base\ndtype: bfloat16\nparameters: {weight: 0.6, density: 0.5}\n"
                    "models: [{model: code}, {model: prose}]\n")

    def quern(self, *words, check=True):
        r = subprocess.run((QUERN,) + words, cwd=self.dir, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if check and r.returncode != 0:
            raise SystemExit("quern %s: %d\n%s" % (" ".join(words), r.returncode, r.stdout))
        return r

    def submit(self, script, **env):
        """sbatch of the emitted file; the jobs that it submits itself."""
        job = run("sbatch", "--parsable", script, cwd=self.dir, env=dict(os.environ, **dict({"QUERN": QUERN}, **env))).strip()
        check(wait_for(job) == ["COMPLETED"], "the job file of %s submits" % script)
        ids = [l.split()[-1] for l in open(os.path.join(self.dir, "slurm-%s.out" % job)) if l.startswith("Submitted")]
        return ids[0]

    def path(self, name):
        return os.path.join(self.dir, name)


def array_of(join):
    out = run("scontrol", "-o", "show", "job", join)
    return [w for w in out.split() if w.startswith("Dependency=")][0]


def plain_array(t):
    for layout, kind in (("ranges", "F32"), ("joined", "Q4_K_M")):
        t.quern("merge", "recipe.yml", "m.gguf", kind, "-q", "-f")
        want = sha(t.path("m.gguf"))
        os.remove(t.path("m.gguf"))
        t.quern("plan", "--parts", "8", "--layout", layout, "--emit", "slurm", "-f", "-q", "merge", "recipe.yml", "m.gguf", kind)
        parts = len(json.load(open(t.path("job.plan")))["division"])
        join = t.submit("job.sh")
        check(wait_for(join) == ["COMPLETED"], "%s: %d parts and their join are completed" % (layout, parts))
        check(sha(t.path("m.gguf")) == want, "the bytes of the undivided command")
        check(not os.path.exists(t.path(".m.gguf.quern-parts")), "nothing is left beside it")
    return want


def failing_part(t, want):
    """Part 5 finds a program that fails; the job file is submitted again."""
    wrapper = t.path("fails")
    with open(wrapper, "w") as f:
        f.write("#!/bin/sh\n[ \"$1 $SLURM_ARRAY_TASK_ID\" != \"run 5\" ] || exit 5\nexec %s \"$@\"\n" % QUERN)
    os.chmod(wrapper, 0o755)
    t.quern("plan", "--parts", "8", "--layout", "joined", "--emit", "slurm", "-f", "-q", "merge", "recipe.yml", "m.gguf", "Q4_K_M")
    job = run("sbatch", "--parsable", "job.sh", cwd=t.dir, env=dict(os.environ, QUERN=wrapper)).strip()
    wait_for(job)
    join = [l.split()[-1] for l in open(t.path("slurm-%s.out" % job)) if l.startswith("Submitted")][0]
    check(wait_for(join) == ["CANCELLED"], "a part that fails cancels the join")
    done = [n for n in os.listdir(t.path(".m.gguf.quern-parts")) if n.endswith(".done")]
    check(len(done) == 7 and "part-00005.done" not in done, "the seven others are done")
    join = t.submit("job.sh")
    check(wait_for(join) == ["COMPLETED"] and sha(t.path("m.gguf")) == want, "submitted again: complete, the same bytes")


def slow_wrapper(t, name, first):
    """The first run of part 2 does not end by itself."""
    with open(t.path(name), "w") as f:
        f.write("#!/bin/sh\nif [ \"$1 $SLURM_ARRAY_TASK_ID\" = \"run 2\" ] && mkdir %s 2>/dev/null; then\n%s\nfi\n"
                "exec %s \"$@\"\n" % (t.path(name + ".seen"), first, QUERN))
    os.chmod(t.path(name), 0o755)
    return t.path(name)


def wait_until(true, what, seconds=120):
    end = time.time() + seconds
    while time.time() < end:
        if true():
            return
        time.sleep(0.2)
    raise SystemExit("never: " + what)


def node_of(job, task):
    out = run("squeue", "-h", "-j", "%s_%s" % (job, task), "-o", "%N").strip()
    return out


def started(t, wrapper):
    t.quern("plan", "--parts", "4", "--layout", "joined", "--emit", "slurm", "-f", "-q", "merge", "recipe.yml", "m.gguf", "Q4_K_M")
    job = run("sbatch", "--parsable", "job.sh", cwd=t.dir, env=dict(os.environ, QUERN=wrapper)).strip()
    wait_for(job)
    join = [l.split()[-1] for l in open(t.path("slurm-%s.out" % job)) if l.startswith("Submitted")][0]
    array = array_of(join).split(":")[1].split("_")[0].split("(")[0]
    return array, join


def killed_node(t, cluster, want):
    """The node of part 2 dies; the part runs elsewhere, the orphan lives on and ends later."""
    wrapper = slow_wrapper(t, "orphan", "sleep 20; %s \"$@\"; touch %s; exit 0" % (QUERN, t.path("orphan.ended")))
    array, join = started(t, wrapper)
    wait_until(lambda: os.path.exists(t.path("orphan.seen")) and node_of(array, 2), "part 2 runs")
    node = node_of(array, 2)
    cluster.kill("slurmd.%s.pid" % node, signal.SIGKILL)
    run("scontrol", "update", "nodename=" + node, "state=down", "reason=killed")
    wait_until(lambda: "PENDING" in state(array + "_2") or "COMPLETED" in state(array + "_2"), "part 2 is requeued")
    check(wait_for(join, 400) == ["COMPLETED"] and sha(t.path("m.gguf")) == want, "a node is killed: complete, the same bytes")
    wait_until(lambda: os.path.exists(t.path("orphan.ended")), "the orphan ends")
    check(sha(t.path("m.gguf")) == want, "its orphan ends afterwards and does no harm")


def write_large(path, tensors=6, rows=3072, columns=4096):
    """Weights that take a while to encode when all parts share one core."""
    block = bytes(b if i % 2 == 0 else 0x3C for i, b in enumerate(os.urandom(1 << 20)))
    n = rows * columns * 2
    head = json.dumps({"t%02d.weight" % i: {"dtype": "BF16", "shape": [rows, columns], "data_offsets": [i * n, i * n + n]}
                       for i in range(tensors)}).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head)
        for _ in range(tensors * n // len(block)):
            f.write(block)


def tasks(array):
    """Of every task of an array its fields."""
    out = run("scontrol", "-o", "show", "job", array)
    return {f["ArrayTaskId"]: f for f in (dict(w.split("=", 1) for w in l.split() if "=" in w) for l in out.splitlines())}


def preempted(t):
    """A job of a partition of higher priority takes a node on which parts are at work."""
    write_large(t.path("large.safetensors"))
    words = ("quantize", "--keep-names", "--arch", "llama", "large.safetensors", "large.gguf", "IQ3_S")
    t.quern(*words, "-q")
    want = sha(t.path("large.gguf"))
    os.remove(t.path("large.gguf"))
    t.quern("plan", "--parts", "6", "--layout", "ranges", "--emit", "slurm", "-f", "-q", *words)
    with open(t.path("slow"), "w") as f:
        f.write("#!/bin/sh\nexec taskset -c %d %s \"$@\"\n" % (min(os.sched_getaffinity(0)), QUERN))
    os.chmod(t.path("slow"), 0o755)
    join = t.submit("job.sh", QUERN=t.path("slow"), QUERN_SYNC="0.1")
    array = array_of(join).split(":")[1].split("_")[0].split("(")[0]
    journals = t.path(".large.gguf.quern-parts/part-00001.*/.*.quern-journal")
    wait_until(lambda: any(os.path.getsize(j) > 0 for j in glob.glob(journals)), "part 1 has recorded work")
    node = node_of(array, 1)
    start = time.time()
    urgent = run("sbatch", "--parsable", "-p", "urgent", "-w", node, "-c", "2", "--mem=100M", "-o", "/dev/null", "--wrap", "sleep 2",
                 cwd=t.dir).strip()
    check(wait_for(urgent) == ["COMPLETED"], "a job of higher priority gets the node of part 1")
    check(time.time() - start < 200, "long before the parts' time of grace is over: they ended by themselves")
    out = t.path("slurm-%s_1.out" % array)
    check("quern: stopped by signal 15; run the same command again to go on" in open(out).read(), "part 1 was told to stop and did")
    check(tasks(array)["1"]["Restarts"] == "1", "its exit code was 143: it is queued again")
    check(wait_for(join, 400) == ["COMPLETED"] and sha(t.path("large.gguf")) == want, "preempted and requeued: complete, the same bytes")
    check("going on with an interrupted run" in open(out).read(), "part 1 went on where it had stopped")


def main():
    for tool in ("slurmctld", "slurmd", "munged", "sbatch"):
        if not shutil.which(tool):
            print("skipped: %s is missing (apt-get install slurm-wlm munge)" % tool)
            return
    if os.geteuid() != 0:
        print("skipped: Slurm on one machine needs root")
        return
    top = tempfile.mkdtemp(prefix="quern-slurm-")
    cluster_dir, work = os.path.join(top, "c"), os.path.join(top, "w")
    os.makedirs(cluster_dir)
    os.makedirs(work)
    cluster = Cluster(cluster_dir)
    try:
        t = Trial(work)
        want = plain_array(t)
        failing_part(t, want)
        preempted(t)
        killed_node(t, cluster, want)
    finally:
        cluster.stop()
        if "--keep" not in sys.argv:
            time.sleep(1)
            shutil.rmtree(top, ignore_errors=True)
        else:
            print(top)


main()
