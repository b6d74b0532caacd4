# Nothing is replaced without -f, and never an input.
echo precious >out.gguf
q quantize m/dense-f16.gguf out.gguf Q8_0
cat out.gguf
q quantize -f m/dense-f16.gguf out.gguf Q8_0
must quantize --force m/dense-f16.gguf out.gguf Q8_0
cp m/dense-f16.gguf in.gguf
q quantize -f in.gguf in.gguf Q8_0
ln -s in.gguf link.gguf
q quantize -f in.gguf link.gguf Q8_0
ln in.gguf hard.gguf
q quantize -f in.gguf hard.gguf Q8_0
same in.gguf m/dense-f16.gguf
mkdir full empty
echo precious >full/note
q merge --method linear --model m/hf-b --model m/hf-c --param weight=0.5 full
cat full/note
q merge --method linear --model m/hf-b --model m/hf-c --param weight=0.5 empty
q merge -f --method linear --model m/hf-b --model m/hf-c --param weight=0.5 full
# A directory that holds a model is replaced as a whole.
cp -r m/hf old
q merge -q -f --method linear --model m/hf-b --model m/hf-c --param weight=0.5 old
diff -r empty old && echo "the same directory"
cp -r m/hf-b hf-b
q merge -f --method linear --model hf-b --model m/hf-c --param weight=0.5 hf-b
q merge -f --method linear --model hf-b --model m/hf-c --param weight=0.5 hf-b/model.safetensors
same hf-b/model.safetensors m/hf-b/model.safetensors
files
# A directory is no output for what is made of a file in it.
mkdir own
cp m/dense-f16.gguf own/in.gguf
for out in own ./own/; do
    q convert -f own/in.gguf $out
done
same own/in.gguf m/dense-f16.gguf
