# The jobs as files for schedulers. Ninja, GNU parallel and a shell in the place of the others run them here.
cat >"a jobs.yml" <<'Y'
version: 1
jobs:
  - name: "{type}"
    matrix: {type: [Q8_0, Q4_0]}
    quantize: m/dense-f16.gguf
    type: "{type}"
    output: out-{type}.gguf
  - {name: again, quantize: out-Q8_0.gguf, type: F16, output: again.gguf, options: {allow-requantize: true}}
Y
for s in slurm ninja k8s parallel; do
    q batch "a jobs.yml" -q -j 2 --mem 64MiB --emit $s
    cat "a jobs.$s"*
done
q batch "a jobs.yml" --emit ninja
q batch "a jobs.yml" --emit ninja -f
q batch "a jobs.yml" --emit ninja -f --json
export QUERN
ninja -k 0 -f "a jobs.ninja" >log 2>&1 || cat log
q batch "a jobs.yml"
rm -r ./*.gguf ".a jobs.yml.quern-batch"
# what a container of the template runs
# shellcheck disable=SC2016 # the shell that is started expands it
sh -c "$(sed -n 's/^        - "exec quern \(.*\)"$/exec $QUERN \1/p' "a jobs.k8s.yaml" | sed -n '1s/\\"/"/gp')" 2>err
for i in 0 1; do
    # shellcheck disable=SC2016 # the same
    JOB_COMPLETION_INDEX=$i sh -c "$(sed -n 's/^        - "exec quern \(.*\)"$/exec "$QUERN" \1/p' "a jobs.k8s.yaml" | sed -n '1s/\\"/"/gp')"
done 2>&1 | sed 's/, [0-9.]* s//'
# sbatch that runs the tasks of an array at once
cat >sbatch <<'S'
#!/bin/sh
for a; do case $a in --array=1-*) n=${a#--array=1-} ;; --dependency*) echo "$a" >&2 ;; esac; done
cat >task.sh
for i in $(seq "$n"); do SLURM_ARRAY_TASK_ID=$i sh task.sh 2>>slurm.log; done
echo 17
S
cat >srun <<'S'
#!/bin/sh
while case $1 in --*) ;; *) false ;; esac; do shift; done
exec "$@"
S
chmod +x sbatch srun
PATH=.:$PATH sh "a jobs.slurm.sh" 2>&1
q batch "a jobs.yml"
rm -r ./*.gguf ".a jobs.yml.quern-batch"
command -v parallel >/dev/null || skip "GNU parallel is not installed"
sh "a jobs.parallel.sh" -j 2 >log 2>&1 || cat log
q batch "a jobs.yml"
