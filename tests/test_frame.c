/* test_frame.c - frames that are not left to libzstd: what could not be compressed is used where it
 * lies, what is literals alone is decoded faster. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/frame.h"
#include "core/literals.h"
#include "leaks.h"

static uint64_t next_random(uint64_t *state)
{
    return *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
}

static uint8_t *noise(size_t n)
{
    uint64_t state = n;
    uint8_t *content = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        content[i] = (uint8_t)(next_random(&state) >> 33);
    return content;
}

/* The content of a stored frame, without what lies between. */
static void check_stored(const uint8_t *frame, const uint8_t *content, size_t n)
{
    const uint8_t *at = frame + frame_stored_head(n);
    for (size_t i = 0; i < n; i++)
        cr_assert_eq(at[i + i / FRAME_BLOCK * FRAME_GAP], content[i], "%zu of %zu", i, n);
}

Test(frame, noise_is_stored_in_place)
{
    const size_t sizes[] = {0, 1, 8, 255, 256, 65791, 65792, 131071, 131072, 131073, 524296};
    struct frame_writer *w = frame_writer_new();
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const size_t n = sizes[k];
        uint8_t *content = noise(n), *frame = malloc(frame_bound(n));
        const size_t nbytes = frame_write(w, FRAME_ENTROPY_ONLY, content, n, frame);
        cr_assert_eq(nbytes, frame_stored_bytes(n), "%zu", n);
        cr_assert(frame_is_stored(frame, nbytes, n), "%zu", n);
        check_stored(frame, content, n);
        cr_assert_not(frame_is_stored(frame, nbytes - 1, n), "%zu", n);
        cr_assert_not(frame_is_stored(frame, nbytes, n + 1), "%zu", n);
        free(content);
        free(frame);
    }
    frame_writer_free(w);
    CHECK_LEAKS();
}

/* Any bit that is turned over makes it another frame or a damaged one. */
Test(frame, stored_frames_are_checked)
{
    enum { N = 140000 };
    uint8_t *content = noise(N), *frame = malloc(frame_bound(N));
    struct frame_writer *w = frame_writer_new();
    const size_t nbytes = frame_write(w, FRAME_ENTROPY_ONLY, content, N, frame);
    for (size_t i = 0; i < nbytes; i += i < 20 || i > nbytes - 20 ? 1 : 997)
        for (unsigned bit = 0; bit < 8; bit++) {
            frame[i] ^= (uint8_t)(1u << bit);
            cr_assert_not(frame_is_stored(frame, nbytes, N), "byte %zu bit %u", i, bit);
            frame[i] ^= (uint8_t)(1u << bit);
        }
    for (unsigned k = 0; k < FRAME_GAP; k++) {
        uint8_t *head = frame + frame_stored_head(N) + FRAME_BLOCK + k;
        *head ^= 1;
        cr_assert_not(frame_is_stored(frame, nbytes, N), "head of the second block, byte %u", k);
        *head ^= 1;
    }
    cr_assert(frame_is_stored(frame, nbytes, N));
    frame_writer_free(w);
    free(content);
    free(frame);
    CHECK_LEAKS();
}

/* Of as many bytes by chance, but compressed. */
Test(frame, compressed_frames_are_not_stored_ones)
{
    enum { N = 5000 };
    uint8_t content[N] = {0}, frame[6000];
    struct frame_writer *w = frame_writer_new();
    const size_t nbytes = frame_write(w, FRAME_ENTROPY_ONLY, content, N, frame);
    cr_assert(nbytes > 0 && nbytes < N);
    cr_assert_not(frame_is_stored(frame, nbytes, N));
    frame_writer_free(w);
    CHECK_LEAKS();
}

/* ---- literals ------------------------------------------------------------------------------- */

/* Symbols of a few kinds: as exponents have them, two, all in equal numbers but the half, one that
 * nearly all are, codes of 1 to 11 bits. */
static uint8_t symbol(unsigned kind, uint64_t random)
{
    const unsigned zeros = (unsigned)__builtin_ctzll(random | UINT64_C(1) << 20);
    switch (kind) {
    case 0:
        return (uint8_t)(118 + zeros % 10 * (random >> 63 ? 1 : 0));
    case 1:
        return random >> 40 & 3 ? 'a' : 'b';
    case 2:
        return (uint8_t)(random >> 40 & (random >> 63 ? 127 : 255));
    case 3:
        return (random >> 40) % 1000 ? 0 : (uint8_t)(random >> 32);
    default:
        return (uint8_t)(17 * zeros);
    }
}

enum { NKINDS = 5 };

static uint8_t *symbols(unsigned kind, size_t n)
{
    uint64_t state = n + 1;
    uint8_t *content = malloc(n + 1);
    for (size_t i = 0; i < n; i++) {
        const uint64_t random = next_random(&state);
        content[i] = symbol(kind, random ^ random >> 29);
    }
    return content;
}

static const size_t literal_sizes[] = {300, 1000, 5000, 16385, 131072, 131073, 400003};

enum { NSIZES = sizeof literal_sizes / sizeof *literal_sizes };

/* Whether the content was decoded here; a margin behind it must stay. */
static bool read_here(const uint8_t *frame, size_t nbytes, uint8_t *to, size_t n)
{
    static struct literals l;
    const size_t head = frame_stored_head(n) - FRAME_GAP;
    memset(to, 0x55, n + 8);
    const bool read = literals_read(&l, frame + head, nbytes - head - 4, to, n);
    for (unsigned i = 0; i < 8; i++)
        cr_assert_eq(to[n + i], 0x55, "wrote behind");
    return read;
}

Test(frame, literals_are_decoded_here)
{
    struct frame_writer *w = frame_writer_new();
    struct frame_reader *r = frame_reader_new();
    for (unsigned kind = 0; kind < NKINDS; kind++)
        for (size_t k = 0; k < NSIZES; k++) {
            const size_t n = literal_sizes[k];
            uint8_t *content = symbols(kind, n), *frame = malloc(frame_bound(n));
            uint8_t *back = malloc(n + 8);
            const size_t nbytes = frame_write(w, FRAME_ENTROPY_ONLY, content, n, frame);
            if (n >= 5000) { /* fewer may be one stream */
                cr_assert(read_here(frame, nbytes, back, n), "kind %u, %zu", kind, n);
                cr_assert_arr_eq(back, content, n, "kind %u, %zu", kind, n);
            }
            cr_assert_null(frame_read(r, frame, nbytes, back, n), "kind %u, %zu", kind, n);
            cr_assert_arr_eq(back, content, n, "kind %u, %zu", kind, n);
            free(content);
            free(frame);
            free(back);
        }
    frame_reader_free(r);
    frame_writer_free(w);
    CHECK_LEAKS();
}

/* Repeated text: matches, which are left to libzstd. */
Test(frame, everything_else_is_decoded_too)
{
    enum { N = 70000 };
    const int levels[] = {1, 3, 9, 19};
    struct frame_writer *w = frame_writer_new();
    struct frame_reader *r = frame_reader_new();
    uint8_t *content = malloc(N), *frame = malloc(frame_bound(N)), *back = malloc(N + 8);
    uint8_t *some = symbols(0, 500);
    for (size_t i = 0; i < N; i++)
        content[i] = (uint8_t)(some[i % 500] + i / 9000);
    for (size_t k = 0; k < sizeof levels / sizeof *levels; k++) {
        const size_t nbytes = frame_write(w, levels[k], content, N, frame);
        cr_assert(nbytes > 0 && nbytes < N / 4);
        cr_assert_not(read_here(frame, nbytes, back, N));
        cr_assert_null(frame_read(r, frame, nbytes, back, N));
        cr_assert_arr_eq(back, content, N);
    }
    frame_reader_free(r);
    frame_writer_free(w);
    free(some);
    free(content);
    free(frame);
    free(back);
    CHECK_LEAKS();
}

/* Any bit turned over: an error, or what libzstd would have made of it, and never a byte behind. */
Test(frame, damaged_literals)
{
    enum { N = 3000 };
    struct frame_writer *w = frame_writer_new();
    struct frame_reader *r = frame_reader_new();
    uint8_t *frame = malloc(frame_bound(N)), *back = malloc(N + 8);
    for (unsigned kind = 0; kind < NKINDS; kind++) {
        uint8_t *content = symbols(kind, N);
        const size_t nbytes = frame_write(w, FRAME_ENTROPY_ONLY, content, N, frame);
        for (size_t i = 0; i < nbytes; i++)
            for (unsigned bit = 0; bit < 8; bit++) {
                frame[i] ^= (uint8_t)(1u << bit);
                read_here(frame, nbytes, back, N);
                if (!frame_read(r, frame, nbytes, back, N))
                    cr_assert_arr_eq(back, content, N, "byte %zu bit %u", i, bit);
                frame[i] ^= (uint8_t)(1u << bit);
            }
        for (size_t cut = 20; cut < nbytes; cut++)
            cr_assert_not(read_here(frame, cut, back, N), "%zu of %zu bytes", cut, nbytes);
        free(content);
    }
    frame_reader_free(r);
    frame_writer_free(w);
    free(frame);
    free(back);
    CHECK_LEAKS();
}
