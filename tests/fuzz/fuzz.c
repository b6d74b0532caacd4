/* fuzz.c - run a target under its limits; inputs taken apart. */
#include "fuzz.h"

#include <string.h>
#include <time.h>

#include "core/xxh64.h"

#define MAX_SECONDS 1.0 /* of an input */

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Targets change their text, so each run gets one of its own. */
static size_t run_once(const struct fuzz_target *t, const uint8_t *data, size_t n, size_t refused)
{
    char *text = malloc(n + 1);
    FUZZ_CHECK(text != NULL);
    if (n)
        memcpy(text, data, n);
    text[n] = '\0';
    fuzz_memory_taken();
    fuzz_memory_start(refused);
    t->run(text, n);
    const size_t taken = fuzz_memory_taken();
    free(text);
    return taken;
}

/* To ask for the time of the processor costs more than some targets do. So it is asked only of an
 * input that took long by the clock on the wall, when that is run again. */
static double time_again(const struct fuzz_target *t, const uint8_t *data, size_t n)
{
    const double start = seconds_of(CLOCK_THREAD_CPUTIME_ID);
    run_once(t, data, n, 0);
    return seconds_of(CLOCK_THREAD_CPUTIME_ID) - start;
}

/* Every sixteenth input, with another call refused for each. */
static void run_without_memory(const struct fuzz_target *t, const uint8_t *data, size_t n)
{
    const size_t ncalls = fuzz_memory_reader_calls();
    const uint64_t h = xxh64(data, n);
    if (t->memory_may_fail && ncalls > 0 && h % 16 == 0)
        run_once(t, data, n, 1 + (size_t)(h >> 8) % ncalls);
}

void fuzz_one(const struct fuzz_target *t, const uint8_t *data, size_t n)
{
    if (n > t->max_len)
        return;
    const double start = seconds_of(CLOCK_MONOTONIC);
    const size_t taken = run_once(t, data, n, 0);
    double seconds = seconds_of(CLOCK_MONOTONIC) - start;
    if (seconds > MAX_SECONDS)
        seconds = time_again(t, data, n);
    if (taken > t->bytes_besides + n * t->bytes_per_byte || seconds > MAX_SECONDS) {
        fprintf(stderr, "%s: %zu bytes of input took %zu bytes of memory and %.3f s\n", t->name, n,
                taken, seconds);
        abort();
    }
    run_without_memory(t, data, n);
}

static bool printable(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7F)
            return false;
    return true;
}

void (*fuzz_on_error)(const struct quern_error *err);

bool fuzz_failed(enum quern_status status, const struct quern_error *err)
{
    const bool refused = fuzz_memory_reader_ends();
    if (status == QUERN_OK)
        return false;
    FUZZ_CHECK(status == err->status && status != QUERN_EINTERNAL);
    FUZZ_CHECK(status != QUERN_EMEMORY || refused);
    FUZZ_CHECK(err->kind[0] && err->found[0] && printable(err->text));
    FUZZ_CHECK(utf8_valid(str_from(err->text), NULL));
    if (fuzz_on_error)
        fuzz_on_error(err);
    return true;
}

/* ---- taking an input apart
 * ------------------------------------------------------------------------ */

struct str take_bytes(struct fuzz_bytes *b, size_t n)
{
    const struct str s = {b->p, n < b->n ? n : b->n};
    b->p += s.n;
    b->n -= s.n;
    return s;
}

uint8_t take_byte(struct fuzz_bytes *b)
{
    const struct str s = take_bytes(b, 1);
    return s.n ? (uint8_t)s.p[0] : 0;
}

uint32_t take_u32(struct fuzz_bytes *b)
{
    uint32_t v = 0;
    const struct str s = take_bytes(b, sizeof v);
    if (s.n)
        memcpy(&v, s.p, s.n);
    return v;
}

struct str take_part(struct fuzz_bytes *b, char separator)
{
    const char *end = b->n ? memchr(b->p, separator, b->n) : NULL;
    const struct str s = take_bytes(b, end ? (size_t)(end - b->p) : b->n);
    take_bytes(b, end != NULL);
    return s;
}

bool take_file(struct fuzz_bytes *b, struct fuzz_part *out)
{
    if (b->n < 3)
        return false;
    out->which = take_byte(b);
    const size_t low = take_byte(b), high = take_byte(b);
    out->text = take_bytes(b, high << 8 | low);
    return true;
}
