/* recipe.h - a merge as its user wrote it: models, method, parameters.
 *
 * The schema is mergekit's. Its three forms (models, slices, modules) are read into one: modules of
 * slices of sources. Everything that can be wrong without looking at a model is found here, and all
 * mistakes are told. */
#ifndef QUERN_RECIPE_H
#define QUERN_RECIPE_H

#include "core/yaml.h"
#include "merge/method.h"
#include "merge/mistakes.h"

/* Where a model or an adapter lies: text, or a path and perhaps a revision. */
struct ref_place {
    struct str text; /* "path-or-id" or "path-or-id@revision", all of it */
    struct str path, revision;
};

#define MAX_LORAS 8 /* adapters on one model */

struct ref_lora {
    struct ref_place place;
    double weight; /* multiplies what the adapter adds */
};

/* A model as the recipe names it. locate.h finds it. */
struct model_ref {
    struct ref_place model;
    struct ref_lora loras[MAX_LORAS]; /* of the map form {model, lora}, in this order */
    unsigned nloras;
    bool whole; /* model.text is all there is: it may hold "+lora" */
    struct str override_architecture;
    uint32_t line;
};

/* The same taken apart; all but path may be empty. */
struct ref_parts {
    struct str path, revision;
    struct {
        struct str path, revision;
        double weight;
    } loras[MAX_LORAS];
    unsigned nloras;
};

/* One of the values a parameter may have: for the tensors whose name contains filter. */
struct choice {
    struct str filter; /* empty: every tensor */
    const double *values;
    uint32_t nvalues; /* more than one: a gradient over the layers */
    uint32_t line;
};

/* A parameter as it was set at one level; nchoices is 0 when it was not. The first choice whose
 * filter fits counts. */
struct setting {
    const struct choice *choices;
    uint32_t nchoices;
};

/* Where the row of a token comes from in models that do not have the token. */
enum token_source {
    TOKEN_BY_RULE,       /* not told */
    TOKEN_SAME_OF_MODEL, /* the model's row of the same token */
    TOKEN_ZERO,
    TOKEN_OF_MODEL, /* the model's row of another token, by text or, when that is empty, by id */
};
struct token_wish {
    struct str token;
    enum token_source source;
    struct model_ref model;
    struct str other;
    uint64_t id;
    bool force; /* in models that have the token too */
    uint32_t line;
};

/* What is wished for the vocabulary of the result. */
struct tokenizer_wish {
    bool given;
    enum { TOKENIZER_UNION, TOKENIZER_BASE, TOKENIZER_OF_MODEL } source;
    struct model_ref model;
    struct token_wish *tokens;
    uint32_t ntokens;
    uint32_t pad; /* rows become a multiple of it; 0: not told */
};

/* A model that takes part in a slice. */
struct slice_source {
    unsigned model;      /* index into recipe.models */
    uint64_t first, end; /* its layers [first, end); of no meaning in a slice that is whole */
    struct setting settings[MAX_METHOD_PARAMS];
};

/* Layers of the output that follow each other and are made from the same sources. */
struct slice {
    struct slice_source *sources; /* in the order of the recipe, an unlisted base last */
    unsigned nsources;
    int base;   /* index into sources, or -1 */
    bool whole; /* all layers of all sources: what 'models' means */
    struct setting settings[MAX_METHOD_PARAMS];
    const struct yaml_node *node;
};

/* A part of the model with layers of its own. */
struct module {
    struct str name; /* empty: the model has but one, and the recipe does not name it */
    struct slice *slices;
    uint32_t nslices;
    struct setting settings[MAX_METHOD_PARAMS];
    const struct yaml_node *node;
};

struct recipe_model {
    struct model_ref ref;
};

struct recipe {
    struct arena arena;
    const char *path; /* names the recipe in errors; NULL when it has no file */
    struct str text;
    struct str name; /* of the stage, by which later ones refer to it; may be empty */
    const struct method *method;
    struct recipe_model models[MAX_SOURCES]; /* each once, as they are met; base_model last */
    unsigned nmodels;
    int base; /* base_model as an index into models, or -1 */
    struct module *modules;
    uint32_t nmodules;
    struct setting settings[MAX_METHOD_PARAMS];
    enum dtype dtype, out_dtype; /* DTYPE_COUNT: not given */
    struct tokenizer_wish tokenizer;
    struct str chat_template; /* "auto", a name or a template; empty: not told */
    const char **notes;
    uint32_t nnotes;
};

/* Parses text (which is copied) into *r. Free with recipe_free() whatever comes back. sink: who
 * wants to hear of every mistake, or NULL. */
enum quern_status recipe_parse(struct recipe *r, struct str text, const char *path,
                               const struct mistake_sink *sink, struct quern_error *err);
/* The same for one document of a text that is parsed already, into an *r of zeros. Text, path and
 * nodes must outlive it. */
enum quern_status recipe_read(struct recipe *r, const struct yaml_node *root, struct str text,
                              const char *path, const struct mistake_sink *sink,
                              struct quern_error *err);
void recipe_free(struct recipe *r);

/* The type that values are rounded to: out_dtype, else dtype, else DTYPE_COUNT (the base's own). */
enum dtype recipe_out_dtype(const struct recipe *r);

/* EUSAGE when there is more than one '@' or '+' in the text. A file may have such a name: ask only
 * once there is none of the whole name. */
enum quern_status ref_take_apart(const struct model_ref *ref, struct ref_parts *out,
                                 struct quern_error *err);
bool ref_same(const struct model_ref *a, const struct model_ref *b);
/* What stands for the model in the recipe, and the same for messages. */
struct str ref_text(const struct model_ref *ref);
struct quoted ref_name(const struct model_ref *ref);

#endif
