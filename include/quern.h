/* quern.h - shrink and fuse model checkpoints: the public interface of libquern.
 *
 * Open models, make a plan, run it. Opening and planning read headers only; all tensor data moves
 * in quern_run(), in bounded memory and with the same output bytes for any number of threads.
 *
 *     struct quern_error err;
 *     struct quern_model *model;
 *     struct quern_plan *plan;
 *     if (quern_open("model-f16.gguf", &model, &err) == QUERN_OK &&
 *         quern_plan_quantize(model, "model-q8_0.gguf",
 *                             &(struct quern_quantize){.type = "Q8_0"}, &plan, &err) == QUERN_OK)
 *         quern_run(plan, NULL, NULL, &err);
 *
 * Rules that hold for every function:
 * - Nothing here prints, exits, aborts on input or changes global state, except quern_set_cpu() and
 *   quern_add_pack_base().
 * - Errors are values: a status is returned and, when err is not NULL, *err says what was found
 *   where. err is owned by the caller and need not be initialised; on QUERN_OK it is left alone.
 * - Strings given to a function are copied; strings returned belong to the object they come from
 * and live until it is freed.
 * - Objects may be used from one thread at a time; different objects from different threads.
 * - Text that comes from files (names, keys) is returned as it is: quote it before printing. */
#ifndef QUERN_H
#define QUERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QUERN_VERSION_MAJOR 0
#define QUERN_VERSION_MINOR 1
#define QUERN_VERSION_PATCH 0
#define QUERN_VERSION       "0.1.0"

#if defined(__GNUC__)
#define QUERN_API __attribute__((visibility("default")))
#else
#define QUERN_API
#endif

/* Version of the library that is linked, e.g. "0.1.0". */
QUERN_API const char *quern_version(void);

/* ---- errors ------------------------------------------------------------------------------- */

/* The numbers are the exit codes of the quern command. */
enum quern_status {
    QUERN_OK = 0,
    QUERN_EDIFF = 1,        /* files differ, a check found bad values */
    QUERN_EUSAGE = 2,       /* bad option, recipe, pattern; models that do not fit together */
    QUERN_EFORMAT = 3,      /* malformed input; NaN or Inf where weights are needed */
    QUERN_EUNSUPPORTED = 4, /* a sound input that quern cannot handle */
    QUERN_EIO = 5,          /* disk full, permission, input vanished or changed */
    QUERN_EMEMORY = 6,      /* out of memory, or over the mem limit */
    QUERN_EEXIST = 7,       /* output exists or is locked */
    QUERN_EINTERNAL = 70,   /* a bug in quern */
    QUERN_ECANCELLED = 128  /* stopped through quern_run_options.cancel */
};

/* What went wrong. All strings are NUL-terminated, safe to print (foreign text is quoted) and cut
 * when too long. Fields without a meaning for the error are empty; offset is then UINT64_MAX. */
struct quern_error {
    enum quern_status status;
    char kind[24];      /* short machine-readable word: "truncated", "duplicate", "shape" ... */
    char file[512];     /* path of the file at fault */
    char tensor[256];   /* quoted tensor name */
    uint64_t offset;    /* byte position in file, or UINT64_MAX */
    char found[512];    /* what was found */
    char expected[512]; /* what was expected, or what to do next */
    char text[2048];    /* one line of all of it: "FILE: tensor 'NAME': found, expected ..." */
};

/* ---- models ------------------------------------------------------------------------------- */

/* A checkpoint opened for reading: one .safetensors or .gguf file, a GGUF split set (named by any
 * of its files), a model.safetensors.index.json, or a Hugging Face directory with one of these in
 * it (hub caches with symlinks to blobs included). */
struct quern_model;

struct quern_tensor {
    const char *name; /* NUL-terminated; see name_bytes, since a file may hold odd names */
    size_t name_bytes;
    const char *type;     /* "F32", "BF16", "Q4_K" ...: the names of quern_type_name() */
    unsigned ndims;       /* 0 for a scalar */
    const uint64_t *dims; /* outermost first, as in safetensors; GGUF shapes are reversed */
    uint64_t nbytes;      /* stored bytes */
    const char *file;     /* path of the file it lies in */
    uint64_t offset;      /* absolute byte offset in that file */
};

/* Reads and checks the headers at path; no tensor data. On QUERN_OK *out is owned by the caller and
 * freed with quern_close(). Errors: EFORMAT, EUNSUPPORTED (a pickle, for example), EUSAGE (a
 * directory that may mean two models), EIO, EMEMORY. */
QUERN_API enum quern_status quern_open(const char *path, struct quern_model **out,
                                       struct quern_error *err);
/* Frees the model and all strings that came from it; NULL is allowed. */
QUERN_API void quern_close(struct quern_model *model);

QUERN_API size_t quern_ntensors(const struct quern_model *model);
/* Tensor i in file order, 0 <= i < quern_ntensors(). *out points into the model. */
QUERN_API void quern_get_tensor(const struct quern_model *model, size_t i,
                                struct quern_tensor *out);
/* Index of the tensor with this name, or -1. */
QUERN_API int64_t quern_find_tensor(const struct quern_model *model, const char *name);
/* "safetensors" or "gguf". */
QUERN_API const char *quern_model_format(const struct quern_model *model);
/* A metadata string (GGUF key of type string, or safetensors __metadata__ entry); NULL when the key
 * is absent, of another type or holds a NUL byte, or when memory ran out. */
QUERN_API const char *quern_model_string(struct quern_model *model, const char *key);

/* ---- element types ------------------------------------------------------------------------ */

struct quern_type {
    const char *name;     /* "Q4_0" */
    const char *about;    /* a few words */
    unsigned block_elems; /* weights that share a block; 1 for plain types */
    unsigned block_bytes;
    bool gguf, safetensors; /* formats that can store it */
    bool can_read;          /* quern can turn it into f32 */
    bool can_write;         /* quern can make it from f32 */
    bool uses_imatrix;      /* an importance matrix changes what is written */
    bool needs_imatrix;     /* quantize asks for one, except for embeddings and output.weight */
};
/* Type number i, or false when there are no more. */
QUERN_API bool quern_get_type(size_t i, struct quern_type *out);

/* ---- plans -------------------------------------------------------------------------------- */

/* Everything a run will do, decided from headers alone. */
struct quern_plan;

/* Options of quern_plan_quantize(); all zero is valid but for type. Arrays end with the count next
 * to them. Names and patterns are those of llama-quantize. */
struct quern_quantize {
    const char *type;                 /* file type: "Q8_0", "F16", "COPY" ... or its number */
    const char *output_tensor_type;   /* element type for output.weight, or NULL */
    const char *token_embedding_type; /* element type for token_embd.weight, or NULL */
    /* "REGEX=TYPE", the first match wins; or "@FILE": those in a file, separated by white space */
    const char *const *tensor_types;
    size_t ntensor_types;
    const char *imatrix;      /* importance matrix, as llama-imatrix makes it; or NULL */
    const char *imatrix_name; /* what quantize.imatrix.file says; NULL: imatrix */
    /* With imatrix: use only entries whose name contains one of these, or none that does. */
    const char *const *include_weights;
    size_t ninclude_weights;
    const char *const *exclude_weights;
    size_t nexclude_weights;
    const char *const *prune_layers; /* "1,3,5": layers to leave out; later ones move up */
    size_t nprune_layers;
    const char *const *override_kvs; /* "KEY=int|float|bool|str:VALUE" */
    size_t noverride_kvs;
    bool pure;                /* every quantizable tensor gets the base type */
    bool leave_output_tensor; /* keep output.weight as it is */
    bool allow_requantize;    /* permit block-quantized sources */
    bool keep_split;          /* output files mirror the input's; output is a prefix */
    bool no_fallback;         /* a row that does not fit the type is an error */
    bool reference_bugs;      /* llama-quantize's bytes even where it errs */
    bool keep_names;          /* safetensors to GGUF as a plain container; needs arch */
    const char *arch;         /* general.architecture for keep_names */
    uint64_t shard_bytes;     /* safetensors output: largest file, 0 = no limit */
    bool force;               /* replace an existing output */
    /* GGUF output: instead of what the rules for type and the options say, every tensor gets the
     * type that it has in this model, made of blocks, too; one that is not there or that cannot
     * become that keeps its own. NULL: the rules. */
    const struct quern_model *types_of;
    /* Weights that are NaN or Inf: "error" (or NULL) refuses them; "keep" passes them on in tensors
     * that are only copied, to a type that has such values; "zero" takes them for 0:
     * quern_plan_zeroed() tells where */
    const char *nonfinite;
};

/* Plans output from model: GGUF when output ends in .gguf (or keep_split), safetensors when it ends
 * in .safetensors, else a directory. The model must stay open until the plan is freed.
 * Source of the rules: llama.cpp's llama-quantize; docs/compatibility.md lists the differences.
 * A plan that needs an importance matrix and has none can be looked at but not run: quern_run()
 * gives EUSAGE.
 * Errors: EUSAGE, EUNSUPPORTED, EFORMAT, EMEMORY, EEXIST. */
QUERN_API enum quern_status quern_plan_quantize(struct quern_model *model, const char *output,
                                                const struct quern_quantize *options,
                                                struct quern_plan **out, struct quern_error *err);

/* Options of quern_plan_merge(); all zero is valid. */
struct quern_merge {
    const char *recipe_path;        /* mergekit-style YAML; or NULL with recipe_text set */
    const char *recipe_text;        /* the YAML itself */
    const char *const *model_paths; /* "ID=PATH": where a model named in the recipe lies */
    size_t nmodel_paths;
    const char *hub_cache; /* Hugging Face hub cache to look ids up in, or NULL */
    const char *type;      /* GGUF output: file type to quantize to in the same pass, or NULL */
    const char *imatrix;   /* with type: importance matrix, or NULL */
    const char *pre;       /* GGUF of Hugging Face models: tokenizer.ggml.pre, or NULL */
    uint64_t shard_bytes;  /* directory output: largest file; 0 = 5 GB, as mergekit */
    bool force;            /* replace an existing output */
    bool no_model_card;    /* directory output: no README.md and mergekit_config.yml */
    uint64_t seed;         /* of methods that draw random numbers; the same seed, the same bytes */
    bool mergekit_exact;   /* compute in the recipe's dtype and round after every operation, as
                            * mergekit does; else in 32-bit floats with one rounding at the end */
    bool allow_crimes;     /* merge models of other architectures, or with embeddings of other
                            * sizes, as far as names and shapes permit */
    bool no_tokenizer;     /* directory output: no tokenizer files */
    bool allow_requantize; /* with type: permit block-quantized tensors that are only passed on */
    const char *nonfinite; /* as in quern_quantize */
    /* Called for every mistake in the recipe and in how the models fit together, while the error
     * that comes back tells the first; or NULL. */
    void (*on_mistake)(const struct quern_error *mistake, void *user);
    void *user; /* passed to on_mistake */
};

/* Opens the models of a recipe and plans their merge into output (a directory, a *.safetensors or a
 * *.gguf: models in the layout of Hugging Face are converted on the way, as quern_plan_convert()
 * would convert the directory). The plan owns the models it opened.
 * Methods and recipe schema: mergekit; docs/merging.md has the formulas and papers.
 * Errors: EUSAGE, EUNSUPPORTED, EFORMAT, EIO, EMEMORY, EEXIST. */
QUERN_API enum quern_status quern_plan_merge(const char *output, const struct quern_merge *options,
                                             struct quern_plan **out, struct quern_error *err);

/* Options of quern_plan_convert(); all zero is valid. */
struct quern_convert {
    /* "auto" (or NULL): the 16-bit type the weights have; "f32", "f16", "bf16", "q8_0": as
     * llama.cpp's converter stores them; any file type of quern_plan_quantize(): converted with
     * auto, then quantized, in one pass */
    const char *type;
    bool like_quantize;     /* F16, BF16, F32 and Q8_0 are llama-quantize's too */
    const char *model_name; /* general.name, or NULL */
    const char *metadata;   /* JSON file with general.* keys, or NULL */
    const char *pre;        /* tokenizer.ggml.pre, or NULL: recognised */
    const char *like;       /* path of a GGUF of the same family: hyper-parameters, tokenizer, keys
                             * and the order of tensors are as there; or NULL */
    const char *map;        /* with it: a YAML file of rules for tensors, or NULL: a known table */
    const char *imatrix;    /* importance matrix for types that are quantized to, or NULL */
    const char *const *override_kvs; /* "KEY=int|float|bool|str:VALUE" */
    size_t noverride_kvs;
    uint64_t split_max_bytes, split_max_tensors; /* several files; output is then their prefix */
    bool no_tensor_first_split;                  /* of several files the first has keys only */
    bool vocab_only;                             /* the tokenizer and no tensors */
    bool text_only;                              /* leave out what is for pictures and sound */
    bool allow_requantize;                       /* make block types from block types */
    bool keep_names;                             /* safetensors into a plain container ... */
    const char *arch;                            /* ... with this general.architecture */
    const char *base;      /* of an adapter: the directory or config.json of its model; or NULL */
    const char *hub_cache; /* Hugging Face hub cache to look that model up in, or NULL */
    bool force;            /* replace an existing output */
    const char *nonfinite; /* as in quern_quantize */
};

/* Plans a GGUF from a Hugging Face directory: names, shapes and order of llama.cpp, keys from
 * config.json, the tokenizer and README.md. docs/converting.md lists the architectures. output may
 * be NULL: then it is named after the model and goes into its directory.
 * Of a GGUF model it plans one file, or several, with the bytes of llama.cpp's gguf-split, after
 * what quern_plan_quantize() would do for type. The model must stay open until the plan is freed.
 * Errors: EUSAGE, EUNSUPPORTED (an architecture or tensor that is not known), EFORMAT, EIO,
 * EMEMORY, EEXIST. */
QUERN_API enum quern_status quern_plan_convert(struct quern_model *model, const char *output,
                                               const struct quern_convert *options,
                                               struct quern_plan **out, struct quern_error *err);

/* Plans a GGUF adapter from a LoRA of PEFT: a directory with adapter_model.safetensors and
 * adapter_config.json, or that file. Of options count type ("f32" when NULL), model_name, metadata,
 * override_kvs, base, hub_cache and force; output as above.
 * Errors: EUSAGE, EUNSUPPORTED (what a GGUF adapter cannot hold), EFORMAT, EIO (also when the base
 * is not on this machine), EMEMORY, EEXIST. */
QUERN_API enum quern_status quern_plan_convert_adapter(const char *adapter, const char *output,
                                                       const struct quern_convert *options,
                                                       struct quern_plan **out,
                                                       struct quern_error *err);

/* Plans the comparison of two models, the original a and its approximation b, by tensor name and
 * shape; nothing is written. After quern_run(), quern_plan_errors() has one entry per pair of
 * tensors, in the order of b, and quern_plan_left_out() the tensors without a partner. imatrix:
 * path of an importance matrix to weigh errors by, or NULL. Both models must stay open until the
 * plan is freed. quern_run() is QUERN_OK whether they are equal or not.
 * Errors: EUSAGE (no name in common; an importance matrix of other models), EFORMAT, EIO, EMEMORY,
 * EUNSUPPORTED. */
QUERN_API enum quern_status quern_plan_compare(struct quern_model *a, struct quern_model *b,
                                               const char *imatrix, struct quern_plan **out,
                                               struct quern_error *err);

/* How `made` was made of its source, as far as it does not say itself; all zero is valid. Of each
 * count the options that decide bytes: type, output and the like are ignored. */
struct quern_verify {
    const struct quern_quantize *quantize; /* imatrix, layers, keys; or NULL */
    const struct quern_convert *convert;   /* Hugging Face to GGUF, or an adapter; or NULL */
    const struct quern_merge *merge;       /* of a recipe; or NULL */
    /* Hugging Face to GGUF: the type before it was quantized ("f32", "f16", "bf16"), or NULL: the
     * 16-bit type of the weights, else F16 */
    const char *via;
};

/* Plans to make the model at path `made` anew from source and to compare the bytes instead of
 * writing them. source: path of a model, an adapter or a recipe (.yml); NULL for a recipe in
 * options->merge->recipe_text. The types of its tensors are read from `made`; order and files of
 * tensors do not matter. options may be NULL. After quern_run(), which is QUERN_OK whether they
 * differ or not, quern_plan_difference() tells of each tensor and quern_plan_mismatch() of all
 * else. Only quern_run_options that do not write count.
 * Errors: those of quern_open() for both, and of the plan that would write `made`. */
QUERN_API enum quern_status quern_plan_verify(const char *source, const char *made,
                                              const struct quern_verify *options,
                                              struct quern_plan **out, struct quern_error *err);

/* Options of quern_plan_pack(); all zero is valid. */
struct quern_pack {
    /* A model: tensors are stored as their difference from those of the same name, type and shape
     * in it, and reading the pack needs it; or NULL */
    const char *base;
    /* What is tried beside entropy coding: "huf" (nothing), or zstd's level "1", "3", "9", "19";
     * the smaller result is kept. NULL: level 1, where a sample says that it pays */
    const char *level;
    bool force; /* replace an existing output */
};

/* Plans a pack (docs/packs.md): the files of inputs, which are models' directories, files or packs,
 * byte for byte in one compressed file, which quern_open() and all plans take for the directory.
 * With several inputs each lies in the pack under its last name. output should end in .qpk. options
 * may be NULL. After quern_run(), quern_plan_packed() tells what came of it.
 * Errors: EUSAGE, EUNSUPPORTED (names that are no UTF-8, too many files), EFORMAT, EIO, EMEMORY,
 * EEXIST. */
QUERN_API enum quern_status quern_plan_pack(const char *const *inputs, size_t ninputs,
                                            const char *output, const struct quern_pack *options,
                                            struct quern_plan **out, struct quern_error *err);

/* Options of quern_plan_unpack(); all zero is valid. */
struct quern_unpack {
    bool force; /* replace an existing output */
};

/* Plans the files of a pack as they were: into a directory, or for a pack that was made of one file
 * into that. Nothing gets its name before every file has the SHA-256 that was recorded; else
 * quern_run() gives EFORMAT "sha256". options may be NULL.
 * Errors: EUSAGE "base" (the base is not there, or another), EFORMAT, EUNSUPPORTED (a later version
 * of the format), EIO, EMEMORY, EEXIST. */
QUERN_API enum quern_status quern_plan_unpack(const char *pack, const char *output,
                                              const struct quern_unpack *options,
                                              struct quern_plan **out, struct quern_error *err);

/* A model that packs may have as base which are opened from now on, by any thread: for those that
 * do not find theirs where it was when they were made. Errors: EUSAGE (more than 64), EMEMORY. */
QUERN_API enum quern_status quern_add_pack_base(const char *path, struct quern_error *err);

/* Frees the plan; NULL is allowed. */
QUERN_API void quern_plan_free(struct quern_plan *plan);

/* What a plan amounts to. */
struct quern_plan_summary {
    size_t nsteps;         /* output tensors */
    uint64_t nelems;       /* weights written */
    uint64_t input_bytes;  /* tensor data of the inputs that are used, once each */
    uint64_t output_bytes; /* size of all output files together */
    size_t nfiles;         /* output files with tensors */
    size_t nfallbacks;     /* tensors whose row length did not fit the wanted type */
    uint64_t fallback_elems;
    double bits_per_weight; /* tensor data of the output */
};
QUERN_API void quern_plan_summarize(const struct quern_plan *plan, struct quern_plan_summary *out);

/* Notes made while planning (fallbacks, options without effect ...): note i, or NULL. */
QUERN_API const char *quern_plan_note(const struct quern_plan *plan, size_t i);

/* Input tensors that the plan leaves out: number i as "NAME: why" (quoted), or NULL past the end.
 */
QUERN_API const char *quern_plan_left_out(const struct quern_plan *plan, size_t i);

/* What a record tells that the plan itself does not know; all zero is valid. */
struct quern_provenance {
    const char *command; /* what was asked for, in any words; NULL: "" */
    const char *recipe;  /* the text of a recipe, or NULL */
    /* Files that were read besides the inputs of the plan and what lies beside them. */
    const char *const *files;
    size_t nfiles;
};

/* Has the run of a plan that writes also hash its inputs, file by file and tensor by tensor, while
 * they are read, and tell of them: in keys quern.* of the (first) output file, and in a record
 * OUTPUT.quern.json with the hashes of all outputs, which is written last. docs/provenance.md has
 * their form. The output differs from that of the same plan without provenance by these keys only,
 * and is as deterministic. Call it once, before quern_run() and quern_plan_summarize().
 * Errors: EUSAGE (a plan that writes nothing, or has a record), EIO, EMEMORY. */
QUERN_API enum quern_status quern_plan_provenance(struct quern_plan *plan,
                                                  const struct quern_provenance *options,
                                                  struct quern_error *err);

/* ---- running ------------------------------------------------------------------------------ */

struct quern_progress {
    uint64_t done_bytes; /* work done and to do, in bytes read and written */
    uint64_t total_bytes;
    const char *tensor; /* quoted name of a tensor being worked on */
};

struct quern_run_options {
    unsigned threads;   /* 0 = all cores this process may use */
    uint64_t mem_bytes; /* ceiling on what quern allocates; 0 = 256 MiB */
    /* Called from the thread that called quern_run(), a few times per second. */
    void (*progress)(const struct quern_progress *progress, void *user);
    void *user;
    /* Measure what encoding loses: quern_result.relative_error, quern_plan_errors(). Costs a decode
     * of what was stored. */
    bool stats;
    /* Go on with what an interrupted run of the same plan has left beside the output; when nothing
     * fits, start from the beginning. EUSAGE "resume" when it is of another plan or version, EIO
     * "changed" when an input is not what it was. threads, mem_bytes and stats may differ. */
    bool resume;
    /* When a run ends with ECANCELLED, EIO, EMEMORY or EEXIST: leave what is finished beside the
     * output, as .NAME.quern-part and .NAME.quern-journal, for a run with resume. */
    bool keep_unfinished;
    /* How often finished work is synced and recorded, in seconds; 0 = every second. What came later
     * is made again after a crash. */
    double sync_seconds;
    /* Called at the start and the end, from the thread that called quern_run(), with what a user
     * should know: that the run goes on with an old one, or that it starts anew. */
    void (*note)(const char *text, void *user);
    /* Polled by every worker, with a relaxed atomic load: set it to stop with QUERN_ECANCELLED.
     * From another thread or a signal handler use __atomic_store_n(cancel, 1, __ATOMIC_RELAXED). */
    const volatile int *cancel;
};

struct quern_result {
    double seconds;
    uint64_t read_bytes, written_bytes;
    uint64_t peak_rss_bytes; /* of the process */
    unsigned threads;        /* workers used */
    /* With options.stats: root mean square of (weight - stored weight) over that of the weights, of
     * all tensors whose stored type is a block type; negative when there is none. */
    double relative_error;
    /* Filled on errors, too: finished work has been left for a run with options.resume. */
    bool resumable;
};

/* Runs the plan once: reads, computes, writes part files, syncs and renames. The output appears
 * under its final name only when complete. options and result may be NULL. On any error the old
 * output, if there was one, is untouched and no part file is left, unless it is to be kept for
 * another run (options->keep_unfinished) or the process is killed. The bytes written do not depend
 * on threads, mem_bytes, the CPU or how often the run was interrupted. Errors: EFORMAT (NaN/Inf),
 * EIO, EMEMORY, EEXIST, ECANCELLED, EUSAGE (resume). */
QUERN_API enum quern_status quern_run(struct quern_plan *plan,
                                      const struct quern_run_options *options,
                                      struct quern_result *result, struct quern_error *err);

/* A tensor of an input with values that were NaN or Inf. */
struct quern_zeroed {
    const char *tensor; /* name_bytes long, as the file has it */
    size_t name_bytes;
    const char *file;
    uint64_t count, nelems; /* so many values of so many; of a block with such a scale, all */
    uint64_t first;         /* index of the first along the flattened tensor */
};
/* After a run with nonfinite = "zero": number i in the order of the inputs and their tensors, or
 * false past the end. */
QUERN_API bool quern_plan_zeroed(const struct quern_plan *plan, size_t i, struct quern_zeroed *out);

/* ---- packs --------------------------------------------------------------------------------- */

/* What went into a pack, by kind of data. */
struct quern_packed {
    const char *kind;      /* element type of tensors; "files": whatever is no tensor */
    uint64_t count;        /* tensors; files */
    uint64_t nbytes;       /* of the original */
    uint64_t stored_bytes; /* in the pack; 0 before quern_run() */
};
/* Number i of a plan of quern_plan_pack(), the largest first, or false past the end and for other
 * plans. */
QUERN_API bool quern_plan_packed(const struct quern_plan *plan, size_t i, struct quern_packed *out);

/* A file that comes out of a pack. */
struct quern_unpacked {
    const char *name; /* with slashes; belongs to the plan */
    uint64_t nbytes;
    char sha256[65]; /* in hexadecimal, as the pack has it */
};
/* Number i of a plan of quern_plan_unpack(), or false past the end and for other plans. */
QUERN_API bool quern_plan_unpacked(const struct quern_plan *plan, size_t i,
                                   struct quern_unpacked *out);

/* ---- errors of weights ---------------------------------------------------------------------- */

/* How far the values b of a tensor are from the values a they stand for. Pairs with a NaN or Inf
 * are counted in nnonfinite and otherwise left out. All numbers are the same for any threads,
 * mem_bytes and CPU. */
struct quern_errors {
    const char *tensor; /* belongs to the plan; NULL in a total */
    const char *from;   /* element type of a; NULL in a total */
    const char *to;     /* element type of b; NULL in the total of all types */
    bool equal;         /* all values are equal and finite */
    bool as_bytes;      /* no weights: its bytes were compared, or just moved; only equal counts */
    uint64_t nelems;    /* pairs that the sums below are of */
    uint64_t nnonfinite;
    double rmse;          /* root mean square of a - b, in the unit of the weights */
    double relative_rmse; /* rmse over the root mean square of a; infinite when a is all zero */
    double sqnr_db;   /* signal-to-noise ratio: 10 log10 of mean a^2 over mean (a - b)^2; NaN when
                       * there is no noise */
    double cosine;    /* of the angle between a and b as vectors; 1 when they are equal */
    double max_error; /* largest |a - b| ... */
    uint64_t max_error_at; /* ... and its first place: index along the flattened tensor */
    /* The block of block_elems elements with the largest rmse, the first of several: a block of b's
     * type, 256 elements for plain types. */
    uint64_t worst_block; /* counted from 0 along the flattened tensor */
    unsigned block_elems;
    double worst_block_rmse;
    /* With every square counted as often as the importance of its column says; NaN where there is
     * no importance. */
    double weighted_rmse, weighted_relative_rmse;
};
/* Tensor i of a plan that was run, either by quern_plan_compare() or with options.stats (a: what is
 * encoded; b: what is stored). False past the end, and when the run measured nothing. */
QUERN_API bool quern_plan_errors(const struct quern_plan *plan, size_t i, struct quern_errors *out);
/* The same over all tensors whose b is of one type ("Q4_K"), or of any (NULL); max_error_at and
 * worst_block are 0. False when there is none, or when memory ran out. */
QUERN_API bool quern_plan_total_errors(const struct quern_plan *plan, const char *type,
                                       struct quern_errors *out);

/* ---- what a verification has found ---------------------------------------------------------- */

/* Where the bytes of a tensor are not those that its source gives. */
struct quern_difference {
    const char *tensor; /* belongs to the plan */
    const char *type;
    bool exact;            /* every byte is the same: what follows is 0 */
    uint64_t nblocks;      /* blocks that differ, of ... */
    uint64_t total_blocks; /* ... so many; elements, where a type has no blocks */
    unsigned block_elems;  /* 1 there */
    uint64_t row, block;   /* of the first: its row, and which of this row's blocks */
    uint64_t element;      /* in this row: the first value that differs */
    bool has_values;       /* it holds weights, so there are the following */
    double max_error;      /* largest difference of values, of all that are finite */
    uint64_t max_error_at; /* its first place: index along the flattened tensor */
    double relative_rmse; /* root mean square of the differences over that of the values that should
                           * be there, both in the blocks that differ and nowhere else */
    uint64_t nnonfinite;  /* values that are NaN or Inf in the file */
};
/* Tensor i of those that were compared, after quern_run(). False past the end, and for other plans.
 */
QUERN_API bool quern_plan_difference(const struct quern_plan *plan, size_t i,
                                     struct quern_difference *out);

/* What else is not as the source gives it. */
struct quern_mismatch {
    /* "tensor": missing, extra, or of another shape or type; "key": of GGUF or __metadata__;
     * "file": beside the weights */
    const char *kind;
    const char *name; /* as it stands in a file: quote it before printing */
    const char *what; /* "missing", "extra", "shape", "type", "value" ... */
    /* It only tells what the model is called or how it was made (keys general.*, README.md ...),
     * and says nothing against it. */
    bool describes;
};
/* Number i, or false past the end and for other plans; there before quern_run() as well. */
QUERN_API bool quern_plan_mismatch(const struct quern_plan *plan, size_t i,
                                   struct quern_mismatch *out);

/* Use the kernels of one instruction set: "portable", "avx2", "avx512" or NULL for the best this
 * CPU has. Call it before other threads use the library. False when this CPU cannot run them. */
QUERN_API bool quern_set_cpu(const char *name);
/* Name of the kernels in use. */
QUERN_API const char *quern_cpu(void);

#ifdef __cplusplus
}
#endif
#endif
