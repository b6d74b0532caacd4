# compare --json: the fields; the same text for any threads and memory; the numbers of quantize --stats.
program quantize --stats --json m/dense-bf16.gguf q.gguf Q4_0 >stats.json
program compare --json m/dense-bf16.gguf q.gguf >a.json
program compare --json -j 1 m/dense-bf16.gguf q.gguf >b.json
program compare --json -j 5 --mem 1900KiB m/dense-bf16.gguf q.gguf >c.json
for cpu in portable avx2 avx512; do
    QUERN_CPU=$cpu program compare --json m/dense-bf16.gguf q.gguf >d.json 2>err || grep -q QUERN_CPU err || cmp a.json d.json
done
same a.json b.json
same a.json c.json
python3 - <<'END'
import json
compared, stats = json.load(open("a.json")), json.load(open("stats.json"))
print(sorted(compared), sorted(compared["errors"]))
for r in (compared, stats):
    r["errors"]["tensors"].sort(key=lambda t: t["tensor"])
print("compare gives what --stats gave:", compared["errors"] == stats["errors"])
print(json.dumps(compared["errors"]["tensors"][0], indent=1))
print(json.dumps(compared["errors"]["all"], indent=1))
END
# A merge, rounded to bf16, then quantized in one pass: errors are those of quantizing.
must merge --method linear --model m/hf-b --model m/hf-c --param weight=0.5 merged
program merge --stats --json --method linear --model m/dense-b.gguf --model m/dense-c.gguf --param weight=0.5 m4.gguf Q8_0 >stats.json
must merge --method linear --model m/dense-b.gguf --model m/dense-c.gguf --param weight=0.5 m16.gguf
program compare --json m16.gguf m4.gguf >a.json
python3 - <<'END'
import json
compared, stats = json.load(open("a.json")), json.load(open("stats.json"))
for r in (compared, stats):
    r["errors"]["tensors"].sort(key=lambda t: t["tensor"])
print("a merge in one pass and in two:", compared["errors"] == stats["errors"])
END
