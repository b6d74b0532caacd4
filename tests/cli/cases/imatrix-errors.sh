# valgrind
q imatrix
q imatrix combin a b
q imatrix combine m/dense.imatrix.gguf -o out.gguf
q imatrix combine m/dense.imatrix.gguf m/dense.imatrix.dat
q imatrix combine m/dense.imatrix.gguf m/dense.imatrix.dat -o out.bin
q imatrix convert m/dense.imatrix.gguf
q imatrix convert m/dense.imatrix.gguf out.gguf --output-format json
q imatrix convert m/dense.imatrix.gguf out.gguf --model m/dense-f16.gguf
q imatrix lint m/dense.imatrix.gguf -o out
q imatrix show

# A model, a broken file, one that is not there.
q imatrix show m/dense-f16.gguf
q imatrix show m/hf-b/model.safetensors
q imatrix show m/hf
q imatrix show m/missing.gguf
q imatrix lint m/bad/truncated.gguf
head -c 100 m/dense.imatrix.dat >cut.dat
q imatrix lint --json cut.dat
q imatrix combine cut.dat m/dense.imatrix.gguf -o out.gguf

# Values that cannot be added up, rows that do not fit, an output that is an input.
q imatrix combine m/odd.imatrix.gguf m/odd.imatrix.gguf -o out.gguf
q imatrix combine m/dense.imatrix.gguf m/odd.imatrix.gguf -o out.gguf
cp m/dense.imatrix.gguf a.gguf
q imatrix convert a.gguf a.gguf -f
files
q quantize --imatrix m/hf/config.json m/dense-f16.gguf no.gguf Q4_0
