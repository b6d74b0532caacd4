# Jobs that fail, what needs them, and the exit code; the result for scripts.
cat >jobs.yml <<'Y'
version: 1
jobs:
  - {name: not a model, quantize: text, type: Q8_0, output: a.gguf}
  - {name: after it, quantize: a.gguf, type: Q4_0, output: b.gguf}
  - {name: exists, quantize: m/dense-f16.gguf, type: Q8_0, output: c.gguf}
  - {name: good, quantize: m/dense-f16.gguf, type: Q8_0, output: d.gguf}
  - {name: differs, verify: [m/dense-f16.gguf, m/wide.gguf]}
Y
echo text >text
echo foreign >c.gguf
q batch jobs.yml
cat c.gguf
q batch jobs.yml --fail-fast
program batch jobs.yml --json 2>err >result.json
echo "[$?]"
python3 - <<'P'
import hashlib, json
r = json.load(open("result.json"))
for j in r["jobs"]:
    for o in j.get("outputs", []):
        assert hashlib.sha256(open(o["path"], "rb").read()).hexdigest() == o["sha256"]
    print(j["number"], j["name"], j["verdict"], j["exit"], j["needs"], j.get("reason"), len(j.get("outputs", [])))
print({k: v for k, v in r.items() if k != "jobs"})
P
cp m/dense-f16.gguf text
rm c.gguf
q batch jobs.yml --only 'after it' --only exists
# one job in this process
q batch jobs.yml --job good
q batch jobs.yml --job 4/6
q batch jobs.yml --job 6
q batch jobs.yml --job auto
q batch jobs.yml --job god
SLURM_ARRAY_TASK_ID=3 q batch jobs.yml --job auto -q
JOB_COMPLETION_INDEX=0 q batch jobs.yml --job auto -q
rm -r .jobs.yml.quern-batch a.gguf
q batch jobs.yml --job 'after it'
q batch jobs.yml --job good --json
# what killed a job is told, and the others run
cat >killed.yml <<'Y'
version: 1
jobs:
  - {name: too large, quantize: m/dense-f16.gguf, type: Q8_0, output: e.gguf, options: {mem: 1k}}
  - {name: other, check: m/dense-f16.gguf}
Y
q batch killed.yml
q batch killed.yml other
q batch
q batch nothing.yml
q batch jobs.yml --emit pbs
q batch jobs.yml --emit ninja --dry-run
