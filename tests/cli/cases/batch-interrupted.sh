# A batch that is stopped or killed goes on where it was, and gives the same bytes.
slow_model
cat >jobs.yml <<'Y'
version: 1
defaults: {threads: 1}
jobs:
  - matrix: {type: [Q8_0, IQ3_S, Q4_0]}
    quantize: in.safetensors
    type: "{type}"
    output: out-{type}.gguf
    options: {keep-names: true, arch: test}
Y
must quantize --keep-names --arch test in.safetensors want.gguf IQ3_S
stop() { # SIGNAL: when the second job has recorded some work
    local signal=$1 pid
    QUERN_CPU=portable QUERN_SYNC=0.01 env --default-signal=INT "$QUERN" batch jobs.yml 2>err &
    pid=$!
    for _ in $(seq 2000); do
        [ "$(stat -c %s .out-IQ3_S.gguf.quern-journal 2>/dev/null || echo 0)" -gt 250 ] && break
        sleep 0.01
    done
    kill "-$signal" $pid
    wait $pid 2>/dev/null
    echo "[$?]"
    # the job of a batch that was killed ends as well
    for _ in $(seq 500); do
        free=yes
        for lock in .jobs.yml.quern-batch/.*.lock .jobs.yml.quern-batch/*.lock .out-IQ3_S.gguf.quern-journal; do
            [ ! -e "$lock" ] || flock -n "$lock" true || free=
        done
        [ -z "$free" ] || break
        sleep 0.02
    done
}
stop TERM
sed "s/ *[0-9.]* s\b/ N s/g" err
q batch jobs.yml --dry-run
stop KILL
q batch jobs.yml --dry-run
program batch jobs.yml 2>err
echo "[$?]"
grep -c 'up to date' err
sed 's/[0-9.]* \([kMG]*B\)/N \1/g' .jobs.yml.quern-batch/out-IQ3_S*.log | grep going
same want.gguf out-IQ3_S.gguf
rm out-IQ3_S.gguf
stop INT
# a journal of other words is not gone on with
sed -i 's/arch: test/arch: other/' jobs.yml
q batch jobs.yml --dry-run
must batch jobs.yml
grep -h going .jobs.yml.quern-batch/*.log
# a job that is killed alone
rm out-IQ3_S.gguf
QUERN_CPU=portable "$QUERN" batch jobs.yml 2>err &
for _ in $(seq 2000); do
    [ -e .out-IQ3_S.gguf.quern-journal ] && break
    sleep 0.01
done
kill -KILL "$(ps -o pid= --ppid $! | head -1)"
wait $!
echo "[$?]"
sed "s/ *[0-9.]* s\b/ N s/g" err
must batch jobs.yml
ls -A . .jobs.yml.quern-batch
