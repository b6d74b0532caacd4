/* asked.c - what was asked for, as far as it decides the output: --resume goes on with the same. */
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "core/io.h"

/* Larger files are told apart by size and time. */
#define MAX_CONTENT (1u << 20)

static bool is_output(const struct plan *p, const char *path)
{
    for (uint32_t i = 0; i < p->nfiles; i++)
        if (strcmp(p->files[i].path, path) == 0)
            return true;
    return false;
}

/* The journal looks at inputs itself, and can say which has changed. */
static bool is_input(const struct plan *p, const struct stat *st)
{
    for (uint32_t m = 0; m < p->nmodels; m++)
        for (uint32_t i = 0; i < p->models[m]->nfiles; i++)
            if (p->models[m]->files[i].id.ino == st->st_ino &&
                p->models[m]->files[i].id.dev == st->st_dev)
                return true;
    return false;
}

/* A recipe, a list of types: the word alone would not tell that it has been edited. */
static void ask_file(struct plan *p, const char *path)
{
    struct stat st;
    struct str text;
    struct arena arena = {0};
    if (is_output(p, path) || stat(path, &st) != 0 || !S_ISREG(st.st_mode) || is_input(p, &st))
        return;
    const int64_t state[] = {st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
    if (st.st_size <= MAX_CONTENT &&
        read_small_file(path, MAX_CONTENT, &arena, &text, NULL) == QUERN_OK)
        plan_asked(p, text.p, text.n);
    else
        plan_asked(p, state, sizeof state);
    arena_free(&arena);
}

static void ask_text(struct plan *p, const char *text)
{
    plan_asked(p, text ? text : "", text ? strlen(text) : 0);
    if (text)
        ask_file(p, text);
}

static void ask_values(struct plan *p, const struct values *v)
{
    const uint64_t n = v->count;
    plan_asked(p, &n, sizeof n);
    for (size_t i = 0; i < v->count; i++)
        ask_text(p, v->items[i]);
}

static void ask_option(const struct cli *c, const struct option *o, struct plan *p)
{
    const void *field = (const char *)c + o->field;
    plan_asked(p, o->name, strlen(o->name));
    switch (o->kind) {
    case OPTION_FLAG:
        plan_asked(p, field, sizeof(bool));
        break;
    case OPTION_TEXT:
    case OPTION_FILE:
        ask_text(p, *(const char *const *)field);
        break;
    case OPTION_PAIR:
        ask_text(p, ((const char *const *)field)[0]);
        ask_text(p, ((const char *const *)field)[1]);
        break;
    case OPTION_LIST:
    case OPTION_LIST_FILE:
        ask_values(p, field);
        break;
    case OPTION_COUNT:
        plan_asked(p, field, sizeof(unsigned));
        break;
    case OPTION_SIZE:
    case OPTION_SHARD:
    case OPTION_NUMBER:
        plan_asked(p, field, sizeof(uint64_t));
        break;
    case OPTION_IGNORED:
    case OPTION_IGNORED_TEXT:
    case OPTION_REFUSED:
        break;
    }
}

void ask_plan(const struct cli *c, struct plan *p)
{
    const struct option *t;
    plan_asked(p, c->command->name, strlen(c->command->name));
    ask_values(p, &c->args);
    for (unsigned i = 0; (t = command_options(c->command, i)); i++)
        for (; t->name; t++)
            if (!option_is_free(t))
                ask_option(c, t, p);
}
