/* bench_kernels.c - speed of every kernel of every table, next to the scalar reference.
 *
 *     bench_kernels [-r ROUNDS] [-n WEIGHTS] [-p libggml-base.so] [-m] [WORD ...]
 *
 * With -p the encoders of a llama.cpp build take their turns too, and ratios are to them. -m prints
 * Markdown. Only lines that contain one of the words are measured. Tables take turns within a
 * round, each does about a millisecond of work per turn, time is the thread's CPU time and the
 * figure printed is the median over the rounds: other load moves all of them alike and mostly
 * leaves the ratio. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "quant/codec.h"

enum { MAX_TABLES = 8, MAX_ROUNDS = 1001, NX = 3 };

static size_t nweights = 32768; /* stays in a core's cache, as the pipeline's pieces do */
static int nrounds = 11;

static float *x[NX], *y, *importance;
static uint16_t *half[NX]; /* the same as BF16 */
static float sigma2;
static bool markdown;
static uint32_t *mag;
static uint8_t *stored;
static volatile double sink;

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static float gauss(void)
{
    static uint64_t seed = 1;
    float sum = -6;
    for (int i = 0; i < 12; i++) {
        seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        sum += (float)(seed >> 40) * 0x1p-24f;
    }
    return sum;
}

/* ---- what is measured
 * ----------------------------------------------------------------------------- */

static const float weights[NX] = {0.5f, 0.3f, 0.2f};
static const uint32_t cuts[NX] = {0x3c000000, 0x3c000000, 0x3c000000};
static uint64_t histogram[65536];

static void run_decode(const struct kernels *k, int d)
{
    k->decode[d](stored, y, nweights);
}

static void run_encode(const struct kernels *k, int d)
{
    k->encode[d](x[0], stored, nweights);
}

static void run_encode_im(const struct kernels *k, int d)
{
    k->encode_im[d](x[0], importance, sigma2, stored, nweights);
}

/* llama.cpp's encoders: a table without kernels. */
static const struct kernels llama_cpp = {.name = "llama.cpp"};
static size_t (*quantize_chunk)(int type, const float *src, void *dst, int64_t start, int64_t nrows,
                                int64_t row, const float *imatrix);
static void (*quantize_init)(int type);

static void run_llama_cpp(int d, bool im)
{
    quantize_chunk(dtype_traits[d].gguf_id, x[0], stored, 0, 1, (int64_t)nweights,
                   im ? importance : NULL);
}

static bool open_llama_cpp(const char *path)
{
    void *lib = dlopen(path, RTLD_NOW);
    void *const chunk = lib ? dlsym(lib, "ggml_quantize_chunk") : NULL;
    void *const init = lib ? dlsym(lib, "ggml_quantize_init") : NULL;
    memcpy(&quantize_chunk, &chunk, sizeof chunk);
    memcpy(&quantize_init, &init, sizeof init);
    return chunk && init;
}

static void run_first_beyond(const struct kernels *k, int unused)
{
    (void)unused;
    sink = (double)k->first_beyond(x[0], 0x7f800000, nweights);
}

static void run_weighted_sum(const struct kernels *k, int nx)
{
    k->weighted_sum(y, (const float *const *)x, weights, (size_t)nx, nweights);
}

static void run_product(const struct kernels *k, int inner)
{
    const struct product p = {.y = y,
                              .l = x[0],
                              .r = x[1],
                              .y_row = 1024,
                              .l_row = (size_t)inner,
                              .l_col = 1,
                              .r_row = 1024,
                              .rows = nweights / 1024,
                              .inner = (size_t)inner,
                              .cols = 1024};
    k->product(&p);
}

static void run_pair_dots(const struct kernels *k, int unused)
{
    double dots[3];
    (void)unused;
    k->pair_dots(x[0], x[1], nweights, dots);
    sink = dots[1];
}

static void run_gram(const struct kernels *k, int nx)
{
    double dots[6];
    k->gram((const float *const *)x, NULL, (size_t)nx, nweights, dots);
    sink = dots[0];
}

static void run_gram_bf16(const struct kernels *k, int nx)
{
    double dots[6];
    k->gram_bf16((const uint16_t *const *)half + 1, half[0], (size_t)nx, nweights, dots);
    sink = dots[0];
}

static void run_weighted_sum_bf16(const struct kernels *k, int nx)
{
    k->weighted_sum_bf16((uint16_t *)(void *)stored, half[0], (const uint16_t *const *)half + 1,
                         weights, (size_t)nx, nweights);
}

static void run_q8_0_from_bf16(const struct kernels *k, int unused)
{
    (void)unused;
    k->q8_0_from_bf16(x[0], stored, nweights);
}

/* A piece of the pipeline at a time. */
static void run_block_errors(const struct kernels *k, int block)
{
    enum { SOME = 8192 };
    double error_sq[SOME / 32], max[SOME / 32];
    for (size_t i = 0, n; i < nweights; i += n) {
        n = nweights - i < SOME ? nweights - i : SOME;
        k->block_errors(x[0] + i, x[1] + i, n, (size_t)block, error_sq, max);
        sink = error_sq[0];
    }
}

static void run_weighted_errors(const struct kernels *k, int unused)
{
    double sums[3];
    (void)unused;
    k->weighted_errors(x[0], x[1], importance, nweights, sums);
    sink = sums[1];
}

static void run_delta_magnitude(const struct kernels *k, int unused)
{
    (void)unused;
    k->delta_magnitude(mag, x[0], x[1], nweights);
}

/* The upper sixteen bits, then the lower ones of what shares the upper ones with an element. */
static void run_radix_first(const struct kernels *k, int unused)
{
    (void)unused;
    k->radix_count(mag, nweights, 32, 0, 16, 0xffff, histogram);
}

static void run_radix_second(const struct kernels *k, int unused)
{
    (void)unused;
    k->radix_count(mag, nweights, 16, mag[0] >> 16, 0, 0xffff, histogram);
}

static void run_count_equal(const struct kernels *k, int unused)
{
    (void)unused;
    sink = (double)k->count_equal(mag, nweights, mag[0]);
}

static void run_ties(const struct kernels *k, int flags)
{
    k->ties(y, x[0], (const float *const *)x + 1, weights, cuts, NX - 1, flags & 1, flags & 2, 1,
            nweights);
}

static bool has_decode(const struct kernels *k, int d)
{
    return k->decode[d] != NULL;
}

static bool has_encode(const struct kernels *k, int d)
{
    return k->encode[d] != NULL;
}

struct bench {
    const char *name;
    void (*run)(const struct kernels *k, int argument);
    int argument;
    enum dtype dtype; /* DTYPE_COUNT: not a codec */
};

/* ---- measuring
 * -------------------------------------------------------------------------------------- */

static int compare_doubles(const void *a, const void *b)
{
    const double u = *(const double *)a, v = *(const double *)b;
    return (u > v) - (u < v);
}

/* Seconds per call, over enough calls to last a millisecond. */
static double measure(const struct bench *b, const struct kernels *k, int ncalls)
{
    const double start = cpu_seconds();
    for (int i = 0; i < ncalls; i++) {
        if (k == &llama_cpp)
            run_llama_cpp(b->argument, b->run == run_encode_im);
        else
            b->run(k, b->argument);
    }
    return (cpu_seconds() - start) / ncalls;
}

/* Who takes part: llama.cpp for block types when it is there, then our tables. */
static size_t contenders(const struct bench *b, const struct kernels *k[MAX_TABLES + 1])
{
    size_t n = 0;
    const bool encodes = b->run == run_encode || b->run == run_encode_im;
    if (quantize_chunk && encodes && dtype_is_quantized(b->dtype)) {
        quantize_init(dtype_traits[b->dtype].gguf_id);
        k[n++] = &llama_cpp;
    }
    for (size_t t = 0; codec_table(t) && t < MAX_TABLES; t++)
        k[n++] = codec_table(t);
    return n;
}

static void print_rates(const struct bench *b, const struct kernels *const k[], const double *rate,
                        size_t n)
{
    const char *type = b->dtype < DTYPE_COUNT ? dtype_traits[b->dtype].name : "";
    if (markdown) {
        printf("| %s %s |", b->name, type);
        for (size_t t = 0; t < n; t++)
            printf(t ? " %.3g (%.1fx) |" : " %.3g |", rate[t], rate[t] / rate[0]);
        printf("\n");
    } else {
        for (size_t t = 0; t < n; t++)
            printf("%-18s %-8s %-10s %9.1f Mw/s %7.2fx\n", b->name, type, k[t]->name, rate[t],
                   rate[t] / rate[0]);
    }
    fflush(stdout);
}

static void run_bench(const struct bench *b)
{
    static double seconds[MAX_TABLES + 1][MAX_ROUNDS];
    const struct kernels *k[MAX_TABLES + 1];
    int ncalls[MAX_TABLES + 1];
    double rate[MAX_TABLES + 1];
    const size_t n = contenders(b, k);
    for (size_t t = 0; t < n; t++) {
        const double once = measure(b, k[t], 2);
        ncalls[t] = once > 1e-3 ? 1 : (int)(1e-3 / once) + 1;
    }
    for (int r = 0; r < nrounds; r++)
        for (size_t t = 0; t < n; t++)
            seconds[t][r] = measure(b, k[t], ncalls[t]);
    for (size_t t = 0; t < n; t++) {
        qsort(seconds[t], (size_t)nrounds, sizeof(double), compare_doubles);
        rate[t] = (double)nweights / seconds[t][nrounds / 2] * 1e-6;
    }
    print_rates(b, k, rate, n);
}

static bool wanted(const struct bench *b, int nwords, char **words)
{
    char line[64];
    snprintf(line, sizeof line, "%s %s", b->name,
             b->dtype < DTYPE_COUNT ? dtype_traits[b->dtype].name : "");
    bool any = nwords == 0;
    for (int i = 0; i < nwords; i++)
        any = any || strstr(line, words[i]) != NULL;
    return any;
}

static void *allocate(size_t size)
{
    void *p = calloc(nweights, size);
    if (!p) {
        fprintf(stderr, "bench_kernels: out of memory\n");
        exit(1);
    }
    return p;
}

static void make_data(void)
{
    for (int m = 0; m < NX; m++) {
        x[m] = allocate(sizeof(float));
        for (size_t i = 0; i < nweights; i++)
            x[m][i] = m == 0 ? gauss() * 0.02f : x[0][i] + gauss() * 0.01f;
        half[m] = allocate(sizeof(uint16_t));
        kernels_reference.encode[DTYPE_BF16](x[m], half[m], nweights);
    }
    y = allocate(sizeof(float));
    stored = allocate(sizeof(double));
    mag = allocate(sizeof(uint32_t));
    importance = allocate(sizeof(float));
    for (size_t i = 0; i < nweights; i++) {
        const float g = gauss();
        importance[i] = g * g + 1e-4f;
        sigma2 += x[0][i] * x[0][i] / (float)nweights;
    }
    kernels_reference.delta_magnitude(mag, x[0], x[1], nweights);
}

int main(int argc, char **argv)
{
    for (int option; (option = getopt(argc, argv, "r:n:p:m")) != -1;) {
        if (option == 'r')
            nrounds = atoi(optarg);
        else if (option == 'n')
            nweights = (size_t)atoll(optarg) / 1024 * 1024;
        else if (option == 'm')
            markdown = true;
        else if (option != 'p' || !open_llama_cpp(optarg))
            return 2;
    }
    if (nrounds < 1 || nrounds > MAX_ROUNDS || nweights == 0)
        return 2;
    make_data();

    const int nwords = argc - optind;
    char **words = argv + optind;
    for (int d = 0; d < DTYPE_COUNT; d++) {
        const struct bench b = {"encode", run_encode, d, (enum dtype)d};
        if (has_encode(&kernels_reference, d) && wanted(&b, nwords, words))
            run_bench(&b);
    }
    for (int d = 0; d < DTYPE_COUNT; d++) {
        const struct bench b = {"encode im", run_encode_im, d, (enum dtype)d};
        if (kernels_reference.encode_im[d] && wanted(&b, nwords, words))
            run_bench(&b);
    }
    for (int d = 0; d < DTYPE_COUNT; d++) {
        const struct bench b = {"decode", run_decode, d, (enum dtype)d};
        if (!has_decode(&kernels_reference, d) || !wanted(&b, nwords, words))
            continue;
        if (has_encode(&kernels_reference, d))
            kernels_reference.encode[d](x[0], stored, nweights);
        else
            memset(stored, 0, nweights * sizeof(double));
        run_bench(&b);
    }
    static const struct bench others[] = {
        {"first_beyond",           run_first_beyond,      0,   DTYPE_COUNT},
        {"weighted_sum 2",         run_weighted_sum,      2,   DTYPE_COUNT},
        {"weighted_sum 3",         run_weighted_sum,      3,   DTYPE_COUNT},
        {"product 16",             run_product,           16,  DTYPE_COUNT},
        {"pair_dots",              run_pair_dots,         0,   DTYPE_COUNT},
        {"gram 2",                 run_gram,              2,   DTYPE_COUNT},
        {"gram 3",                 run_gram,              3,   DTYPE_COUNT},
        {"Q8_0 from BF16",         run_q8_0_from_bf16,    0,   DTYPE_COUNT},
        {"gram 2 of BF16",         run_gram_bf16,         2,   DTYPE_COUNT},
        {"weighted_sum 2 of BF16", run_weighted_sum_bf16, 2,   DTYPE_COUNT},
        {"block_errors 32",        run_block_errors,      32,  DTYPE_COUNT},
        {"block_errors 256",       run_block_errors,      256, DTYPE_COUNT},
        {"weighted_errors",        run_weighted_errors,   0,   DTYPE_COUNT},
        {"delta_magnitude",        run_delta_magnitude,   0,   DTYPE_COUNT},
        {"radix first",            run_radix_first,       0,   DTYPE_COUNT},
        {"radix second",           run_radix_second,      0,   DTYPE_COUNT},
        {"count_equal",            run_count_equal,       0,   DTYPE_COUNT},
        {"ties",                   run_ties,              3,   DTYPE_COUNT},
        {"ties, no consensus",     run_ties,              2,   DTYPE_COUNT},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (wanted(&others[i], nwords, words))
            run_bench(&others[i]);
    return 0;
}
