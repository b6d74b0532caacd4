# A GGUF made like another one: keys, tokenizer and order from there, tensors from the directory.
ln -s "$POCKET/pocket-base" base
must convert base base.gguf -q
mkdir code odd
ln -s "$POCKET"/pocket-code/* code/
ln -s "$POCKET"/pocket-code/model.safetensors odd/
must convert code code.gguf -q
sed 's/LlamaForCausalLM/NobodyForCausalLM/; s/"llama"/"nobody"/' code/config.json >odd/config.json
q convert odd out.gguf --like base.gguf
q inspect --kv general.name out.gguf
q compare code.gguf out.gguf
must convert base base-q4.gguf -t q4_k_m -q
must convert odd quant.gguf --like base-q4.gguf -t q4_k_m -q
must quantize code.gguf chain.gguf q4_k_m -q
q compare chain.gguf quant.gguf
# The types of the template
must quantize base.gguf dynamic.gguf q4_k_m --tensor-type blk.0.ffn_up=q6_k --tensor-type attn_q=q5_0 -q
must quantize code.gguf chain.gguf q4_k_m --tensor-type blk.0.ffn_up=q6_k --tensor-type attn_q=q5_0 -q -f
must convert code types.gguf --like dynamic.gguf -t like -q
same chain.gguf types.gguf
must convert code types.gguf --like base.gguf -t like -q -f
same code.gguf types.gguf
q convert code bad.gguf -t like
# A merge, in one pass
flags=(--method linear --base base --model code --param weight=0.5)
must merge "${flags[@]}" merged -q
must convert merged chain.gguf --like base.gguf -q -f
must merge "${flags[@]}" pass.gguf --like base.gguf -q
q compare chain.gguf pass.gguf
q merge "${flags[@]}" bad --like base.gguf
q merge --method linear --base base.gguf --model code.gguf --param weight=0.5 bad.gguf --like base.gguf
# What differs
sed -i 's/"rope_theta": *[0-9.]*/"rope_theta": 500000.0/' odd/config.json
q convert odd out.gguf --like base.gguf -f
sed -i 's/"num_attention_heads": *[0-9]*/"num_attention_heads": 8/; s/"num_hidden_layers": *[0-9]*/"num_hidden_layers": 3/' odd/config.json
q convert odd bad.gguf --like base.gguf
# Templates that do not fit
q convert code bad.gguf --like none.gguf
q convert code bad.gguf --like code/model.safetensors
q convert code bad.gguf --like m/dense-f16.gguf
must convert base vocab.gguf --vocab-only -q
q convert code bad.gguf --like vocab.gguf
head -c 3000 base.gguf >cut.gguf
q convert code bad.gguf --like cut.gguf
q convert code bad --like base.gguf
q convert base.gguf bad.gguf --like base.gguf
# A map instead of a table
cat >good.yml <<'END'
architecture: llama
tensors:
  - {from: model.embed_tokens.weight, to: token_embd.weight}
  - {from: model.norm, to: output_norm}
  - {from: lm_head.weight, to: output.weight, how: ignore-if-embedding}
  - {from: "model.layers.{i}.self_attn.q_proj", to: "blk.{i}.attn_q", how: permute-q}
  - {from: "model.layers.{i}.self_attn.k_proj", to: "blk.{i}.attn_k", how: permute-k}
  - {from: "model.layers.{i}.self_attn.v_proj", to: "blk.{i}.attn_v"}
  - {from: "model.layers.{i}.self_attn.o_proj", to: "blk.{i}.attn_output"}
  - {from: "model.layers.{i}.mlp.gate_proj", to: "blk.{i}.ffn_gate"}
  - {from: "model.layers.{i}.mlp.up_proj", to: "blk.{i}.ffn_up"}
  - {from: "model.layers.{i}.mlp.down_proj", to: "blk.{i}.ffn_down"}
  - {from: "model.layers.{i}.input_layernorm", to: "blk.{i}.attn_norm"}
  - {from: "model.layers.{i}.post_attention_layernorm", to: "blk.{i}.ffn_norm"}
END
sed -i '/lm_head/d' good.yml
q convert -q code mapped.gguf --like base.gguf --map good.yml
q compare code.gguf mapped.gguf
q convert code bad.gguf --map good.yml
mistake() { # SED: a map with one thing changed
    sed "$1" good.yml >bad.yml
    q convert code bad.gguf --like base.gguf --map bad.yml
}
mistake 's/permute-k/permut-k/'
mistake 's/how: permute-k/hwo: permute-k/'
mistake 's/^tensors/tensor/'
mistake 's/llama/gemma/'
mistake 's/self_attn.v_proj/self_attn.w_proj/'
mistake '/v_proj/d'
mistake 's/permute-k/stack/'
mistake 's/blk.{i}.attn_v/blk.attn_v/'
mistake 's/blk.{i}.attn_v/blk.{i}.attn_k/'
mistake 's/permute-k/split-halves/'
mistake 's/{i}.mlp.up_proj/{x}.mlp.up_proj/'
mistake 's/permute-q/groups/'
mistake 's/mlp.down_proj/mlp.down_proj.weight/'
ls
