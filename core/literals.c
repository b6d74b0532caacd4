/* literals.c - Huffman codes as RFC 8878 (Zstandard) has them in section 4.2.
 *
 * A code is at most 11 bits. So the next 11 bits of a stream hold one symbol at least, and for
 * exponents of weights three or four, which a table gives together. Each of a block's four streams
 * is read from its end to its beginning; decoding them in turns keeps the processor busy while the
 * table is waited for. */
#include "literals.h"

#include "load.h"

#define CODES      (1u << LITERALS_BITS)
#define BLOCK_HEAD 3u
#define MOST_BLOCK 131072u

static unsigned log2_of(uint32_t x)
{
    return 31u - (unsigned)__builtin_clz(x);
}

/* ---- bits from the end ---------------------------------------------------------------------- */

/* Bits [0, left) of bytes are there still; the last is read first. Behind the beginning are zeros,
 * which count as read. */
struct bits {
    const uint8_t *bytes;
    int64_t left;
};

/* The highest bit that is set ends the stream and is none of it. */
static bool bits_open(struct bits *b, const uint8_t *bytes, size_t n)
{
    if (n == 0 || bytes[n - 1] == 0)
        return false;
    b->bytes = bytes;
    b->left = (int64_t)(n - 1) * 8 + log2_of(bytes[n - 1]);
    return true;
}

/* The next n <= 11 bits. */
static uint32_t bits_peek(const struct bits *b, unsigned n)
{
    const int64_t from = b->left - (int64_t)n;
    uint32_t v = 0;
    for (int64_t at = (b->left + 7) / 8 - 1; at >= 0 && at >= from / 8; at--)
        v = v << 8 | b->bytes[at];
    return (from < 0 ? v << -from : v >> from % 8) & ((1u << n) - 1);
}

static uint32_t bits_take(struct bits *b, unsigned n)
{
    const uint32_t v = bits_peek(b, n);
    b->left -= (int64_t)n;
    return v;
}

/* ---- the lengths of codes (4.2.1) ----------------------------------------------------------- */

#define MOST_WEIGHTS   255u
#define MAX_FSE_LOG    6u
#define MIN_FSE_LOG    5u
#define MAX_FSE_STATES (1u << MAX_FSE_LOG)
#define WEIGHT_COUNT   (LITERALS_BITS + 1)

struct fse_state {
    uint8_t symbol, nbits;
    uint16_t base;
};

/* How often each weight comes, of 1 << *log in all (4.1.1); the others are 0 before. Bytes it
 * takes, or 0. */
static size_t read_counts(const uint8_t *p, size_t n, int counts[WEIGHT_COUNT], unsigned *log)
{
    size_t at = 4;            /* bits */
    uint8_t padded[32] = {0}; /* 12 counts take less than 16 bytes, whatever they say */
    memcpy(padded, p, n < 16 ? n : 16);
    *log = MIN_FSE_LOG + (padded[0] & 15u);
    if (*log > MAX_FSE_LOG)
        return 0;
    int left = 1 << *log;
    for (unsigned s = 0; left > 0; s++) {
        if (s >= WEIGHT_COUNT || at > n * 8)
            return 0;
        /* Values of 0 to left + 1: the lowest of them take one bit less. */
        const unsigned nbits = log2_of((uint32_t)left + 1) + 1;
        const unsigned half = (1u << (nbits - 1)) - 1, fewer = (1u << nbits) - 2 - (unsigned)left;
        unsigned v = load_le(padded + at / 8, 4) >> at % 8 & ((1u << nbits) - 1);
        if ((v & half) < fewer) {
            v &= half;
            at += nbits - 1;
        } else {
            if (v > half)
                v -= fewer;
            at += nbits;
        }
        counts[s] = (int)v - 1;
        left -= counts[s] < 0 ? 1 : counts[s];
        unsigned more = counts[s] == 0 ? 3 : 0; /* 0 that follow; 3: and what follows these */
        while (more == 3) {
            more = load_le(padded + at / 8, 4) >> at % 8 & 3;
            at += 2;
            s += more;
            if (s >= WEIGHT_COUNT || at > n * 8)
                return 0;
        }
    }
    return left == 0 && (at + 7) / 8 <= n ? (at + 7) / 8 : 0;
}

static void spread_states(const int counts[WEIGHT_COUNT], unsigned log,
                          struct fse_state states[MAX_FSE_STATES])
{
    const unsigned size = 1u << log, step = (size >> 1) + (size >> 3) + 3;
    unsigned high = size, at = 0, next[WEIGHT_COUNT];
    for (unsigned s = 0; s < WEIGHT_COUNT; s++) {
        next[s] = counts[s] < 0 ? 1 : (unsigned)counts[s];
        if (counts[s] < 0)
            states[--high].symbol = (uint8_t)s;
    }
    for (unsigned s = 0; s < WEIGHT_COUNT; s++)
        for (int i = 0; i < counts[s]; i++) {
            states[at].symbol = (uint8_t)s;
            do
                at = (at + step) & (size - 1);
            while (at >= high);
        }
    for (unsigned i = 0; i < size; i++) {
        const unsigned number = next[states[i].symbol]++;
        states[i].nbits = (uint8_t)(log - log2_of(number));
        states[i].base = (uint16_t)((number << states[i].nbits) - size);
    }
}

/* Two states take turns; what is in the other one is the last when the bits are used up. */
static size_t read_packed_weights(const uint8_t *p, size_t n, uint8_t weights[MOST_WEIGHTS])
{
    int counts[WEIGHT_COUNT] = {0};
    struct fse_state states[MAX_FSE_STATES];
    struct bits b;
    unsigned log, state[2];
    const size_t head = read_counts(p, n, counts, &log);
    if (head == 0 || !bits_open(&b, p + head, n - head))
        return 0;
    spread_states(counts, log, states);
    state[0] = bits_take(&b, log);
    state[1] = bits_take(&b, log);
    if (b.left < 0)
        return 0;
    for (size_t i = 0; i + 1 < MOST_WEIGHTS; i++) {
        const struct fse_state *s = &states[state[i % 2]];
        weights[i] = s->symbol;
        state[i % 2] = s->base + bits_take(&b, s->nbits);
        if (b.left < 0) {
            weights[i + 1] = states[state[(i + 1) % 2]].symbol;
            return i + 2;
        }
    }
    return 0;
}

/* ---- the table ------------------------------------------------------------------------------ */

/* The weight of the last symbol is not told: it fills what is missing. Gives the longest code, or 0
 * when the weights make none. */
static unsigned complete(uint8_t weights[MOST_WEIGHTS + 1], size_t *nweights)
{
    uint32_t total = 0, nlongest = 0;
    for (size_t i = 0; i < *nweights; i++) {
        if (weights[i] > LITERALS_BITS)
            return 0;
        total += weights[i] ? 1u << (weights[i] - 1) : 0;
        nlongest += weights[i] == 1;
    }
    if (total == 0)
        return 0;
    const unsigned log = log2_of(total) + 1;
    const uint32_t rest = (1u << log) - total;
    nlongest += rest == 1;
    if (log > LITERALS_BITS || (rest & (rest - 1)) != 0 || nlongest < 2)
        return 0;
    weights[(*nweights)++] = (uint8_t)(log2_of(rest) + 1);
    return log;
}

/* l->one: for the next bits the symbol, and above it the bits of its code. Weight w has codes of
 * log + 1 - w bits; those of the lightest come first, in order of their symbols. */
static void build_one(struct literals *l, const uint8_t *weights, size_t nweights, unsigned log)
{
    uint32_t first[WEIGHT_COUNT + 1] = {0};
    for (size_t i = 0; i < nweights; i++)
        first[weights[i] + 1] += weights[i] ? 1u << (weights[i] - 1 + LITERALS_BITS - log) : 0;
    for (unsigned w = 1; w <= WEIGHT_COUNT; w++)
        first[w] += first[w - 1];
    for (size_t i = 0; i < nweights; i++) {
        const unsigned w = weights[i];
        if (w == 0)
            continue;
        const uint16_t entry = (uint16_t)((log + 1 - w) << 8 | i);
        const uint32_t to = first[w], end = to + (1u << (w - 1 + LITERALS_BITS - log));
        for (uint32_t k = to; k < end; k++)
            l->one[k] = entry;
        first[w] = end;
    }
}

static void build_several(struct literals *l)
{
    for (uint32_t k = 0; k < CODES; k++) {
        struct look *e = &l->several[k];
        unsigned nbits = 0, count = 0;
        for (uint16_t next = l->one[k];
             count < sizeof e->symbols && nbits + (next >> 8) <= LITERALS_BITS;
             next = l->one[k << nbits & (CODES - 1)]) {
            e->symbols[count++] = (uint8_t)next;
            nbits += next >> 8;
        }
        e->nbits = (uint8_t)nbits;
        e->count = (uint8_t)count;
    }
}

/* Bytes that the description of a code takes, or 0. */
static size_t read_table(struct literals *l, const uint8_t *p, size_t n)
{
    uint8_t weights[MOST_WEIGHTS + 1];
    l->known = false;
    if (n == 0)
        return 0;
    size_t nbytes = p[0], nweights;
    if (p[0] < 128) {
        if (nbytes > n - 1)
            return 0;
        nweights = read_packed_weights(p + 1, nbytes, weights);
    } else { /* four bits each */
        nweights = p[0] - 127u;
        nbytes = (nweights + 1) / 2;
        if (nbytes > n - 1)
            return 0;
        for (size_t i = 0; i < nweights; i++)
            weights[i] = i % 2 ? p[1 + i / 2] & 15 : p[1 + i / 2] >> 4;
    }
    const unsigned log = complete(weights, &nweights);
    if (log == 0)
        return 0;
    /* Neighbours often have the same code. */
    if (l->nweights != nweights || memcmp(l->weights, weights, nweights) != 0) {
        build_one(l, weights, nweights, log);
        l->has_several = false;
        memcpy(l->weights, weights, nweights);
        l->nweights = nweights;
    }
    l->known = true;
    return 1 + nbytes;
}

/* ---- streams -------------------------------------------------------------------------------- */

#define NSTREAMS 4u
#define LOOKS    5u /* with 64 bits, of which 7 may be used up and one marks the end */
/* Bytes that a round may write: every look writes all of a struct look. */
#define ROUND_ROOM ((LOOKS - 1) * sizeof((struct look){0}.symbols) + sizeof(struct look))
/* Symbols that pay for a table of several. */
#define LONG_BLOCK 4096u

struct stream {
    struct bits b;
    uint8_t *to, *end;
};

/* Rounds of LOOKS that keep within a stream, whatever they find. */
static size_t safe_rounds(const struct stream *s, const uint8_t *p, const uint8_t *to)
{
    const ptrdiff_t in = (p - s->b.bytes) / 8, out = (s->end - to) / (ptrdiff_t)ROUND_ROOM;
    return in < out ? (size_t)in : (size_t)out;
}

/* nstreams in turns, until one of them is near its end. */
static inline __attribute__((always_inline)) void
decode_rounds(const struct literals *l, struct stream *streams, const unsigned nstreams)
{
    const struct look *const table = l->several;
    const uint8_t *p[NSTREAMS];
    uint8_t *to[NSTREAMS];
    uint64_t bits[NSTREAMS];
    for (unsigned k = 0; k < nstreams; k++) {
        const struct stream *s = &streams[k];
        const int64_t top = (s->b.left + 7) / 8; /* bytes that have any */
        if (top < 8)
            return;
        p[k] = s->b.bytes + top - 8;
        to[k] = s->to;
        /* The lowest bit marks how many were used: as many zeros come to stand below it. */
        bits[k] = (load_u64(p[k]) | 1) << (top * 8 - s->b.left);
    }
    for (;;) {
        size_t rounds = SIZE_MAX;
        for (unsigned k = 0; k < nstreams; k++) {
            const size_t safe = safe_rounds(&streams[k], p[k], to[k]);
            rounds = safe < rounds ? safe : rounds;
        }
        if (rounds == 0)
            break;
        for (; rounds > 0; rounds--) {
#pragma GCC unroll 5
            for (unsigned look = 0; look < LOOKS; look++)
#pragma GCC unroll 4
                for (unsigned k = 0; k < nstreams; k++) {
                    const struct look *e = &table[bits[k] >> (64 - LITERALS_BITS)];
                    memcpy(to[k], e, sizeof *e);
                    bits[k] <<= e->nbits & 63;
                    to[k] += e->count;
                }
#pragma GCC unroll 4
            for (unsigned k = 0; k < nstreams; k++) {
                const unsigned used = (unsigned)__builtin_ctzll(bits[k]);
                p[k] -= used / 8;
                bits[k] = (load_u64(p[k]) | 1) << used % 8;
            }
        }
    }
    for (unsigned k = 0; k < nstreams; k++) {
        struct stream *s = &streams[k];
        s->b.left = (p[k] - s->b.bytes) * 8 + 64 - __builtin_ctzll(bits[k]);
        s->to = to[k];
    }
}

static void decode_plain(const struct literals *l, struct stream streams[NSTREAMS])
{
    decode_rounds(l, streams, NSTREAMS);
}

#if defined(__x86_64__)
/* Shifts by what is in any register. */
__attribute__((target("bmi,bmi2"))) static void decode_bmi2(const struct literals *l,
                                                            struct stream streams[NSTREAMS])
{
    decode_rounds(l, streams, NSTREAMS);
}
#endif

static void decode_together(const struct literals *l, struct stream streams[NSTREAMS])
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2")) {
        decode_bmi2(l, streams);
        return;
    }
#endif
    decode_plain(l, streams);
}

/* The rest of one, a symbol at a time at its end; all bits must be used up by then. */
static bool decode_rest(const struct literals *l, struct stream *s)
{
    if (l->has_several)
        decode_rounds(l, s, 1);
    while (s->to < s->end && s->b.left > 0) {
        const uint16_t e = l->one[bits_peek(&s->b, LITERALS_BITS)];
        *s->to++ = (uint8_t)e;
        s->b.left -= e >> 8;
    }
    return s->to == s->end && s->b.left == 0;
}

/* n symbols in four streams, of which the first three have the same number. */
static bool read_streams(struct literals *l, const uint8_t *p, size_t nbytes, uint8_t *to, size_t n)
{
    const size_t jump = 2 * (NSTREAMS - 1), each = (n + NSTREAMS - 1) / NSTREAMS;
    struct stream streams[NSTREAMS];
    size_t at = jump;
    if (nbytes < jump || each * (NSTREAMS - 1) > n)
        return false;
    for (unsigned k = 0; k < NSTREAMS; k++) {
        const size_t some = k + 1 < NSTREAMS ? load_le(p + (size_t)2 * k, 2) : nbytes - at;
        if (some > nbytes - at || !bits_open(&streams[k].b, p + at, some))
            return false;
        at += some;
        streams[k].to = to + k * each;
        streams[k].end = k + 1 < NSTREAMS ? streams[k].to + each : to + n;
    }
    if (!l->has_several && n >= LONG_BLOCK) {
        build_several(l);
        l->has_several = true;
    }
    if (l->has_several)
        decode_together(l, streams);
    for (unsigned k = 0; k < NSTREAMS; k++)
        if (!decode_rest(l, &streams[k]))
            return false;
    return true;
}

/* ---- blocks (3.1.1.2) ----------------------------------------------------------------------- */

#define LEAST_IN_STREAMS 6u /* literals; libzstd takes no fewer in four streams */

enum { BLOCK_RAW, BLOCK_RLE, BLOCK_COMPRESSED };
enum { LITERALS_COMPRESSED = 2, LITERALS_TREELESS };

/* A compressed block without sequences: literals, and a byte that says so. n: what there is room
 * for. Bytes of content, or 0. */
static size_t read_literals(struct literals *l, const uint8_t *p, size_t nbytes, uint8_t *to,
                            size_t n)
{
    if (nbytes < 6 || p[nbytes - 1] != 0)
        return 0;
    const unsigned kind = p[0] & 3u, format = p[0] >> 2 & 3u;
    const unsigned width = format == 3 ? 18 : format == 2 ? 14 : 10, head = (2 * width + 4) / 8;
    if (kind < LITERALS_COMPRESSED || format == 0)
        return 0;
    const uint64_t sizes = (load_le(p, 4) | (uint64_t)p[4] << 32) >> 4;
    const size_t content = sizes & ((1u << width) - 1),
                 coded = sizes >> width & ((1u << width) - 1);
    if (content < LEAST_IN_STREAMS || content > n || content > MOST_BLOCK ||
        coded != nbytes - 1 - head)
        return 0;
    size_t table = 0;
    if (kind == LITERALS_COMPRESSED && (table = read_table(l, p + head, coded)) == 0)
        return 0;
    return l->known && read_streams(l, p + head + table, coded - table, to, content) ? content : 0;
}

/* A block of any kind whose head says size. *stored: bytes it takes behind its head. */
static size_t read_block(struct literals *l, unsigned kind, size_t size, const uint8_t *p,
                         size_t nbytes, uint8_t *to, size_t n, size_t *stored)
{
    *stored = kind == BLOCK_RLE ? 1 : size;
    if (*stored > nbytes)
        return 0;
    if (kind == BLOCK_COMPRESSED)
        return size < MOST_BLOCK ? read_literals(l, p, size, to, n) : 0;
    if (kind > BLOCK_COMPRESSED || size > n || size > MOST_BLOCK)
        return 0;
    if (kind == BLOCK_RAW)
        memcpy(to, p, size);
    else
        memset(to, *p, size);
    return size;
}

bool literals_read(struct literals *l, const uint8_t *blocks, size_t nbytes, uint8_t *to, size_t n)
{
    size_t at = 0, done = 0;
    bool last = false;
    l->known = false;
    while (!last && nbytes - at >= BLOCK_HEAD) {
        const uint32_t head = load_le(blocks + at, BLOCK_HEAD);
        size_t stored;
        at += BLOCK_HEAD;
        last = head & 1;
        const size_t got = read_block(l, head >> 1 & 3, head >> 3, blocks + at, nbytes - at,
                                      to + done, n - done, &stored);
        if (got == 0)
            return false;
        done += got;
        at += stored;
    }
    return last && at == nbytes && done == n;
}
