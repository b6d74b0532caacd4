/* map.c - read, check and write maps: files of rules for tensors. */
#include "map.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/io.h"
#include "core/json.h"
#include "core/text_file.h"
#include "core/yaml.h"
#include "formats/pack.h"

/* ---- words ------------------------------------------------------------------------------------
 */

#define ANY_NAMES    16u /* more than there are parts of anything */
#define MOST_MEMBERS 64u /* of a list of names */

/* What maps call the transforms, and how many new names each has. */
static const struct word {
    const char *name;
    enum transform how;
    unsigned least, most;
    bool stacks; /* {e} counts members */
} words[] = {
    {"copy",                AS_IT_IS,         1, 1,         false},
    {"ignore",              LEFT_OUT,         0, 0,         false},
    {"ignore-if-zero",      UNLESS_ZERO,      0, 0,         false},
    {"ignore-if-embedding", UNLESS_EMBEDDING, 1, 1,         false},
    {"once",                ONCE,             1, 1,         false},
    {"twice",               TWICE,            2, 2,         false},
    {"add-one",             ADD_ONE,          1, 1,         false},
    {"neg-exp",             NEG_EXP,          1, 1,         false},
    {"neg-exp-column",      NEG_EXP_COLUMN,   1, 1,         false},
    {"permute-q",           PERMUTE_Q,        1, 1,         false},
    {"permute-k",           PERMUTE_K,        1, 1,         false},
    {"transpose",           TURN,             1, 1,         false},
    {"squeeze",             SQUEEZE,          1, 1,         false},
    {"flatten",             FLAT,             1, 1,         false},
    {"column",              COLUMN,           1, 1,         false},
    {"groups",              BY_GROUPS,        1, 1,         false},
    {"stack",               STACK_ALONE,      1, 1,         true },
    {"stack",               STACK_NAMED,      1, 1,         false},
    {"join",                JOIN_NAMED,       1, 1,         false},
    {"split",               SPLIT_ROWS,       2, ANY_NAMES, false},
    {"split-halves",        HALVES,           2, 2,         false},
    {"split-even-odd",      EVEN_ODD,         2, 2,         false},
    {"split-transposed",    TURN_EVEN_ODD,    2, 2,         false},
    {"split-qkv",           QKV_SPLIT,        3, 3,         false},
    {"split-kv-b",          SPLIT_KV_B,       2, 2,         false},
    {"regroup-qkv",         QKV_BY_GROUP,     1, 1,         false},
    {"regroup-qkv-heads",   QKV_BY_HEAD,      1, 1,         false},
    {"cut-front",           CUT_FRONT,        1, 1,         false},
    {"cut-back",            CUT_BACK,         1, 1,         false},
};

#define NWORDS (sizeof words / sizeof *words)

/* Not a transform: the tensor is the template's. */
static const char keep_word[] = "template";

static const struct word *word_of(enum transform how)
{
    for (size_t i = 0; i < NWORDS; i++)
        if (words[i].how == how)
            return &words[i];
    return NULL;
}

const char *map_word(enum transform how)
{
    const struct word *w = word_of(how);
    return w ? w->name : "?";
}

bool map_may_be_idle(enum transform how)
{
    const struct word *w = word_of(how);
    return w && w->least == 0;
}

/* ---- rules ------------------------------------------------------------------------------------
 */

/* Counts of {i} and {e}; false when braces hold anything else, or the name is none. */
static bool read_pattern(const char *text, unsigned *layers, unsigned *members)
{
    *layers = *members = 0;
    if (!*text || strlen(text) > 512)
        return false;
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p <= ' ' || *p == '}')
            return false;
        if (*p != '{')
            continue;
        if (strncmp(p, "{i}", 3) != 0 && strncmp(p, "{e}", 3) != 0)
            return false;
        ++*(p[1] == 'i' ? layers : members);
        p += 2;
    }
    return true;
}

static enum quern_status bad_pattern(const char *text, struct quern_error *err)
{
    return fail(err, QUERN_EUSAGE, "map",
                "'%s' is no name of a tensor" WANT
                "expected one without blanks, with {i} for the layer and {e} for the member",
                quoted(str_from(text)).text);
}

static enum quern_status check_new_name(const char *to, bool has_layer, struct quern_error *err)
{
    unsigned layers, members;
    if (!read_pattern(to, &layers, &members))
        return bad_pattern(to, err);
    if (members || (layers != 0) != has_layer)
        return fail(err, QUERN_EUSAGE, "map",
                    "the new name '%s' has %s" WANT "expected {i} in both names or in none",
                    quoted(str_from(to)).text,
                    members  ? "an {e}"
                    : layers ? "an {i}"
                             : "no {i}");
    return QUERN_OK;
}

static enum quern_status check_names(const struct tensor_rule *r, const struct word *w,
                                     struct quern_error *err)
{
    unsigned layers, members, n = 0;
    char name[520];
    if (!read_pattern(r->from, &layers, &members))
        return bad_pattern(r->from, err);
    if (layers > 1 || members > 1 || (members == 1) != w->stacks)
        return fail(err, QUERN_EUSAGE, "map",
                    "'%s' has %u {i} and %u {e}" WANT "expected at most one {i}, and %s {e} for %s",
                    quoted(str_from(r->from)).text, layers, members, w->stacks ? "an" : "no",
                    w->name);
    for (const char *to = r->to; *to; n++) {
        const size_t length = strcspn(to, " ");
        if (length >= sizeof name)
            return bad_pattern(to, err);
        memcpy(name, to, length);
        name[length] = '\0';
        TRY(check_new_name(name, layers > 0, err));
        to += length + (to[length] == ' ');
    }
    if (n >= w->least && n <= w->most)
        return QUERN_OK;
    return fail(err, QUERN_EUSAGE, "map", "%s has %u new name%s" WANT "expected %u%s", w->name, n,
                n == 1 ? "" : "s", w->least, w->most > w->least ? " or more" : "");
}

enum quern_status map_add(struct tensor_map *m, const struct tensor_rule *rule, uint8_t members,
                          uint32_t line, struct quern_error *err)
{
    const struct word *w = word_of(rule->transform);
    if (!w)
        return fail(err, QUERN_EINTERNAL, "internal", "no word for a transform of maps");
    TRY(check_names(rule, w, err));
    if (m->nrules == m->capacity) {
        const uint32_t capacity = m->capacity ? m->capacity * 2 : 64;
        struct tensor_rule *rules = ARENA_NEW(&m->arena, struct tensor_rule, capacity + 1u);
        uint32_t *lines = ARENA_NEW(&m->arena, uint32_t, capacity);
        uint8_t *counts = ARENA_NEW(&m->arena, uint8_t, capacity);
        if (!rules || !lines || !counts)
            return fail_memory(err, capacity * sizeof *rules);
        if (m->nrules) {
            memcpy(rules, m->rules, m->nrules * sizeof *rules);
            memcpy(lines, m->lines, m->nrules * sizeof *lines);
            memcpy(counts, m->members, m->nrules * sizeof *counts);
        }
        m->rules = rules;
        m->lines = lines;
        m->members = counts;
        m->capacity = capacity;
    }
    const struct tensor_rule copy = {.from = arena_printf(&m->arena, "%s", rule->from),
                                     .to = arena_printf(&m->arena, "%s", rule->to),
                                     .transform = rule->transform,
                                     .rank = rule->rank};
    if (!copy.from || !copy.to)
        return fail_memory(err, strlen(rule->from));
    m->lines[m->nrules] = line;
    m->members[m->nrules] = members;
    m->rules[m->nrules++] = copy;
    return QUERN_OK;
}

enum quern_status map_keep(struct tensor_map *m, struct str name, struct quern_error *err)
{
    struct str *kept = ARENA_NEW(&m->arena, struct str, m->nkept + 1u);
    if (kept && m->nkept)
        memcpy(kept, m->kept, m->nkept * sizeof *kept);
    if (kept)
        kept[m->nkept] = arena_str(&m->arena, name);
    if (!kept || !kept[m->nkept].p)
        return fail_memory(err, sizeof *kept);
    m->kept = kept;
    m->nkept++;
    return QUERN_OK;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

/* A mistake at a node: its place goes before what was found. */
static enum quern_status wrong_at(const struct yaml_node *n, enum quern_status s,
                                  struct quern_error *err)
{
    if (s != QUERN_EUSAGE || !err)
        return s;
    const struct quern_error inner = *err;
    return fail(err, s, "map", "line %" PRIu32 ": %s" WANT "%s", n->line, inner.found,
                inner.expected);
}

static enum quern_status unknown(const char *what, struct str word, const char *const *known,
                                 size_t nknown, const char *expected, struct quern_error *err)
{
    const char *near = closest(word, known, nknown);
    return fail(err, QUERN_EUSAGE, "map", "unknown %s '%s'" WANT "%s%s%s", what, quoted(word).text,
                near ? "did you mean '" : "", near ? near : expected, near ? "'?" : "");
}

static enum quern_status text_of(const struct yaml_node *n, struct str *out,
                                 struct quern_error *err)
{
    if (n->kind != YAML_IS_SCALAR || n->text.n == 0)
        return fail(err, QUERN_EUSAGE, "map", "%s is no text" WANT "expected a name",
                    quoted(n->key).text);
    *out = n->text;
    return QUERN_OK;
}

/* One name or a list of them, blank between them. */
static enum quern_status names_of(struct tensor_map *m, const struct yaml_node *n, const char **out,
                                  struct quern_error *err)
{
    struct str s = {0};
    if (n->kind != YAML_IS_LIST) {
        TRY(text_of(n, &s, err));
        if (memchr(s.p, ' ', s.n))
            return bad_pattern(s.p, err);
        *out = s.p;
        return QUERN_OK;
    }
    *out = "";
    for (const struct yaml_node *item = n->first; item; item = item->next) {
        TRY(text_of(item, &s, err));
        if (memchr(s.p, ' ', s.n))
            return bad_pattern(s.p, err);
        *out = arena_printf(&m->arena, "%s%s%s", *out, **out ? " " : "", s.p);
        if (!*out)
            return fail_memory(err, s.n);
    }
    return QUERN_OK;
}

static enum quern_status how_of(struct str word, enum transform *how, struct quern_error *err)
{
    const char *names[NWORDS + 1];
    for (size_t i = 0; i < NWORDS; i++) {
        names[i] = words[i].name;
        if (str_is(word, words[i].name)) {
            *how = words[i].how;
            return QUERN_OK;
        }
    }
    names[NWORDS] = keep_word;
    return unknown("transform", word, names, NWORDS + 1,
                   "expected copy, permute-q, stack, ignore or another that the manual lists", err);
}

struct entry {
    const struct yaml_node *from, *to, *how;
};

static enum quern_status read_fields(const struct yaml_node *n, struct entry *e,
                                     struct quern_error *err)
{
    static const char *const keys[] = {"from", "how", "to"};
    *e = (struct entry){0};
    if (n->kind != YAML_IS_MAP)
        return fail(err, QUERN_EUSAGE, "map", "a rule is no map" WANT "expected from, to and how");
    for (const struct yaml_node *f = n->first; f; f = f->next) {
        if (str_is(f->key, "from"))
            e->from = f;
        else if (str_is(f->key, "to"))
            e->to = f;
        else if (str_is(f->key, "how"))
            e->how = f;
        else
            return unknown("key of a rule", f->key, keys, 3, "expected from, to or how", err);
    }
    return QUERN_OK;
}

/* Several tensors become one. */
static enum quern_status read_list(struct tensor_map *m, const struct yaml_node *from,
                                   struct tensor_rule *rule, uint32_t line, struct quern_error *err)
{
    struct str s = {0};
    if (rule->transform != STACK_ALONE && rule->transform != JOIN_NAMED)
        return fail(err, QUERN_EUSAGE, "map",
                    "%s has a list of names" WANT "expected stack or join for several tensors",
                    map_word(rule->transform));
    if (from->count < 2 || from->count > MOST_MEMBERS)
        return fail(err, QUERN_EUSAGE, "map",
                    "a list has %" PRIu32 " names" WANT "expected 2 to %u", from->count,
                    MOST_MEMBERS);
    if (rule->transform == STACK_ALONE)
        rule->transform = STACK_NAMED;
    for (const struct yaml_node *item = from->first; item; item = item->next, rule->rank++) {
        TRY(text_of(item, &s, err));
        rule->from = s.p;
        TRY(map_add(m, rule, (uint8_t)from->count, line, err));
    }
    return QUERN_OK;
}

static enum quern_status read_rule(struct tensor_map *m, const struct yaml_node *n,
                                   struct quern_error *err)
{
    struct entry e;
    struct str how = STR("copy"), s = {0};
    struct tensor_rule rule = {.to = ""};
    TRY(read_fields(n, &e, err));
    if (e.how)
        TRY(text_of(e.how, &how, err));
    if (str_is(how, keep_word)) {
        if (e.from || !e.to)
            return fail(err, QUERN_EUSAGE, "map",
                        "%s is for a tensor that no other is made into" WANT "expected to alone",
                        keep_word);
        TRY(text_of(e.to, &s, err));
        return map_keep(m, s, err);
    }
    TRY(how_of(how, &rule.transform, err));
    if (!e.from)
        return fail(err, QUERN_EUSAGE, "map", "a rule has no from" WANT "expected a name");
    if (e.to)
        TRY(names_of(m, e.to, &rule.to, err));
    if (e.from->kind == YAML_IS_LIST)
        return read_list(m, e.from, &rule, n->line, err);
    if (rule.transform == JOIN_NAMED)
        return fail(err, QUERN_EUSAGE, "map", "join has one name" WANT "expected a list of them");
    TRY(text_of(e.from, &s, err));
    rule.from = s.p;
    return map_add(m, &rule, 0, n->line, err);
}

static enum quern_status read_root(struct tensor_map *m, const struct yaml_node *root,
                                   struct quern_error *err)
{
    static const char *const keys[] = {"architecture", "tensors"};
    const struct yaml_node *tensors = yaml_get(root, "tensors");
    if (!tensors || tensors->kind != YAML_IS_LIST)
        return fail(err, QUERN_EUSAGE, "map",
                    "there is no list of tensors" WANT
                    "expected 'tensors:' and rules of from, to and how");
    for (const struct yaml_node *f = root->first; f; f = f->next) {
        if (str_is(f->key, "architecture"))
            TRY(wrong_at(f, text_of(f, &m->architecture, err), err));
        else if (f != tensors)
            return wrong_at(
                f, unknown("key", f->key, keys, 2, "expected architecture or tensors", err), err);
    }
    for (const struct yaml_node *n = tensors->first; n; n = n->next)
        TRY(wrong_at(n, read_rule(m, n, err), err));
    if (m->nrules == 0)
        return fail(err, QUERN_EUSAGE, "map", "it has no rules");
    return QUERN_OK;
}

enum quern_status map_read(const char *path, struct tensor_map *m, struct quern_error *err)
{
    struct str text;
    const struct yaml_node *root;
    *m = (struct tensor_map){.path = path};
    TRY(read_named_file(path, YAML_MAX_TEXT, &m->arena, &text, err));
    TRY(yaml_parse(text, path, &m->arena, &root, err));
    return in_file(err, path, read_root(m, root, err));
}

void map_free(struct tensor_map *m)
{
    arena_free(&m->arena);
    *m = (struct tensor_map){0};
}

/* ---- writing ----------------------------------------------------------------------------------
 */

/* Names need no quotes when YAML cannot take them for anything else. */
static bool is_plain(struct str s)
{
    if (s.n == 0 || strchr("{-.0123456789", *s.p))
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-{}", s.p[i]))
            return false;
    return true;
}

static void write_name(FILE *f, struct str name)
{
    struct json_writer w = {0};
    if (is_plain(name)) {
        fprintf(f, "%.*s", STR_ARG(name));
        return;
    }
    json_put_str(&w, name);
    fprintf(f, "%.*s", STR_ARG(json_written(&w)));
    json_writer_free(&w);
}

static void write_names(FILE *f, const char *names)
{
    const bool list = strchr(names, ' ') != NULL;
    fprintf(f, "    to:%s", list ? "" : " ");
    while (*names) {
        const size_t n = strcspn(names, " ");
        if (list)
            fprintf(f, "\n      - ");
        write_name(f, (struct str){names, n});
        names += n + (names[n] == ' ');
    }
    fprintf(f, "\n");
}

char *map_text(const struct tensor_map *m, size_t *n)
{
    struct text_file file;
    if (!text_file_begin(&file))
        return NULL;
    FILE *f = file.f;
    fprintf(f, "# Rules for quern convert --map: what becomes of every tensor.\n");
    if (m->architecture.n) {
        fprintf(f, "architecture: ");
        write_name(f, m->architecture);
        fprintf(f, "\n");
    }
    fprintf(f, "tensors:\n");
    for (uint32_t i = 0; i < m->nrules; i += m->members[i] ? m->members[i] : 1) {
        const struct tensor_rule *r = &m->rules[i];
        fprintf(f, "  - from:%s", m->members[i] ? "" : " ");
        for (unsigned k = 0; k == 0 || k < m->members[i]; k++) {
            fprintf(f, "%s", m->members[i] ? "\n      - " : "");
            write_name(f, str_from(r[k].from));
        }
        fprintf(f, "\n");
        if (*r->to)
            write_names(f, r->to);
        if (r->transform != AS_IT_IS)
            fprintf(f, "    how: %s\n", map_word(r->transform));
    }
    for (uint32_t i = 0; i < m->nkept; i++) {
        fprintf(f, "  - to: ");
        write_name(f, m->kept[i]);
        fprintf(f, "\n    how: %s\n", keep_word);
    }
    return text_file_end(&file, n);
}
