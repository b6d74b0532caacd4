# What a method must know of whole tensors is measured first: then they are cut, too.
merge=(merge --pre gpt-2 --method ties --base m/hf --model m/hf-b --model m/hf-c --param weight=0.5 --param density=0.5)
mkdir plain
must "${merge[@]}" plain/out.gguf F32
q plan --parts 3 --stages --layout ranges "${merge[@]}" out.gguf F32
q run job.plan --part 1
q run job.plan --stage stats --part 4
q run job.plan --stage measure --part 1
for i in 2 3; do must run job.plan --stage stats --part $i; done
SLURM_ARRAY_TASK_ID=1 q run job.plan --stage stats
q run job.plan --stage stats --part 2
q run job.plan --stage stats --part 2 -f --json
cp .out.gguf.quern-parts/stats-00002 stats
must run -f job.plan --stage stats --part 2 -j 1 --mem 32MiB
same stats .out.gguf.quern-parts/stats-00002
# one that is damaged is as good as none
printf x | dd of=.out.gguf.quern-parts/stats-00002 bs=1 seek=200 conv=notrunc 2>/dev/null
q run job.plan --part 2
must run job.plan --stage stats --part 2
for i in 1 2 3; do q run job.plan --part $i; done
q join job.plan
same plain/out.gguf out.gguf
# nothing to measure
q plan -f -q --parts 2 --stages quantize m/dense-f16.gguf q.gguf F16
q plan -f --parts 2 --stages quantize m/dense-f16.gguf q.gguf F16
q run job.plan --stage stats --part 1
# with schedulers
for s in slurm parallel k8s ninja; do
    q plan -q -f --parts 3 --stages --layout joined --emit $s "${merge[@]}" out.gguf F32
    case $s in
    k8s) grep -A1 -e 'name: quern-' -e '^ *- quern' -e kubectl -e stage -e suspend job.yaml | grep -v '^--$' ;;
    ninja) cat job.ninja ;;
    *) cat job.sh ;;
    esac
done
rm out.gguf
export QUERN
ninja -f job.ninja >log 2>&1 || cat log
same plain/out.gguf out.gguf
ninja -f job.ninja
rm -f .ninja_log log
files
