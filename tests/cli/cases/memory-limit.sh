# --mem is a ceiling: too little is refused with the least that would do.
q quantize --mem 1KiB m/wide.gguf out.gguf Q8_0
q quantize --mem 8MiB m/wide.gguf out.gguf Q8_0
q merge --mem 100kB --method linear --model m/hf-b --model m/hf-c --param weight=0.5 out
files
