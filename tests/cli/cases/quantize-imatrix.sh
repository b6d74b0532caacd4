# Importance matrices: keys, filters, what is missing and what does not fit.
q quantize --imatrix m/weighed.imatrix.gguf m/dense-f16.gguf gguf.gguf Q4_K_M
for key in file dataset entries_count chunks_count; do
    q inspect --kv quantize.imatrix.$key gguf.gguf
done
q quantize -q --imatrix m/weighed.imatrix.dat --override-kv my.key=int:1 m/dense-f16.gguf dat.gguf Q4_K_M
q inspect --json dat.gguf | grep -o '"my.key".*chunks_count[^,]*'
q quantize -q --imatrix m/weighed.imatrix.gguf --include-weights ffn_down --include-weights attn_v m/dense-f16.gguf some.gguf Q4_K_M
q inspect --kv quantize.imatrix.entries_count some.gguf
q quantize -q --imatrix m/weighed.imatrix.gguf --exclude-weights blk.0 m/dense-f16.gguf others.gguf Q4_K_M
q inspect --kv quantize.imatrix.entries_count others.gguf
q quantize --imatrix m/weighed.imatrix.gguf --exclude-weights blk. m/dense-f16.gguf none.gguf Q4_K_M
must quantize m/dense-f16.gguf plain.gguf Q4_K_M
same none.gguf plain.gguf
q quantize --include-weights ffn_down m/dense-f16.gguf out.gguf Q4_0
long=$(printf 'a%.0s' {1..150})
mkdir "$long"
cp m/weighed.imatrix.gguf "$long/"
q quantize --imatrix "$long/weighed.imatrix.gguf" m/dense-f16.gguf long.gguf Q4_0
q inspect --kv quantize.imatrix.file long.gguf
q quantize --imatrix m/deep.imatrix.dat m/dense-f16.gguf other.gguf Q4_K_M
rm -r -- *.gguf "$long"

q quantize --imatrix m/weighed.imatrix.gguf --include-weights a --exclude-weights b m/dense-f16.gguf no.gguf Q4_0
q quantize --imatrix m/weighed.imatrix.gguf --include-weights ffn_dwon m/dense-f16.gguf no.gguf Q4_0
q quantize --imatrix m/nowhere.gguf m/dense-f16.gguf no.gguf Q4_0
q quantize --imatrix m/dense-f32.gguf m/dense-f16.gguf no.gguf Q4_0
q quantize --imatrix m/wrong.imatrix.dat m/dense-f16.gguf no.gguf Q4_0
q quantize --imatrix m/moe.imatrix.gguf m/hf hf-out F16
for type in IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ3_XXS IQ3_XS Q2_K_S; do
    q quantize m/dense-f16.gguf no.gguf $type
done
q quantize --imatrix m/deep.imatrix.gguf m/dense-f16.gguf no.gguf IQ2_XS
q quantize --token-embedding-type iq2_xxs m/dense-f16.gguf no.gguf Q4_K_M
q quantize --dry-run m/deep.gguf IQ2_XS
q quantize --dry-run --json m/deep.gguf IQ2_XS | grep -o '"refusal":.*'
q quantize --dry-run --imatrix m/deep.imatrix.gguf m/deep.gguf IQ2_XS
# Experts: their values lie in one row of a .dat, and of what was made from one.
for matrix in moe.imatrix.gguf moe.imatrix.dat moe-flat.imatrix.gguf; do
    q quantize --dry-run --imatrix m/$matrix m/moe.gguf IQ2_XS | tail -n 9
done
files
