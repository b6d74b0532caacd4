/* lesson.c - learn rules for tensors from a known pair and write them as a map. */
#include "lesson.h"

#include <stdlib.h>
#include <string.h>

#include "core/output.h"

int lesson_take(struct cli *c, struct lesson *x)
{
    struct quern_error err;
    struct plan *p;
    *x = (struct lesson){.l = NULL};
    if (model_open(c->learn[0], &x->base, &err) != QUERN_OK ||
        model_open(c->learn[1], &x->made, &err) != QUERN_OK ||
        learn_new(x->base, x->made, &x->l, &err) != QUERN_OK ||
        learn_next(x->l, &p, &err) != QUERN_OK)
        return report_error(c, &err);
    while (p) {
        const int code = run_quietly(c, p);
        plan_free(p);
        if (code != 0)
            return code;
        if (learn_next(x->l, &p, &err) != QUERN_OK)
            return report_error(c, &err);
    }
    for (uint32_t i = 0; !c->quiet && learn_note(x->l, i); i++)
        say("note: %s", learn_note(x->l, i));
    return 0;
}

int lesson_write(const struct cli *c, const struct lesson *x)
{
    struct quern_error err;
    size_t n = 0;
    char *text = map_text(learn_map(x->l), &n);
    const bool to_stdout = strcmp(c->write_map, "-") == 0;
    enum quern_status s = text ? QUERN_OK : fail_memory(&err, n);
    if (s == QUERN_OK && to_stdout)
        fwrite(text, 1, n, stdout);
    if (s == QUERN_OK && !to_stdout)
        s = output_check(c->write_map, false, c->force, &err);
    if (s == QUERN_OK && !to_stdout)
        s = output_write(c->write_map, (struct str){text, n}, 0, c->force, &err);
    free(text);
    return s == QUERN_OK ? 0 : report_error(c, &err);
}

void lesson_end(struct lesson *x)
{
    learn_free(x->l);
    model_close(x->base);
    model_close(x->made);
}
