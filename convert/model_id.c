/* model_id.c - take the name of a model apart, as llama.cpp's converter does. */
#include "model_id.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- characters -------------------------------------------------------------------------------
 */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static bool is_letter(char c)
{
    return lower(c) >= 'a' && lower(c) <= 'z';
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* ---- patterns of parts --------------------------------------------------------------------------
 */

static size_t digits_at(struct str s, size_t i)
{
    size_t n = 0;
    while (i + n < s.n && is_digit(s.p[i + n]))
        n++;
    return n;
}

static bool at_text(struct str s, size_t i, const char *word)
{
    const size_t n = strlen(word);
    return i + n <= s.n && str_eq_nocase((struct str){s.p + i, n}, str_from(word));
}

static bool is_word_of(struct str s, const char *const *words)
{
    for (; *words; words++)
        if (str_eq_nocase(s, str_from(*words)))
            return true;
    return false;
}

/* v1.5, 2, iter3 */
static bool is_version(struct str s)
{
    size_t i = at_text(s, 0, "iter") ? 4 : at_text(s, 0, "v") ? 1 : 0;
    size_t n = digits_at(s, i);
    if (n == 0)
        return false;
    for (i += n; i < s.n; i += 1 + n) {
        n = digits_at(s, i + 1);
        if (s.p[i] != '.' || n == 0)
            return false;
    }
    return true;
}

/* iq4_xs, Q8_0, fp16, bf16 */
static bool is_type(struct str s)
{
    size_t i = at_text(s, 0, "i");
    if (at_text(s, i, "q") && digits_at(s, i + 1) > 0) {
        for (i += 2; i < s.n; i++)
            if (s.p[i] == '_' && i + 1 < s.n &&
                (is_letter(s.p[i + 1]) || is_digit(s.p[i + 1]) || s.p[i + 1] == '_'))
                i++;
            else
                return false;
        return true;
    }
    i = at_text(s, 0, "b");
    if (!at_text(s, i, "f"))
        return false;
    i += 1 + (size_t)at_text(s, i + 1, "p");
    return i + 2 == s.n && (at_text(s, i, "16") || at_text(s, i, "32"));
}

/* 7B, A1M, 8x7b, 1.3B, 0_5b, 7b1, small */
static bool is_size(struct str s)
{
    static const char *const words[] = {"small", "mini", "medium", "large", "xl", "xxl", NULL};
    if (is_word_of(s, words))
        return true;
    size_t i = 0, n = digits_at(s, 0);
    if (at_text(s, 0, "a"))
        i = 1;
    else if (n && at_text(s, n, "x"))
        i = n + 1;
    n = digits_at(s, i);
    if (n == 0)
        return false;
    i += n;
    if (i < s.n && (s.p[i] == '.' || s.p[i] == '_')) {
        n = digits_at(s, i + 1);
        if (n == 0)
            return false;
        i += 1 + n;
    }
    if (i == s.n || !strchr("kmbt", lower(s.p[i])))
        return false;
    i++;
    return i == s.n || (i + 1 == s.n && is_digit(s.p[i]));
}

/* ---- parts --------------------------------------------------------------------------------------
 */

enum part_kind {
    PART_BASENAME = 1,
    PART_SIZE = 2,
    PART_FINETUNE = 4,
    PART_VERSION = 8,
    PART_TYPE = 16,
};

#define MOST_PARTS 64u

struct part {
    char *p; /* may be changed: capitals */
    size_t n;
    unsigned kinds;
};

struct parts {
    struct part items[MOST_PARTS];
    size_t count;
};

static struct str text_of(const struct part *p)
{
    return (struct str){p->p, p->n};
}

/* What the label stands for; false when it is no number. */
static bool size_in_weights(const struct part *p, double *out)
{
    static const char units[] = " kmbt";
    char number[32], *end;
    const char *unit = strchr(units, lower(p->p[p->n - 1]));
    if (p->n - 1 >= sizeof number || p->n < 2 || !unit)
        return false;
    memcpy(number, p->p, p->n - 1);
    number[p->n - 1] = '\0';
    if (!is_digit(number[0]))
        return false;
    *out = strtod(number, &end);
    for (ptrdiff_t k = unit - units; k > 0; k--)
        *out *= 1000.0;
    return *end == '\0';
}

static bool is_far_from(struct model_size size, double label)
{
    if (size.adapter)
        return label < (double)(size.weights / 8);
    return fabs(label - (double)size.weights) > (double)(7 * size.weights / 8);
}

/* room: one more byte than the part has, for the point in 7.1B. */
static void take_size(struct part *p, struct model_size size)
{
    double label;
    for (size_t i = 0; i < p->n; i++)
        if (p->p[i] == '_')
            p->p[i] = '.';
    if (is_digit(p->p[p->n - 1])) {
        const char unit = p->p[p->n - 2], digit = p->p[p->n - 1];
        p->p[p->n - 2] = '.';
        p->p[p->n - 1] = digit;
        p->p[p->n++] = unit;
    }
    char *last = &p->p[p->n - 1];
    if (p->n > 1 && is_digit(last[-1]) && strchr("kmbt", *last))
        *last = upper(*last);
    if (size.weights && size_in_weights(p, &label) && is_far_from(size, label)) {
        p->kinds |= PART_FINETUNE; /* a length of contexts, more likely */
        *last = lower(*last);
    }
    if (p->kinds == 0)
        p->kinds = PART_SIZE;
}

static void annotate(struct part *p, size_t i, struct model_size size)
{
    static const char *const finetunes[] = {"chat", "instruct", "vision", "lora", NULL};
    if (is_version(text_of(p))) {
        p->kinds |= PART_VERSION;
    } else if (is_type(text_of(p))) {
        p->kinds |= PART_TYPE;
        for (size_t k = 0; k < p->n; k++)
            p->p[k] = upper(p->p[k]);
    } else if (i > 0 && is_size(text_of(p))) {
        take_size(p, size);
    } else if (i > 0 && is_word_of(text_of(p), finetunes)) {
        /* What everybody knows of an adapter. */
        const bool lora = size.adapter && size.weights && str_eq_nocase(text_of(p), STR("lora"));
        p->kinds |= lora ? PART_TYPE : PART_FINETUNE;
    }
}

/* Words for sizes count only where there is no number. */
static void prefer_numbers(struct parts *all)
{
    bool number = false;
    for (size_t i = 0; i < all->count; i++)
        for (size_t k = 0; all->items[i].kinds & PART_SIZE && k < all->items[i].n; k++)
            number |= is_digit(all->items[i].p[k]);
    for (size_t i = 0; number && i < all->count; i++) {
        struct part *p = &all->items[i];
        bool letters = true;
        for (size_t k = 0; k < p->n; k++)
            letters &= is_letter(p->p[k]);
        if (letters)
            p->kinds &= ~(unsigned)PART_SIZE;
    }
}

static void find_basename(struct parts *all)
{
    bool at_start = true;
    for (size_t i = 0; i < all->count; i++) {
        struct part *p = &all->items[i];
        if (at_start && ((p->kinds == 0 && is_letter(p->p[0])) || p->kinds & PART_VERSION)) {
            p->kinds |= PART_BASENAME;
            continue;
        }
        at_start = false;
        if (p->kinds == 0)
            p->kinds = PART_FINETUNE;
    }
    for (size_t i = all->count; i > 0; i--) {
        struct part *p = &all->items[i - 1];
        if (!(p->kinds & PART_BASENAME) || p->kinds == PART_BASENAME)
            break;
        p->kinds &= ~(unsigned)PART_BASENAME; /* a version at the end */
    }
}

static bool seen_before(const struct parts *all, size_t i, unsigned kind)
{
    for (size_t k = 0; k < i; k++)
        if (all->items[k].kinds & kind && str_eq(text_of(&all->items[k]), text_of(&all->items[i])))
            return true;
    return false;
}

static bool join(const struct parts *all, unsigned with, unsigned without, struct arena *arena,
                 struct str *out)
{
    size_t room = 1, n = 0;
    for (size_t i = 0; i < all->count; i++)
        room += all->items[i].n + 1;
    char *p = arena_alloc(arena, room);
    if (!p)
        return false;
    for (size_t i = 0; i < all->count; i++) {
        const struct part *part = &all->items[i];
        if (!(part->kinds & with) || part->kinds & without ||
            (with == PART_SIZE && seen_before(all, i, with)))
            continue;
        if (n)
            p[n++] = '-';
        memcpy(p + n, part->p, part->n);
        n += part->n;
    }
    p[n] = '\0';
    *out = (struct str){p, n};
    return true;
}

static bool split(struct str name, struct arena *arena, struct parts *all)
{
    size_t from = 0;
    for (size_t i = 0; i <= name.n; i++) {
        if (i < name.n && name.p[i] != '-')
            continue;
        if (i > from && all->count < MOST_PARTS) {
            struct part *p = &all->items[all->count++];
            p->n = i - from;
            p->p = arena_alloc(arena, p->n + 2);
            if (!p->p)
                return false;
            memcpy(p->p, name.p + from, p->n);
        }
        from = i + 1;
    }
    return true;
}

bool model_id_parse(struct str id, struct model_size size, struct arena *arena,
                    struct model_id *out)
{
    struct parts all = {.count = 0};
    *out = (struct model_id){.full = id};
    if (id.n == 0 || memchr(id.p, ' ', id.n))
        return true; /* a name for people, not an id */
    const char *slash = memchr(id.p, '/', id.n);
    if (slash) {
        const size_t n = (size_t)(slash - id.p);
        out->full = (struct str){slash + 1, id.n - n - 1};
        if (n == 0 || id.p[0] != '.')
            out->organization = (struct str){id.p, n};
    }
    if (!split(out->full, arena, &all))
        return false;
    for (size_t i = 0; i < all.count; i++)
        annotate(&all.items[i], i, size);
    prefer_numbers(&all);
    find_basename(&all);
    if (!join(&all, PART_BASENAME, 0, arena, &out->basename) ||
        !join(&all, PART_SIZE, 0, arena, &out->size_label) ||
        !join(&all, PART_FINETUNE, 0, arena, &out->finetune) ||
        !join(&all, PART_VERSION, PART_BASENAME, arena, &out->version))
        return false;
    if (!out->size_label.n && !out->finetune.n && !out->version.n)
        out->basename.n = 0; /* it could be anything */
    return true;
}

/* ---- titles
 * -------------------------------------------------------------------------------------- */

/* Capitals after everything that is no letter, in words without capitals that are no versions. */
static void capitalize(char *p, size_t n)
{
    bool small = false;
    for (size_t i = 0; i < n; i++) {
        if (p[i] >= 'A' && p[i] <= 'Z')
            return;
        small |= p[i] >= 'a' && p[i] <= 'z';
    }
    if (!small || is_digit(p[0]) || (p[0] == 'v' && is_version((struct str){p, n})))
        return;
    for (size_t i = 0; i < n; i++)
        if (i == 0 || (!is_letter(p[i - 1]) && !(p[i - 1] & 0x80)))
            p[i] = upper(p[i]);
}

struct str model_id_title(struct str id, struct arena *arena)
{
    char *p = arena_alloc(arena, id.n + 1);
    size_t n = 0;
    if (!p)
        return (struct str){0};
    for (size_t i = 0; i < id.n;) {
        size_t end = i;
        while (end < id.n && !is_blank(id.p[end]) && id.p[end] != '-')
            end++;
        if (end > i) {
            if (n)
                p[n++] = ' ';
            memcpy(p + n, id.p + i, end - i);
            capitalize(p + n, end - i);
            n += end - i;
        }
        i = end + 1;
    }
    p[n] = '\0';
    return (struct str){p, n};
}

/* ---- sizes
 * --------------------------------------------------------------------------------------- */

/* At least two digits: 1.1B, 22M, 950K. */
static char *rounded(const char *before, double n, struct arena *arena)
{
    static const struct {
        double least, unit;
        char letter;
    } units[] = {
        {1e12, 1e-12, 'T'},
        {1e9,  1e-9,  'B'},
        {1e6,  1e-6,  'M'},
        {-1,   1e-3,  'K'}
    };
    size_t k = 0;
    while (!(n > units[k].least))
        k++;
    const double scaled = n * units[k].unit;
    const double whole = nearbyint(scaled);
    const int digits = whole < 1 ? 0 : whole < 10 ? 1 : 2;
    return arena_printf(arena, "%s%.*f%c", before, 2 - digits, scaled, units[k].letter);
}

char *model_size_label(uint64_t total, uint64_t shared, uint64_t per_expert, uint64_t nexperts,
                       struct arena *arena)
{
    char before[32] = "";
    if (nexperts)
        snprintf(before, sizeof before, "%llux", (unsigned long long)nexperts);
    return rounded(before, (double)(nexperts ? shared + per_expert : total), arena);
}
