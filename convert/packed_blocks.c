/* packed_blocks.c - packed integers that are blocks of Q4_0 or Q8_0 in all but the order of bytes.
 */
#include "packed_ints.h"

#define BLOCK_ELEMS 32u
#define AT_ONCE     256u  /* blocks */
#define MOST_LINE   1024u /* rows */

/* Groups of 32 with a scale in F16 and codes around the middle. */
enum dtype packed_block_type(const struct packed_ints *p)
{
    const bool down = p->layout == CODES_DOWN;
    if (p->group != BLOCK_ELEMS || p->cols % BLOCK_ELEMS != 0 || p->rule != VALUE_SCALED ||
        p->scale_layout != (down ? SCALES_BY_GROUP : SCALES_BY_ROW) ||
        p->zero_layout != ZEROS_FIXED || p->order || p->outer || p->round != DTYPE_F32 ||
        p->scales->tensor->dtype != DTYPE_F16)
        return DTYPE_COUNT;
    if ((down || p->layout == CODES_ALONG) && p->bits == 4 && p->zero == 8)
        return DTYPE_Q4_0;
    return p->layout == CODES_SIGNED && p->zero == 128 ? DTYPE_Q8_0 : DTYPE_COUNT;
}

const struct block_form *packed_block_form(const struct source *s, uint32_t i)
{
    static const struct block_form q4_0 = {DTYPE_Q4_0, 1.0f, 1.0f};
    static const struct block_form q8_0 = {DTYPE_Q8_0, 1.0f, 1.0f};
    const struct packed_ints *p = s->params;
    if (i > 0)
        return NULL;
    return p->layout == CODES_SIGNED ? &q8_0 : &q4_0;
}

/* Sixteen bytes with codes 0 1, 2 3, ... become 0 16, 1 17, ... */
static void turn_nibbles(const uint8_t *packed, uint8_t *to)
{
    for (unsigned j = 0; j < BLOCK_ELEMS / 2; j++) {
        const unsigned shift = j % 2 * 4;
        const unsigned low = packed[j / 2] >> shift & 15u;
        const unsigned high = packed[j / 2 + BLOCK_ELEMS / 4] >> shift & 15u;
        to[j] = (uint8_t)(low | high << 4);
    }
}

static enum quern_status read_part(const struct source *s, uint64_t first, size_t n, void *to,
                                   uint64_t *moved, struct quern_error *err)
{
    *moved += n;
    return in_source(err, s,
                     model_pread(s->model, s->tensor->file, to, n, s->tensor->offset + first, err));
}

/* Blocks [first, end) of a matrix that is stored as columns: four lines of words have one block of
 * each row. */
static enum quern_status read_down(const struct packed_ints *p, uint64_t first, uint64_t end,
                                   uint8_t *to, uint64_t *moved, struct quern_error *err)
{
    uint32_t words[4][MOST_LINE];
    uint16_t scales[MOST_LINE];
    for (uint64_t g = 0; g < p->ngroups; g++) {
        const uint64_t stop = end > g ? (end - g + p->ngroups - 1) / p->ngroups : 0;
        uint64_t row = first > g ? (first - g + p->ngroups - 1) / p->ngroups : 0;
        for (size_t n; row < stop; row += n) {
            n = stop - row < MOST_LINE ? (size_t)(stop - row) : MOST_LINE;
            for (unsigned k = 0; k < 4; k++)
                TRY(read_part(p->codes, ((g * 4 + k) * p->rows + row) * 4, n * 4, words[k], moved,
                              err));
            TRY(read_part(p->scales, (g * p->rows + row) * 2, n * 2, scales, moved, err));
            for (size_t i = 0; i < n; i++) {
                const uint32_t packed[4] = {words[0][i], words[1][i], words[2][i], words[3][i]};
                uint8_t *block = to + ((row + i) * p->ngroups + g - first) * 18;
                memcpy(block, &scales[i], sizeof scales[i]);
                turn_nibbles((const uint8_t *)packed, block + sizeof scales[i]);
            }
        }
    }
    return QUERN_OK;
}

enum quern_status packed_read_blocks(const struct source *s, uint64_t first, uint64_t n,
                                     uint8_t *to, uint64_t *moved, struct quern_error *err)
{
    const struct packed_ints *p = s->params;
    const size_t code_bytes = p->layout == CODES_SIGNED ? BLOCK_ELEMS : BLOCK_ELEMS / 2;
    const uint64_t nblocks = n / BLOCK_ELEMS;
    uint8_t codes[AT_ONCE * BLOCK_ELEMS];
    uint16_t scales[AT_ONCE];
    if (p->layout == CODES_DOWN)
        return read_down(p, first / BLOCK_ELEMS, first / BLOCK_ELEMS + nblocks, to, moved, err);
    for (uint64_t done = 0; done < nblocks;) {
        const size_t some = nblocks - done < AT_ONCE ? (size_t)(nblocks - done) : AT_ONCE;
        const uint64_t at = first / BLOCK_ELEMS + done;
        TRY(read_part(p->codes, at * code_bytes, some * code_bytes, codes, moved, err));
        TRY(read_part(p->scales, at * sizeof *scales, some * sizeof *scales, scales, moved, err));
        for (size_t i = 0; i < some; i++, to += sizeof *scales + code_bytes) {
            memcpy(to, &scales[i], sizeof *scales);
            if (p->layout == CODES_SIGNED)
                memcpy(to + sizeof *scales, codes + i * code_bytes, code_bytes);
            else
                turn_nibbles(codes + i * code_bytes, to + sizeof *scales);
        }
        done += some;
    }
    return QUERN_OK;
}
