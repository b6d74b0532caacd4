# Files for schedulers. Ninja runs its own here; a real Slurm is in tests/slurm.py.
for s in slurm ninja k8s parallel; do
    q plan -q -f --parts 3 --layout joined --emit $s -j 2 --mem 64MiB -o "a job.plan" quantize m/dense-f16.gguf out.gguf Q8_0
    case $s in
    k8s) cat "a job.yaml" ;;
    ninja) cat "a job.ninja" ;;
    *) cat "a job.sh" ;;
    esac
done
q plan --emit pbs quantize m/dense-f16.gguf out.gguf Q8_0
must quantize m/dense-f16.gguf plain.gguf Q8_0
export QUERN
ninja -f "a job.ninja" >log 2>&1 || cat log
same plain.gguf out.gguf
ninja -f "a job.ninja"
# a file of the output for each part: they are known by their own names
q plan --parts 2 -o files.plan --emit ninja quantize m/dense-f16.gguf files.gguf Q8_0
ninja -f files.ninja >log 2>&1 || cat log
ninja -f files.ninja
# all parts write to one file
q plan -q -f --parts 3 --layout ranges -o ranges.plan --emit ninja quantize m/dense-f16.gguf ranges.gguf F32
ninja -f ranges.ninja >log 2>&1 || cat log
must quantize m/dense-f16.gguf plain-f32.gguf F32
same plain-f32.gguf ranges.gguf
ninja -f ranges.ninja
# the commands of the template's containers, in the environment that Kubernetes gives them and nothing else of it
container() { # NUMBER
    awk -v n="$1" '/^ *command:/ { at++; next } /^ *- / && at == n { sub(/^ *- /, ""); print; next } { if (at == n) at = n + 100 }' "a job.yaml"
}
rm -rf out.gguf .out.gguf.quern-parts
container 1
container 2 | sed -n 1,2p
for i in 0 1 2; do
    container 1 | sed 1d | env -i JOB_COMPLETION_INDEX=$i xargs "$QUERN" || echo "failed: $i"
done
container 2 | sed 1d | env -i xargs "$QUERN"
same plain.gguf out.gguf
