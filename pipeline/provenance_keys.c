/* provenance_keys.c - what an output says of itself, as keys. */
#include <inttypes.h>
#include <stdio.h>

#include "core/json.h"
#include "hashing.h"
#include "provenance.h"

/* An array of strings, or lines of a text, that grows. */
struct strings {
    struct json_writer text;
    uint64_t count;
    bool lines;
};

/* Names may be any bytes; strings of keys are UTF-8. */
static void add_string(struct strings *s, const char *hash, const char *number, struct str name)
{
    const struct quoted shown = quoted(name);
    size_t bad;
    if (!utf8_valid(name, &bad))
        name = str_from(shown.text);
    const struct str parts[] = {str_from(hash), STR("  "), str_from(number), name};
    uint64_t n = 0;
    for (size_t i = 0; i < 4; i++)
        n += parts[i].n;
    char length[8];
    for (unsigned i = 0; i < 8; i++)
        length[i] = (char)(n >> (8 * i));
    if (!s->lines)
        json_raw(&s->text, (struct str){length, 8});
    for (size_t i = 0; i < 4; i++)
        json_raw(&s->text, parts[i]);
    if (s->lines)
        json_raw(&s->text, STR("\n"));
    s->count++;
}

static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";

static void put_inputs(const struct plan *p, bool filled, struct strings *s)
{
    char hex[65];
    for (uint32_t i = 0; i < p->provenance->ninputs; i++) {
        const struct recorded_input *in = &p->provenance->inputs[i];
        hash_of_file(p, in->model, in->file, hex);
        add_string(s, filled ? hex : zeros, "", str_from(in->name));
    }
}

static void put_tensors(const struct plan *p, bool filled, struct strings *s)
{
    char hex[65], number[16];
    for (uint32_t i = 0; i < p->provenance->ninputs; i++) {
        const struct recorded_input *in = &p->provenance->inputs[i];
        const struct model_file *f = &in->model->files[in->file];
        snprintf(number, sizeof number, "%" PRIu32 ":", i);
        for (uint32_t k = 0; !in->small && k < f->ntensors; k++) {
            hash_of_tensor(p, in->model, f->first_tensor + k, hex);
            add_string(s, filled ? hex : zeros, number,
                       in->model->tensors[f->first_tensor + k].name);
        }
    }
}

/* Takes the strings. False when memory ran out. */
static bool set_strings(struct meta_list *l, const char *key, struct strings *s)
{
    const struct str text = json_written(&s->text);
    const struct meta k = {.key = str_from(key),
                           .value = text,
                           .type = s->lines ? META_STRING : META_ARRAY,
                           .item_type = META_STRING,
                           .count = s->count};
    const bool ok = text.p && meta_list_set(l, k);
    json_writer_free(&s->text);
    return ok;
}

struct meta_list provenance_keys(const struct plan *p, struct arena *arena, bool filled, bool lines)
{
    const struct provenance_request *about = &p->provenance->about;
    struct meta_list l = {.arena = arena};
    struct strings inputs = {.lines = lines}, tensors = {.lines = lines};
    put_inputs(p, filled, &inputs);
    put_tensors(p, filled, &tensors);
    bool ok = meta_list_set_string(&l, "quern.version", str_from(about->version)) &&
              meta_list_set_string(&l, "quern.command", about->job);
    if (about->recipe.p)
        ok = ok && meta_list_set_string(&l, "quern.recipe", about->recipe);
    /* Both take their strings, whatever comes before. */
    ok = set_strings(&l, "quern.inputs", &inputs) && ok;
    ok = set_strings(&l, "quern.input_tensors", &tensors) && ok;
    if (!ok)
        l.items = NULL;
    return l;
}
