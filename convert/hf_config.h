/* hf_config.h - what config.json says, as a loader of Hugging Face models would see it.
 *
 * A key is looked up in the configuration of the text model (text_config, when there is one), then
 * among the defaults of its model_type (the values that configuration classes fill in when a file
 * leaves a key out), then in the file's root. */
#ifndef QUERN_HF_CONFIG_H
#define QUERN_HF_CONFIG_H

#include "core/arena.h"
#include "core/error.h"
#include "core/json.h"
#include "pipeline/folder.h"

struct hf_config {
    struct arena arena;
    const struct folder *folder;
    const char *path;        /* of config.json */
    struct str model_type;   /* of the text model; empty when it does not say */
    struct str architecture; /* first of architectures; empty when there is none */
    const struct json *root; /* the whole file */
    const struct json *text; /* the part for the text model; root when there is none */
    const struct json *rope; /* rope_parameters, else rope_scaling, when it is an object */
    struct json *file;       /* owned */
    struct json *defaults;   /* owned: what the class fills in */
    struct json *computed;   /* owned: what the class computes from other keys */
};

/* Reads config.json of the folder, which is not copied. Free with hf_config_close() whatever comes
 * back. EFORMAT when it is no JSON object, EUNSUPPORTED "no-config" when there is none. */
enum quern_status hf_config_open(const struct folder *f, struct hf_config *c,
                                 struct quern_error *err);
void hf_config_close(struct hf_config *c);

/* The value of a key, which may be a JSON null; NULL when nothing has it. */
const struct json *hf_get(const struct hf_config *c, const char *key);

/* Each false when the key is absent, null or of another type. */
bool hf_u64(const struct hf_config *c, const char *key, uint64_t *out);
bool hf_f64(const struct hf_config *c, const char *key, double *out);
bool hf_bool(const struct hf_config *c, const char *key, bool *out);
bool hf_text(const struct hf_config *c, const char *key, struct str *out);

/* A small JSON file of the directory: *out is NULL when there is no such file. The caller frees
 * it with json_free(). */
enum quern_status hf_json_file(const struct hf_config *c, const char *name, struct json **out,
                               struct quern_error *err);

#endif
