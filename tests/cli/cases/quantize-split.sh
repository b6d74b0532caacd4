# A split set is one model; --keep-split mirrors it.
must quantize m/split-00001-of-00003.gguf joined.gguf Q8_0
must quantize m/dense-f16.gguf whole.gguf Q8_0
tensors joined.gguf >a
tensors whole.gguf >b
cmp a b && echo "the same tensors"
q quantize --keep-split m/split-00001-of-00003.gguf kept Q8_0
for i in 1 2 3; do tensors kept-0000$i-of-00003.gguf; done
must quantize kept-00001-of-00003.gguf copy.gguf COPY
files
q quantize --keep-split m/split-00001-of-00003.gguf kept Q8_0
