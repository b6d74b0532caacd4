/* pull.h - a strict JSON reader that hands out one token at a time: no tree, no recursion.
 *
 *     struct pull p;
 *     pull_start(&p, text, nbytes);
 *     while ((token = pull_next(&p)) > PULL_END)
 *         ...
 *     if (token == PULL_ERROR)
 *         return pull_fail(&p, 0, err);
 *
 * RFC 8259 and nothing else: strict UTF-8, no comments, no trailing commas, no raw control bytes,
 * no lone surrogates, nothing but blanks after the document. Integers keep all their 64 bits.
 * Duplicate keys are for the caller to refuse (struct key_set). */
#ifndef QUERN_PULL_H
#define QUERN_PULL_H

#include "error.h"
#include "hash.h"
#include "str.h"

#define PULL_MAX_DEPTH 64

enum pull_token {
    PULL_ERROR, /* stays: every later call returns it too */
    PULL_END,
    PULL_OBJECT,
    PULL_OBJECT_END,
    PULL_ARRAY,
    PULL_ARRAY_END,
    PULL_KEY, /* its value is the next token */
    PULL_STRING,
    PULL_NUMBER,
    PULL_TRUE,
    PULL_FALSE,
    PULL_NULL
};

struct pull {
    char *text; /* strings are unescaped in place, so the text changes under the reader */
    size_t nbytes;
    size_t at;       /* next byte to read */
    size_t token_at; /* first byte of the last token */
    /* Of a KEY or STRING: unescaped, NUL-terminated in the text. Of a NUMBER: as written. */
    struct str str;
    bool nonfinite; /* set after pull_start(): accept NaN, Infinity and -Infinity as numbers */
    /* After an error. */
    const char *kind; /* "json", "json-depth", "utf8" */
    const char *what;
    size_t bad_at;
    /* Where in the grammar the reader stands. */
    unsigned depth;
    uint8_t state;
    char open[PULL_MAX_DEPTH];
};

void pull_start(struct pull *p, char *text, size_t nbytes);
enum pull_token pull_next(struct pull *p);

/* Passes over the rest of the value that began with token, the one pull_next() returned last. False
 * after an error in it. */
bool pull_skip(struct pull *p, enum pull_token token);

/* The last token, a NUMBER, as an integer from 0 to 2^64-1 written without sign, point, exponent or
 * leading zeros. */
bool pull_u64(const struct pull *p, uint64_t *out);

/* Reads an array of such integers, where the next token would be a value. */
enum pull_ints {
    PULL_INTS_OK,
    PULL_INTS_NOT_ARRAY, /* nothing was consumed */
    PULL_INTS_BAD_ITEM,  /* bad_at tells where; the reader cannot go on */
    PULL_INTS_TOO_MANY,  /* likewise */
    PULL_INTS_ERROR      /* the text ends: see pull_fail() */
};
enum pull_ints pull_u64_array(struct pull *p, uint64_t *out, size_t max, size_t *count);

/* The error of the reader as a status; base is the byte offset of the text in its file. */
enum quern_status pull_fail(const struct pull *p, uint64_t base, struct quern_error *err);

/* Duplicate test for the keys of one object, linear in time. All zero is a valid empty set. The
 * keys must stay where they are. */
struct key_set {
    struct str *keys;
    uint32_t count, capacity;
    struct name_table table; /* used beyond a handful of keys */
};
/* False only when memory ran out. */
bool key_set_add(struct key_set *set, struct str key, bool *fresh);
void key_set_clear(struct key_set *set); /* empty, memory kept for the next object */
void key_set_free(struct key_set *set);

#endif
