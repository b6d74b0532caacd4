/* fuzz.h - what a fuzz target is, and what all targets use.
 *
 * A target is one file, fuzz_NAME.c, that defines struct fuzz_target fuzz_NAME and has its line in
 * FUZZ_TARGETS. libFuzzer drives one target at a time (libfuzzer.c); the unit tests run all of
 * them over the inputs in corpus/ (tests/test_fuzz_corpus.c). */
#ifndef QUERN_FUZZ_H
#define QUERN_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "core/arena.h"
#include "core/error.h"

#define FUZZ_TARGETS(X)      \
    X(gguf)                  \
    X(safetensors)           \
    X(index)                 \
    X(hub)                   \
    X(folder)                \
    X(json)                  \
    X(config_edit)           \
    X(yaml)                  \
    X(recipe)                \
    X(merge)                 \
    X(manifest)              \
    X(imatrix_dat)           \
    X(imatrix_gguf)          \
    X(tokenizer)             \
    X(tokenizer_config)      \
    X(sentencepiece)         \
    X(hf_config)             \
    X(adapter_config)        \
    X(adapter)               \
    X(front_matter)          \
    X(map)                   \
    X(convert)               \
    X(back)                  \
    X(roundtrip_gguf)        \
    X(roundtrip_safetensors) \
    X(args)                  \
    X(plan)                  \
    X(pack)                  \
    X(literals)              \
    X(journal)               \
    X(rows)                  \
    X(rows_search)           \
    X(merge_rows)

/* What a mutator may use: bytes in place, n of them in room, and chance. */
struct mutation {
    uint8_t *p;
    size_t n, room;
    uint64_t chance; /* state of chance_below() */
    /* Changes bytes without knowing what they are; the new number of them. */
    size_t (*any_change)(uint8_t *p, size_t n, size_t room);
};

struct fuzz_target {
    const char *name;
    size_t max_len;
    /* The text has a zero behind it and is the target's to change. */
    void (*run)(char *text, size_t n);
    /* Changes m->p and m->n. NULL: only bytes are changed. */
    void (*mutate)(struct mutation *m);
    /* Memory taken from the system while it runs: at most so many bytes for each byte of the
     * input, and this much besides. */
    size_t bytes_per_byte, bytes_besides;
    const char *const *words; /* worth putting into inputs; ends with NULL */
    /* The first reader is tried without enough memory, too: until fuzz_failed() is told of it, the
     * target itself asks for none. */
    bool memory_may_fail;
};

#define X(name) extern const struct fuzz_target fuzz_##name;
FUZZ_TARGETS(X)
#undef X

/* Ends the process, saying why. */
#define FUZZ_CHECK(what)                                                             \
    do {                                                                             \
        if (!(what)) {                                                               \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #what); \
            abort();                                                                 \
        }                                                                            \
    } while (0)

/* Runs the target on a copy, under its limits of memory and of time. */
void fuzz_one(const struct fuzz_target *t, const uint8_t *data, size_t n);

/* An error says of which kind it is, in words that may be printed, and is no bug of quern. Gives
 * whether there is one. */
bool fuzz_failed(enum quern_status status, const struct quern_error *err);
/* Hears of every such error; or NULL. */
extern void (*fuzz_on_error)(const struct quern_error *err);

/* A file in memory under a path that ends in name, with these bytes; files keep their paths. */
const char *fuzz_file(const char *name, const void *bytes, size_t n);
/* Takes the name of such a file away again. */
void fuzz_file_gone(const char *name);
void fuzz_files_end(void);
/* The directory of these files; fuzz_end() ends all of it. */
const char *fuzz_dir(void);
void fuzz_end(void);
/* A file on the disk there, for a target that goes there or writes beside it. */
void fuzz_put(const char *name, const void *bytes, size_t n);
/* Its path, in a directory that is there. */
#define FUZZ_PATH 96
const char *fuzz_path(const char *name, char *path);

/* ---- taking an input apart: zeros where it has ended
 * --------------------------------------------- */

struct fuzz_bytes {
    const char *p;
    size_t n;
};
uint8_t take_byte(struct fuzz_bytes *b);
uint32_t take_u32(struct fuzz_bytes *b);
/* Up to n bytes. */
struct str take_bytes(struct fuzz_bytes *b, size_t n);
/* Up to the next separator, which goes too. */
struct str take_part(struct fuzz_bytes *b, char separator);

/* ---- memory: count_memory.c -------------------------------------------------------------------
 */

/* Bytes that this thread has asked for since the last call; 0 where nobody counts. */
size_t fuzz_memory_taken(void);
/* From here on calls for memory are counted. The one of this number is refused, if the target's
 * first reader makes so many; 0: none is. Where nobody counts there are none. */
void fuzz_memory_start(size_t refused);
/* Whether one was. Only the first time after the start it is a reader that has ended. */
bool fuzz_memory_reader_ends(void);
size_t fuzz_memory_reader_calls(void);

/* ---- several files in one input: for each a number, the length of its text in two bytes, the text
 */

struct fuzz_part {
    uint8_t which;
    struct str text;
};
/* False behind the last. A text may be cut by the end of the input. */
bool take_file(struct fuzz_bytes *b, struct fuzz_part *out);

/* ---- mutators ---------------------------------------------------------------------------------
 */

uint32_t chance_below(struct mutation *m, uint32_t n);
/* One of the numbers at which programs go wrong. */
uint64_t odd_number(struct mutation *m);
/* Bytes [at, at + was) become n others. False when there is no room. */
bool mutation_splice(struct mutation *m, size_t at, size_t was, const void *bytes, size_t n);
void mutate_bytes(struct mutation *m);
void mutate_gguf(struct mutation *m);
void mutate_safetensors(struct mutation *m);
void mutate_json(struct mutation *m);
/* One of several files changes as mutators[its number] says (NULL: any bytes), or one goes, comes,
 * or gets another number. */
typedef void mutate_fn(struct mutation *m);
void mutate_files(struct mutation *m, mutate_fn *const *mutators, uint32_t nmutators);

#endif
