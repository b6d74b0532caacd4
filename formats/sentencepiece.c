/* sentencepiece.c - read a SentencePiece model, field by field. */
#include "formats/sentencepiece.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/hash.h"
#include "core/io.h"

/* A message, or a part of one. */
struct wire {
    const uint8_t *start; /* of the file: what offsets count from */
    const uint8_t *p, *end;
};

struct field {
    uint32_t number;
    uint32_t wire_type;
    uint64_t value;    /* of a varint, or the bits of a fixed 32 or 64 */
    struct wire inner; /* of a field with a length */
    uint64_t at;       /* where it began */
};

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* ---- wire format ---------------------------------------------------------------------------- */

static uint64_t offset_of(const struct wire *w)
{
    return (uint64_t)(w->p - w->start);
}

static enum quern_status truncated(const struct wire *w, uint64_t at, struct quern_error *err)
{
    return at_offset(err, at,
                     fail(err, QUERN_EFORMAT, "truncated",
                          "a field is longer than the %zu bytes left for it",
                          (size_t)(w->end - w->p)));
}

static enum quern_status read_varint(struct wire *w, uint64_t *out, struct quern_error *err)
{
    const uint64_t at = offset_of(w);
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (w->p == w->end)
            return truncated(w, at, err);
        const uint8_t byte = *w->p++;
        if (shift == 63 && byte > 1)
            break;
        v |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            *out = v;
            return QUERN_OK;
        }
    }
    return at_offset(err, at,
                     fail(err, QUERN_EFORMAT, "protobuf", "a number has more than 64 bits"));
}

static enum quern_status read_fixed(struct wire *w, unsigned nbytes, uint64_t *out,
                                    struct quern_error *err)
{
    if ((size_t)(w->end - w->p) < nbytes)
        return truncated(w, offset_of(w), err);
    *out = 0;
    for (unsigned i = 0; i < nbytes; i++)
        *out |= (uint64_t)*w->p++ << (8 * i);
    return QUERN_OK;
}

static enum quern_status read_field(struct wire *w, struct field *f, struct quern_error *err)
{
    uint64_t tag, n;
    *f = (struct field){.at = offset_of(w)};
    TRY(read_varint(w, &tag, err));
    if (tag >> 3 == 0 || tag >> 3 > 0x1FFFFFFF)
        return at_offset(err, f->at,
                         fail(err, QUERN_EFORMAT, "protobuf",
                              "a field has the number %" PRIu64 WANT
                              "expected one from 1 to 536870911",
                              tag >> 3));
    f->number = (uint32_t)(tag >> 3);
    f->wire_type = tag & 7;
    switch (f->wire_type) {
    case WIRE_VARINT:
        return read_varint(w, &f->value, err);
    case WIRE_64:
        return read_fixed(w, 8, &f->value, err);
    case WIRE_32:
        return read_fixed(w, 4, &f->value, err);
    case WIRE_BYTES:
        TRY(read_varint(w, &n, err));
        if (n > (uint64_t)(w->end - w->p))
            return truncated(w, f->at, err);
        f->inner = (struct wire){w->start, w->p, w->p + n};
        w->p += n;
        return QUERN_OK;
    default:
        return at_offset(err, f->at,
                         fail(err, QUERN_EFORMAT, "protobuf",
                              "field %" PRIu32 " is of the unknown kind %" PRIu32, f->number,
                              f->wire_type));
    }
}

/* A known field must be of its kind. */
static enum quern_status expect(const struct field *f, uint32_t wire_type, struct quern_error *err)
{
    if (f->wire_type == wire_type)
        return QUERN_OK;
    return at_offset(err, f->at,
                     fail(err, QUERN_EFORMAT, "protobuf",
                          "field %" PRIu32 " is of kind %" PRIu32 WANT "expected kind %" PRIu32,
                          f->number, f->wire_type, wire_type));
}

static struct str bytes_of(const struct field *f)
{
    return (struct str){(const char *)f->inner.p, (size_t)(f->inner.end - f->inner.p)};
}

/* ---- the message ---------------------------------------------------------------------------- */

static enum quern_status bad_piece(uint64_t at, const char *what, struct quern_error *err)
{
    return at_offset(err, at, fail(err, QUERN_EFORMAT, "sentencepiece", "%s", what));
}

static enum quern_status check_piece(const struct sp_piece *piece, uint64_t at,
                                     struct quern_error *err)
{
    size_t bad;
    if (piece->text.n == 0)
        return bad_piece(at, "a piece has no text", err);
    if (!utf8_valid(piece->text, &bad))
        return at_offset(err, at,
                         fail(err, QUERN_EFORMAT, "utf8", "the piece '%s' is no UTF-8",
                              quoted(piece->text).text));
    if (piece->score != piece->score)
        return bad_piece(at, "the score of a piece is no number", err);
    return QUERN_OK;
}

static enum quern_status read_piece(struct wire w, struct sp_piece *piece, struct quern_error *err)
{
    const uint64_t at = offset_of(&w);
    struct field f;
    *piece = (struct sp_piece){.type = SP_NORMAL};
    while (w.p < w.end) {
        TRY(read_field(&w, &f, err));
        if (f.number == 1) {
            TRY(expect(&f, WIRE_BYTES, err));
            piece->text = bytes_of(&f);
        } else if (f.number == 2) {
            TRY(expect(&f, WIRE_32, err));
            const uint32_t bits = (uint32_t)f.value;
            memcpy(&piece->score, &bits, sizeof bits);
        } else if (f.number == 3) {
            TRY(expect(&f, WIRE_VARINT, err));
            if (f.value < SP_NORMAL || f.value > SP_BYTE)
                return bad_piece(f.at, "a piece is of an unknown type", err);
            piece->type = (uint8_t)f.value;
        }
    }
    return check_piece(piece, at, err);
}

static enum quern_status read_trainer(struct wire w, struct sentencepiece *sp,
                                      struct quern_error *err)
{
    struct field f;
    while (w.p < w.end) {
        TRY(read_field(&w, &f, err));
        if (f.number != 3)
            continue;
        TRY(expect(&f, WIRE_VARINT, err));
        sp->model_type = f.value;
    }
    return QUERN_OK;
}

static enum quern_status read_normalizer(struct wire w, struct sentencepiece *sp,
                                         struct quern_error *err)
{
    struct field f;
    while (w.p < w.end) {
        TRY(read_field(&w, &f, err));
        if (f.number == 2) {
            TRY(expect(&f, WIRE_BYTES, err));
            sp->charsmap = bytes_of(&f);
        } else if (f.number == 3 || f.number == 4) {
            TRY(expect(&f, WIRE_VARINT, err));
            *(f.number == 3 ? &sp->add_dummy_prefix : &sp->remove_extra_whitespaces) = f.value != 0;
        }
    }
    return QUERN_OK;
}

/* How many pieces there are, so that they are allocated once. */
static enum quern_status count_pieces(struct wire w, uint32_t *count, struct quern_error *err)
{
    struct field f;
    *count = 0;
    while (w.p < w.end) {
        TRY(read_field(&w, &f, err));
        if (f.number != 1)
            continue;
        TRY(expect(&f, WIRE_BYTES, err));
        if (++*count > SENTENCEPIECE_MAX_PIECES)
            return bad_piece(f.at, "it has more than 16777216 pieces", err);
    }
    if (*count == 0)
        return bad_piece(
            0, "it has no pieces" WANT "expected the model of a SentencePiece tokenizer", err);
    return QUERN_OK;
}

static struct str text_of(const void *owner, uint32_t i)
{
    return ((const struct sentencepiece *)owner)->pieces[i].text;
}

static enum quern_status no_duplicates(const struct sentencepiece *sp, struct quern_error *err)
{
    struct name_table table = {0};
    enum quern_status s = QUERN_OK;
    for (uint32_t i = 0; i < sp->npieces && s == QUERN_OK; i++) {
        bool fresh;
        uint32_t other;
        if (!name_table_add(&table, sp->pieces[i].text, i, text_of, sp, &fresh, &other))
            s = fail_memory(err, sp->npieces * sizeof(uint64_t));
        else if (!fresh)
            s = fail(err, QUERN_EFORMAT, "duplicate",
                     "the pieces %" PRIu32 " and %" PRIu32 " are both '%s'", other, i,
                     quoted(sp->pieces[i].text).text);
    }
    name_table_free(&table);
    return s;
}

static enum quern_status read_model(struct wire w, struct sentencepiece *sp,
                                    struct quern_error *err)
{
    struct field f;
    uint32_t count;
    TRY(count_pieces(w, &count, err));
    sp->pieces = ARENA_NEW(&sp->arena, struct sp_piece, count);
    if (!sp->pieces)
        return fail_memory(err, count * sizeof *sp->pieces);
    while (w.p < w.end) {
        TRY(read_field(&w, &f, err));
        if (f.number > 3)
            continue;
        TRY(expect(&f, WIRE_BYTES, err));
        if (f.number == 1)
            TRY(read_piece(f.inner, &sp->pieces[sp->npieces++], err));
        else if (f.number == 2)
            TRY(read_trainer(f.inner, sp, err));
        else
            TRY(read_normalizer(f.inner, sp, err));
    }
    return no_duplicates(sp, err);
}

enum quern_status sentencepiece_parse(struct str bytes, const char *path, struct sentencepiece *sp,
                                      struct quern_error *err)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
    *sp = (struct sentencepiece){
        .model_type = SP_UNIGRAM, .add_dummy_prefix = true, .remove_extra_whitespaces = true};
    return in_file(err, path, read_model((struct wire){p, p, p + bytes.n}, sp, err));
}

enum quern_status sentencepiece_read(const char *path, struct sentencepiece *sp,
                                     struct quern_error *err)
{
    struct arena arena = {0};
    struct str bytes;
    *sp = (struct sentencepiece){0};
    enum quern_status s = read_small_file(path, SENTENCEPIECE_MAX_BYTES, &arena, &bytes, err);
    if (s == QUERN_OK)
        s = sentencepiece_parse(bytes, path, sp, err);
    sp->text = arena; /* the pieces point into it */
    return s;
}

void sentencepiece_close(struct sentencepiece *sp)
{
    arena_free(&sp->arena);
    arena_free(&sp->text);
    *sp = (struct sentencepiece){0};
}
