/* provenance_text.c - the record of an output as JSON: one input, tensor or output to a line. */
#include "core/json.h"
#include "hashing.h"
#include "provenance.h"

static void member(struct json_writer *w, const char *key)
{
    json_key(w, key);
    json_raw(w, STR(" "));
}

static void text_member(struct json_writer *w, const char *key, const char *value)
{
    member(w, key);
    json_put_text(w, value);
}

static void put_file(struct json_writer *w, const char *key, const char *name, uint64_t nbytes,
                     const char *hex)
{
    text_member(w, key, name);
    w->comma = false;
    json_raw(w, STR(", "));
    member(w, "bytes");
    json_put_u64(w, nbytes);
    w->comma = false;
    json_raw(w, STR(", "));
    text_member(w, "sha256", hex);
}

static void put_tensors(const struct plan *p, struct json_writer *w, const struct recorded_input *i)
{
    const struct model_file *f = &i->model->files[i->file];
    char hex[65];
    if (i->small)
        return;
    json_line(w, "     ");
    member(w, "tensors");
    json_open(w, '{');
    for (uint32_t k = f->first_tensor; k < f->first_tensor + f->ntensors; k++) {
        hash_of_tensor(p, i->model, k, hex);
        json_line(w, "       ");
        json_key_str(w, i->model->tensors[k].name);
        json_raw(w, STR(" "));
        json_put_text(w, hex);
    }
    json_close(w, '}');
}

static void put_inputs(const struct plan *p, struct json_writer *w)
{
    char hex[65];
    json_open(w, '[');
    for (uint32_t i = 0; i < p->provenance->ninputs; i++) {
        const struct recorded_input *in = &p->provenance->inputs[i];
        hash_of_file(p, in->model, in->file, hex);
        json_line(w, "    ");
        json_open(w, '{');
        put_file(w, "path", in->path, in->model->files[in->file].id.nbytes, hex);
        put_tensors(p, w, in);
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void put_outputs(const struct provenance *v, struct json_writer *w)
{
    json_open(w, '[');
    for (uint32_t i = 0; i < v->noutputs; i++) {
        json_line(w, "    ");
        json_open(w, '{');
        put_file(w, "file", v->outputs[i].file, v->outputs[i].nbytes, v->outputs[i].sha256);
        json_close(w, '}');
    }
    json_close(w, ']');
}

void provenance_text(const struct plan *p, struct json_writer *w)
{
    const struct provenance *v = p->provenance;
    json_open(w, '{');
    json_line(w, "  ");
    member(w, "quern_record");
    json_put_u64(w, RECORD_VERSION);
    json_line(w, "  ");
    text_member(w, "version", v->about.version);
    json_line(w, "  ");
    text_member(w, "output", path_base(v->target));
    json_line(w, "  ");
    text_member(w, "form", p->dir ? "directory" : p->nfiles > 1 ? "files" : "file");
    json_line(w, "  ");
    member(w, "job");
    json_raw(w, v->about.job);
    w->comma = true;
    if (v->about.recipe.p) {
        json_line(w, "  ");
        member(w, "recipe");
        json_put_str(w, v->about.recipe);
    }
    json_line(w, "  ");
    member(w, "inputs");
    put_inputs(p, w);
    json_line(w, "  ");
    member(w, "outputs");
    put_outputs(v, w);
    json_raw(w, STR("\n}\n"));
}
