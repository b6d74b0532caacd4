/* yaml.c - libyaml's events as a bounded tree. The only file that includes <yaml.h>. */
#include "yaml.h"

#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <yaml.h>

#include "hash.h"

struct anchor {
    struct str name;
    const struct yaml_node *node; /* NULL while the node is still open */
    struct anchor *next;
};

/* Functions that build give NULL (or false) after a mistake, which status and err then tell. */
struct builder {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one */
    struct arena *arena;
    struct anchor *anchors; /* newest first: an anchor may be set again */
    uint32_t naliased;      /* nodes that aliases have repeated so far */
    const char *path;
    enum quern_status status;
    struct quern_error *err;
};

static struct str event_text(const yaml_char_t *p, size_t n)
{
    return (struct str){(const char *)p, n};
}

/* A mistake at a mark of the text. */
static void *refuse(struct builder *b, yaml_mark_t mark, const char *kind, const char *what)
{
    fail(b->err, QUERN_EUSAGE, kind, "line %zu, column %zu: %s", mark.line + 1, mark.column + 1,
         what);
    b->status = in_file(b->err, b->path, QUERN_EUSAGE);
    return NULL;
}

static void *no_memory(struct builder *b)
{
    b->status = fail_memory(b->err, sizeof(struct yaml_node));
    return NULL;
}

static bool next_event(struct builder *b)
{
    yaml_event_delete(&b->event);
    if (yaml_parser_parse(&b->parser, &b->event))
        return true;
    if (b->parser.error == YAML_MEMORY_ERROR) {
        no_memory(b);
    } else {
        /* libyaml's texts are its own literals. */
        const char *problem = b->parser.problem ? b->parser.problem : "not YAML";
        refuse(b, b->parser.problem_mark, "yaml", problem);
    }
    return false;
}

static struct yaml_node *new_node(struct builder *b, enum yaml_kind kind)
{
    struct yaml_node *n = ARENA_NEW(b->arena, struct yaml_node, 1);
    if (!n)
        return no_memory(b);
    n->kind = kind;
    n->line = (uint32_t)b->event.start_mark.line + 1;
    n->column = (uint32_t)b->event.start_mark.column + 1;
    n->nnodes = 1;
    return n;
}

/* Registers the anchor of a node that is being built. *out is NULL when it has none. */
static bool open_anchor(struct builder *b, const yaml_char_t *name, struct anchor **out)
{
    *out = NULL;
    if (!name)
        return true;
    struct anchor *a = ARENA_NEW(b->arena, struct anchor, 1);
    if (a)
        a->name = arena_str(b->arena, str_from((const char *)name));
    if (!a || !a->name.p) {
        no_memory(b);
        return false;
    }
    a->next = b->anchors;
    b->anchors = a;
    *out = a;
    return true;
}

/* Repeats an anchored node: its items are shared, only the head is copied. */
static struct yaml_node *alias_node(struct builder *b)
{
    const yaml_mark_t mark = b->event.start_mark;
    const struct str name = str_from((const char *)b->event.data.alias.anchor);
    const struct anchor *a = b->anchors;
    while (a && !str_eq(a->name, name))
        a = a->next;
    if (!a)
        return refuse(b, mark, "alias", "an alias without its anchor");
    if (!a->node)
        return refuse(b, mark, "alias", "an alias inside the node it stands for");
    if (a->node->nnodes > YAML_MAX_ALIASED - b->naliased)
        return refuse(b, mark, "alias", "aliases repeat more than 1000 nodes");
    b->naliased += a->node->nnodes;
    struct yaml_node *n = new_node(b, a->node->kind);
    if (!n)
        return NULL;
    *n = *a->node;
    n->next = NULL;
    n->key = (struct str){NULL, 0};
    return n;
}

static struct yaml_node *scalar_node(struct builder *b)
{
    if (b->event.data.scalar.tag)
        return refuse(b, b->event.start_mark, "tag", "tags are not supported");
    struct yaml_node *n = new_node(b, YAML_IS_SCALAR);
    if (!n)
        return NULL;
    n->plain = b->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    n->text =
        arena_str(b->arena, event_text(b->event.data.scalar.value, b->event.data.scalar.length));
    if (!n->text.p)
        return no_memory(b);
    /* "\0" in quotes makes one; nothing in a recipe may hold it. */
    if (memchr(n->text.p, 0, n->text.n))
        return refuse(b, b->event.start_mark, "yaml", "a NUL byte in a string");
    struct anchor *a;
    if (!open_anchor(b, b->event.data.scalar.anchor, &a))
        return NULL;
    if (a)
        a->node = n;
    return n;
}

/* The keys of a map, for the duplicate test. */
struct keys {
    struct name_table table;
    struct str *names; /* malloc'ed */
    uint32_t capacity;
};

static struct str key_of(const void *owner, uint32_t i)
{
    return ((const struct keys *)owner)->names[i];
}

/* Takes note of a key; a second one of the same name is a mistake at mark. */
static bool add_key(struct builder *b, struct keys *k, struct str key, yaml_mark_t mark)
{
    const uint32_t count = k->table.count;
    if (count == k->capacity) {
        const uint32_t capacity = count ? 2 * count : 8;
        struct str *names = realloc(k->names, capacity * sizeof *names);
        if (!names) {
            no_memory(b);
            return false;
        }
        k->names = names;
        k->capacity = capacity;
    }
    k->names[count] = key;
    bool fresh = false;
    if (!name_table_add(&k->table, key, count, key_of, k, &fresh, NULL)) {
        no_memory(b);
    } else if (!fresh) {
        fail(b->err, QUERN_EUSAGE, "duplicate", "line %zu: key '%s' is there twice", mark.line + 1,
             quoted(key).text);
        b->status = in_file(b->err, b->path, QUERN_EUSAGE);
    }
    return fresh;
}

static struct yaml_node *any_node(struct builder *b, unsigned depth);

/* Reads the current event as a key and goes on to its value. */
static bool read_key(struct builder *b, struct keys *keys, struct str *key)
{
    const yaml_mark_t mark = b->event.start_mark;
    if (b->event.type != YAML_SCALAR_EVENT) {
        refuse(b, mark, "yaml", "a key that is no plain word");
        return false;
    }
    const struct yaml_node *n = scalar_node(b);
    if (!n)
        return false;
    if (n->plain && str_is(n->text, "<<")) {
        refuse(b, mark, "yaml", "merge keys (<<) are not supported");
        return false;
    }
    *key = n->text;
    return add_key(b, keys, *key, mark) && next_event(b);
}

/* The items of the list or map that has just begun, up to its end event. */
static bool read_items(struct builder *b, unsigned depth, struct yaml_node *parent,
                       struct keys *keys)
{
    const bool map = parent->kind == YAML_IS_MAP;
    const yaml_event_type_t end = map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    const struct yaml_node **tail = &parent->first;
    while (next_event(b)) {
        if (b->event.type == end)
            return true;
        struct str key = {NULL, 0};
        if (map && !read_key(b, keys, &key))
            return false;
        struct yaml_node *item = any_node(b, depth + 1);
        if (!item)
            return false;
        item->key = key;
        *tail = item;
        tail = &item->next;
        parent->count++;
        parent->nnodes += item->nnodes;
    }
    return false;
}

static struct yaml_node *collection_node(struct builder *b, unsigned depth)
{
    const bool map = b->event.type == YAML_MAPPING_START_EVENT;
    const yaml_char_t *tag =
        map ? b->event.data.mapping_start.tag : b->event.data.sequence_start.tag;
    const yaml_char_t *anchor =
        map ? b->event.data.mapping_start.anchor : b->event.data.sequence_start.anchor;
    if (depth > YAML_MAX_DEPTH)
        return refuse(b, b->event.start_mark, "depth", "nested deeper than 32 levels");
    if (tag)
        return refuse(b, b->event.start_mark, "tag", "tags are not supported");
    struct anchor *a;
    struct yaml_node *n = new_node(b, map ? YAML_IS_MAP : YAML_IS_LIST);
    if (!n || !open_anchor(b, anchor, &a))
        return NULL;
    struct keys keys = {0};
    const bool whole = read_items(b, depth, n, &keys);
    name_table_free(&keys.table);
    free(keys.names);
    if (whole && a)
        a->node = n;
    return whole ? n : NULL;
}

/* The node that starts with the current event. */
static struct yaml_node *any_node(struct builder *b, unsigned depth)
{
    switch (b->event.type) {
    case YAML_SCALAR_EVENT:
        return scalar_node(b);
    case YAML_ALIAS_EVENT:
        return alias_node(b);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return collection_node(b, depth);
    default:
        return refuse(b, b->event.start_mark, "yaml", "a value is missing");
    }
}

static struct yaml_node *empty_document(struct builder *b)
{
    struct yaml_node *n = new_node(b, YAML_IS_SCALAR);
    if (!n)
        return NULL;
    n->plain = true;
    n->text = STR("");
    return n;
}

/* All documents, each the next of the one before. */
static struct yaml_node *read_documents(struct builder *b)
{
    struct yaml_node *first = NULL, *last = NULL;
    if (!next_event(b)) /* the start of the stream */
        return NULL;
    while (next_event(b)) {
        if (b->event.type == YAML_STREAM_END_EVENT)
            return first ? first : empty_document(b);
        b->anchors = NULL;
        struct yaml_node *n = next_event(b) ? any_node(b, 1) : NULL;
        if (!n || !next_event(b)) /* the end of the document */
            return NULL;
        if (last)
            last->next = n;
        else
            first = n;
        last = n;
    }
    return NULL;
}

/* What libyaml would guess at or pass on: other encodings, NUL, broken UTF-8. */
static enum quern_status check_text(struct str text, const char *path, struct quern_error *err)
{
    if (text.n > YAML_MAX_TEXT)
        return in_file(err, path,
                       fail(err, QUERN_EUSAGE, "too-large",
                            "%zu bytes of YAML" WANT "expected at most 1 MiB", text.n));
    if (text.n >= 2 && (!memcmp(text.p, "\xff\xfe", 2) || !memcmp(text.p, "\xfe\xff", 2)))
        return in_file(err, path,
                       fail(err, QUERN_EUSAGE, "encoding", "UTF-16 text" WANT "expected UTF-8"));
    const char *nul = text.n ? memchr(text.p, 0, text.n) : NULL;
    size_t bad = 0;
    if (nul)
        bad = (size_t)(nul - text.p);
    else if (utf8_valid(text, &bad))
        return QUERN_OK;
    fail(err, QUERN_EUSAGE, "encoding",
         nul ? "a NUL byte" WANT "expected UTF-8 text"
             : "text that is not UTF-8" WANT "expected UTF-8");
    return in_file(err, path, at_offset(err, bad, QUERN_EUSAGE));
}

enum quern_status yaml_parse_all(struct str text, const char *path, struct arena *arena,
                                 const struct yaml_node **first, struct quern_error *err)
{
    TRY(check_text(text, path, err));
    struct builder b = {.arena = arena, .path = path, .err = err};
    if (!yaml_parser_initialize(&b.parser))
        return fail_memory(err, sizeof b);
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b.parser, (const unsigned char *)text.p, text.n);
    *first = read_documents(&b);
    yaml_event_delete(&b.event);
    yaml_parser_delete(&b.parser);
    return b.status;
}

enum quern_status yaml_parse(struct str text, const char *path, struct arena *arena,
                             const struct yaml_node **root, struct quern_error *err)
{
    TRY(yaml_parse_all(text, path, arena, root, err));
    if (!(*root)->next)
        return QUERN_OK;
    return in_file(err, path,
                   fail(err, QUERN_EUSAGE, "yaml",
                        "line %" PRIu32 ": a second document" WANT "expected one",
                        (*root)->next->line));
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
    if (map->kind != YAML_IS_MAP)
        return NULL;
    for (const struct yaml_node *n = map->first; n; n = n->next)
        if (str_is(n->key, key))
            return n;
    return NULL;
}

static bool one_of(struct str s, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_is(s, words[i]))
            return true;
    return false;
}

static bool is_plain(const struct yaml_node *n)
{
    return n->kind == YAML_IS_SCALAR && n->plain;
}

bool yaml_is_null(const struct yaml_node *n)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    return is_plain(n) && one_of(n->text, words, sizeof words / sizeof *words);
}

bool yaml_bool(const struct yaml_node *n, bool *out)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes",
                                      "YES",  "on",   "On",   "ON"};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No",
                                     "NO",    "off",   "Off",   "OFF"};
    if (!is_plain(n))
        return false;
    *out = one_of(n->text, yes, sizeof yes / sizeof *yes);
    return *out || one_of(n->text, no, sizeof no / sizeof *no);
}

static size_t skip_digits(struct str s, size_t *at)
{
    const size_t from = *at;
    while (*at < s.n && s.p[*at] >= '0' && s.p[*at] <= '9')
        ++*at;
    return *at - from;
}

/* [+-] digits [. digits] [e [+-] digits], a digit before or after the point. No octal-looking 010.
 */
static bool decimal_form(struct str s)
{
    size_t i = s.n > 0 && (s.p[0] == '+' || s.p[0] == '-');
    const size_t start = i;
    const size_t whole = skip_digits(s, &i);
    if (whole > 1 && s.p[start] == '0')
        return false;
    size_t fraction = 0;
    if (i < s.n && s.p[i] == '.') {
        i++;
        fraction = skip_digits(s, &i);
    }
    if (whole + fraction == 0)
        return false;
    if (i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
        i++;
        i += i < s.n && (s.p[i] == '+' || s.p[i] == '-');
        if (skip_digits(s, &i) == 0)
            return false;
    }
    return i == s.n;
}

bool decimal_number(struct str s, double *out)
{
    char text[64];
    if (s.n >= sizeof text || !decimal_form(s))
        return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    /* A program that links us may have set a locale with decimal commas. */
    const locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!c)
        return false;
    *out = strtod_l(text, NULL, c);
    freelocale(c);
    return isfinite(*out);
}

bool yaml_number(const struct yaml_node *n, double *out)
{
    return is_plain(n) && decimal_number(n->text, out);
}
