# Models in packs: there and back, as inputs of every command, against a base, and what goes wrong.
cp -r m/hf base
cp -r m/hf-b tuned
chmod -R u+w base tuned
mkdir tuned/1_Pooling
echo '{}' > tuned/1_Pooling/config.json
mkdir -p tuned/.git
q pack base -o base.qpk
q pack tuned -o tuned.qpk --base base.qpk --json -j 1
q unpack tuned.qpk out
rmdir tuned/.git
diff -r tuned out && echo "all files are the same"
q unpack --dry-run tuned.qpk again
q pack --dry-run base -o again.qpk --level 19
q unpack --sha256 -q tuned.qpk sums
sha256sum sums/config.json

# The same bytes for any threads and memory.
must pack tuned -o again.qpk --base base.qpk --mem 24MiB -j 2
same tuned.qpk again.qpk

# As an input it is the directory.
must quantize tuned q1.gguf Q4_K --keep-names --arch llama
must quantize tuned.qpk q2.gguf Q4_K --keep-names --arch llama
same q1.gguf q2.gguf
must merge -q --method slerp --base base --model tuned --param t=0.4 --no-write-model-card m1
must merge -q --method slerp --base base.qpk --model tuned.qpk --param t=0.4 --no-write-model-card m2
diff -r m1 m2 && echo "merges are the same"
must convert tuned c1 -t f32
must convert tuned.qpk c2 -t f32
diff -r c1 c2 && echo "conversions are the same"
q compare -q tuned tuned.qpk
q check tuned.qpk
q inspect tuned.qpk/model.safetensors
q lora extract -q base.qpk tuned.qpk adapter --rank 4

# Of one file; blocks hardly shrink.
must pack m/dense-f16.gguf -o gguf.qpk
must unpack gguf.qpk back.gguf
q inspect gguf.qpk --kv general.architecture
same m/dense-f16.gguf back.gguf
must quantize gguf.qpk q3.gguf Q8_0
must quantize m/dense-f16.gguf q4.gguf Q8_0
same q3.gguf q4.gguf

# Several inputs, equal ones stored once.
q pack base tuned base.qpk -o all.qpk
q inspect all.qpk/tuned
must unpack all.qpk all
diff -r base all/base && diff -r base all/base.qpk && echo "all came back"

# Where is the base, and is it that one?
mkdir away
mv base.qpk away/base.qpk
q check tuned.qpk
q inspect tuned.qpk
q check -q tuned.qpk --pack-base away/base.qpk
q unpack -q tuned.qpk out3 --base tuned
q unpack -q tuned.qpk out3 --base nowhere
q unpack -q tuned.qpk out3 --base away/base.qpk
mv away/base.qpk base.qpk

# Mistakes.
q pack base -o base.zst
q pack base -o base.qpk
q pack base -o other.qpk --level 4
q pack nothing -o other.qpk
q pack base -o other.qpk --base m/dense-f16.gguf
q unpack base.qpk
q unpack m/dense-f16.gguf out4
q pack base -o other.qpk --mem 1MiB
q quantize base.qpk base.qpk Q8_0
head -c 3000 base.qpk > cut.qpk
q inspect cut.qpk
cp base.qpk flipped.qpk
printf '\377\377' | dd of=flipped.qpk bs=1 seek=20000 conv=notrunc status=none
q check flipped.qpk
q unpack -q flipped.qpk out5
# shellcheck disable=SC2010 # names without blanks
ls -A | grep -v gguf

# Verified, and told apart from what it is not.
must quantize base.qpk plain.gguf Q8_0 --keep-names --arch llama
q quantize -q --provenance base.qpk told.gguf Q8_0 --keep-names --arch llama
q rebuild -q told.gguf.quern.json -o told2.gguf
same told.gguf told2.gguf
q pack base -o other.qpk --provenance
must convert base b.gguf -t q8_0 --pre gpt-2
q verify base.qpk b.gguf --pre gpt-2
must merge -q --method linear --model base.qpk --model tuned.qpk --param weight=0.5 mixed
must pack mixed -o mixed.qpk
q verify --method linear --model base --model tuned.qpk --param weight=0.5 mixed.qpk
# The base of a pack is what the pack is made of, too.
cp -r base its-base
must pack tuned --base its-base -o of-base.qpk
q unpack -f of-base.qpk its-base
q quantize -f of-base.qpk its-base/model-00001-of-00003.safetensors F16
must pack base -o its-base.qpk
must pack tuned --base its-base.qpk -o of-pack.qpk
q pack -f of-pack.qpk -o its-base.qpk
q check of-base.qpk of-pack.qpk
