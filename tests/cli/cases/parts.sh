# A job in parts gives the bytes of the job; nothing is done twice, nothing half.
# valgrind
must quantize m/dense-f16.gguf plain.gguf Q4_K
q plan --parts 4 --layout joined quantize m/dense-f16.gguf out.gguf Q4_K
q join job.plan
q run job.plan
q run job.plan --part 5
q run job.plan --part 1/3
q run job.plan --part 3/4
q run job.plan --part 3
for i in 1 2; do SLURM_ARRAY_TASK_ID=$i q run job.plan; done
q join job.plan
JOB_COMPLETION_INDEX=3 q run job.plan --json
printf x >>.out.gguf.quern-parts/slice-00002
q join job.plan
must run job.plan --part 2
q join job.plan --json
same plain.gguf out.gguf
q plan --parts 4 quantize m/dense-f16.gguf out.gguf Q4_K
q run job.plan --part 1
files
q plan -q -f quantize m/dense-f16.gguf out.gguf Q4_K
q join job.plan
# bytes that are not those that were made
q plan -f -q --parts 2 --layout joined quantize m/dense-f16.gguf out.gguf Q4_K
for i in 1 2; do must run job.plan --part $i; done
dd if=/dev/zero of=.out.gguf.quern-parts/slice-00001 bs=1 seek=5000 count=64 conv=notrunc 2>/dev/null
q join job.plan
must run -f job.plan --part 1
q join job.plan -q
same plain.gguf out.gguf
# a file of the output for each part; other commands
q plan --parts 3 -o split.plan merge --method slerp --base m/hf --model m/hf-b --param t=0.5 merged
for i in 1 2 3; do must run split.plan --part $i; done
q join split.plan
must merge --method slerp --base m/hf --model m/hf-b --param t=0.5 whole
q compare -q whole merged
find merged -type f | sort
q join split.plan
# an input that is another one now, and plans that are none
cp m/dense-f16.gguf in.gguf
q plan -q -o in.plan --parts 2 quantize in.gguf in-q8.gguf Q8_0
cp m/wide.gguf in.gguf
q run in.plan --part 1
q join in.plan --json
head -c 2000000 m/dense-f16.gguf >in.gguf
q run in.plan --part 1
rm in.gguf
q run in.plan --part 1
cp m/dense-f16.gguf in.gguf
q plan --parts 2 inspect in.gguf
q plan --parts 2 --part-size 4k quantize in.gguf in-q8.gguf Q8_0
q plan --parts 2 quantize --provenance in.gguf in-q8.gguf Q8_0
q plan --parts 2 quantize --stats in.gguf in-q8.gguf Q8_0
q plan --parts 2 quantize --dry-run in.gguf in-q8.gguf Q8_0
sed 's/"parts":/"pieces":/' job.plan >bad.plan
q run bad.plan --part 1
sed 's/"quern_plan":1/"quern_plan":2/' job.plan >bad.plan
q run bad.plan --part 1
q run m/dense-f16.gguf --part 1
files
