/* back_class.h - what the parts of the way back share: the class a GGUF is taken for, and numbers
 * from its keys. */
#ifndef QUERN_BACK_CLASS_H
#define QUERN_BACK_CLASS_H

#include "back.h"
#include "core/json.h"

struct back;

/* key: of the GGUF, without the architecture before it. to: in config.json; NULL: it is known and
 * needs no place there. */
struct back_key {
    const char *key;
    const char *to;
};

/* A class of transformers and what goes into its config.json. */
struct back_class {
    const char *arch; /* general.architecture */
    const char *hf_class, *model_type;
    bool (*is)(const struct back *b); /* NULL: always; the first class that fits counts */
    const struct back_key *keys[4];   /* lists, each ended by a NULL key; the first row counts */
    const char *fixed;                /* members that are always the same, as JSON without braces */
    const char *prefix;               /* before all names but that of the head, or NULL */
    enum quern_status (*more)(struct back *b, struct json_writer *w, struct quern_error *err);
    bool foreign; /* no class of the transformers package: the model's own code is needed */
};

/* Lists, each ended by a NULL arch. */
extern const struct back_class back_classes[], back_state_classes[];

struct back {
    struct model *model;
    struct plan *plan;
    const struct back_class *cls;
    const struct architecture *arch;
    struct str name; /* general.architecture */
    uint64_t nlayers, nheads, nkv_heads, nexperts, hidden;
    enum dtype dtype; /* of the result's weights */
    bool asked;       /* the type was asked for: everything becomes it */
    bool *used;       /* by tensor of the model */
};

/* ---- back.c */
/* dtype: DTYPE_COUNT for what the weights have. */
void back_start(struct back *b, struct model *m, enum dtype dtype, struct plan *p);
/* What the result stores this as: a choice by its type, and for F32 by its values. */
enum quern_status back_dtype(const struct back *b, const struct source *s, enum dtype *out,
                             struct quern_error *err);

/* A file of the result; the text is not copied. */
enum quern_status back_add_file(struct back *b, struct hf_form *out, const char *name,
                                struct str text, struct quern_error *err);

/* ---- back_config.c */
/* The key ARCH.key; NULL when there is none. */
const struct meta *back_meta(const struct back *b, const char *key);
bool back_u64(const struct back *b, const char *key, uint64_t *out);
bool back_f32(const struct back *b, const char *key, double *out); /* shortest decimal of it */
bool back_has(const struct back *b, const char *tensor);
/* The next member of config.json: its key, on a line of its own. */
void back_member(struct json_writer *w, const char *key);
/* Always as a float, 30.0: classes of transformers look at the type. */
void back_float(struct json_writer *w, double v);
/* A member with the value of a key. */
void back_sampling(struct json_writer *w, const char *to, const struct meta *k);
enum quern_status back_config(struct back *b, struct str *out, struct quern_error *err);
void back_put_f64(struct json_writer *w, const char *key, double v);
void back_put_u64(struct json_writer *w, const char *key, uint64_t v);
void back_put_bool(struct json_writer *w, const char *key, bool v);
/* The number with the fewest digits near `about` that would have been turned into what there is. */
struct back_aim {
    double a, b, want;
};
double back_shortest(double about, bool (*hits)(double x, const struct back_aim *aim),
                     const struct back_aim *aim);
/* The decimal with the fewest digits that gives this float. */
double decimal_of_float(float f);
/* 32-bit floats of a tensor with n of them; EFORMAT when it is not such a tensor. */
enum quern_status back_floats(struct back *b, const char *tensor, uint64_t n, float *out,
                              struct quern_error *err);
enum quern_status no_way_back(struct quern_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- back_classes.c, back_rope.c */
extern const struct back_key back_common_keys[];
enum quern_status back_more_glm4(struct back *b, struct json_writer *w, struct quern_error *err);
uint64_t back_head_dim(const struct back *b);
/* rope_scaling, when there is something to scale. */
enum quern_status back_put_rope(struct back *b, struct json_writer *w, struct quern_error *err);

/* ---- back_names.c */
/* Every tensor of the GGUF becomes sources of out, or is an error. */
enum quern_status back_tensors(struct back *b, struct hf_form *out, struct quern_error *err);

/* ---- back_forms.c */
/* The tensor, or tensors of a stack, that `parts` came from. rule has as many names as there are
 * parts. make_name gives the name of member e. */
struct back_work {
    struct back *b;
    const struct tensor_rule *rule;
    const struct tensor *parts[4];
    unsigned nparts;
    struct str suffix;
    const char *(*name)(const struct back_work *w, uint64_t e);
    uint64_t layer;
    struct hf_form *out;
};
enum quern_status back_form(struct back_work *w, struct quern_error *err);
enum quern_status back_emit(struct back_work *w, const struct source *s, uint64_t e,
                            struct quern_error *err);

/* ---- back_kinds.c */
/* s - 1, log(-s). */
enum quern_status less_one_source(struct arena *arena, const struct source *from,
                                  struct source *out, struct quern_error *err);
enum quern_status log_minus_source(struct arena *arena, const struct source *from,
                                   struct source *out, struct quern_error *err);
/* The same values, called this and to be stored in this type. */
enum quern_status typed_source(struct arena *arena, const struct source *from, struct str name,
                               enum dtype dtype, struct source *out, struct quern_error *err);
/* Does the type hold every value of s exactly? */
enum quern_status fits_type(const struct source *s, enum dtype dtype, bool *fits,
                            struct quern_error *err);

/* ---- back_tokenizer.c */
/* Tokenizer files and generation_config.json; a note says what cannot be had. */
enum quern_status back_tokenizer(struct back *b, struct hf_form *out, struct quern_error *err);

#endif
