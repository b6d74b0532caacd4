/* cmd_inspect.c - quern inspect: what is in a model, from its headers. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "formats/pack.h"
#include "inspect_pack.h"

/* ---- metadata values ---------------------------------------------------------------------------
 */

static double meta_number(enum meta_type type, const char *p)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        float f32;
        uint64_t u64;
        int64_t i64;
        double f64;
    } v;
    memcpy(&v, p, meta_item_bytes(type));
    switch (type) {
    case META_U8:
    case META_BOOL:
        return v.u8;
    case META_I8:
        return v.i8;
    case META_U16:
        return v.u16;
    case META_I16:
        return v.i16;
    case META_U32:
        return v.u32;
    case META_I32:
        return v.i32;
    case META_F32:
        return (double)v.f32;
    case META_U64:
        return (double)v.u64;
    case META_I64:
        return (double)v.i64;
    case META_F64:
        return v.f64;
    default:
        return 0.0;
    }
}

static void scalar_text(enum meta_type type, const char *p, char *buf, size_t n)
{
    uint64_t u;
    int64_t i;
    if (type == META_BOOL) {
        snprintf(buf, n, "%s", *p ? "true" : "false");
    } else if (type == META_F32) {
        snprintf(buf, n, "%.9g", meta_number(type, p));
    } else if (type == META_F64) {
        snprintf(buf, n, "%.17g", meta_number(type, p));
    } else if (type == META_U64) {
        memcpy(&u, p, sizeof u);
        snprintf(buf, n, "%" PRIu64, u);
    } else if (type == META_I64) {
        memcpy(&i, p, sizeof i);
        snprintf(buf, n, "%" PRId64, i);
    } else {
        snprintf(buf, n, "%.0f", meta_number(type, p));
    }
}

/* Steps through the items of an array: strings have a length in front. */
static struct str array_item(const struct meta *k, size_t *at)
{
    struct str item = {k->value.p + *at, meta_item_bytes(k->item_type)};
    if (k->item_type == META_STRING) {
        uint64_t n;
        memcpy(&n, item.p, sizeof n);
        item = (struct str){item.p + sizeof n, (size_t)n};
        *at += sizeof n;
    }
    *at += item.n;
    return item;
}

void print_meta(FILE *f, const struct meta *k, int room)
{
    char text[64];
    if (k->type == META_STRING) {
        const struct quoted q = quoted(k->value);
        fprintf(f, "%.*s", (int)str_fit(q.text, (size_t)room), q.text);
    } else if (k->type != META_ARRAY) {
        scalar_text(k->type, k->value.p, text, sizeof text);
        fprintf(f, "%s", text);
    } else {
        size_t at = 0;
        int used = fprintf(f, "[%s x %" PRIu64 "]", meta_type_name(k->item_type), k->count);
        for (uint64_t i = 0; i < k->count && used + 24 < room; i++) {
            const struct str item = array_item(k, &at);
            if (k->item_type == META_STRING) {
                const struct quoted q = quoted(item);
                used += fprintf(f, " '%.*s'", (int)str_fit(q.text, 20), q.text);
            } else {
                scalar_text(k->item_type, item.p, text, sizeof text);
                used += fprintf(f, " %s", text);
            }
        }
        if (at < k->value.n)
            fprintf(f, " ...");
    }
}

static void json_scalar(struct json_writer *w, enum meta_type type, const char *p)
{
    uint64_t u = 0;
    int64_t i = 0;
    if (type == META_BOOL) {
        json_put_bool(w, *p != 0);
    } else if (type == META_F32 || type == META_F64) {
        json_put_f64(w, meta_number(type, p));
    } else if (type == META_U64) {
        memcpy(&u, p, sizeof u);
        json_put_u64(w, u);
    } else if (type == META_I64) {
        memcpy(&i, p, sizeof i);
        json_put_i64(w, i);
    } else {
        json_put_i64(w, (int64_t)meta_number(type, p));
    }
}

static void json_meta(struct json_writer *w, const struct meta *k)
{
    size_t at = 0;
    if (k->type == META_STRING) {
        json_put_str(w, k->value);
    } else if (k->type != META_ARRAY) {
        json_scalar(w, k->type, k->value.p);
    } else {
        json_open(w, '[');
        for (uint64_t i = 0; i < k->count; i++) {
            const struct str item = array_item(k, &at);
            if (k->item_type == META_STRING)
                json_put_str(w, item);
            else
                json_scalar(w, k->item_type, item.p);
        }
        json_close(w, ']');
    }
}

/* Of any length; its line ends are lines, but it does nothing else to a terminal. */
static void print_text(struct str s)
{
    uint32_t acts;
    for (size_t at = 0, n; at < s.n; at += n) {
        n = next_character(s, at, &acts);
        if (acts == PLAIN_CHARACTER || acts == '\n' || acts == '\t')
            fwrite(s.p + at, 1, n, stdout);
        else
            fputs(quoted((struct str){s.p + at, n}).text, stdout);
    }
    putchar('\n');
}

/* --kv: the bare value, for scripts; arrays one item a line. */
static int print_kv(const struct cli *c, const struct model *m)
{
    const struct meta *k = model_meta(m, c->kv);
    struct quern_error err;
    if (!k) {
        fail(&err, QUERN_EUSAGE, "key", "there is no key '%s'", quoted(str_from(c->kv)).text);
        in_file(&err, m->path, QUERN_EUSAGE);
        return report_error(c, &err);
    }
    if (c->json) {
        struct json_writer w = {0};
        json_meta(&w, k);
        print_json(&w);
        return 0;
    }
    char text[64];
    size_t at = 0;
    const uint64_t n = k->type == META_ARRAY ? k->count : 1;
    for (uint64_t i = 0; i < n; i++) {
        const enum meta_type type = k->type == META_ARRAY ? k->item_type : k->type;
        const struct str item = k->type == META_ARRAY ? array_item(k, &at) : k->value;
        if (type != META_STRING) {
            scalar_text(type, item.p, text, sizeof text);
            printf("%s\n", text);
        } else if (k->type == META_STRING && !isatty(STDOUT_FILENO)) {
            fwrite(item.p, 1, item.n, stdout);
            putchar('\n');
        } else if (k->type == META_STRING) {
            print_text(item);
        } else {
            printf("%s\n", quoted(item).text);
        }
    }
    return 0;
}

/* ---- the whole model ---------------------------------------------------------------------------
 */

struct totals {
    uint64_t weights, data, files;
};

static struct totals total(const struct model *m)
{
    struct totals t = {0};
    for (uint32_t i = 0; i < m->ntensors; i++) {
        t.weights += m->tensors[i].nelems;
        t.data += m->tensors[i].nbytes;
    }
    for (uint32_t i = 0; i < m->nfiles; i++)
        t.files += m->files[i].id.nbytes;
    return t;
}

static void model_json(const struct model *m)
{
    const struct totals t = total(m);
    struct json_writer w = {0};
    json_open(&w, '{');
    json_key(&w, "path");
    json_put_str(&w, str_from(m->path));
    field_text(&w, "format", m->format == MODEL_GGUF ? "gguf" : "safetensors");
    if (m->format == MODEL_GGUF) {
        field_u64(&w, "version", m->gguf_version);
        field_u64(&w, "alignment", m->alignment);
    }
    json_key(&w, "files");
    json_open(&w, '[');
    for (uint32_t i = 0; i < m->nfiles; i++) {
        json_open(&w, '{');
        json_key(&w, "path");
        json_put_str(&w, str_from(m->files[i].path));
        field_u64(&w, "bytes", m->files[i].id.nbytes);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    field_u64(&w, "tensor_count", m->ntensors);
    field_u64(&w, "weights", t.weights);
    field_u64(&w, "data_bytes", t.data);
    field_f64(&w, "bits_per_weight", t.weights ? (double)t.data * 8.0 / (double)t.weights : 0.0);
    json_key(&w, "metadata");
    json_open(&w, '{');
    for (uint32_t i = 0; i < m->nmetas; i++) {
        json_key_str(&w, m->metas[i].key);
        json_meta(&w, &m->metas[i]);
    }
    json_close(&w, '}');
    json_key(&w, "tensors");
    json_open(&w, '[');
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const struct tensor *x = &m->tensors[i];
        json_open(&w, '{');
        json_key(&w, "name");
        json_put_str(&w, x->name);
        field_text(&w, "type", dtype_traits[x->dtype].name);
        json_key(&w, "shape");
        json_open(&w, '[');
        for (unsigned d = 0; d < x->ndims; d++)
            json_put_u64(&w, x->dims[d]);
        json_close(&w, ']');
        field_u64(&w, "bytes", x->nbytes);
        field_u64(&w, "file", x->file);
        field_u64(&w, "offset", x->offset);
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_key(&w, "notes");
    json_open(&w, '[');
    for (uint32_t i = 0; i < m->nnotes; i++)
        json_put_text(&w, m->notes[i]);
    json_close(&w, ']');
    if (m->archive) {
        json_key(&w, "pack");
        pack_to_json(&w, m->archive);
    }
    json_close(&w, '}');
    print_json(&w);
}

void print_field(const char *name, const char *value)
{
    printf("  %s%-12s%s %s\n", dim(stdout), name, plain(stdout), value);
}

static void print_head(const struct model *m)
{
    const struct totals t = total(m);
    char a[16], b[16], line[256];
    struct str arch = {0};
    const struct meta *k = model_meta(m, "general.architecture");
    printf("%s%s%s\n", bold(stdout), quoted(str_from(m->path)).text, plain(stdout));
    if (m->format == MODEL_GGUF)
        snprintf(line, sizeof line, "GGUF v%" PRIu32 ", alignment %" PRIu64, m->gguf_version,
                 m->alignment);
    else
        snprintf(line, sizeof line, "safetensors");
    print_field("format", line);
    if (k && meta_string(k, &arch))
        print_field("architecture", quoted(arch).text);
    k = model_meta(m, "general.name");
    if (k && meta_string(k, &arch))
        print_field("name", quoted(arch).text);
    snprintf(line, sizeof line, "%s in %" PRIu32 " file%s", human_bytes(t.files, a), m->nfiles,
             m->nfiles == 1 ? "" : "s");
    print_field("size", line);
    snprintf(line, sizeof line, "%" PRIu32 " tensors, %s weights, %.4g bits per weight",
             m->ntensors, human_count(t.weights, b),
             t.weights ? (double)t.data * 8.0 / (double)t.weights : 0.0);
    print_field("weights", line);
    if (m->archive)
        print_pack_head(m->archive);
}

static void print_metadata(const struct model *m)
{
    const int width = (int)terminal_width(stdout);
    size_t column = 0;
    for (uint32_t i = 0; i < m->nmetas; i++) {
        const size_t n = strlen(quoted(m->metas[i].key).text);
        column = n > column && n <= 44 ? n : column;
    }
    printf("\n%smetadata%s\n", bold(stdout), plain(stdout));
    for (uint32_t i = 0; i < m->nmetas; i++) {
        const struct meta *k = &m->metas[i];
        const int room = width - (int)column - 10;
        printf("  %-*s %s%-4s%s ", (int)column, quoted(k->key).text, dim(stdout),
               meta_type_name(k->type), plain(stdout));
        print_meta(stdout, k, room < 20 ? 20 : room);
        putchar('\n');
    }
}

static void print_tensors(const struct model *m)
{
    size_t column = 4;
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const size_t n = strlen(quoted(m->tensors[i].name).text);
        column = n > column && n <= 64 ? n : column;
    }
    printf("\n%stensors%s\n", bold(stdout), plain(stdout));
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const struct tensor *t = &m->tensors[i];
        char shape[64] = "scalar", bytes[16];
        size_t used = 0;
        for (unsigned d = 0; d < t->ndims && used + 24 < sizeof shape; d++)
            used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%" PRIu64,
                                     d ? " x " : "", t->dims[d]);
        printf("  %-*s  %-8s %18s %9s\n", (int)column, quoted(t->name).text,
               dtype_traits[t->dtype].name, shape, human_bytes(t->nbytes, bytes));
    }
}

/* A pack itself, not something in it. */
static bool is_pack(const char *path)
{
    const size_t n = pack_part(path);
    return n > 0 && path[n] == '\0';
}

/* A pack of several models, or of none: what is in it, and what opening it as a model would say. */
static int inspect_bare(const struct cli *c, const struct quern_error *why)
{
    struct archive *a;
    struct quern_error err;
    if (pack_open(c->args.items[0], PACK_FILES, &a, &err) != QUERN_OK)
        return report_error(c, &err);
    if (c->json) {
        struct json_writer w = {0};
        json_open(&w, '{');
        field_text(&w, "path", a->path);
        field_text(&w, "format", "pack");
        json_key(&w, "pack");
        pack_to_json(&w, a);
        json_key(&w, "notes");
        json_open(&w, '[');
        json_put_text(&w, why->text);
        json_close(&w, ']');
        json_close(&w, '}');
        print_json(&w);
    } else {
        printf("%s%s%s\n", bold(stdout), quoted(str_from(a->path)).text, plain(stdout));
        print_pack_head(a);
        print_pack_files(a);
        printf("\nnote: %s\n", why->text);
    }
    archive_leave(a);
    return 0;
}

int cmd_inspect(struct cli *c)
{
    struct quern_error err;
    struct model *m;
    if (c->args.count != 1)
        return usage_error(c, "expected one INPUT, got %zu", c->args.count);
    if (model_open_headers(c->args.items[0], &m, &err) != QUERN_OK) {
        const bool bare = strcmp(err.kind, "no-model") == 0 || strcmp(err.kind, "ambiguous") == 0;
        return bare && !c->kv && is_pack(c->args.items[0]) ? inspect_bare(c, &err)
                                                           : report_error(c, &err);
    }
    int code = 0;
    if (c->kv) {
        code = print_kv(c, m);
    } else if (c->json) {
        model_json(m);
    } else {
        struct type_share shares[DTYPE_COUNT];
        print_head(m);
        printf("\n");
        print_types(stdout, shares, types_of_model(m, shares));
        if (m->nmetas)
            print_metadata(m);
        if (c->tensors)
            print_tensors(m);
        if (m->archive && is_pack(c->args.items[0]))
            print_pack_files(m->archive);
        for (uint32_t i = 0; i < m->nnotes; i++)
            printf("\nnote: %s\n", m->notes[i]);
    }
    model_close(m);
    return code;
}
