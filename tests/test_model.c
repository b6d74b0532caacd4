/* test_model.c - which files a path stands for, and bytes that are read from them. */
#include "formats/model.h"

#include <pthread.h>

#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "scratch.h"

TestSuite(model, .init = scratch_begin, .fini = scratch_end);

static struct model *open_good(const char *path)
{
    struct model *m;
    struct quern_error err;
    cr_assert(model_open(path, &m, &err) == QUERN_OK, "%s", err.text);
    return m;
}

static void expect_error(const char *path, enum quern_status status, const char *kind,
                         const char *words)
{
    struct model *m = NULL;
    struct quern_error err;
    const enum quern_status s = model_open(path, &m, &err);
    cr_assert(s == status, "%s: status %d", path, s);
    cr_assert_str_eq(err.kind, kind, "%s", err.text);
    cr_assert(strstr(err.text, words), "%s", err.text);
    cr_assert(m == NULL);
}

/* A safetensors file of one U8 tensor whose bytes are all `fill`. */
static const char *write_safetensors(const char *file, const char *tensor, size_t n, char fill)
{
    static char bytes[4096];
    struct arena a = {0};
    struct str header;
    uint64_t file_bytes;
    const uint64_t dims[] = {n};
    struct st_tensor t = {str_from(tensor), dims, 1, DTYPE_U8, n, 0};
    cr_assert(safetensors_layout(&a, NULL, 0, &t, 1, &header, &file_bytes, NULL) == QUERN_OK);
    cr_assert(file_bytes <= sizeof bytes);
    memcpy(bytes, header.p, header.n);
    memset(bytes + header.n, fill, n);
    arena_free(&a);
    return scratch_file(file, (struct str){bytes, file_bytes});
}

static const char *write_gguf(const char *file, const char *tensor)
{
    struct arena a = {0};
    struct str header;
    uint64_t file_bytes;
    const uint64_t dims[] = {8};
    struct gguf_tensor t = {str_from(tensor), dims, 1, DTYPE_F32, 32, 0};
    cr_assert(gguf_layout(&a, NULL, 0, &t, 1, 32, &header, &file_bytes, NULL) == QUERN_OK);
    const char *path = scratch_file(file, header);
    cr_assert(truncate(path, (off_t)file_bytes) == 0);
    arena_free(&a);
    return path;
}

/* Shards shard-00.safetensors ... with tensors t0 ... and their index, all in one folder. */
static const char *write_shards(const char *folder, unsigned n)
{
    static char name[64], text[64 * 1024];
    scratch_folder(folder);
    size_t used = (size_t)snprintf(text, sizeof text, "{\"weight_map\":{");
    for (unsigned i = 0; i < n; i++) {
        char tensor[16];
        snprintf(tensor, sizeof tensor, "t%u", i);
        snprintf(name, sizeof name, "%s/shard-%02u.safetensors", folder, i);
        write_safetensors(name, tensor, 100, (char)i);
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "%s\"%s\":\"shard-%02u.safetensors\"", i ? "," : "", tensor, i);
    }
    used += (size_t)snprintf(text + used, sizeof text - used, "}}");
    snprintf(name, sizeof name, "%s/model.safetensors.index.json", folder);
    scratch_file(name, (struct str){text, used});
    return scratch(folder);
}

/* ---- what a path stands for ------------------------------------------------------------------ */

Test(model, content_decides_where_the_name_does_not)
{
    write_safetensors("blob", "a", 4, 1);
    struct model *m = open_good(scratch("blob"));
    cr_assert(m->format == MODEL_SAFETENSORS && m->ntensors == 1 && m->dir == NULL);
    cr_assert_str_eq(m->files[0].name, "blob");
    model_close(m);
    write_gguf("blob", "a");
    m = open_good(scratch("blob"));
    cr_assert(m->format == MODEL_GGUF);
    model_close(m);
    write_gguf("a.safetensors", "a");
    expect_error(scratch("a.safetensors"), QUERN_EFORMAT, "is-gguf", "this is a GGUF file");
    write_safetensors("a.gguf", "a", 4, 1);
    expect_error(scratch("a.gguf"), QUERN_EFORMAT, "is-safetensors", "this is a safetensors file");
    scratch_file("m.bin", STR("PK\3\4\0\0\0\0\0\0\0\0"));
    expect_error(scratch("m.bin"), QUERN_EUNSUPPORTED, "is-pickle", "convert it to safetensors");
    scratch_file("words", STR("hello world, this is text"));
    expect_error(scratch("words"), QUERN_EFORMAT, "magic", "neither");
    scratch_file("page.gguf", STR("<html><body>404"));
    expect_error(scratch("page.gguf"), QUERN_EFORMAT, "html", "HTML");
    expect_error(scratch("none"), QUERN_EIO, "io", "No such file");
}

Test(model, a_directory_is_the_model_in_it)
{
    scratch_folder("d");
    scratch_file("d/config.json", STR("{}"));
    expect_error(scratch("d"), QUERN_EFORMAT, "no-model", "model.safetensors.index.json");
    scratch_file("d/pytorch_model.bin", STR("PK\3\4"));
    expect_error(scratch("d"), QUERN_EUNSUPPORTED, "is-pickle", "convert");

    write_gguf("d/m.gguf", "in gguf");
    struct model *m = open_good(scratch("d"));
    cr_assert(m->format == MODEL_GGUF && m->dir == NULL);
    model_close(m);

    write_safetensors("d/adapter.safetensors", "in adapter", 4, 1);
    m = open_good(scratch("d"));
    cr_assert(m->format == MODEL_SAFETENSORS && model_find(m, STR("in adapter")));
    cr_assert_str_eq(m->dir, scratch("d"));
    model_close(m);

    write_safetensors("d/other.safetensors", "in other", 4, 1);
    expect_error(scratch("d"), QUERN_EUSAGE, "ambiguous", "2 .safetensors files");
    write_safetensors("d/model.safetensors", "in model", 4, 1);
    m = open_good(scratch("d"));
    cr_assert(model_find(m, STR("in model")) && m->ntensors == 1);
    model_close(m);

    scratch_file("d/model.safetensors.index.json",
                 STR("{\"weight_map\":{\"in other\":\"other.safetensors\"}}"));
    expect_error(scratch("d"), QUERN_EUSAGE, "ambiguous", "both model.safetensors and");
    m = open_good(scratch("d/model.safetensors.index.json"));
    cr_assert(model_find(m, STR("in other")) && m->ntensors == 1);
    cr_assert_str_eq(m->dir, scratch("d"));
    cr_assert(m->nnotes == 2, "two files are not in the index");
    model_close(m);
}

Test(model, paths_without_a_directory_part)
{
    write_shards("d", 2);
    cr_assert(chdir(scratch("d")) == 0);
    struct model *m = open_good("model.safetensors.index.json");
    cr_assert_str_eq(m->dir, ".");
    cr_assert(m->ntensors == 2);
    model_close(m);
    m = open_good("shard-01.safetensors");
    cr_assert(m->dir == NULL && m->ntensors == 1);
    model_close(m);
    m = open_good(".");
    cr_assert(m->ntensors == 2);
    model_close(m);
    cr_assert(chdir("/") == 0);
}

/* models--x/snapshots/rev/FILE -> ../../blobs/HASH */
Test(model, hub_caches_are_links_to_blobs)
{
    scratch_folder("blobs");
    scratch_folder("snapshots");
    scratch_folder("snapshots/rev");
    write_safetensors("blobs/0123abc", "a", 4, 1);
    scratch_file("blobs/index", STR("{\"weight_map\":{\"a\":\"m-1.safetensors\"}}"));
    cr_assert(symlink("../../blobs/0123abc", scratch("snapshots/rev/m-1.safetensors")) == 0);
    cr_assert(symlink("../../blobs/index", scratch("snapshots/rev/model.safetensors.index.json")) ==
              0);
    struct model *m = open_good(scratch("snapshots/rev"));
    cr_assert(m->ntensors == 1);
    cr_assert_str_eq(m->files[0].name, "m-1.safetensors");
    model_close(m);
}

Test(model, shards_are_one_list_in_file_order)
{
    struct model *m = open_good(write_shards("d", 12));
    cr_assert(m->nfiles == 12 && m->ntensors == 12 && m->nnotes == 0);
    for (uint32_t i = 0; i < 12; i++) {
        const struct tensor *t = &m->tensors[i];
        cr_assert(t->file == i && m->files[i].first_tensor == i && m->files[i].ntensors == 1);
        cr_assert(model_find(m, t->name) == t);
    }
    model_close(m);
}

static struct str split_file(struct arena *a, uint16_t no, const char *tensor, uint64_t *file_bytes)
{
    struct meta_list l;
    cr_assert(meta_list_copy(&l, a, NULL, 0));
    if (no == 0)
        cr_assert(meta_list_set_string(&l, "general.architecture", STR("llama")));
    cr_assert(meta_list_set_u16(&l, "split.no", no) && meta_list_set_u16(&l, "split.count", 2));
    cr_assert(meta_list_set_i32(&l, "split.tensors.count", 2));
    const uint64_t dims[] = {8};
    struct gguf_tensor t = {str_from(tensor), dims, 1, DTYPE_F32, 32, 0};
    struct str header;
    cr_assert(gguf_layout(a, l.items, l.count, &t, 1, 32, &header, file_bytes, NULL) == QUERN_OK);
    return header;
}

Test(model, any_member_opens_a_gguf_set)
{
    struct arena a = {0};
    scratch_folder("d");
    for (uint16_t i = 0; i < 2; i++) {
        uint64_t file_bytes;
        char name[40];
        snprintf(name, sizeof name, "d/m-%05d-of-00002.gguf", i + 1);
        const struct str header = split_file(&a, i, i ? "b" : "a", &file_bytes);
        cr_assert(truncate(scratch_file(name, header), (off_t)file_bytes) == 0);
    }
    arena_free(&a);
    static const char *const paths[] = {"d/m-00001-of-00002.gguf", "d/m-00002-of-00002.gguf", "d"};
    for (size_t i = 0; i < 3; i++) {
        struct model *m = open_good(scratch(paths[i]));
        cr_assert(m->nfiles == 2 && m->ntensors == 2 && m->tensors[1].file == 1);
        struct str arch;
        cr_assert(meta_string(model_meta(m, "general.architecture"), &arch));
        cr_assert_str_eq(m->files[1].name, "m-00002-of-00002.gguf");
        model_close(m);
    }
    cr_assert(unlink(scratch("d/m-00001-of-00002.gguf")) == 0);
    expect_error(scratch("d/m-00002-of-00002.gguf"), QUERN_EFORMAT, "missing-shard",
                 "m-00001-of-00002.gguf");
}

/* ---- bytes ---------------------------------------------------------------------------------- */

struct readers {
    struct model *m;
    bool ok;
};

static void *read_many(void *arg)
{
    struct readers *r = arg;
    r->ok = true;
    for (uint32_t i = 0; i < 2000; i++) {
        const struct tensor *t = &r->m->tensors[(i * 7) % r->m->ntensors];
        uint8_t b[100];
        struct quern_error err;
        if (model_pread(r->m, t->file, b, t->nbytes, t->offset, &err) != QUERN_OK ||
            b[0] != t->file || b[99] != t->file)
            r->ok = false;
    }
    return NULL;
}

static int open_descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

Test(model, many_threads_read_many_files_through_few_descriptors)
{
    enum { THREADS = 4 };
    const int before = open_descriptors();
    struct model *m = open_good(write_shards("d", 60));
    cr_assert(m->ntensors == 60 && open_descriptors() <= before + 16);
    pthread_t threads[THREADS];
    struct readers r[THREADS];
    for (int i = 0; i < THREADS; i++) {
        r[i] = (struct readers){.m = m};
        cr_assert(pthread_create(&threads[i], NULL, read_many, &r[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        cr_assert(r[i].ok, "thread %d", i);
    }
    cr_assert(open_descriptors() <= before + 16);
    model_close(m);
    cr_assert(open_descriptors() == before);
}

Test(model, inputs_that_change_are_noticed)
{
    struct quern_error err;
    struct model *m = open_good(write_shards("d", 20));
    uint8_t b[8];
    cr_assert(model_unchanged(m, &err) == QUERN_OK);
    /* The first file has left the cache by now, so the next read opens it again. */
    write_safetensors("d/shard-00.safetensors", "t0", 101, 9);
    cr_assert(model_pread(m, 0, b, 8, m->tensors[0].offset, &err) == QUERN_EIO);
    cr_assert_str_eq(err.kind, "changed", "%s", err.text);
    cr_assert(strstr(err.file, "shard-00"));
    cr_assert(model_unchanged(m, &err) == QUERN_EIO);
    cr_assert_str_eq(err.kind, "changed");
    /* The last one is still open: a file that shrinks ends a read early. */
    cr_assert(truncate(scratch("d/shard-19.safetensors"), 16) == 0);
    cr_assert(model_pread(m, 19, b, 8, m->tensors[19].offset, &err) == QUERN_EIO);
    cr_assert_str_eq(err.kind, "changed", "%s", err.text);
    cr_assert(unlink(scratch("d/shard-00.safetensors")) == 0);
    cr_assert(model_unchanged(m, &err) == QUERN_EIO);
    model_close(m);
}

/* ---- what only a quantizer asks ------------------------------------------------------------- */

static enum quern_status check_with(const char *tensor, const char *key, uint32_t value,
                                    struct quern_error *err)
{
    struct arena a = {0};
    struct meta_list l;
    cr_assert(meta_list_copy(&l, &a, NULL, 0));
    cr_assert(meta_list_set_string(&l, "general.architecture", STR("llama")));
    if (key)
        cr_assert(meta_list_set_u32(&l, key, value));
    const uint64_t dims[] = {8};
    struct gguf_tensor t = {str_from(tensor), dims, 1, DTYPE_F32, 32, 0};
    struct str header;
    uint64_t file_bytes;
    cr_assert(gguf_layout(&a, l.items, l.count, &t, 1, 32, &header, &file_bytes, NULL) == QUERN_OK);
    const char *path = scratch_file("c.gguf", header);
    cr_assert(truncate(path, (off_t)file_bytes) == 0);
    arena_free(&a);
    struct model *m = open_good(path);
    const enum quern_status s = gguf_check_model(m, err);
    model_close(m);
    return s;
}

Test(model, hyper_parameters_agree_with_the_tensors)
{
    static const struct {
        const char *tensor, *key;
        uint32_t value;
        bool ok;
    } cases[] = {
        {"blk.3.attn_q.weight",   NULL,                         0,     true },
        {"blk.3.attn_q.weight",   "llama.block_count",          4,     true },
        {"blk.3.attn_q.weight",   "llama.block_count",          68,    true },
        {"blk.3.attn_q.weight",   "llama.block_count",          69,    false},
        {"blk.3.attn_q.weight",   "llama.block_count",          3,     false},
        {"blk.3.attn_q.weight",   "llama.block_count",          0,     false},
        {"blk.3.attn_q.weight",   "gemma.block_count",          0,     true },
        {"blk.x.attn_q.weight",   "llama.block_count",          80,    true },
        {"output.weight",         "llama.block_count",          65535, true },
        {"output.weight",         "llama.block_count",          65536, false},
        {"blk.0.attn_q.weight",   "llama.attention.head_count", 0,     false},
        {"blk.0.attn_qkv.weight", "llama.attention.head_count", 0,     false},
        {"blk.0.ssm_in.weight",   "llama.attention.head_count", 0,     true },
        {"blk.0.attn_q.weight",   "llama.attention.head_count", 32,    true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct quern_error err;
        const enum quern_status s = check_with(cases[i].tensor, cases[i].key, cases[i].value, &err);
        cr_assert(s == (cases[i].ok ? QUERN_OK : QUERN_EFORMAT), "case %zu", i);
        cr_assert(cases[i].ok || strcmp(err.kind, "hparam") == 0, "%s", err.text);
    }
    write_gguf("no.gguf", "a");
    struct model *m = open_good(scratch("no.gguf"));
    struct quern_error err;
    cr_assert(gguf_check_model(m, &err) == QUERN_EFORMAT);
    cr_assert_str_eq(err.kind, "arch");
    model_close(m);
}
