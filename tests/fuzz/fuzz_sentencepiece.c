/* fuzz_sentencepiece.c - any bytes as a tokenizer.model. */
#include <math.h>
#include <string.h>

#include "formats/sentencepiece.h"
#include "fuzz.h"

static void run(char *text, size_t n)
{
    struct sentencepiece sp;
    struct quern_error err;
    if (!fuzz_failed(sentencepiece_parse((struct str){text, n}, "tokenizer.model", &sp, &err),
                     &err)) {
        FUZZ_CHECK(sp.npieces <= n);
        for (uint32_t i = 0; i < sp.npieces; i++) {
            const struct sp_piece *p = &sp.pieces[i];
            FUZZ_CHECK(p->text.n > 0 && utf8_valid(p->text, NULL) && !isnan(p->score));
            FUZZ_CHECK(p->type >= SP_NORMAL && p->type <= SP_BYTE);
        }
    }
    sentencepiece_close(&sp);
}

/* Where a field of the message begins: its number, its kind, then its length. */
static size_t field_end(const struct mutation *m, size_t at)
{
    if (m->n - at < 2)
        return m->n;
    const uint8_t kind = m->p[at] & 7, n = m->p[at + 1];
    size_t end = at + 2;
    if (kind == 2)
        end += n < 128 ? n : 0;
    else if (kind == 5)
        end = at + 5;
    else if (kind == 1)
        end = at + 9;
    return end < m->n ? end : m->n;
}

static void mutate(struct mutation *m)
{
    size_t starts[128], n = 0;
    for (size_t at = 0; at < m->n && n < 127; at = field_end(m, at))
        starts[n++] = at;
    if (n < 2 || chance_below(m, 3) == 0) {
        mutate_bytes(m);
        return;
    }
    const uint32_t i = chance_below(m, (uint32_t)n - 1);
    const size_t at = starts[i], size = starts[i + 1] - at;
    uint8_t copy[256];
    if (size > sizeof copy / 2)
        return;
    memcpy(copy, m->p + at, size);
    if (chance_below(m, 4) == 0) {
        mutation_splice(m, starts[chance_below(m, (uint32_t)n)], 0, copy, size);
    } else if (chance_below(m, 4) == 0) {
        mutation_splice(m, at, size, NULL, 0);
    } else if (m->p[at] % 8 == 2 && size > 2) { /* inside, with its length made to fit */
        const size_t inner = m->any_change(copy + 2, size - 2, 120);
        copy[1] = (uint8_t)inner;
        mutation_splice(m, at, size, copy, inner + 2);
    } else {
        mutate_bytes(m);
    }
}

const struct fuzz_target fuzz_sentencepiece = {
    .name = "sentencepiece",
    .max_len = 1024,
    .run = run,
    .mutate = mutate,
    .bytes_per_byte = 32,
    .bytes_besides = 4096,
    .memory_may_fail = true,
};
