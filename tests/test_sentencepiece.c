/* test_sentencepiece.c - what is read from a SentencePiece model, and what is refused and where. */
#include "formats/sentencepiece.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "tests/leaks.h"

/* A message under construction. */
struct message {
    uint8_t bytes[4096];
    size_t n;
};

static void put_varint(struct message *m, uint64_t v)
{
    for (; v > 127; v >>= 7)
        m->bytes[m->n++] = (uint8_t)(v | 128);
    m->bytes[m->n++] = (uint8_t)v;
}

static void put_number(struct message *m, uint32_t field, uint64_t v)
{
    put_varint(m, field << 3);
    put_varint(m, v);
}

static void put_bytes(struct message *m, uint32_t field, const void *p, size_t n)
{
    put_varint(m, field << 3 | 2);
    put_varint(m, n);
    memcpy(m->bytes + m->n, p, n);
    m->n += n;
}

static void put_piece(struct message *m, const char *text, float score, uint64_t type)
{
    struct message piece = {.n = 0};
    put_bytes(&piece, 1, text, strlen(text));
    put_varint(&piece, 2 << 3 | 5);
    memcpy(piece.bytes + piece.n, &score, 4);
    piece.n += 4;
    if (type)
        put_number(&piece, 3, type);
    put_bytes(m, 1, piece.bytes, piece.n);
}

/* A malloc'ed copy, so that the sanitizer sees every step too far. */
static enum quern_status parse(const void *p, size_t n, struct sentencepiece *sp,
                               struct quern_error *err)
{
    static char *copy;
    free(copy);
    copy = malloc(n ? n : 1);
    cr_assert(copy);
    memcpy(copy, p, n);
    return sentencepiece_parse((struct str){copy, n}, "t/tokenizer.model", sp, err);
}

static void small_model(struct message *m)
{
    struct message trainer = {.n = 0}, normalizer = {.n = 0};
    put_piece(m, "<unk>", 0, SP_UNKNOWN);
    put_piece(m, "\xE2\x96\x81the", -1.5f, 0);
    put_number(&trainer, 3, SP_BPE);
    put_bytes(&trainer, 7, "abc", 3);
    put_bytes(m, 2, trainer.bytes, trainer.n);
    put_bytes(&normalizer, 2, "\0\1\2", 3);
    put_number(&normalizer, 3, 0);
    put_bytes(m, 3, normalizer.bytes, normalizer.n);
    put_bytes(m, 5, "later", 5);
    put_piece(m, "<0x0A>", 0, SP_BYTE);
}

Test(sentencepiece, a_model)
{
    struct message m = {.n = 0};
    struct sentencepiece sp;
    struct quern_error err;
    small_model(&m);
    cr_assert(parse(m.bytes, m.n, &sp, &err) == QUERN_OK, "%s", err.text);
    cr_assert(sp.npieces == 3 && sp.model_type == SP_BPE);
    cr_assert(str_is(sp.pieces[0].text, "<unk>") && sp.pieces[0].type == SP_UNKNOWN);
    cr_assert(str_is(sp.pieces[1].text, "\xE2\x96\x81the") && sp.pieces[1].type == SP_NORMAL);
    cr_assert(sp.pieces[1].score == -1.5f && sp.pieces[2].type == SP_BYTE);
    cr_assert(!sp.add_dummy_prefix && sp.remove_extra_whitespaces);
    cr_assert(str_eq(sp.charsmap, STR("\0\1\2")));
    sentencepiece_close(&sp);
}

Test(sentencepiece, what_is_not_said_has_a_default)
{
    struct message m = {.n = 0};
    struct sentencepiece sp;
    put_piece(&m, "a", 0, 0);
    cr_assert(parse(m.bytes, m.n, &sp, NULL) == QUERN_OK);
    cr_assert(sp.model_type == SP_UNIGRAM && sp.add_dummy_prefix && sp.charsmap.n == 0);
    sentencepiece_close(&sp);
}

/* Every shorter file is either refused or a model with fewer fields; none is read past its end. */
Test(sentencepiece, truncated_anywhere)
{
    struct message m = {.n = 0};
    small_model(&m);
    unsigned nrefused = 0;
    for (size_t n = 0; n < m.n; n++) {
        struct sentencepiece sp;
        struct quern_error err;
        const enum quern_status s = parse(m.bytes, n, &sp, &err);
        cr_assert(s == QUERN_OK || (s == QUERN_EFORMAT && err.file[0]), "%zu: %s", n, err.text);
        nrefused += s != QUERN_OK;
        sentencepiece_close(&sp);
    }
    cr_assert(nrefused > m.n * 3 / 4, "%u of %zu", nrefused, m.n);
}

static void refused(const struct message *m, const char *kind)
{
    struct sentencepiece sp;
    struct quern_error err;
    cr_assert(parse(m->bytes, m->n, &sp, &err) == QUERN_EFORMAT, "%s", kind);
    cr_assert_str_eq(err.kind, kind, "%s", err.text);
    cr_assert_str_eq(err.file, "t/tokenizer.model");
    sentencepiece_close(&sp);
}

Test(sentencepiece, malformed)
{
    struct message m = {.n = 0};
    refused(&m, "sentencepiece"); /* no pieces */

    put_varint(&m, 1 << 3 | 2);
    put_varint(&m, UINT64_MAX);
    refused(&m, "truncated"); /* a piece longer than anything */

    m = (struct message){.n = 11};
    memset(m.bytes, 0xFF, 11);
    refused(&m, "protobuf"); /* a number without end */

    m.n = 0;
    put_varint(&m, 0 << 3);
    put_varint(&m, 1);
    refused(&m, "protobuf"); /* field 0 */

    m.n = 0;
    put_varint(&m, 1 << 3 | 3);
    refused(&m, "protobuf"); /* a group */

    m.n = 0;
    put_number(&m, 1, 5);
    refused(&m, "protobuf"); /* a piece that is a number */

    m.n = 0;
    put_piece(&m, "a", 0, 7);
    refused(&m, "sentencepiece"); /* an unknown type */

    m.n = 0;
    put_piece(&m, "a", NAN, 0);
    refused(&m, "sentencepiece");

    m.n = 0;
    put_piece(&m, "", 0, 0);
    refused(&m, "sentencepiece");

    m.n = 0;
    put_piece(&m, "\xFF\xFE", 0, 0);
    refused(&m, "utf8");

    m.n = 0;
    put_piece(&m, "twice", 0, 0);
    put_piece(&m, "twice", 1, 0);
    refused(&m, "duplicate");
}
