# A full disk: found before the start, nothing left behind.
[ "$(id -u)" = 0 ] || skip "needs root to mount a small tmpfs"
mkdir small
mount -t tmpfs -o size=1m tmpfs small 2>/dev/null || skip "cannot mount a tmpfs here"
trap 'umount small' EXIT
q quantize m/dense-f16.gguf small/out.gguf Q8_0
q merge --method linear --model m/hf-b --model m/hf-c --param weight=0.5 small/out
files small
