/* fuzz_rows.c - any weights in the types that are quickly made; any bytes decoded as any type. */
#include "check_rows.h"

/* Types whose encoders search through a grid take a thousand times longer: fuzz_rows_search.c. */
static bool is_searched(enum dtype d)
{
    return d == DTYPE_IQ2_XXS || d == DTYPE_IQ2_XS || d == DTYPE_IQ2_S || d == DTYPE_IQ3_XXS ||
           d == DTYPE_IQ3_S || d == DTYPE_IQ1_S || d == DTYPE_IQ1_M;
}

static void run(char *text, size_t n)
{
    struct fuzz_bytes b = {text, n};
    const enum dtype d = (enum dtype)(take_byte(&b) % DTYPE_COUNT);
    if (is_searched(d) && n > 1)
        text[1] |= 2; /* decoded */
    check_row(d, &b);
}

const struct fuzz_target fuzz_rows = {
    .name = "rows",
    .max_len = 4096,
    .run = run,
    .bytes_besides = 1u << 20,
};
