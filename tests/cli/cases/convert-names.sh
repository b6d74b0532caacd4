# Names of outputs: the converter's own, in the input directory, and {ftype} in a given one.
mkdir Mill-Llama-3M-chat-v1.2
ln -s "$POCKET"/pocket-base/* Mill-Llama-3M-chat-v1.2/
q convert Mill-Llama-3M-chat-v1.2
q convert -q Mill-Llama-3M-chat-v1.2/ -t q4_k_m
q convert -q Mill-Llama-3M-chat-v1.2 --vocab-only
q convert -q Mill-Llama-3M-chat-v1.2 --split-max-tensors 16
cd Mill-Llama-3M-chat-v1.2 || exit
q convert -q . --model-name "A/B name" -t f32
cd ..
q convert -q Mill-Llama-3M-chat-v1.2
q convert -q Mill-Llama-3M-chat-v1.2 --outfile 'mill-{ftype}-{OUTTYPE}{x}.gguf' -t auto
echo '{"general.basename": "../up", "general.finetune": "a/b c"}' >meta.json
q convert -q Mill-Llama-3M-chat-v1.2 --metadata meta.json -t q8_0
files | grep gguf
