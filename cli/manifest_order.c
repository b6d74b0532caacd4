/* manifest_order.c - which job comes before which: told, or found by the paths they name. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/archive.h"
#include "formats/pack.h"
#include "manifest_reader.h"
#include "pipeline/provenance.h"
#include "recipe_texts.h"

struct recipe_needs {
    uint32_t *items, count;
};

struct order {
    struct manifest_reader *r;
    struct manifest *m;
    struct arena scratch;
    const char *here;    /* the current directory, "" when it has no name */
    struct str *outputs; /* of each job: its output's place, or nothing */
    struct name_table names, places, recipe_names;
    struct recipe_needs *recipes; /* of the first job with a recipe */
    uint32_t *found;              /* needs of the job that is looked at; room for all */
    uint32_t nfound;
    uint32_t *seen; /* by which job + 1 a job was found last */
};

/* ---- places --------------------------------------------------------------------------------- */

#define MAX_PLACE (2u * MANIFEST_MAX_TEXT + 8u)

/* The path from the root, without "." and "..", as far as the text tells; nothing where it is too
 * long. */
static struct str place_of(const struct order *o, struct str path, char text[MAX_PLACE])
{
    const bool absolute = path.n && path.p[0] == '/';
    const int used =
        snprintf(text, MAX_PLACE, "%s/%.*s/", absolute ? "" : o->here, (int)path.n, path.p);
    size_t n = 0; /* written, never more than was read */
    if (used < 0 || (size_t)used >= MAX_PLACE)
        return STR("");
    for (const char *p = text; *p;) {
        p += strspn(p, "/");
        const size_t length = strcspn(p, "/");
        if (length == 2 && p[0] == '.' && p[1] == '.') {
            while (n > 0 && text[--n] != '/')
                ;
        } else if (length > 0 && !(length == 1 && p[0] == '.')) {
            text[n++] = '/';
            memmove(text + n, p, length);
            n += length;
        }
        p += length;
    }
    text[n] = '\0';
    return (struct str){text, n};
}

static struct str name_of(const void *owner, uint32_t i)
{
    return str_from(((const struct order *)owner)->m->jobs[i].name);
}

static struct str output_of(const void *owner, uint32_t i)
{
    return ((const struct order *)owner)->outputs[i];
}

static bool are_five_digits(const char *p)
{
    return strspn(p, "0123456789") >= 5;
}

/* NAME-00001-of-00003.gguf is what a job makes whose output is the prefix NAME. */
static bool cut_split(struct str *place)
{
    const size_t n = strlen("-00001-of-00003.gguf");
    if (place->n <= n || !str_ends(*place, ".gguf"))
        return false;
    const char *end = place->p + place->n - n;
    if (end[0] != '-' || !are_five_digits(end + 1) || strncmp(end + 6, "-of-", 4) != 0 ||
        !are_five_digits(end + 10))
        return false;
    place->n -= n;
    return true;
}

/* The job whose output this is, or is a part of. */
static bool made_by(const struct order *o, struct str place, uint32_t *job)
{
    struct str whole = place;
    if (str_ends(place, RECORD_SUFFIX))
        whole.n = place.n -= strlen(RECORD_SUFFIX);
    if (cut_split(&whole) && name_table_find(&o->places, whole, output_of, o, job))
        return true;
    while (place.n > 0) {
        if (name_table_find(&o->places, place, output_of, o, job))
            return true;
        const char *slash = memrchr(place.p, '/', place.n);
        place.n = slash ? (size_t)(slash - place.p) : 0;
    }
    return false;
}

/* ---- what is there once --------------------------------------------------------------------- */

static void add_name(struct order *o, uint32_t i)
{
    const struct batch_job *job = &o->m->jobs[i];
    bool fresh;
    uint32_t other;
    if (!name_table_add(&o->names, str_from(job->name), i, name_of, o, &fresh, &other))
        o->r->no_memory = true;
    else if (!fresh)
        manifest_wrong(o->r, job->line, "duplicate", "two jobs are called '%s'%s",
                       quoted(str_from(job->name)).text,
                       o->m->jobs[other].line == job->line ? WANT
                           "expected the variables of the matrix in the name"
                                                           : "");
}

static void add_output(struct order *o, uint32_t i)
{
    const struct batch_job *job = &o->m->jobs[i];
    char text[MAX_PLACE];
    bool fresh;
    uint32_t other;
    if (!job->output)
        return;
    o->outputs[i] = arena_str(&o->scratch, place_of(o, str_from(job->output), text));
    if (!manifest_memory(o->r, (void *)o->outputs[i].p))
        return;
    if (!name_table_add(&o->places, o->outputs[i], i, output_of, o, &fresh, &other))
        o->r->no_memory = true;
    else if (!fresh)
        manifest_wrong(o->r, job->line, "duplicate", "'%s' and '%s' have the same output: '%s'",
                       quoted(str_from(o->m->jobs[other].name)).text,
                       quoted(str_from(job->name)).text, quoted(str_from(job->output)).text);
}

/* ---- needs ---------------------------------------------------------------------------------- */

static void add_need(struct order *o, uint32_t job, uint32_t needed)
{
    if (o->seen[needed] == job + 1)
        return;
    o->seen[needed] = job + 1;
    o->found[o->nfound++] = needed;
}

static bool add_path(struct order *o, uint32_t job, struct str path)
{
    char text[MAX_PLACE];
    uint32_t needed;
    const bool made = made_by(o, place_of(o, path, text), &needed);
    if (made)
        add_need(o, job, needed);
    return made;
}

static bool is_there(const char *path)
{
    char pack[MANIFEST_MAX_TEXT + 1];
    const size_t n = pack_part(path);
    if (n == 0 || n >= sizeof pack)
        return path_exists(path);
    snprintf(pack, sizeof pack, "%.*s", (int)n, path);
    return path_exists(pack);
}

static void find_inputs(struct order *o, uint32_t i)
{
    const struct batch_job *job = &o->m->jobs[i];
    for (uint32_t k = 0; k < job->ninputs; k++) {
        const struct named_path *in = &job->inputs[k];
        if (!add_path(o, i, str_from(in->path)) && in->must && !is_there(in->path))
            manifest_wrong(o->r, in->line, "missing",
                           "input '%s' is not there, and no job makes it",
                           quoted(str_from(in->path)).text);
    }
}

struct recipe_search {
    struct order *o;
    uint32_t job;
};

/* Models of a recipe: any text in it that is an output of ours. PATH+ADAPTER is two. */
static enum quern_status find_in_recipe(const struct yaml_node *n, void *search,
                                        struct quern_error *err)
{
    const struct recipe_search *f = search;
    const char *plus = memchr(n->text.p, '+', n->text.n);
    (void)err;
    if (n->text.n == 0 || n->text.n > MANIFEST_MAX_TEXT || add_path(f->o, f->job, n->text) || !plus)
        return QUERN_OK;
    const size_t first = (size_t)(plus - n->text.p);
    add_path(f->o, f->job, (struct str){n->text.p, first});
    add_path(f->o, f->job, (struct str){plus + 1, n->text.n - first - 1});
    return QUERN_OK;
}

static struct str recipe_of(const void *owner, uint32_t i)
{
    return str_from(((const struct order *)owner)->m->jobs[i].recipe);
}

/* Each is read once: what the first job that has it needs for its sake, the others need as well. */
static void look_into_recipe(struct order *o, uint32_t i)
{
    const struct batch_job *job = &o->m->jobs[i];
    struct recipe_needs *mine = &o->recipes[i];
    bool fresh;
    uint32_t first;
    if (!job->recipe)
        return;
    if (!name_table_add(&o->recipe_names, str_from(job->recipe), i, recipe_of, o, &fresh, &first)) {
        o->r->no_memory = true;
        return;
    }
    if (fresh) {
        const uint32_t before = o->nfound;
        recipe_texts(job->recipe, find_in_recipe, &(struct recipe_search){o, i}, NULL);
        mine->count = o->nfound - before;
        mine->items = manifest_memory(o->r, ARENA_NEW(&o->scratch, uint32_t, mine->count + 1));
        if (mine->items)
            memcpy(mine->items, o->found + before, mine->count * sizeof *mine->items);
        return;
    }
    for (uint32_t k = 0; k < o->recipes[first].count; k++)
        add_need(o, i, o->recipes[first].items[k]);
}

static void find_asked(struct order *o, uint32_t i)
{
    const struct batch_job *job = &o->m->jobs[i];
    for (uint32_t k = 0; k < job->nasked; k++) {
        uint32_t needed;
        if (name_table_find(&o->names, str_from(job->asked[k].name), name_of, o, &needed))
            add_need(o, i, needed);
        else
            manifest_wrong(o->r, job->asked[k].line, "missing",
                           "there is no job '%s' that could be needed",
                           quoted(str_from(job->asked[k].name)).text);
    }
}

static void find_needs(struct order *o, uint32_t i)
{
    struct batch_job *job = &o->m->jobs[i];
    o->nfound = 0;
    look_into_recipe(o, i); /* first: what it finds is for others, too */
    find_asked(o, i);
    find_inputs(o, i);
    job->needs = manifest_memory(o->r, ARENA_NEW(&o->m->arena, uint32_t, o->nfound + 1));
    if (!job->needs)
        return;
    memcpy(job->needs, o->found, o->nfound * sizeof *o->found);
    job->nneeds = o->nfound;
}

/* ---- the order ------------------------------------------------------------------------------ */

/* Each once more than what it needs, by the numbers of those that are not placed yet. */
static uint32_t find_levels(struct order *o, uint32_t *waits, uint32_t *users, uint32_t *queue)
{
    struct manifest *m = o->m;
    uint32_t *first = calloc(m->njobs + 2u, sizeof *first), head = 0, tail = 0;
    if (!manifest_memory(o->r, first))
        return 0;
    for (uint32_t i = 0; i < m->njobs; i++)
        for (uint32_t k = 0; k < m->jobs[i].nneeds; k++)
            first[m->jobs[i].needs[k] + 2]++;
    for (uint32_t i = 2; i < m->njobs + 2; i++)
        first[i] += first[i - 1];
    for (uint32_t i = 0; i < m->njobs; i++) {
        waits[i] = m->jobs[i].nneeds;
        for (uint32_t k = 0; k < m->jobs[i].nneeds; k++)
            users[first[m->jobs[i].needs[k] + 1]++] = i;
        if (waits[i] == 0)
            queue[tail++] = i;
    }
    while (head < tail) {
        const uint32_t done = queue[head++], level = m->jobs[done].level + 1;
        m->nlevels = level > m->nlevels ? level : m->nlevels;
        for (uint32_t k = first[done]; k < first[done + 1]; k++) {
            struct batch_job *user = &m->jobs[users[k]];
            user->level = level > user->level ? level : user->level;
            if (--waits[users[k]] == 0)
                queue[tail++] = users[k];
        }
    }
    free(first);
    return tail;
}

/* From one that waits to one it waits for, until one comes again: all from there are the circle. */
static void tell_circle(struct order *o, const uint32_t *waits)
{
    const struct manifest *m = o->m;
    uint32_t at = 0;
    while (waits[at] == 0)
        at++;
    for (uint32_t i = 0; i < m->njobs; i++) { /* surely on the circle then */
        uint32_t k = 0;
        while (waits[m->jobs[at].needs[k]] == 0)
            k++;
        at = m->jobs[at].needs[k];
    }
    const struct batch_job *job = &m->jobs[at];
    for (uint32_t k = 0; k < job->nneeds; k++)
        if (waits[job->needs[k]])
            manifest_wrong(o->r, job->line, "circle", "'%s' needs '%s', which needs it in turn%s",
                           quoted(str_from(job->name)).text,
                           quoted(str_from(m->jobs[job->needs[k]].name)).text,
                           job->needs[k] == at ? ": it is the same job" : "");
}

/* By level; inside one as they were. Needs are told by their new numbers. */
static void renumber(struct order *o, uint32_t *new_number)
{
    struct manifest *m = o->m;
    struct batch_job *sorted = calloc(m->njobs + 1u, sizeof *sorted);
    uint32_t n = 0;
    if (!manifest_memory(o->r, sorted))
        return;
    uint32_t *start = o->found; /* of each level */
    memset(start, 0, m->njobs * sizeof *start);
    for (uint32_t i = 0; i < m->njobs; i++)
        start[m->jobs[i].level]++;
    for (uint32_t level = 0; level < m->nlevels; level++) {
        const uint32_t count = start[level];
        start[level] = n;
        n += count;
    }
    for (uint32_t i = 0; i < m->njobs; i++) {
        new_number[i] = start[m->jobs[i].level]++;
        sorted[new_number[i]] = m->jobs[i];
    }
    for (uint32_t i = 0; i < m->njobs; i++)
        for (uint32_t k = 0; k < sorted[i].nneeds; k++)
            sorted[i].needs[k] = new_number[sorted[i].needs[k]];
    free(m->jobs);
    m->jobs = sorted;
}

static void put_in_order(struct order *o)
{
    struct manifest *m = o->m;
    uint64_t nedges = 0;
    for (uint32_t i = 0; i < m->njobs; i++)
        nedges += m->jobs[i].nneeds;
    uint32_t *waits = ARENA_NEW(&o->scratch, uint32_t, m->njobs),
             *queue = ARENA_NEW(&o->scratch, uint32_t, m->njobs),
             *users = ARENA_NEW(&o->scratch, uint32_t, nedges + 1);
    if (!waits || !queue || !users) {
        o->r->no_memory = true;
        return;
    }
    const uint32_t placed = find_levels(o, waits, users, queue);
    if (o->r->no_memory)
        return;
    if (placed < m->njobs)
        tell_circle(o, waits);
    else
        renumber(o, waits);
}

void manifest_order(struct manifest_reader *r)
{
    struct order o = {.r = r, .m = r->m};
    const uint32_t n = r->m->njobs;
    char here[MANIFEST_MAX_TEXT];
    o.here = getcwd(here, sizeof here) ? here : "";
    o.outputs = ARENA_NEW(&o.scratch, struct str, n + 1);
    o.found = ARENA_NEW(&o.scratch, uint32_t, n + 1);
    o.seen = ARENA_NEW(&o.scratch, uint32_t, n + 1);
    o.recipes = ARENA_NEW(&o.scratch, struct recipe_needs, n + 1);
    if (!o.recipes || !o.outputs || !o.found || !o.seen) {
        r->no_memory = true;
        arena_free(&o.scratch);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        add_name(&o, i);
        add_output(&o, i);
    }
    for (uint32_t i = 0; i < n && !r->no_memory; i++)
        find_needs(&o, i);
    if (r->mistakes.count == 0 && !r->no_memory)
        put_in_order(&o);
    name_table_free(&o.names);
    name_table_free(&o.places);
    name_table_free(&o.recipe_names);
    arena_free(&o.scratch);
}
