/* zeroed.c - tell which weights were NaN or Inf and have become 0. */
#include <inttypes.h>

#include "cli.h"

#define MOST_SHOWN 8u

const char *nonfinite_word(const struct plan *p)
{
    static const char *const words[] = {[NONFINITE_MOVED] = "moved",
                                        [NONFINITE_ERROR] = "error",
                                        [NONFINITE_KEEP] = "keep",
                                        [NONFINITE_ZERO] = "zero"};
    return words[p->nonfinite];
}

static struct quoted file_of(const struct nonfinite_values *v)
{
    return quoted(str_from(v->model->files[v->tensor->file].path));
}

/* Notes of a summary: they stand even where nothing else is said. */
void print_zeroed(const struct plan *p)
{
    uint64_t total = 0;
    if (p->nonfinite != NONFINITE_ZERO)
        return;
    for (uint32_t i = 0; i < p->nzeroed; i++) {
        const struct nonfinite_values *v = &p->zeroed[i];
        total += v->count;
        if (i < MOST_SHOWN)
            say("  %s: tensor '%s': %" PRIu64 " of %" PRIu64 " values NaN or Inf, now 0",
                file_of(v).text, quoted(v->tensor->name).text, v->count, v->tensor->nelems);
    }
    if (p->nzeroed > MOST_SHOWN)
        say("  and %" PRIu32 " more tensors", p->nzeroed - MOST_SHOWN);
    if (p->nzeroed > 1)
        say("  %" PRIu64 " values in %" PRIu32 " tensors have become 0", total, p->nzeroed);
    else if (p->nzeroed == 0)
        say("  no weight was NaN or Inf");
}

void zeroed_json(struct json_writer *j, const struct plan *p)
{
    json_key(j, "zeroed");
    json_open(j, '[');
    for (uint32_t i = 0; i < p->nzeroed; i++) {
        const struct nonfinite_values *v = &p->zeroed[i];
        json_open(j, '{');
        field_text(j, "file", v->model->files[v->tensor->file].path);
        json_key(j, "tensor");
        json_put_str(j, v->tensor->name);
        field_u64(j, "values", v->count);
        field_u64(j, "weights", v->tensor->nelems);
        field_u64(j, "first", v->first);
        json_close(j, '}');
    }
    json_close(j, ']');
}
