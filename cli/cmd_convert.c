/* cmd_convert.c - quern convert: models in another format or in other files. */
#include <string.h>

#include "cli.h"
#include "convert/adapter_plan.h"
#include "convert/arch.h"
#include "convert/back.h"
#include "convert/convert.h"
#include "core/output.h"
#include "formats/adapter.h"
#include "lesson.h"
#include "making.h"

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
static int read_words(struct cli *c, const char **input, struct convert_request *r)
{
    const struct values *a = &c->args;
    size_t i = 0;
    if (a->count == 0)
        return usage_error(c, "expected INPUT [OUTPUT]");
    *input = a->items[i++];
    r->output = c->output;
    if (!r->output && i < a->count)
        r->output = a->items[(c->output_at = ++i) - 1];
    if (i < a->count)
        return usage_error(c, "too many arguments: '%s' (the type goes after -t)",
                           quoted(str_from(a->items[i])).text);
    return 0;
}

/* An option that is given and says nothing about an output of safetensors; NULL for none. */
static const char *only_for_gguf(const struct cli *c, const struct convert_request *r)
{
    const struct {
        bool given;
        const char *name;
    } options[] = {
        {r->like,                  "--like"                 },
        {r->map_path,              "--map"                  },
        {r->pre,                   "--pre"                  },
        {r->model_name,            "--model-name"           },
        {r->metadata,              "--metadata"             },
        {r->vocab_only,            "--vocab-only"           },
        {r->text_only,             "--text-only"            },
        {c->override_kvs.count,    "--override-kv"          },
        {c->quantize.imatrix,      "--imatrix"              },
        {c->quantize.arch,         "--arch"                 },
        {r->no_tensor_first_split, "--no-tensor-first-split"},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (options[i].given)
            return options[i].name;
    return NULL;
}

/* The direction follows from the form of the OUTPUT. *m is to be closed after the plan is freed;
 * NULL when the plan has it. */
static enum quern_status make_plan(const struct cli *c, const char *input,
                                   const struct convert_request *r, struct model **m,
                                   struct plan **out, struct quern_error *err)
{
    const struct back_request back = {.output = r->output,
                                      .type = r->type ? r->type : "auto",
                                      .keep_names = c->quantize.keep_names,
                                      .shard_bytes = c->shard_bytes,
                                      .force = c->force};
    const bool splits = r->split_max_bytes || r->split_max_tensors;
    const bool to_gguf = !r->output || splits || str_ends(str_from(r->output), ".gguf");
    const char *idle = to_gguf ? NULL : only_for_gguf(c, r);
    if (is_adapter(input) && (r->like || r->map_path))
        idle = r->like ? "--like" : "--map";
    if (idle)
        return fail(err, QUERN_EUSAGE, "usage",
                    "%s is for a GGUF of a Hugging Face model" WANT
                    "expected an OUTPUT that ends in .gguf, and no adapter",
                    idle);
    if (to_gguf && c->shard_bytes)
        return fail(err, QUERN_EUSAGE, "usage",
                    "--shard-size is for a directory" WANT "expected --split-max-size for GGUF");
    if (is_adapter(input))
        return adapter_plan(input, r, out, err);
    if (r->base)
        return fail(err, QUERN_EUSAGE, "usage",
                    "--base has no meaning here" WANT "expected a PEFT adapter as INPUT");
    TRY(model_open(input, m, err));
    return to_gguf ? convert_plan(*m, r, out, err) : convert_back_plan(*m, &back, out, err);
}

static int convert(struct cli *c, const char *input, const struct convert_request *r)
{
    struct quern_error err;
    struct model *m = NULL;
    struct plan *p;
    int code;
    if (make_plan(c, input, r, &m, &p, &err) != QUERN_OK) {
        code = report_error(c, &err);
    } else {
        code = run_weights(c, p);
        plan_free(p);
    }
    model_close(m);
    return code;
}

/* Learning takes its time: an output that may not be written is told before. */
static int check_outputs(const struct cli *c, const struct convert_request *r)
{
    struct quern_error err;
    const bool to_file = c->write_map && strcmp(c->write_map, "-") != 0;
    const bool one = r->output && !r->split_max_bytes && !r->split_max_tensors && !c->dry_run;
    if ((to_file && output_check(c->write_map, false, c->force, &err) != QUERN_OK) ||
        (one && output_check(c->making ? c->making->target : r->output, false, c->force, &err) !=
                    QUERN_OK))
        return report_error(c, &err);
    return 0;
}

/* Rules first, then the conversion by them. */
static int learn_and_convert(struct cli *c, struct convert_request *r)
{
    const char *input = NULL;
    struct lesson x = {0};
    const bool only_map = c->write_map && c->args.count == 0 && !c->output;
    int code = only_map ? 0 : read_words(c, &input, r);
    if (code == 0 && c->map)
        code = usage_error(c, "--map and --learn exclude each other");
    if (code == 0)
        code = check_outputs(c, r);
    if (code == 0)
        code = lesson_take(c, &x);
    if (code == 0 && c->write_map)
        code = lesson_write(c, &x);
    c->also[0] = x.base;
    c->also[1] = x.made;
    if (code == 0 && !only_map) {
        r->map = learn_map(x.l);
        r->like = r->like ? r->like : c->learn[1];
        code = convert(c, input, r);
    }
    lesson_end(&x);
    return code;
}

static int convert_words(struct cli *c, struct convert_request *r)
{
    const char *input = NULL;
    if (c->write_map)
        return usage_error(c, "--write-map writes what --learn finds");
    const int code = read_words(c, &input, r);
    return code == 0 ? convert(c, input, r) : code;
}

int cmd_convert(struct cli *c)
{
    struct arena arena = {0};
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
                                .like = c->like,
                                .map_path = c->map,
                                .vocab_only = c->vocab_only,
                                .text_only = c->text_only,
                                .split_max_bytes = c->split_max_bytes,
                                .split_max_tensors = c->split_max_tensors,
                                .no_tensor_first_split = c->no_tensor_first_split,
                                .force = c->force};
    if (c->print_supported)
        return print_supported(c);
    if (c->provenance && c->write_map)
        return usage_error(c,
                           "--provenance and --write-map exclude each other: write the map, then "
                           "convert with --map");
    r.hub_cache = c->hub_cache ? c->hub_cache : hub_cache_dir(&arena);
    const int code = c->learn[0] ? learn_and_convert(c, &r) : convert_words(c, &r);
    arena_free(&arena);
    return code;
}
