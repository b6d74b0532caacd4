/* pre_name.c - name a pre-tokenizer by what it makes of the check text. */
#include "convert/pre_name.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "convert/check_ids.h"
#include "convert/post_processor.h"
#include "convert/pre_tables.h"
#include "core/sha256.h"

/* ---- by ids --------------------------------------------------------------------------------- */

static void add_id(struct sha256 *s, uint32_t id, bool first)
{
    char text[16];
    const int n = snprintf(text, sizeof text, "%s%" PRIu32, first ? "" : ", ", id);
    sha256_add(s, text, (size_t)n);
}

static void add_ids(struct sha256 *s, const uint32_t *ids, size_t n, bool *first)
{
    for (size_t i = 0; i < n; i++) {
        add_id(s, ids[i], *first);
        *first = false;
    }
}

/* The name that goes with the list of ids, NULL for none. */
static const char *name_of_ids(const struct check_ids *ids, const struct around *a)
{
    struct sha256 s;
    char hex[65];
    bool first = true;
    sha256_start(&s);
    sha256_add(&s, "[", 1);
    add_ids(&s, a->before, a->nbefore, &first);
    add_ids(&s, ids->ids, ids->n, &first);
    add_ids(&s, a->after, a->nafter, &first);
    sha256_add(&s, "]", 1);
    sha256_hex(s, hex);
    for (size_t i = 0; i < nknown_hashes; i++)
        if (strcmp(known_hashes[i].sha256, hex) == 0)
            return known_hashes[i].name;
    return NULL;
}

/* Some classes of the transformers package put their own tokens around a text, whatever the
 * post_processor says. */
static bool class_around(const struct tokenizer *t, const struct tokenizer_config *tc,
                         struct around *a)
{
    static const char *const classes[] = {"Llama", "CodeLlama", "Gemma", "Cohere"};
    bool has = false;
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        has |= str_starts(tc->tokenizer_class, classes[i]);
    *a = (struct around){0};
    const struct str bos = tc->special[SPECIAL_BOS].text, eos = tc->special[SPECIAL_EOS].text;
    const struct token *first = bos.p ? token_by_text(t, bos) : NULL;
    const struct token *last = eos.p ? token_by_text(t, eos) : NULL;
    if (first && tc->add[SPECIAL_BOS] != FLAG_FALSE)
        a->before[a->nbefore++] = first->id;
    if (last && tc->add[SPECIAL_EOS] == FLAG_TRUE)
        a->after[a->nafter++] = last->id;
    return has;
}

/* With what the class adds, with what the post_processor adds, with nothing around. */
static enum quern_status name_by_ids(const struct tokenizer *t, const struct tokenizer_config *tc,
                                     const struct check_ids *ids, const char **name,
                                     struct quern_error *err)
{
    static const struct around nothing;
    struct around a;
    bool known;
    if (class_around(t, tc, &a))
        *name = name_of_ids(ids, &a);
    if (*name)
        return QUERN_OK;
    TRY(post_processor_around(t, &a, &known, err));
    if (known)
        *name = name_of_ids(ids, &a);
    if (!*name)
        *name = name_of_ids(ids, &nothing);
    return QUERN_OK;
}

static enum quern_status encode_and_name(const struct tokenizer *t,
                                         const struct tokenizer_config *tc,
                                         const struct pretokenizer *p, const struct str *merges,
                                         uint32_t nmerges, const char **name,
                                         struct quern_error *err)
{
    struct merge_index index = {0};
    bool known = false;
    struct check_ids *ids = malloc(sizeof *ids);
    enum quern_status s = ids ? QUERN_OK : fail_memory(err, sizeof *ids);
    if (s == QUERN_OK)
        s = merge_index_make(&index, merges, nmerges, err);
    if (s == QUERN_OK)
        s = check_ids_encode(t, p, &index, ids, &known, err);
    if (s == QUERN_OK && known)
        s = name_by_ids(t, tc, ids, name, err);
    merge_index_free(&index);
    free(ids);
    return s;
}

/* ---- by words ------------------------------------------------------------------------------- */

/* A word's length in bytes of the check text: with bytes as letters, one letter is one byte. */
static size_t word_bytes(struct str word, bool letters)
{
    size_t n = 0;
    for (size_t i = 0; i < word.n; i++)
        n += !letters || ((unsigned char)word.p[i] & 0xC0) != 0x80;
    return n;
}

static bool splits_alike(const struct pieces *words, const struct known_split *k, bool letters)
{
    if (words->n != k->nwords)
        return false;
    for (size_t i = 0; i < words->n; i++)
        if (word_bytes(words->items[i], letters) != k->lengths[i])
            return false;
    return true;
}

static enum quern_status name_by_words(const struct pretokenizer *p, const char **name,
                                       struct quern_error *err)
{
    struct arena arena = {0};
    struct pieces words = {.arena = &arena};
    /* A space in front is a matter of its own: it moves no other border. */
    struct pretokenizer plain = {.letters = p->letters};
    for (size_t i = 0; i < p->nsteps; i++)
        if (p->steps[i].kind != STEP_SPACE)
            plain.steps[plain.nsteps++] = p->steps[i];
    const enum quern_status s = pretokenizer_split(&plain, str_from(check_text), &words, err);
    for (size_t i = 0; s == QUERN_OK && !*name && i < nknown_splits; i++)
        if (splits_alike(&words, &known_splits[i], p->letters))
            *name = known_splits[i].name;
    arena_free(&arena);
    return s;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static enum quern_status find_name(const struct tokenizer *t, const struct tokenizer_config *tc,
                                   const struct pretokenizer *p, const struct str *merges,
                                   uint32_t nmerges, const char **name, enum pre_source *source,
                                   struct quern_error *err)
{
    TRY(encode_and_name(t, tc, p, merges, nmerges, name, err));
    *source = PRE_KNOWN;
    if (*name)
        return QUERN_OK;
    /* Programs split the text of every WordPiece model alike, whatever the name. */
    if (t->kind == TOKENIZER_WORDPIECE)
        *name = "bert-bge";
    else if (t->kind == TOKENIZER_BPE)
        TRY(name_by_words(p, name, err));
    *source = *name ? PRE_ALIKE : PRE_UNKNOWN;
    return QUERN_OK;
}

enum quern_status pre_name_find(const struct tokenizer *t, const struct tokenizer_config *tc,
                                const struct str *merges, uint32_t nmerges, const char **name,
                                enum pre_source *source, struct quern_error *err)
{
    struct pretokenizer p;
    bool known;
    *name = NULL;
    *source = PRE_UNKNOWN;
    enum quern_status s = pretokenizer_read(t->pre_tokenizer, &p, &known, err);
    if (s == QUERN_OK && (known || t->kind == TOKENIZER_WORDPIECE))
        s = find_name(t, tc, &p, merges, nmerges, name, source, err);
    pretokenizer_close(&p);
    /* A pattern that takes too long is one that is not known. */
    if (s != QUERN_EUNSUPPORTED)
        return in_file(err, t->path, s);
    *source = PRE_UNKNOWN;
    *name = NULL;
    return QUERN_OK;
}
