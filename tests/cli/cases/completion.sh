# Completion in bash: commands, their options, what an option can be, types, the command that is planned.
program help completion >completion.bash
# shellcheck disable=SC1091 # made above
. ./completion.bash
touch batch.yml 1.yml Q4.gguf
completes() {
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    COMPREPLY=()
    _quern
    echo "$*: ${COMPREPLY[*]}"
}
completes quern ba
completes quern batch ba
completes quern batch --on
completes quern plan --layout ""
completes quern pack --level 1
completes quern quantize in.gguf Q4
completes quern plan qu
completes quern plan --parts 3 quantize --pu
completes quern run job.plan --st
