/* inspect_pack.c - what quern inspect says of a pack itself: its files, what they take, its base.
 */
#include "inspect_pack.h"

#include <inttypes.h>

#include "formats/pack.h"

static uint64_t stored_bytes(const struct pack *p, const struct pack_file *f)
{
    const struct pack_run *runs;
    uint64_t sum = 0;
    pack_runs(p, &runs);
    for (uint32_t i = 0; i < f->nruns; i++)
        sum += pack_run_stored(p, &runs[f->first_run + i]);
    return sum;
}

static uint64_t content_bytes(const struct pack *p)
{
    const struct pack_file *files;
    const uint32_t n = pack_files(p, &files);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++)
        sum += files[i].nbytes;
    return sum;
}

void print_pack_head(struct archive *a)
{
    const struct pack *p = pack_of(a);
    const struct pack_file *files;
    const struct quern_error *why;
    const uint32_t n = pack_files(p, &files);
    const uint64_t whole = content_bytes(p);
    char was[16], is[16], line[256];
    snprintf(line, sizeof line, "%s of %s (%.1f %%), %" PRIu32 " file%s",
             human_bytes(a->id.nbytes, is), human_bytes(whole, was), percent(a->id.nbytes, whole),
             n, n == 1 ? "" : "s");
    print_field("packed", line);
    if (!pack_base_path(p))
        return;
    const struct quoted base = quoted(str_from(pack_base_path(p)));
    const bool found = pack_base_status(p, &why) == QUERN_OK;
    const bool absent = pack_base_is_absent(p);
    printf("  %s%-12s%s %s%s%s\n", dim(stdout), "base", plain(stdout), base.text,
           found    ? ", found"
           : absent ? ", not there (--pack-base MODEL says where it is)"
                    : ": ",
           found || absent ? "" : why->found);
}

void print_pack_files(struct archive *a)
{
    const struct pack *p = pack_of(a);
    const struct pack_file *files;
    const uint32_t n = pack_files(p, &files);
    size_t column = 4;
    for (uint32_t i = 0; i < n; i++) {
        const size_t width = strlen(quoted(str_from(files[i].name)).text);
        column = width > column && width <= 64 ? width : column;
    }
    printf("\n%s%-*s       size    packed%s\n", bold(stdout), (int)column + 2, "files",
           plain(stdout));
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t stored = stored_bytes(p, &files[i]);
        char was[16], is[16];
        printf("  %-*s %10s %9s  %5.1f %%\n", (int)column, quoted(str_from(files[i].name)).text,
               human_bytes(files[i].nbytes, was), human_bytes(stored, is),
               percent(stored, files[i].nbytes));
    }
}

void pack_to_json(struct json_writer *w, struct archive *a)
{
    const struct pack *p = pack_of(a);
    const struct pack_file *files;
    const struct quern_error *why;
    const uint32_t n = pack_files(p, &files);
    json_open(w, '{');
    json_key(w, "path");
    json_put_text(w, a->path);
    field_u64(w, "bytes", a->id.nbytes);
    field_u64(w, "content_bytes", content_bytes(p));
    if (pack_base_path(p)) {
        const bool found = pack_base_status(p, &why) == QUERN_OK;
        json_key(w, "base");
        json_open(w, '{');
        json_key(w, "path");
        json_put_text(w, pack_base_path(p));
        json_key(w, "found");
        json_put_bool(w, found);
        if (!found)
            field_text(w, "error", why->text);
        json_close(w, '}');
    }
    json_key(w, "files");
    json_open(w, '[');
    for (uint32_t i = 0; i < n; i++) {
        json_open(w, '{');
        json_key(w, "name");
        json_put_text(w, files[i].name);
        field_u64(w, "bytes", files[i].nbytes);
        field_u64(w, "packed_bytes", stored_bytes(p, &files[i]));
        char hex[65];
        digest_hex(files[i].sha256, hex);
        field_text(w, "sha256", hex);
        json_close(w, '}');
    }
    json_close(w, ']');
    json_close(w, '}');
}
