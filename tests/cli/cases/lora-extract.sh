# Adapters taken out of tuned models.
must merge --base m/hf --lora m/lora tuned
q lora extract m/hf tuned adapter --rank 4
files adapter
cat adapter/adapter_config.json
q lora info adapter
# Put in again, it gives the tuned model but for the rounding of bf16.
must merge --base m/hf --lora adapter again
q compare tuned again | tail -3
# Differences of full rank: the loss is told; nothing depends on threads or memory.
q lora extract m/hf m/hf-b full --rank 16 -j 1 --mem 24MiB --exclude self_attn --no-save-modules
q lora extract m/hf m/hf-b wide --rank 16 -q -j 3 --exclude self_attn --no-save-modules
same full/adapter_model.safetensors wide/adapter_model.safetensors
q lora extract m/hf m/hf-b some --json --rank 300 --include 'layers.1.mlp' --out-dtype bf16
q lora extract --dry-run m/hf tuned dry --include q_proj
# What cannot be done.
q lora extract m/hf m/hf none
q lora extract m/hf m/hf-b none --exclude .
q lora extract m/hf m/hf-shape none
q lora extract m/hf m/hf-b none.safetensors
q lora extract m/hf m/hf-b none --include '('
q lora extract m/hf m/hf-b none --out-dtype q8_0
q lora extract m/hf m/hf-b none --rank 9000
q lora extract m/dense-bf16.gguf m/dense-b.gguf none
q lora extract m/hf m/hf-b
q lora extract m/hf m/hf-b adapter
# NaN in the models.
cp -r m/hf-b sick
chmod -R u+w sick
python3 - sick/model.safetensors <<'P'
import json, struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
n, = struct.unpack_from("<Q", data)
for name, t in json.loads(data[8:8 + n]).items():
    if "layers.0.self_attn.q_proj" in name or name == "model.norm.weight":
        at = 8 + n + t["data_offsets"][0]
        data[at + 20:at + 22] = b"\xc0\x7f"
open(sys.argv[1], "wb").write(data)
P
q lora extract m/hf sick none --rank 4 --include layers.0.self_attn
q lora extract m/hf sick kept --rank 4 --include layers.0.self_attn --nonfinite keep
q lora extract m/hf sick kept -q --rank 4 --include '^model.norm' --nonfinite keep
q check kept
q lora extract m/hf sick zeros -q --rank 4 --include 'layers.0.self_attn|^model.norm' --nonfinite zero
q check zeros
q lora extract m/hf sick zeroed --json --rank 4 --include layers.0.self_attn --nonfinite zero | grep -o '"zeroed":.*'
