# What a stopped run of another plan has left for the same output is in nobody's way.
slow_model
plan() { q plan -f -q --layout joined quantize --keep-names --arch test in.safetensors out.gguf "$1"; }
left() { # the journals of parts that are under way
    find .out.gguf.quern-parts -name '*.quern-journal' -size +250c | wc -l
}
stop_part() { # when it has recorded some work
    local pid
    QUERN_CPU=portable QUERN_SYNC=0.01 "$QUERN" run -q -j 1 --part 1 job.plan 2>err &
    pid=$!
    for _ in $(seq 2000); do
        [ "$(left 2>/dev/null)" -gt 0 ] && break
        sleep 0.01
    done
    kill -TERM $pid
    wait $pid 2>/dev/null
    echo "[$?] $(left) left"
}
plan IQ3_S
stop_part
plan Q8_0
q run -q --part 1 job.plan
q join -q job.plan
must quantize -q --keep-names --arch test in.safetensors whole.gguf Q8_0
same out.gguf whole.gguf
[ -e .out.gguf.quern-parts ] || echo "nothing is left"
# Neither is what a stopped run has left when an input is not what it was: nobody asked to go on with that.
rm -rf out.gguf
plan IQ3_S
stop_part
touch -d 2001-01-01 in.safetensors
q run --part 1 job.plan
q join -q job.plan
must quantize -q --keep-names --arch test in.safetensors -f whole.gguf IQ3_S
same out.gguf whole.gguf
