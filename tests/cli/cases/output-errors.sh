# Places that cannot be written to.
q quantize m/dense-f16.gguf no/such/dir/out.gguf Q8_0
mkdir dir.gguf
q quantize m/dense-f16.gguf dir.gguf Q8_0
echo x >file
q quantize m/dense-f16.gguf file/out.gguf Q8_0
q merge --method linear --model m/hf-b --model m/hf-c --param weight=0.5 no/such/dir/out
q quantize m/dense-f16.gguf out.zip Q8_0
files
