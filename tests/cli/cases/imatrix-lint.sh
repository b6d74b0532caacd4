# valgrind
# A coverage report: exit 0 when clean, 1 when not.
q imatrix lint m/dense.imatrix.gguf
q imatrix lint m/dense.imatrix.gguf --model m/dense-f16.gguf
q imatrix lint -q m/dense.imatrix.gguf --model m/split-00001-of-00003.gguf
q imatrix lint m/odd.imatrix.gguf
q imatrix lint m/odd.imatrix.gguf --model m/dense-f16.gguf
q imatrix lint --json m/odd.imatrix.gguf --model m/dense-f16.gguf
q imatrix lint --json m/dense.imatrix.dat
q imatrix lint m/dense.imatrix.gguf --model m/hf
q imatrix show m/odd.imatrix.gguf
