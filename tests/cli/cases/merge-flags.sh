# valgrind
# The three methods without a recipe.
q merge --method slerp --base m/hf-b --model m/hf-c --param t=0.4 slerp
files slerp
q merge --method linear --model m/hf-b --model m/hf-c --param weight=0.5 linear.safetensors
q merge --method ties --base m/hf --model m/hf-b --model m/hf-c --param weight=0.5 --param density=0.5 ties
files ties
q check slerp linear.safetensors ties
