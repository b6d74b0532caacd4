/* fuzz_imatrix_gguf.c - any GGUF as an importance matrix. */
#include "check_imatrix.h"

static void run(char *text, size_t n)
{
    check_imatrix_file(fuzz_file("imatrix.gguf", text, n));
}

const struct fuzz_target fuzz_imatrix_gguf = {
    .name = "imatrix_gguf",
    .max_len = 4096,
    .run = run,
    .mutate = mutate_gguf,
    .bytes_per_byte = 32,
    .bytes_besides = 16384,
    .memory_may_fail = true,
};
