/* fuzz_literals.c - any bytes as the blocks of a frame: what is decoded without libzstd it decodes
 * to the same, and nothing is written behind the content. */
#include <string.h>
#include <zstd.h>

#include "core/literals.h"
#include "fuzz.h"

enum { MOST = 1 << 16, BEHIND = 16, HEAD = 9 };

static void run(char *text, size_t n)
{
    static struct literals l;
    static uint8_t content[MOST + BEHIND], same[MOST], frame[1 << 14];
    static ZSTD_DCtx *zstd;
    struct fuzz_bytes b = {text, n};
    const uint32_t size = take_u32(&b) % (MOST + 1);
    const uint8_t head[HEAD] = {0x28, 0xB5, 0x2F, 0xFD, 0xA0};
    if (!zstd)
        zstd = ZSTD_createDCtx();
    if (b.n > sizeof frame - HEAD)
        return;
    memset(content + size, 0xA5, BEHIND);
    const bool read = literals_read(&l, (const uint8_t *)b.p, b.n, content, size);
    for (unsigned i = 0; i < BEHIND; i++)
        FUZZ_CHECK(content[size + i] == 0xA5);
    if (!read)
        return;
    memcpy(frame, head, HEAD);
    for (unsigned i = 0; i < 4; i++)
        frame[5 + i] = (uint8_t)(size >> 8 * i);
    memcpy(frame + HEAD, b.p, b.n);
    const size_t got = ZSTD_decompressDCtx(zstd, same, size, frame, HEAD + b.n);
    FUZZ_CHECK(got == size && memcmp(same, content, size) == 0);
}

const struct fuzz_target fuzz_literals = {
    .name = "literals",
    .max_len = 4096,
    .run = run,
    .bytes_besides = 1u << 20,
};
