# What lies in packs is read like plain files: adapters, importance, recipes, models in directories.
cp -r "$POCKET"/pocket-base base
mkdir side
cp "$POCKET"/*.imatrix.* side/
must lora extract -q base "$POCKET/pocket-code" side/adapter --rank 2
printf 'merge_method: linear\nmodels: [{model: all.qpk/base, parameters: {weight: 0.5}}, {model: all.qpk/pocket-code, parameters: {weight: 0.5}}]\ndtype: bfloat16\n' > side/recipe.yml
echo '{"general.author": "somebody"}' > side/meta.json
echo 'ffn_down=q8_0' > side/types.txt
must pack -q side -o side.qpk
must pack -q side/adapter -o adapter.qpk
must pack -q side/pocket-base.imatrix.dat -o matrix.qpk
must pack -q base "$POCKET/pocket-code" -o all.qpk

# Importance: named in a pack, or all of one.
must quantize -q --imatrix side/pocket-base.imatrix.dat base a.gguf IQ3_S
must quantize -q --imatrix side.qpk/pocket-base.imatrix.dat base b.gguf IQ3_S
must quantize -q --imatrix matrix.qpk base c.gguf IQ3_S
q compare -q a.gguf b.gguf
q compare -q a.gguf c.gguf
q imatrix show side.qpk/pocket-base.imatrix.gguf | head -3
q quantize --imatrix side.qpk base d.gguf IQ3_S
q quantize --imatrix side.qpk/nothing base d.gguf IQ3_S

# Adapters.
q lora info adapter.qpk | head -2
must merge -q --base base --lora side/adapter:0.8 --no-write-model-card m1
must merge -q --base all.qpk/base --lora adapter.qpk:0.8 --no-write-model-card m2
must merge -q --base base --lora side.qpk/adapter:0.8 --no-write-model-card m3
diff -r m1 m2 && diff -r m1 m3 && echo "adapters are the same"
q merge --base base --lora side.qpk/nothing m4

# A recipe, metadata, types; with a record of them.
q merge -q --provenance side.qpk/recipe.yml mixed.safetensors
q rebuild -q mixed.safetensors.quern.json -o again.safetensors
same mixed.safetensors again.safetensors
must convert -q --provenance base e.gguf --metadata side.qpk/meta.json
q inspect e.gguf --kv general.author
must quantize -q --provenance base f.gguf Q4_0 --tensor-type @side.qpk/types.txt
q rebuild -q f.gguf.quern.json -o g.gguf
same f.gguf g.gguf

# A pack of several models is none.
q check all.qpk
q quantize all.qpk/other h.gguf Q8_0
q check all.qpk/pocket-code
q inspect all.qpk | grep -v '\.json'
q inspect --json all.qpk | grep -o '"notes".*'

# -o is easily forgotten.
q pack base base.qpk

# A named base moves with the inputs.
must pack -q base -o base.qpk
must pack -q "$POCKET/pocket-code" -o code.qpk --base base.qpk
mkdir there
mv base.qpk there/
q quantize -q --provenance --pack-base there/base.qpk code.qpk i.gguf Q8_0
mv there elsewhere
q rebuild -q i.gguf.quern.json -o j.gguf
q rebuild -q i.gguf.quern.json -o j.gguf --input there=elsewhere
same i.gguf j.gguf
q unpack -q code.qpk out --pack-base elsewhere/base.qpk

# Only quern pack makes packs, and quern unpack takes all of one. A pack is no id of the hub.
q quantize base k.qpk BF16
q unpack all.qpk/base k
q unpack base k
must pack -q all.qpk/base -o again.qpk
must unpack -q again.qpk again
diff -r base again && echo "a model of a pack is packed"
must pack -q all.qpk/base/config.json all.qpk/pocket-code/tokenizer.json -o two-files.qpk
q inspect two-files.qpk | grep json
q pack all.qpk/nothing -o nothing.qpk
mkdir org
cp elsewhere/base.qpk org/
must merge -q --method linear --model org/base.qpk --model base --param weight=0.5 card
q compare -q base card
grep '^- ' card/README.md
