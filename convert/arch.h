/* arch.h - an architecture as data: which tensors and keys it has and where they come from. */
#ifndef QUERN_ARCH_H
#define QUERN_ARCH_H

#include "hf_config.h"
#include "pipeline/plan.h"

struct conversion;

/* What becomes of a tensor on its way. Rows of q and k are permuted where llama.cpp rotates
 * neighbours and the checkpoint halves. */
enum transform {
    AS_IT_IS,
    LEFT_OUT,      /* not written, by this architecture */
    ADD_ONE,       /* weights of norms that are stored less one; biases as they are */
    PERMUTE_Q,     /* rows [heads, 2, d/2] to [heads, d/2, 2] */
    PERMUTE_K,     /* the same with the heads of keys */
    TURN,          /* rows become columns, of matrices */
    TURN_EVEN_ODD, /* the same, then as EVEN_ODD */
    SQUEEZE,       /* drop dimensions of 1 */
    STACK_EXPERTS, /* one of many, {e} counts them; all kinds of experts of a layer go together */
    STACK_Q_HEADS, /* one of the heads, counted by {e} */
    STACK_K_HEADS, /* the same with the heads of keys */
    HALVES,        /* the first half of the rows, then the second: two tensors */
    EVEN_ODD,      /* even rows, then odd rows: two tensors */
    QKV_BY_HEAD,   /* rows [heads, 3, d] to [3, heads, d] */
    QKV_BY_GROUP,  /* rows [kv heads, heads per kv head + 2, d] to q, k, v one after the other */
    QKV_SPLIT,     /* the same as three tensors; q and k permuted */
    CUT_FRONT,     /* without the rows up to the padding position */
    CUT_BACK,      /* as many rows as there are tokens */
    SPLIT_KV_B,    /* rows [heads, k + v, rank]: k turned around per head, then v */
    TAKEN,         /* used already, by the architecture's extra() */
    UNLESS_EMBEDDING, /* left out when it is the token embedding again */
    UNLESS_ZERO,      /* left out when all zero, refused when not: there is no place for it */
    ONCE,             /* left out when its new name is taken: the same in several places */
    TWICE,            /* under two names */
    BY_LABELS,        /* the first name when the model has labels for classes, else the second */
    NEG_EXP,          /* -exp(x) */
    NEG_EXP_COLUMN,
    COLUMN,      /* with a dimension of 1 at the end */
    BY_GROUPS,   /* a vector as a matrix with a row for every group */
    FLAT,        /* as a vector */
    STACK_NAMED, /* one of named_members, rank is its place */
    JOIN_NAMED,  /* the same, rows of one behind rows of the other */
    STACK_ALONE, /* one of many, {e} counts them; every kind on its own */
    SPLIT_ROWS,  /* rows one after the other, as many as the template's tensors have */
};

/* from: the name, in which {i} is a layer and {e} an expert or a head; a tensor of this name, or
 * with .weight or .bias after it, which then follows in the new names too. to: new names, blank
 * between them. rank: the place among the kinds of experts of a layer, which appear together. */
struct tensor_rule {
    const char *from;
    const char *to;
    enum transform transform;
    uint8_t rank;
};

#define KEEP(from, to)        \
    {                         \
        from, to, AS_IT_IS, 0 \
    }
#define MAKE(from, to, how) \
    {                       \
        from, to, how, 0    \
    }
#define EXPERT(from, to, rank)        \
    {                                 \
        from, to, STACK_EXPERTS, rank \
    }

/* A value for a key, from wherever it comes. */
struct key_value {
    enum {
        VALUE_NONE,
        VALUE_NUMBER,
        VALUE_BOOL,
        VALUE_TEXT,
        VALUE_NUMBERS,
        VALUE_BOOLS,
        VALUE_TEXTS
    } kind;
    double number;
    bool truth;
    struct str text;
    const double *numbers; /* or truths as 0 and 1; count of them */
    const struct str *texts;
    uint64_t count;
};

/* key: without the architecture before it, unless it begins with general. or tokenizer. The value
 * is that of the first of `from` (names in config.json, | between them) that is there; when there
 * is none, or it is null, `other` (a number, true, false or a word). A function makes a value of
 * several. */
struct key_rule {
    const char *key;
    const char *from;
    const char *other;
    enum quern_status (*make)(const struct conversion *c, struct key_value *v,
                              struct quern_error *err);
    enum meta_type type; /* META_ARRAY: of i32 or bool, as the value is */
    bool required;
    bool unless_zero; /* nothing is written for 0 and false */
};

struct architecture {
    const char *name;                     /* general.architecture */
    const char *classes;                  /* of config.json, blank between them */
    const struct tensor_rule *tensors[8]; /* lists, each ended by a NULL from; the first rule that
                                           * fits counts */
    const struct key_rule *keys[8];       /* lists, each ended by a NULL key */
    const char *strip; /* what names may begin with and is taken off, blank between them */
    /* Tensors that are in no file, and keys that go before all others. */
    enum quern_status (*extra)(struct conversion *c, struct quern_error *err);
    uint8_t expert_kinds;    /* that a layer with experts has; 0: three */
    bool drop_layers_beyond; /* layers past num_hidden_layers are left out (draft models) */
    bool ignores_head_dim;   /* whatever config.json says of it */
    bool lone_kv_head;       /* when config.json does not count the heads of keys */
    bool old_norm_names;     /* gamma and beta are weight and bias */
    uint8_t named_members;
};

/* Ends with a NULL. */
extern const struct architecture *const architectures[];
const struct architecture *architecture_of_class(struct str hf_class);

/* The rule that counts for a tensor of this name; NULL when the architecture has none. */
const struct tensor_rule *architecture_rule(const struct architecture *a, struct str name);

/* ---- common rows ---------------------------------------------------------------------------- */

extern const struct tensor_rule llama_tensors[];     /* embeddings, norms, head, all but q and k */
extern const struct tensor_rule plain_qk[];          /* q and k as they are */
extern const struct tensor_rule permuted_qk[];       /* q and k permuted */
extern const struct tensor_rule qk_norms[];          /* q_norm and k_norm */
extern const struct tensor_rule experts_by_name[];   /* mlp.experts.{e}.gate_proj and so on */
extern const struct tensor_rule experts_by_number[]; /* block_sparse_moe.experts.{e}.w1 ... */
extern const struct tensor_rule shared_experts[];    /* mlp.shared_experts.gate_proj and so on */
extern const struct tensor_rule sandwich_norms[]; /* norms after attention and feed-forward too */

extern const struct key_rule base_keys[]; /* what most architectures have */
extern const struct key_rule vocab_size_key[], rope_dims_key[], file_type_key[], pooling_keys[];
extern const struct key_rule expert_ffn_keys[];

/* Values made of several keys, for rules. */
#define KEY_MAKER(name) \
    enum quern_status name(const struct conversion *c, struct key_value *v, struct quern_error *err)
KEY_MAKER(make_rope_dims);         /* head_dim, else hidden_size / heads */
KEY_MAKER(make_rope_dims_partial); /* int(factor * (hidden_size / heads)) */
KEY_MAKER(make_rope_dims_hidden);  /* int(factor * hidden_size) / heads */
KEY_MAKER(make_rope_dims_half);    /* int(factor, 0.5 when absent, * head_dim) */
KEY_MAKER(make_rope_freq_base);
KEY_MAKER(make_ffn_4x); /* 4 * hidden_size */
KEY_MAKER(make_file_type);
KEY_MAKER(make_window_pattern); /* per layer: does it look back through a window? */
KEY_MAKER(make_labels);         /* of classes that texts are sorted in */

#endif
