/* fuzz_rows_search.c - any weights in the types whose encoders search through a grid. */
#include "check_rows.h"

static void run(char *text, size_t n)
{
    static const enum dtype types[] = {DTYPE_IQ2_XXS, DTYPE_IQ2_XS, DTYPE_IQ2_S, DTYPE_IQ3_XXS,
                                       DTYPE_IQ3_S,   DTYPE_IQ1_S,  DTYPE_IQ1_M};
    struct fuzz_bytes b = {text, n};
    check_row(types[take_byte(&b) % (sizeof types / sizeof *types)], &b);
}

const struct fuzz_target fuzz_rows_search = {
    .name = "rows_search",
    .max_len = 2048,
    .run = run,
    .bytes_besides = 1u << 20,
};
