/* yaml.h - a small YAML document as a tree; the strict subset that recipes need.
 *
 * At most 1 MiB of UTF-8. Refused: tags, duplicate keys, keys that are not scalars,
 * merge keys (<<), nesting deeper than 32, and aliases that repeat more than 1000 nodes together.
 */
#ifndef QUERN_YAML_H
#define QUERN_YAML_H

#include "arena.h"
#include "error.h"

#define YAML_MAX_TEXT    (1u << 20)
#define YAML_MAX_DEPTH   32u
#define YAML_MAX_ALIASED 1000u

enum yaml_kind { YAML_IS_SCALAR, YAML_IS_LIST, YAML_IS_MAP };

struct yaml_node {
    enum yaml_kind kind;
    bool plain;            /* scalar without quotes: may be a number, a truth value or null */
    uint32_t line, column; /* from 1 */
    uint32_t count;        /* items of a list or map */
    uint32_t nnodes;       /* of this subtree */
    struct str text;       /* of a scalar, NUL-terminated in memory */
    struct str key;        /* of an item of a map, NUL-terminated in memory */
    const struct yaml_node *first; /* items, in the order of the text */
    const struct yaml_node *next;
};

/* *root gets the document's node (a null scalar for an empty document); nodes and text are the
 * arena's. path names the text in errors, which are EUSAGE (or EMEMORY) with line and column. */
enum quern_status yaml_parse(struct str text, const char *path, struct arena *arena,
                             const struct yaml_node **root, struct quern_error *err);

/* The same for a text of several documents, which begin with a line of three dashes: each is the
 * next of the one before. */
enum quern_status yaml_parse_all(struct str text, const char *path, struct arena *arena,
                                 const struct yaml_node **first, struct quern_error *err);

/* The value of a key, or NULL when it is absent or map is no map. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);

/* What a plain scalar means. A quoted one is text only. */
bool yaml_is_null(const struct yaml_node *n);
/* true/false, yes/no, on/off as YAML 1.1 spells them. */
bool yaml_bool(const struct yaml_node *n, bool *out);
/* Decimal numbers, 1e-5 included. NaN, Inf and what overflows to Inf are none. */
bool yaml_number(const struct yaml_node *n, double *out);

/* The decimal number s, all of it, whatever the locale says. */
bool decimal_number(struct str s, double *out);

#endif
