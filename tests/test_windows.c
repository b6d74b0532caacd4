/* test_windows.c - files seen without a copy, and what happens when they are lost meanwhile. */
#include "core/windows.h"

#include <fcntl.h>
#include <sys/resource.h>

#include "tests/merge_fixture.h"

TestSuite(windows, .init = begin, .fini = end);

#define FILE_BYTES ((size_t)9 << 20)
#define HALF       (WINDOW_BYTES / 2)

/* A file of these bytes, in the page cache. */
static int write_bytes(const uint8_t *bytes, size_t n)
{
    const int fd = open(in_dir("file"), O_RDWR | O_CREAT, 0600);
    cr_assert(fd >= 0 && write(fd, bytes, n) == (ssize_t)n);
    return fd;
}

static uint8_t *random_file(int *fd)
{
    uint8_t *bytes = ARENA_NEW(&arena, uint8_t, FILE_BYTES);
    for (size_t i = 0; i < FILE_BYTES; i++)
        bytes[i] = (uint8_t)random_bits();
    *fd = write_bytes(bytes, FILE_BYTES);
    return bytes;
}

static void check_look(struct windows *w, unsigned k, int fd, const uint8_t *bytes, uint64_t at,
                       size_t n)
{
    const uint8_t *seen = window_look(w, k, bytes, at, n);
    if (!seen)
        seen = window_move(w, k, bytes, fd, at, n);
    cr_assert(seen && memcmp(seen, bytes + at, n) == 0, "%lu bytes at %lu", (unsigned long)n,
              (unsigned long)at);
    cr_assert(window_look(w, k, bytes, at, n) == seen, "it is there still");
    cr_assert(window_look(w, k, &w, at, n) == NULL, "of that file only");
}

Test(windows, same_bytes_as_reading)
{
    struct windows w;
    int fd;
    const uint8_t *bytes = random_file(&fd);
    windows_allow();
    windows_open(&w, 2);
    cr_assert_eq(w.count, 2);
    for (size_t i = 0; i < 2000; i++) {
        const uint64_t at = random_bits() % FILE_BYTES;
        const size_t most = FILE_BYTES - at < HALF ? FILE_BYTES - at : HALF;
        check_look(&w, i % 2, fd, bytes, at, 1 + random_bits() % most);
    }
    check_look(&w, 0, fd, bytes, HALF - 1, HALF);
    windows_close(&w);
    close(fd);
    CHECK_LEAKS();
}

Test(windows, what_cannot_be_seen)
{
    struct windows w;
    int fd;
    const uint8_t *bytes = random_file(&fd);
    windows_open(&w, 2);
    cr_assert(w.count == 0, "nobody allowed it");
    cr_assert(!window_move(&w, 0, bytes, fd, 0, 1));
    windows_close(&w);
    windows_allow();
    windows_open(&w, 2);
    cr_assert(!window_move(&w, 0, bytes, fd, 0, 0));
    cr_assert(!window_move(&w, 2, bytes, fd, 0, 1));
    cr_assert(!window_move(&w, 0, bytes, fd, HALF - 1, HALF + 2), "too long");
    cr_assert(!window_move(&w, 0, bytes, fd, FILE_BYTES - 1, 4097), "beyond the end");
    cr_assert(!window_move(&w, 0, bytes, fd, UINT64_MAX, 2));
    cr_assert(!window_move(&w, 0, bytes, fd, 0, SIZE_MAX));
    cr_assert(!window_move(&w, 0, bytes, -1, 0, 1));
    check_look(&w, 0, fd, bytes, FILE_BYTES - 1, 1);
    windows_close(&w);
    close(fd);
    CHECK_LEAKS();
}

Test(windows, zeros_in_place_of_what_is_lost)
{
    struct windows w;
    int fd;
    const uint8_t *bytes = random_file(&fd);
    windows_allow();
    windows_open(&w, 3);
    const volatile uint8_t *other = window_move(&w, 0, bytes, fd, 0, 100);
    const volatile uint8_t *seen = window_move(&w, 1, bytes, fd, 5 << 20, 1 << 20);
    cr_assert(seen && other && !w.lost);
    cr_assert(ftruncate(fd, 1 << 20) == 0);
    cr_assert(seen[0] == 0 && seen[(1 << 20) - 1] == 0);
    cr_assert_eq(w.lost, 2, "the second window");
    cr_assert_eq(other[99], bytes[99], "what is there still can be seen");
    cr_assert(!window_look(&w, 0, bytes, 0, 100) && !window_move(&w, 0, bytes, fd, 0, 100));
    windows_close(&w);
    close(fd);
    CHECK_LEAKS();
}

/* ---- in a run -------------------------------------------------------------------------------- */

enum { NELEMS = 5 * CHUNK + 100 };

static void write_models(unsigned n)
{
    uint16_t *x = ARENA_NEW(&arena, uint16_t, NELEMS);
    for (unsigned m = 0; m < n; m++) {
        for (size_t i = 0; i < NELEMS; i++)
            x[i] = (uint16_t)(0x3f00 | random_bits() % 256);
        const struct blob b = {
            .name = "w", .dtype = DTYPE_BF16, .dims = {NELEMS, 0},
                    .bytes = x
        };
        write_model(text("m%u.safetensors", m), &b, 1);
    }
}

static const char recipe[] = "merge_method: model_stock\nbase_model: m0\n"
                             "models: [{model: m1}, {model: m2}]\n";

Test(windows, merges_are_the_same)
{
    write_models(3);
    merge("m0 m1 m2", recipe);
    const float *want = load(in_dir("out.safetensors"), "w", NULL);
    unlink(in_dir("out.safetensors"));
    windows_allow();
    merge("m0 m1 m2", recipe);
    const float *got = load(in_dir("out.safetensors"), "w", NULL);
    cr_assert(memcmp(got, want, NELEMS * sizeof *got) == 0);
    CHECK_LEAKS();
}

static const struct op *original;
static bool shrunk;

/* What reads the second model finds it short. */
static bool shrink_and_measure(const struct piece *p, unsigned pass, const uint16_t *const x[],
                               uint64_t *counts, void *record)
{
    if (!shrunk)
        cr_assert(truncate(in_dir("m1.safetensors"), 100) == 0);
    shrunk = true;
    return original->measure_bf16(p, pass, x, counts, record);
}

Test(windows, run_ends_when_an_input_shrinks)
{
    struct merge_request req = {.recipe_text = recipe, .output = in_dir("out.safetensors")};
    struct quern_error err;
    struct plan *plan;
    write_models(3);
    windows_allow();
    place(&req, "m0 m1 m2");
    cr_assert(merge_plan(&req, &plan, &err) == QUERN_OK, "%s", err.text);
    struct op op = *plan->steps[0].op;
    original = plan->steps[0].op;
    op.measure_bf16 = shrink_and_measure;
    plan->steps[0].op = &op;
    const struct quern_run_options options = {.threads = 1};
    cr_assert_eq(plan_run(plan, &options, NULL, &err), QUERN_EIO);
    cr_assert(strstr(err.text, "m1.safetensors") && strstr(err.text, "untouched"), "%s", err.text);
    cr_assert(access(in_dir("out.safetensors"), F_OK) != 0);
    plan_free(plan);
    CHECK_LEAKS();
}

/* Only the soft limit, for as long as they are opened. */
Test(windows, none_where_addresses_are_few)
{
    struct windows few, many;
    struct rlimit limit;
    cr_assert(getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_max == RLIM_INFINITY);
    const struct rlimit small = {(rlim_t)512 << 20, limit.rlim_max};
    windows_allow();
    cr_assert(setrlimit(RLIMIT_AS, &small) == 0);
    windows_open(&few, 2);
    cr_assert(setrlimit(RLIMIT_AS, &limit) == 0);
    windows_open(&many, 2);
    cr_assert_eq(few.count, 0);
    cr_assert_null(few.area);
    cr_assert_eq(many.count, 2);
    windows_close(&few);
    windows_close(&many);
}
