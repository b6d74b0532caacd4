/* cli.h - the command line: one table of options per command, everything else read from it. */
#ifndef QUERN_CLI_H
#define QUERN_CLI_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/error.h"
#include "core/json.h"
#include "core/safe_text.h"
#include "pipeline/plan.h"

#define MAX_ARGS 256

/* A repeatable option's values. */
struct values {
    const char *items[MAX_ARGS];
    bool is_file[MAX_ARGS]; /* given by an OPTION_LIST_FILE */
    size_t count;
};

/* Every option of every command; a command reads those that stand in its table. */
struct cli {
    const struct command *command;
    struct values args; /* positional */
    /* common */
    unsigned threads;
    uint64_t mem;
    const char *output;
    const char *progress;
    const char *nonfinite;
    bool dry_run, force, resume, quiet, verbose, json, help, stats;
    /* quantize */
    struct quern_quantize quantize;
    struct values tensor_types, override_kvs, include_weights, exclude_weights, prune_layers;
    uint64_t shard_bytes;
    /* merge */
    const char *method, *base, *dtype, *out_dtype;
    struct values models, params, model_paths, loras;
    bool no_model_card, mergekit_exact, allow_crimes, no_tokenizer;
    const char *hub_cache;
    uint64_t seed;
    /* convert */
    const char *outtype, *model_name, *metadata, *pre, *like, *map, *write_map;
    const char *learn[2]; /* a model and the GGUF made of it */
    uint64_t split_max_bytes;
    unsigned split_max_tensors;
    bool vocab_only, text_only, no_tensor_first_split, print_supported;
    /* lora */
    struct values includes, excludes;
    unsigned rank;
    bool no_save_modules;
    bool sha256; /* check, and whatever writes */
    /* a record of the making */
    bool provenance;
    const char *recipe;     /* path of the recipe, once it is known */
    size_t output_at;       /* 1 + which of the words is the OUTPUT, once that is known; or 0 */
    struct model *also[2];  /* read besides the inputs of the plan; or NULL */
    struct rebuild *making; /* rebuild: what is made again; or NULL */
    struct values inputs;   /* rebuild */
    /* imatrix */
    unsigned chunk_size;
    const char *model, *output_format;
    /* compare */
    const char *imatrix;
    /* verify */
    const char *via;
    /* pack, unpack; pack_bases: of packs that any command reads */
    const char *level;
    struct values pack_bases;
    /* inspect */
    bool tensors, tensors_only; /* the second: verify */
    const char *kv;
    /* plan, run, join, batch */
    unsigned parts, jobs;
    uint64_t part_bytes;
    const char *layout, *emit, *part, *stage, *job;
    struct values only;
    bool keep_records, stages, fail_fast, check_hashes;
    /* Set by a command that plans another one: what happens to its plan instead of being run. The
     * plan is freed by the other command. Returns an exit code. */
    int (*take_plan)(struct cli *c, struct plan *p, void *data);
    void *take_data;
    /* Set by a command that runs others: sees every plan just before it runs, and may forbid that
     * it replaces anything. */
    void (*see_plan)(const struct cli *c, struct plan *p, void *data);
    void *see_data;
};

enum option_kind {
    OPTION_FLAG,
    OPTION_TEXT,
    OPTION_FILE, /* a text that names an input */
    OPTION_PAIR, /* two words: const char *[2] */
    OPTION_LIST,
    OPTION_LIST_FILE, /* a file with values of the list, in its place among the others */
    OPTION_SIZE,
    OPTION_SHARD, /* a size as mergekit writes it: 5B is 5e9 bytes, 0 is no limit */
    OPTION_COUNT,
    OPTION_NUMBER,       /* any of 64 bits */
    OPTION_IGNORED,      /* taken for another program's sake, with a note */
    OPTION_IGNORED_TEXT, /* likewise, with a value */
    OPTION_REFUSED       /* another program's that cannot be taken; arg says why */
};

struct option {
    const char *name; /* without dashes */
    char letter;      /* short form, or 0 */
    enum option_kind kind;
    size_t field;        /* offset in struct cli */
    const char *arg;     /* name of its value in help, or NULL for flags */
    const char *about;   /* NULL: not shown */
    const char *choices; /* for completion: blank-separated values, or NULL */
};

struct command {
    const char *name;
    const char *usage;            /* what follows the name; lines separated by \n */
    const char *about;            /* one line */
    const char *text;             /* paragraphs for help and man page */
    const struct option *options; /* ends with a NULL name */
    unsigned common;              /* COMMON_* */
    const char *examples;         /* lines "command\n  what it does\n" */
    int (*run)(struct cli *c);
};

/* Which of the common options a command takes. */
#define COMMON_RUN  1u /* -j --mem --dry-run -f -q -v --progress -o */
#define COMMON_JSON 2u /* --json */
/* What are no options of its own are the words of another command. */
#define COMMON_WORDS 8u
#define COMMON_JOB   4u  /* none: but what it makes can be made again from a record of its words */
#define COMMON_PACK  16u /* --pack-base */

extern const struct command commands[]; /* ends with a NULL name */
extern const struct option run_options[], pack_options[], record_options[], json_options[],
    help_options[];

/* The option tables of a command, one after the other: table 0, 1, ... or NULL. */
const struct option *command_options(const struct command *c, unsigned table);

/* ---- run_command.c */
/* Reads its words into c, which is all zero but for what is to be preset, and runs it. Exit code.
 */
int run_command(struct cli *c, const struct command *command, int argc, char **argv);
/* The same by its words, of which the first is its name. Only those that write a model. */
int run_words(struct cli *c, const struct values *words);
/* What --pack-base names is found from here on. Returns an exit code. */
int add_pack_bases(const struct cli *c);
/* The option of this name or letter (0: by name), or NULL. */
const struct option *find_option(const struct command *c, struct str name, char letter);
/* Can it have this value? *expected says what it should be. */
bool option_takes(const struct option *o, const char *value, const char **expected);
/* No byte of the output depends on it. */
bool option_is_free(const struct option *o);
/* The command of this name, or NULL. */
const struct command *find_command(const char *name);

/* Fills c from the words after the command's name. Exit code 0, or 2 after a message. */
int parse_options(struct cli *c, int argc, char **argv);
/* What was asked for, but for what does not change a byte of the output (--threads ...), into the
 * plan's identity: words, options, and what small files that they name hold. */
void ask_plan(const struct cli *c, struct plan *p);
/* "4GiB", "5G", "512": false when it is no size. mergekit's trailing B (bytes) is allowed. */
bool parse_size(const char *text, uint64_t *out);

/* ---- help.c */
void help_overview(FILE *f);
void help_command(FILE *f, const struct command *c);
void help_man(FILE *f, const struct command *c); /* NULL: the page of quern itself */
void help_completion(FILE *f);

/* ---- report.c: everything printed for people or scripts */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
int usage_error(const struct cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints the error (and, with --json, the object on stdout) and returns the exit code. */
int report_error(const struct cli *c, const struct quern_error *err);
/* The same for a run that has ended: an error, or a signal. */
int report_failed_run(const struct cli *c, const struct quern_error *err, bool resumable);
/* One that could be interrupted and is run again as it was: what to do about it is plain. */
int report_ended(const struct cli *c, const struct quern_error *err);
int report_stopped(const struct cli *c, const struct quern_error *err, int signal, bool resumable,
                   bool writes);
/* The same for many, nerrors of them shown out of total. */
struct listed_error {
    struct quern_error error;
    size_t more; /* other tensors with the same error */
};
int report_errors(const struct cli *c, const struct listed_error *errors, size_t nerrors,
                  size_t total);
/* One member of a JSON object; then the whole text on stdout. */
void field_text(struct json_writer *w, const char *key, const char *value);
void field_u64(struct json_writer *w, const char *key, uint64_t value);
void field_f64(struct json_writer *w, const char *key, double value);
/* The members that an error has. */
void error_fields(struct json_writer *w, const struct quern_error *e);
void print_json(struct json_writer *w);
/* The same elsewhere. What acts on a terminal is escaped. */
void write_json(FILE *f, struct json_writer *w);
const char *human_bytes(uint64_t n, char buf[16]);
const char *human_count(uint64_t n, char buf[16]);
/* Of nothing everything is 100. */
double percent(uint64_t part, uint64_t whole);
const char *bold(FILE *f), *dim(FILE *f), *plain(FILE *f); /* "" when f is no terminal */
unsigned terminal_width(FILE *f);
/* One bar of n cells, filled in proportion. */
void print_bar(FILE *f, double share, unsigned cells);
void print_notes(const struct cli *c, const struct plan *p);
void print_steps(FILE *f, const struct plan *p);
void print_plan(const struct cli *c, const struct plan *p);
/* hashes: of the files that were written; or NULL. */
struct file_hash {
    const char *path;
    char hex[65];
};
/* How a step makes its tensor, in a word. */
const char *step_op(const struct step *s);
/* plan_json.c: the object on stdout. result is NULL for a dry run. */
void plan_json(const struct cli *c, const struct plan *p, const struct quern_result *result,
               const struct file_hash *hashes, size_t nhashes);
void print_summary(const struct cli *c, const struct plan *p, const struct quern_result *r,
                   const struct file_hash *hashes, size_t nhashes);

/* Bytes and weights by element type, largest first. */
struct type_share {
    uint64_t count, nelems, nbytes;
    enum dtype dtype;
};
size_t types_of_plan(const struct plan *p, struct type_share shares[DTYPE_COUNT]);
size_t types_of_model(const struct model *m, struct type_share shares[DTYPE_COUNT]);
void print_types(FILE *f, const struct type_share *shares, size_t n);

/* "320x256", or "scalar". */
void shape_text(const uint64_t *dims, unsigned ndims, char *buf, size_t n);

/* ---- error_table.c: what plan->errors says. all: every tensor in its order; else so
 * many of the worst */
void print_errors(FILE *f, const struct plan *p, bool all, size_t worst);
void errors_json(struct json_writer *w, const struct plan *p); /* one object */

/* ---- zeroed.c: weights that were NaN or Inf */
const char *nonfinite_word(const struct plan *p);
void print_zeroed(const struct plan *p);
void zeroed_json(struct json_writer *j, const struct plan *p); /* one member */

/* ---- meter.c: the progress line */
struct meter;
struct meter *meter_new(const struct cli *c);
void meter_update(const struct quern_progress *p, void *meter);
void meter_end(struct meter *m);

/* ---- run_plan.c: dry run or run, with meter, signals and summary */
int run_plan(struct cli *c, struct plan *p);
/* Gives the plan a record when one is asked for, or the one that it is made again from. Exit code.
 * recording.c */
int record_plan(struct cli *c, struct plan *p);
/* From here on signals set stop_signal. */
void catch_signals(void);
/* The same for commands with --nonfinite. */
int run_weights(struct cli *c, struct plan *p);
/* Runs with meter and signals. Exit code. */
int run_with_result(struct cli *c, struct plan *p, struct quern_result *result);
/* Runs with meter and signals; says nothing but errors. Exit code. */
int run_quietly(struct cli *c, struct plan *p);
/* The same; result, and with --sha256 the sums of the files, in the plan's memory. */
int run_and_hash(struct cli *c, struct plan *p, struct quern_result *result,
                 struct file_hash **hashes, size_t *nhashes);
/* Sums of what has been written, in the plan's memory. */
enum quern_status hash_outputs(const struct cli *c, struct plan *p, struct file_hash **hashes,
                               size_t *n, struct quern_error *err);
/* The signal that asked to stop, or 0. */
extern volatile int stop_signal;

/* ---- cmd_inspect.c */
/* The value of a key in about `room` characters. */
void print_field(const char *name, const char *value);
void print_meta(FILE *f, const struct meta *k, int room);

/* ---- verify_report.c: what a plan that compares has found. Exit code. */
int report_verification(const struct cli *c, const struct plan *p);

/* ---- verify_hint.c: a guess at why, in buf; NULL when there is none */
const char *verify_hint(const struct cli *c, const struct plan *p, char *buf, size_t n);

/* ---- cmd_merge.c */
struct merge_request;
/* What of it the options say that merging and verifying have in common. */
struct merge_request merge_request_of(const struct cli *c);
/* --method, --base, --model, --lora and their like. */
int take_merge_flags(const struct cli *c, struct merge_request *r);
/* Where Hugging Face keeps what it has downloaded, by the environment. */
const char *hub_cache_dir(struct arena *arena);

int cmd_quantize(struct cli *c);
int cmd_merge(struct cli *c);
/* Fills c->quantize from the lists of options. cmd_quantize.c */
int take_quantize_options(struct cli *c, const char *type, struct arena *arena);
int cmd_convert(struct cli *c);
int cmd_lora(struct cli *c);
int cmd_imatrix(struct cli *c);
int cmd_inspect(struct cli *c);
int cmd_check(struct cli *c);
int cmd_compare(struct cli *c);
int cmd_plan(struct cli *c);
int cmd_run(struct cli *c);
int cmd_join(struct cli *c);
int cmd_batch(struct cli *c);
int cmd_verify(struct cli *c);
int cmd_rebuild(struct cli *c);
int cmd_pack(struct cli *c);
int cmd_unpack(struct cli *c);
int cmd_types(struct cli *c);
int cmd_help(struct cli *c);

#endif
