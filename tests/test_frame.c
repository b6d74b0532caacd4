/* test_frame.c - frames whose content could not be compressed are used where it lies. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/frame.h"
#include "leaks.h"

static uint8_t *noise(size_t n)
{
    uint64_t state = n;
    uint8_t *content = malloc(n + 1);
    for (size_t i = 0; i < n; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        content[i] = (uint8_t)(state >> 33);
    }
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
