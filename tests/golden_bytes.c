/* golden_bytes.c - encode the golden rows with every table and compare; a plain program for where
 * the test framework is not: another architecture under emulation.
 *
 *     golden_bytes tests/data/quant */
#include <stdio.h>
#include <stdlib.h>

#include "quant/codec.h"

enum { ROWS = 20, COLUMNS = 2048, N = ROWS * COLUMNS };

static float x[N], importance[COLUMNS], y[N], y_reference[N];
static uint8_t want[2 * N + 1], got[2 * N];
static int nsame, nbad;

static size_t read_file(const char *dir, const char *name, const char *suffix, void *to,
                        size_t room)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s%s", dir, name, suffix);
    FILE *f = fopen(path, "rb");
    const size_t n = f ? fread(to, 1, room, f) : 0;
    if (f)
        fclose(f);
    return n;
}

static void judge(bool same, const char *table, const char *type, const char *what)
{
    nsame += same;
    nbad += !same;
    if (!same)
        printf("%s: %s, %s: other bytes\n", table, type, what);
}

static float mean_of_squares(const float *row)
{
    float sum = 0.0f;
    for (int i = 0; i < COLUMNS; i++)
        sum += row[i] * row[i];
    return sum / COLUMNS;
}

static void check(const char *dir, enum dtype d, const struct kernels *k)
{
    const struct dtype_traits *t = &dtype_traits[d];
    const size_t row_bytes = (size_t)COLUMNS / t->block_elems * t->block_bytes;
    if (k->encode[d] && read_file(dir, t->name, ".bin", want, sizeof want) == ROWS * row_bytes) {
        k->encode[d](x, got, N);
        codec_add_reference_bugs(d, x, got, N);
        judge(memcmp(got, want, ROWS * row_bytes) == 0, k->name, t->name, "encode");
        k->decode[d](want, y, N);
        kernels_reference.decode[d](want, y_reference, N);
        judge(memcmp(y, y_reference, sizeof y) == 0, k->name, t->name, "decode");
    }
    if (k->encode_im[d] &&
        read_file(dir, t->name, ".imatrix.bin", want, sizeof want) == ROWS * row_bytes) {
        for (size_t r = 0; r < ROWS; r++)
            k->encode_im[d](x + r * COLUMNS, importance, mean_of_squares(x + r * COLUMNS),
                            got + r * row_bytes, COLUMNS);
        codec_add_reference_bugs(d, x, got, N);
        judge(memcmp(got, want, ROWS * row_bytes) == 0, k->name, t->name, "encode with importance");
    }
}

int main(int argc, char **argv)
{
    if (argc != 2 || read_file(argv[1], "inputs", ".f32", x, sizeof x) != sizeof x ||
        read_file(argv[1], "imatrix", ".f32", importance, sizeof importance) != sizeof importance) {
        fprintf(stderr, "usage: golden_bytes tests/data/quant\n");
        return 2;
    }
    for (int d = 0; d < DTYPE_COUNT; d++)
        for (size_t t = 0; dtype_is_quantized((enum dtype)d) && codec_table(t); t++)
            check(argv[1], (enum dtype)d, codec_table(t));
    printf("golden_bytes: %d identical, %d not\n", nsame, nbad);
    return nbad || nsame == 0;
}
