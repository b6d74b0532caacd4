/* learn_parts.h - what the files of learning share; not for anyone else. */
#ifndef QUERN_LEARN_PARTS_H
#define QUERN_LEARN_PARTS_H

#include "conversion.h"
#include "fingerprint.h"
#include "learn.h"
#include "name_groups.h"
#include "pipeline/name_list.h"

#define MOST_PARTS 3u
#define MOST_TRIES 16u
#define NO_TENSOR  UINT32_MAX

/* A transform that may be the one, with the targets in this order. */
struct attempt {
    enum transform how;
    uint8_t order[MOST_PARTS];
    bool possible;        /* it gives the shapes that are there */
    uint64_t differ, far; /* values that are others, and not by rounding alone */
};

/* A rule in the making: some targets come from one group of sources, or from a family of them. */
struct making {
    uint32_t from;    /* group, or family */
    uint32_t literal; /* the one source that it is about, or NO_TENSOR: all layers */
    bool stacked;     /* from is a family */
    bool hope;        /* nothing says yet that it is so */
    bool in_order;    /* values stand in the same order */
    bool same_value;  /* all values are one and the same: any order would be the same */
    enum change change;
    uint32_t to[MOST_PARTS]; /* groups of targets */
    unsigned nto, ntries;
    struct attempt tries[MOST_TRIES];
    const struct attempt *chosen;
};

struct learning {
    struct arena arena;
    struct model *hf, *gguf;
    struct view view, made; /* their tensors; those of hf as if nothing had packed them */
    struct fingerprint_ask ask;
    struct fingerprints *from, *to; /* of every tensor of hf and gguf */
    struct name_groups sources, targets;
    struct name_family *families;
    uint32_t nfamilies;
    struct making *makings;
    uint32_t nmakings, making_capacity;
    bool *used;              /* every source */
    bool *placed;            /* every group of targets */
    struct conversion trial; /* what transforms need to know */
    struct architecture arch;
    struct trial *trials; /* of the second plan */
    uint32_t ntrials;
    struct tensor_map map;
    const char *notes[4];
    uint32_t nnotes;
    unsigned stage;
};

/* The source of a target's member, NO_TENSOR when there is none. */
uint32_t learn_source(const struct learning *l, const struct making *m, uint32_t group,
                      const struct group_member *target);
/* Which of the types in l->ask the tensor has. */
unsigned learn_type(const struct learning *l, uint32_t target);

/* ---- learn_match.c: fills makings, used and placed. EUSAGE names what is ambiguous. */
enum quern_status learn_match(struct learning *l, struct quern_error *err);
struct making *learn_new_making(struct learning *l, uint32_t from, uint32_t to,
                                struct quern_error *err);

/* ---- learn_parts.c: makings of several tensors: stacks, splits, cuts. */
enum quern_status learn_match_parts(struct learning *l, struct quern_error *err);

/* ---- learn_try.c */
/* *plan: tries all attempts whose result is not known; NULL when there is none. */
enum quern_status learn_plan_trials(struct learning *l, struct plan **plan,
                                    struct quern_error *err);
/* Chooses an attempt of every making, after the run; drops hopes that came to nothing. */
enum quern_status learn_choose(struct learning *l, struct quern_error *err);

/* ---- learn_rules.c */
enum quern_status learn_write_map(struct learning *l, struct quern_error *err);

#endif
