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
q plan -q --parts 2 -o files.plan --emit ninja quantize m/dense-f16.gguf files.gguf Q8_0
ninja -f files.ninja >log 2>&1 || cat log
ninja -f files.ninja
# what a container of the template runs
rm -rf out.gguf .out.gguf.quern-parts
for i in 0 1 2; do JOB_COMPLETION_INDEX=$i must run "a job.plan" --part=auto --threads=2 --mem=67108864; done
must join "a job.plan"
same plain.gguf out.gguf
