# valgrind
# Sums and counts add up; the bytes are those of llama-imatrix.
q imatrix combine m/dense.imatrix.gguf m/dense.imatrix.dat -o both.gguf
q imatrix show both.gguf
q imatrix combine -q m/dense.imatrix.gguf m/dense.imatrix.dat -o both.gguf
q imatrix combine -q -f -j 1 m/dense.imatrix.gguf m/dense.imatrix.dat -o both.gguf
q imatrix combine -q m/dense.imatrix.gguf m/dense.imatrix.gguf m/dense.imatrix.dat -o three.dat
q imatrix show --json three.dat
q imatrix combine --dry-run m/dense.imatrix.gguf m/dense.imatrix.dat -o dry.gguf
files
digest both.gguf three.dat

# To the older format and back; the pocket files were written by llama-imatrix.
must imatrix convert "$POCKET/pocket-base.imatrix.gguf" pocket.dat
same pocket.dat "$POCKET/pocket-base.imatrix.dat" | sed "s|$POCKET|POCKET|"
q imatrix convert -q --chunk-size 256 pocket.dat -o pocket.gguf
q imatrix convert -q pocket.dat other --output-format gguf
q imatrix show other
# What it made is what quantize takes.
q quantize -q --imatrix both.gguf m/dense-f16.gguf out.gguf Q4_0
