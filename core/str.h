/* str.h - a borrowed run of bytes with a length, and the one way to print foreign text. */
#ifndef QUERN_STR_H
#define QUERN_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Not NUL-terminated, may hold any byte, owns nothing. */
struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
/* For text quern made itself. Text from files goes through quoted(). */
#define STR_ARG(s) (int)(s).n, (s).p

static inline struct str str_from(const char *c)
{
    return (struct str){c, strlen(c)};
}

static inline bool str_eq(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool str_is(struct str a, const char *c)
{
    return str_eq(a, str_from(c));
}

static inline bool str_starts(struct str s, const char *prefix)
{
    const size_t n = strlen(prefix);
    return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

static inline bool str_ends(struct str s, const char *suffix)
{
    const size_t n = strlen(suffix);
    return s.n >= n && memcmp(s.p + s.n - n, suffix, n) == 0;
}

/* Byte order: what the formats and llama.cpp sort by. */
int str_cmp(struct str a, struct str b);
bool str_has(struct str s, const char *needle);
/* ASCII only, whatever the locale says. */
bool str_eq_nocase(struct str a, struct str b);
/* Whole string is a decimal number that fits, without sign or leading zeros. */
bool str_to_u64(struct str s, uint64_t *out);
/* Strict UTF-8 (no overlong forms, no surrogates); at_bad gets the first offending byte. */
bool utf8_valid(struct str s, size_t *at_bad);

/* Foreign text made safe for a terminal: control bytes, quotes and invalid UTF-8 become \xNN and
 * friends, long text is cut in the middle. Returned by value so that it lives as long as the full
 * expression it is used in: printf("%s", quoted(name).text). */
#define QUOTED_MAX 200
struct quoted {
    char text[QUOTED_MAX + 8];
};
struct quoted quoted(struct str s);

/* The closest of the candidates when it is close enough for a "did you mean", else NULL. */
const char *closest(struct str word, const char *const *candidates, size_t ncandidates);

#endif
