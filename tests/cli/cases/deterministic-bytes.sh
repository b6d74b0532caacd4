# One output for any threads, memory and instruction set.
cpus="portable avx2 avx512"
run() { # LABEL ARGS...: prints the hash once, and every deviation
    local label=$1 hash first="" ran=""
    shift
    for cpu in $cpus; do
        QUERN_CPU=$cpu "$QUERN" types >/dev/null 2>&1 || continue
        ran="$ran $cpu"
        for j in 1 2 7; do
            for mem in 8MiB 256MiB; do
                rm -rf out.*
                if ! QUERN_CPU=$cpu "$QUERN" "$@" -q -j $j --mem $mem 2>err; then
                    echo "$label $cpu -j $j --mem $mem failed: $(cat err)"
                    continue
                fi
                hash=$(digest out.*)
                : "${first:=$hash}"
                [ "$hash" = "$first" ] || echo "$label: other bytes with $cpu -j $j --mem $mem"
            done
        done
    done
    # A C library that takes its CPU for an old one picks other routines of libm.
    rm -rf out.*
    GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2_Usable,-FMA_Usable,-AVX2,-FMA "$QUERN" "$@" -q
    [ "$(digest out.*)" = "$first" ] || echo "$label: other bytes without FMA in libm"
    case $ran in
    *portable*) echo "$label: done" ;;
    *) echo "$label: no instruction set ran:$ran" ;;
    esac
}
run quantize quantize m/wide.gguf out.gguf Q4_0
run quantize8 quantize m/wide.gguf out.gguf Q8_0
run slerp merge --method slerp --base m/wide-a.safetensors --model m/wide-b.safetensors --param t=0.3 out.safetensors
run linear merge --method linear --model m/wide-a.safetensors --model m/wide-b.safetensors --param weight=0.5 out.safetensors
run ties merge --method ties --base m/wide-base.safetensors --model m/wide-a.safetensors --model m/wide-b.safetensors --param weight=0.5,0.7 --param density=0.4 out.safetensors
