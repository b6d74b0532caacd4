# All parts write to one file, each its own places.
must quantize m/dense-f16.gguf plain.gguf F32
q plan --parts 4 --layout ranges quantize m/dense-f16.gguf out.gguf F32
grep -o '"slice":[^}]*' job.plan
must run job.plan --part 3
shared=$(echo .out.gguf.quern-parts/shared.*/whole-00001)
stat -c %s "$shared"
# the same place, and no other
cmp -n 3145728 "$shared" /dev/zero && cmp -i 3145728 -n 1048576 "$shared" plain.gguf
for i in 4 2 1; do must run job.plan --part $i; done
# a place that somebody has written to: its part is made again, when it is run again
printf damage | dd of="$shared" bs=1 seek=2000000 conv=notrunc 2>/dev/null
q join job.plan
q run job.plan --part 2
q run job.plan --part 1
q join job.plan
same plain.gguf out.gguf
# the file is lost, the records are not
q plan -q -f --parts 4 --layout ranges quantize m/dense-f16.gguf out.gguf F32
for i in 1 2 3 4; do must run job.plan --part $i; done
rm -r .out.gguf.quern-parts/shared.*
q run job.plan --part 3
q join job.plan
for i in 1 2 4; do must run job.plan --part $i; done
q join job.plan --sha256
same plain.gguf out.gguf
# two plans of one output do not share a file
q plan -q -f -o other.plan --parts 3 --layout ranges quantize m/dense-f16.gguf out.gguf F16
q plan -q -f --parts 2 --layout ranges quantize m/dense-f16.gguf out.gguf F32
for i in 1 2; do must run job.plan --part $i; done
for i in 1 2 3; do must run other.plan --part $i; done
q join other.plan
must quantize m/dense-f16.gguf plain-f16.gguf F16
same plain-f16.gguf out.gguf
# a directory of shards
q plan -q -f --parts 3 --layout ranges merge --method slerp --base m/hf --model m/hf-b --param t=0.5 --shard-size 1MB merged
for i in 3 2 1; do must run job.plan --part $i; done
q join job.plan
must merge --method slerp --base m/hf --model m/hf-b --param t=0.5 --shard-size 1MB whole
diff -r -x README.md merged whole
q plan --layout shared quantize m/dense-f16.gguf out2.gguf F16
files
