# A plan is a file like any other: it cannot have slices made or removed where its command would not.
mkdir -p home/part-2
echo precious >home/part-2/notes.txt
q plan -q --parts 2 quantize m/dense-f32.gguf out.gguf Q8_0
sed 's/"work":"[^"]*"/"work":"home"/' job.plan >work.plan
sed 's/"output":"[^"]*"/"output":"home"/' job.plan >output.plan
for p in work output; do
    q run $p.plan --part 1
    q join $p.plan
done
cat home/part-2/notes.txt
# As it was written it works.
for i in 2 1; do
    q run -q job.plan --part $i
done
q join -q job.plan
files
