/* frame.c - compress and decompress single frames: with libzstd where nothing is quicker. */
#define ZSTD_STATIC_LINKING_ONLY /* forced entropy coding, estimates of memory */
#include "frame.h"

#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "literals.h"
#include "load.h"
#include "xxh64.h"

/* So fast that it skips whole blocks and finds nothing: what is left is the entropy coder. */
#define NO_MATCHES (-ZSTD_TARGETLENGTH_MAX)

/* Frame_Header_Descriptor: one segment, so no window; a checksum; the bits that must be zero, and
 * those of a dictionary. */
#define DESCRIPTOR_AT     4
#define DESCRIPTOR_SINGLE 0x20
#define DESCRIPTOR_CHECK  0x04
#define DESCRIPTOR_ZERO   0x1B
#define MIN_FRAME         9

size_t frame_bound(size_t n)
{
    return ZSTD_compressBound(n) + 32;
}

/* ---- writing -------------------------------------------------------------------------------- */

static int level_of(int level)
{
    return level == FRAME_ENTROPY_ONLY ? NO_MATCHES : level;
}

/* A window that has room for everything: then the frame is one segment. */
static int window_log(size_t n)
{
    int log = ZSTD_WINDOWLOG_MIN;
    while (n >> log > 0)
        log++;
    return log;
}

size_t frame_writer_bytes(int level, size_t n)
{
    ZSTD_compressionParameters p = ZSTD_getCParams(level_of(level), n, 0);
    p.windowLog = (unsigned)window_log(n);
    return ZSTD_estimateCCtxSize_usingCParams(p);
}

struct frame_writer *frame_writer_new(void)
{
    return (struct frame_writer *)ZSTD_createCCtx();
}

void frame_writer_free(struct frame_writer *w)
{
    ZSTD_freeCCtx((ZSTD_CCtx *)w);
}

size_t frame_write(struct frame_writer *w, int level, const void *content, size_t n, uint8_t *to)
{
    ZSTD_CCtx *c = (ZSTD_CCtx *)w;
    const int literals = (int)(level == FRAME_ENTROPY_ONLY ? ZSTD_lcm_huffman : ZSTD_lcm_auto);
    ZSTD_CCtx_reset(c, ZSTD_reset_session_and_parameters);
    size_t wrong = ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level_of(level));
    if (!ZSTD_isError(wrong))
        wrong = ZSTD_CCtx_setParameter(c, ZSTD_c_literalCompressionMode, literals);
    if (!ZSTD_isError(wrong))
        wrong = ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
    if (!ZSTD_isError(wrong))
        wrong = ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log(n));
    if (ZSTD_isError(wrong))
        return 0;
    const size_t made = ZSTD_compress2(c, to, frame_bound(n), content, n);
    return ZSTD_isError(made) ? 0 : made;
}

/* ---- reading -------------------------------------------------------------------------------- */

#define CHECKSUM_BYTES 4u

struct frame_reader {
    ZSTD_DCtx *zstd;
    struct literals literals;
};

size_t frame_reader_bytes(void)
{
    return sizeof(struct frame_reader) + ZSTD_estimateDCtxSize();
}

struct frame_reader *frame_reader_new(void)
{
    struct frame_reader *r = calloc(1, sizeof *r);
    if (r && (r->zstd = ZSTD_createDCtx()))
        return r;
    free(r);
    return NULL;
}

void frame_reader_free(struct frame_reader *r)
{
    if (r)
        ZSTD_freeDCtx(r->zstd);
    free(r);
}

/* How the size is written, as the descriptor has it: in 1, 2 (for 256 more) or 4 bytes. */
static unsigned size_code(size_t n)
{
    return n < 256 ? 0 : n < 65536 + 256 ? 1 : 2;
}

/* Bytes before the first block. */
static size_t head_bytes(size_t n)
{
    return DESCRIPTOR_AT + 1 + (1u << size_code(n));
}

bool frame_content_bytes(const uint8_t *frame, size_t nbytes, uint64_t *n)
{
    const uint8_t magic[] = {0x28, 0xB5, 0x2F, 0xFD};
    if (nbytes < MIN_FRAME || __builtin_memcmp(frame, magic, sizeof magic) != 0)
        return false;
    const uint8_t d = frame[DESCRIPTOR_AT];
    if (d & DESCRIPTOR_ZERO || !(d & DESCRIPTOR_SINGLE) || !(d & DESCRIPTOR_CHECK))
        return false;
    *n = ZSTD_getFrameContentSize(frame, nbytes);
    return *n != ZSTD_CONTENTSIZE_UNKNOWN && *n != ZSTD_CONTENTSIZE_ERROR;
}

/* False for all but sound frames of literals whose size is written shortest: ask libzstd. */
static bool read_literals(struct frame_reader *r, const uint8_t *frame, size_t nbytes,
                          uint8_t *content, size_t n)
{
    const size_t head = head_bytes(n);
    if (frame[DESCRIPTOR_AT] >> 6 != size_code(n) || nbytes < head + CHECKSUM_BYTES)
        return false;
    const size_t blocks = nbytes - head - CHECKSUM_BYTES;
    return literals_read(&r->literals, frame + head, blocks, content, n) &&
           (uint32_t)xxh64(content, n) == load_le(frame + nbytes - CHECKSUM_BYTES, CHECKSUM_BYTES);
}

const char *frame_read(struct frame_reader *r, const uint8_t *frame, size_t nbytes, void *content,
                       size_t n)
{
    uint64_t claimed;
    if (!frame_content_bytes(frame, nbytes, &claimed))
        return "this is no zstd frame with content size and checksum";
    if (claimed != n)
        return "this frame has content of another size";
    if (read_literals(r, frame, nbytes, content, n))
        return NULL;
    if (ZSTD_findFrameCompressedSize(frame, nbytes) != nbytes)
        return "this frame has another length than the table says";
    const size_t got = ZSTD_decompressDCtx(r->zstd, content, n, frame, nbytes);
    if (ZSTD_isError(got))
        return ZSTD_getErrorCode(got) == ZSTD_error_memory_allocation
                   ? "there is no memory to decode this frame"
                   : "this frame is damaged";
    return got == n ? NULL : "this frame decodes to fewer bytes";
}

/* ---- in place ------------------------------------------------------------------------------- */

#define BLOCK_LAST    1u /* of a block's head; above it the kind, 0 for bytes as they are */
#define BLOCK_SIZE_AT 3u /* bit */

size_t frame_stored_head(size_t n)
{
    return head_bytes(n) + FRAME_GAP;
}

size_t frame_stored_bytes(size_t n)
{
    const size_t nblocks = n ? (n + FRAME_BLOCK - 1) / FRAME_BLOCK : 1;
    return frame_stored_head(n) + (nblocks - 1) * FRAME_GAP + n + CHECKSUM_BYTES;
}

bool frame_is_stored(const uint8_t *frame, size_t nbytes, size_t n)
{
    uint64_t claimed;
    struct xxh64 sum;
    if (nbytes != frame_stored_bytes(n) || !frame_content_bytes(frame, nbytes, &claimed) ||
        claimed != n || frame[DESCRIPTOR_AT] >> 6 != size_code(n))
        return false;
    const uint8_t *at = frame + frame_stored_head(n);
    xxh64_start(&sum);
    for (size_t left = n;; left -= FRAME_BLOCK, at += FRAME_BLOCK + FRAME_GAP) {
        const bool last = left <= FRAME_BLOCK;
        const size_t some = last ? left : FRAME_BLOCK;
        const uint32_t want = (uint32_t)some << BLOCK_SIZE_AT | (last ? BLOCK_LAST : 0u);
        if (load_le(at - FRAME_GAP, FRAME_GAP) != want)
            return false;
        if (last)
            return (uint32_t)xxh64_end(&sum, at, some) == load_le(at + some, CHECKSUM_BYTES);
        xxh64_add(&sum, at, some);
    }
}
