/* plan_json.c - a plan, or what came of it, as one JSON object. */
#include <string.h>

#include "cli.h"
#include "pipeline/provenance.h"

/* What each tensor is made of: for a dry run. */
static void step_json(struct json_writer *j, const struct step *s)
{
    json_open(j, '{');
    json_key(j, "name");
    json_put_str(j, s->name);
    field_text(j, "op", step_op(s));
    json_key(j, "shape");
    json_open(j, '[');
    for (unsigned d = 0; d < s->ndims; d++)
        json_put_u64(j, s->dims[d]);
    json_close(j, ']');
    json_key(j, "from");
    json_open(j, '[');
    for (unsigned k = 0; k < s->nsources; k++)
        json_put_text(j, dtype_traits[s->sources[k].tensor->dtype].name);
    json_close(j, ']');
    field_text(j, "type", dtype_traits[s->dtype].name);
    field_u64(j, "bytes", s->nbytes);
    if (s->fallback)
        field_text(j, "wanted", dtype_traits[s->wanted].name);
    if (s->detail)
        field_text(j, "detail", s->detail);
    json_close(j, '}');
}

static void texts_json(struct json_writer *j, const char *key, const char *const *texts, uint32_t n)
{
    json_key(j, key);
    json_open(j, '[');
    for (uint32_t i = 0; i < n; i++)
        json_put_text(j, texts[i]);
    json_close(j, ']');
}

static void hashes_json(struct json_writer *j, const struct file_hash *hashes, size_t n)
{
    json_key(j, "sha256");
    json_open(j, '{');
    for (size_t i = 0; i < n; i++)
        field_text(j, hashes[i].path, hashes[i].hex);
    json_close(j, '}');
}

/* As the user named it: a plan of quantize may be one of a conversion. */
static void command_json(struct json_writer *j, const struct cli *c)
{
    char words[32];
    const char *name = c->command->name;
    const bool two = strcmp(name, "lora") == 0 || strcmp(name, "imatrix") == 0;
    snprintf(words, sizeof words, "%s%s%s", name, two ? " " : "", two ? c->args.items[0] : "");
    field_text(j, "command", c->making ? "rebuild" : words);
}

void plan_json(const struct cli *c, const struct plan *p, const struct quern_result *r,
               const struct file_hash *hashes, size_t nhashes)
{
    struct quern_plan_summary s;
    struct type_share shares[DTYPE_COUNT];
    struct json_writer j = {0};
    quern_plan_summarize((const struct quern_plan *)p, &s);
    json_open(&j, '{');
    command_json(&j, c);
    if (p->dir)
        field_text(&j, "output", p->dir);
    json_key(&j, "files");
    json_open(&j, '[');
    for (uint32_t i = 0; i < p->nfiles; i++)
        json_put_text(&j, p->files[i].path);
    json_close(&j, ']');
    field_u64(&j, "tensors", s.nsteps);
    field_u64(&j, "weights", s.nelems);
    field_u64(&j, "input_bytes", s.input_bytes);
    field_u64(&j, "output_bytes", s.output_bytes);
    field_f64(&j, "bits_per_weight", s.bits_per_weight);
    field_u64(&j, "fallback_tensors", s.nfallbacks);
    field_u64(&j, "fallback_weights", s.fallback_elems);
    field_u64(&j, "min_mem_bytes", plan_min_mem(p));
    field_text(&j, "nonfinite", nonfinite_word(p));
    if (r && p->nonfinite == NONFINITE_ZERO)
        zeroed_json(&j, p);
    json_key(&j, "types");
    json_open(&j, '{');
    const size_t n = types_of_plan(p, shares);
    for (size_t i = 0; i < n; i++)
        field_u64(&j, dtype_traits[shares[i].dtype].name, shares[i].nbytes);
    json_close(&j, '}');
    if (r) {
        field_f64(&j, "seconds", r->seconds);
        field_u64(&j, "threads", r->threads);
        field_u64(&j, "peak_rss_bytes", r->peak_rss_bytes);
        if (r->relative_error >= 0)
            field_f64(&j, "relative_rms_error", r->relative_error);
    }
    if (p->errors) {
        json_key(&j, "errors");
        errors_json(&j, p);
    }
    if (hashes)
        hashes_json(&j, hashes, nhashes);
    if (p->provenance && p->provenance->path)
        field_text(&j, "record", p->provenance->path);
    if (p->refusal)
        field_text(&j, "refusal", p->refusal->text);
    texts_json(&j, "notes", p->notes, p->nnotes);
    texts_json(&j, "left_out", p->dropped, p->ndropped);
    if (!r) {
        json_key(&j, "tensor_list");
        json_open(&j, '[');
        for (uint32_t i = 0; i < p->nsteps; i++)
            step_json(&j, &p->steps[i]);
        json_close(&j, ']');
    }
    json_close(&j, '}');
    print_json(&j);
}
