# GGUF models, to GGUF, quantized in the same pass: the bytes of doing it in two.
q merge --method slerp --base m/dense-b.gguf --model m/dense-c.gguf --param t=0.4 slerp.gguf
q merge --method slerp --base m/dense-b.gguf --model m/dense-c.gguf --param t=0.4 one.gguf Q4_0
must quantize slerp.gguf two.gguf Q4_0
same one.gguf two.gguf
must quantize m/dense-b.gguf b8.gguf Q8_0
must quantize m/dense-c.gguf c8.gguf Q8_0
q merge --method linear --model b8.gguf --model c8.gguf --param weight=0.5 from8.gguf
tensors from8.gguf | head -4
q merge --method linear --model m/dense-b.gguf --model m/dense-c.gguf --param weight=0.5 no.gguf Q9_9
q merge --method linear --model m/hf-b --model m/hf-c --param weight=0.5 no.gguf Q8_0
files
# What is only passed on is not decoded by the merge: quantizing it again must be allowed.
q merge --method passthrough --model b8.gguf b4.gguf Q4_0
q merge -q --allow-requantize --method passthrough --model b8.gguf b4.gguf Q4_0
must quantize -q --allow-requantize b8.gguf b4-too.gguf Q4_0
same b4.gguf b4-too.gguf
