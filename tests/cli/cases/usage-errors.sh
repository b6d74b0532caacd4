# valgrind
# Exit 2 and a sentence that says what to do.
q
q nonsense
q quantise a b Q8_0
q quantize
q quantize m/dense-f16.gguf
q quantize --bogus m/dense-f16.gguf out.gguf Q8_0
q quantize --pur m/dense-f16.gguf out.gguf Q8_0
q quantize m/dense-f16.gguf out.gguf Q8_0 2 extra
q quantize -j m/dense-f16.gguf
q quantize -j 0x m/dense-f16.gguf out.gguf Q8_0
q quantize -j -3 m/dense-f16.gguf out.gguf Q8_0
q quantize --mem 5X m/dense-f16.gguf out.gguf Q8_0
q quantize --mem -1 m/dense-f16.gguf out.gguf Q8_0
q quantize --mem 99999999999999999999 m/dense-f16.gguf out.gguf Q8_0
q quantize m/dense-f16.gguf out.gguf Q9_9
q quantize m/dense-f16.gguf out.gguf 9999
q merge
q merge recipe.yml
q inspect
q check
q types extra
files
