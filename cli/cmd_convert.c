/* cmd_convert.c - quern convert: models in another format or in other files. */
#include <string.h>

#include "cli.h"
#include "convert/adapter_plan.h"
#include "convert/arch.h"
#include "convert/convert.h"
#include "formats/adapter.h"

/* Classes of config.json by architecture, one line each. */
static int print_supported(const struct cli *c)
{
    struct json_writer w = {0};
    if (c->json)
        json_open(&w, '{');
    for (const struct architecture *const *a = architectures; *a; a++) {
        if (c->json)
            field_text(&w, (*a)->name, (*a)->classes);
        else
            printf("%-12s %s\n", (*a)->name, (*a)->classes);
    }
    if (c->json) {
        json_close(&w, '}');
        print_json(&w);
    }
    return 0;
}

/* INPUT [OUTPUT]; the OUTPUT may be given by -o or --outfile, or follow from the input. */
static int read_words(const struct cli *c, const char **input, struct convert_request *r)
{
    const struct values *a = &c->args;
    size_t i = 0;
    if (a->count == 0)
        return usage_error(c, "expected INPUT [OUTPUT]");
    *input = a->items[i++];
    r->output = c->output ? c->output : i < a->count ? a->items[i++] : NULL;
    if (i < a->count)
        return usage_error(c, "too many arguments: '%s' (the type goes after -t)",
                           quoted(str_from(a->items[i])).text);
    if (r->output && !str_ends(str_from(r->output), ".gguf") && !r->split_max_bytes &&
        !r->split_max_tensors)
        return usage_error(c, "OUTPUT '%s': expected a name that ends in .gguf",
                           quoted(str_from(r->output)).text);
    return 0;
}

/* *m is to be closed after the plan is freed; NULL when the plan has it. */
static enum quern_status make_plan(const char *input, const struct convert_request *r,
                                   struct model **m, struct plan **out, struct quern_error *err)
{
    if (is_adapter(input))
        return adapter_plan(input, r, out, err);
    if (r->base)
        return fail(err, QUERN_EUSAGE, "usage",
                    "--base has no meaning here" WANT "expected a PEFT adapter as INPUT");
    TRY(model_open(input, m, err));
    return convert_plan(*m, r, out, err);
}

int cmd_convert(struct cli *c)
{
    struct quern_error err;
    struct model *m = NULL;
    struct arena arena = {0};
    struct plan *p;
    const char *input = NULL;
    struct quern_quantize q = {.override_kvs = c->override_kvs.items,
                               .noverride_kvs = c->override_kvs.count,
                               .imatrix = c->quantize.imatrix,
                               .keep_names = c->quantize.keep_names,
                               .arch = c->quantize.arch,
                               .allow_requantize = c->quantize.allow_requantize};
    struct convert_request r = {.type = c->outtype,
                                .base = c->base,
                                .quantize = &q,
                                .model_name = c->model_name,
                                .metadata = c->metadata,
                                .pre = c->pre,
                                .vocab_only = c->vocab_only,
                                .text_only = c->text_only,
                                .split_max_bytes = c->split_max_bytes,
                                .split_max_tensors = c->split_max_tensors,
                                .no_tensor_first_split = c->no_tensor_first_split,
                                .force = c->force};
    if (c->print_supported)
        return print_supported(c);
    int code = read_words(c, &input, &r);
    if (code != 0)
        return code;
    r.hub_cache = c->hub_cache ? c->hub_cache : hub_cache_dir(&arena);
    if (make_plan(input, &r, &m, &p, &err) != QUERN_OK) {
        code = report_error(c, &err);
    } else {
        code = run_plan(c, p);
        plan_free(p);
    }
    model_close(m);
    arena_free(&arena);
    return code;
}
