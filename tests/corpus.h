/* corpus.h - the malformed files of make_corpus.py, made afresh for a test, and their list. */
#ifndef QUERN_TESTS_CORPUS_H
#define QUERN_TESTS_CORPUS_H

#include <sys/wait.h>

#include "core/arena.h"
#include "core/io.h"
#include "formats/pack.h"
#include "scratch.h"

struct corpus_row {
    const char *path;
    const char *name; /* as in the list */
    const char *kind; /* "safetensors", "gguf", "index", "config", "imatrix" */
    const char *err;  /* NULL when the file is sound */
};

struct corpus {
    struct arena arena;
    const char *dir;
    struct corpus_row *rows;
    size_t count;
};

/* A 32-bit program of the readers has no zstd: it takes no file for a pack. */
static inline bool packs_are_left_out(const char *pack)
{
    return sizeof(void *) == 4 && pack_part(pack) == 0;
}

/* Tests run in the top directory of the source. QUERN_CORPUS names a corpus that exists already. */
static inline const char *corpus_make(void)
{
    const char *dir = getenv("QUERN_CORPUS");
    if (dir && *dir)
        return dir;
    dir = scratch("corpus");
    const pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        execlp("python3", "python3", "-B", "tests/make_corpus.py", dir, (char *)NULL);
        _exit(127);
    }
    int status;
    cr_assert(waitpid(child, &status, 0) == child && status == 0, "tests/make_corpus.py failed");
    return dir;
}

static inline char *corpus_field(char **line, char end)
{
    char *field = *line;
    char *stop = strchr(field, end);
    cr_assert(stop, "MANIFEST.tsv is cut");
    *stop = '\0';
    *line = stop + 1;
    return field;
}

static inline void corpus_open(struct corpus *c)
{
    *c = (struct corpus){0};
    c->dir = arena_printf(&c->arena, "%s", corpus_make());
    struct str text;
    struct quern_error err;
    cr_assert(read_small_file(path_join(&c->arena, c->dir, "MANIFEST.tsv"), 1u << 20, &c->arena,
                              &text, &err) == QUERN_OK,
              "%s", err.text);
    char *at = (char *)text.p;
    size_t lines = 0;
    for (size_t i = 0; i < text.n; i++)
        lines += text.p[i] == '\n';
    c->rows = ARENA_NEW(&c->arena, struct corpus_row, lines);
    while (*at) {
        struct corpus_row *r = &c->rows[c->count++];
        r->name = corpus_field(&at, '\t');
        r->kind = corpus_field(&at, '\t');
        const bool reject = strcmp(corpus_field(&at, '\t'), "reject") == 0;
        const char *err_kind = corpus_field(&at, '\t');
        r->err = reject ? err_kind : NULL;
        r->path = path_join(&c->arena, c->dir, r->name);
        corpus_field(&at, '\n');
    }
}

static inline void corpus_close(struct corpus *c)
{
    arena_free(&c->arena);
}

#endif
