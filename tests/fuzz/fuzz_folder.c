/* fuzz_folder.c - any files in a directory as a model: one file, shards with an index, a split set.
 */
#include "check_model.h"

static const char *const names[] = {
    "d/model.safetensors.index.json",
    "d/model.safetensors",
    "d/m-1.safetensors",
    "d/m-2.safetensors",
    "d/config.json",
    "d/x-00001-of-00002.gguf",
    "d/x-00002-of-00002.gguf",
    "d/other.gguf",
    "d/pytorch_model.bin",
    "d/other.safetensors",
};
#define NNAMES (sizeof names / sizeof *names)

static void run(char *text, size_t n)
{
    struct fuzz_bytes b = {text, n};
    struct fuzz_part part;
    bool there[NNAMES] = {0};
    struct quern_error err;
    struct model *m;
    char path[96];
    while (take_file(&b, &part)) {
        fuzz_file(names[part.which % NNAMES], part.text.p, part.text.n);
        there[part.which % NNAMES] = true;
    }
    for (size_t i = 0; i < NNAMES; i++)
        if (!there[i])
            fuzz_file_gone(names[i]);
    snprintf(path, sizeof path, "%s/d", fuzz_dir());
    if (!fuzz_failed(model_open(path, &m, &err), &err)) {
        check_model(m);
        for (uint32_t i = 0; i < m->nnotes; i++)
            FUZZ_CHECK(utf8_valid(str_from(m->notes[i]), NULL));
        model_close(m);
    }
    snprintf(path, sizeof path, "%s/%s", fuzz_dir(), names[n % NNAMES]);
    if (there[n % NNAMES] && !fuzz_failed(model_open_alone(path, &m, &err), &err)) {
        check_model(m);
        model_close(m);
    }
}

static void mutate(struct mutation *m)
{
    static mutate_fn *const mutators[NNAMES] = {
        mutate_json, mutate_safetensors, mutate_safetensors, mutate_safetensors,
        mutate_json, mutate_gguf,        mutate_gguf,        mutate_gguf,
        NULL,        mutate_safetensors};
    mutate_files(m, mutators, NNAMES);
}

const struct fuzz_target fuzz_folder = {
    .name = "folder",
    .max_len = 2048,
    .run = run,
    .mutate = mutate,
    .bytes_per_byte = 64,
    .bytes_besides = 65536,
    .memory_may_fail = true,
};
