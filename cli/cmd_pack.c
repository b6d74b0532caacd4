/* cmd_pack.c - quern pack and unpack: models as one compressed file, and back. */
#include <inttypes.h>
#include <string.h>

#include "cli.h"
#include "core/sha256.h"
#include "formats/pack.h"
#include "pipeline/pack_plan.h"
#include "pipeline/publish.h"
#include "quant/codec.h"

/* ---- what is printed ------------------------------------------------------------------------ */

static void print_shares(FILE *f, const struct plan *p, bool packed)
{
    struct quern_packed share;
    char all[16], stored[16];
    fprintf(f, "  %stype        count      size%s%s\n", dim(f), packed ? "    packed" : "",
            plain(f));
    for (size_t i = 0; quern_plan_packed((const struct quern_plan *)p, i, &share); i++) {
        fprintf(f, "  %-8s %8" PRIu64 " %9s", share.kind, share.count,
                human_bytes(share.nbytes, all));
        if (packed)
            fprintf(f, " %9s  %5.1f %%", human_bytes(share.stored_bytes, stored),
                    percent(share.stored_bytes, share.nbytes));
        fputc('\n', f);
    }
}

static void pack_json(const struct plan *p, const struct quern_result *r, const char *sha256)
{
    struct quern_packed share;
    struct json_writer j = {0};
    json_open(&j, '{');
    field_text(&j, "command", p->verb);
    field_text(&j, "output", p->files[0].path);
    field_u64(&j, "input_bytes", pack_source_bytes(p));
    if (r)
        field_u64(&j, "output_bytes", pack_stored_bytes(p));
    field_u64(&j, "min_mem_bytes", plan_min_mem(p));
    json_key(&j, "types");
    json_open(&j, '{');
    for (size_t i = 0; quern_plan_packed((const struct quern_plan *)p, i, &share); i++) {
        json_key(&j, share.kind);
        json_open(&j, '{');
        field_u64(&j, "count", share.count);
        field_u64(&j, "bytes", share.nbytes);
        if (r)
            field_u64(&j, "packed_bytes", share.stored_bytes);
        json_close(&j, '}');
    }
    json_close(&j, '}');
    if (r) {
        field_f64(&j, "seconds", r->seconds);
        field_u64(&j, "threads", r->threads);
        field_u64(&j, "peak_rss_bytes", r->peak_rss_bytes);
    }
    if (sha256)
        field_text(&j, "sha256", sha256);
    json_key(&j, "notes");
    json_open(&j, '[');
    for (uint32_t i = 0; i < p->nnotes; i++)
        json_put_text(&j, p->notes[i]);
    json_close(&j, ']');
    json_close(&j, '}');
    print_json(&j);
}

static void pack_summary(const struct cli *c, const struct plan *p, const struct quern_result *r,
                         const char *sha256)
{
    const uint64_t in = pack_source_bytes(p), out = pack_stored_bytes(p);
    const double seconds = r->seconds > 1e-9 ? r->seconds : 1e-9;
    char a[16], b[16], rate[16], rss[16];
    if (c->json)
        pack_json(p, r, sha256);
    else if (sha256)
        printf("%s  %s\n", sha256, quoted(str_from(p->files[0].path)).text);
    if (c->json || c->quiet)
        return;
    say("%s%s%s", bold(stderr), quoted(str_from(p->files[0].path)).text, plain(stderr));
    print_shares(stderr, p, true);
    say("  %s -> %s (%.1f %%)", human_bytes(in, a), human_bytes(out, b), percent(out, in));
    say("  %.2f s, %s/s, %u thread%s, peak memory %s", r->seconds,
        human_bytes((uint64_t)((double)in / seconds), rate), r->threads, r->threads == 1 ? "" : "s",
        human_bytes(r->peak_rss_bytes, rss));
}

static int pack_dry_run(const struct cli *c, const struct plan *p)
{
    struct quern_error err;
    char in[16], mem[16];
    if (publish_check(p, &err) != QUERN_OK)
        return report_error(c, &err);
    if (c->json) {
        pack_json(p, NULL, NULL);
        return 0;
    }
    print_shares(stdout, p, false);
    printf("\n  reads %s, needs %s of memory or more; what it packs to is only known when it is "
           "packed\n  dry run: nothing was written\n",
           human_bytes(pack_source_bytes(p), in), human_bytes(plan_min_mem(p), mem));
    return 0;
}

/* ---- pack ----------------------------------------------------------------------------------- */

static int pack_now(struct cli *c, struct plan *p)
{
    struct quern_result result;
    struct quern_error err;
    char hex[65];
    const int code = run_with_result(c, p, &result);
    if (code != 0)
        return code;
    if (c->sha256 && sha256_file(p->files[0].path, hex, &err) != QUERN_OK)
        return report_error(c, &err);
    pack_summary(c, p, &result, c->sha256 ? hex : NULL);
    return 0;
}

int cmd_pack(struct cli *c)
{
    struct quern_error err;
    struct quern_plan *plan;
    const struct quern_pack options = {.base = c->base, .level = c->level, .force = c->force};
    const struct values *inputs = &c->args;
    const char *last = inputs->count ? inputs->items[inputs->count - 1] : "";
    if (!c->output && str_ends(str_from(last), PACK_SUFFIX))
        return usage_error(c, "expected INPUT... -o NAME.qpk; where to pack it is said by -o %s",
                           quoted(str_from(last)).text);
    if (inputs->count == 0 || !c->output)
        return usage_error(c, "expected INPUT... -o NAME.qpk");
    if (!str_ends(str_from(c->output), PACK_SUFFIX))
        return usage_error(c, "the OUTPUT '%s' must end in " PACK_SUFFIX,
                           quoted(str_from(c->output)).text);
    if (quern_plan_pack(inputs->items, inputs->count, c->output, &options, &plan, &err) != QUERN_OK)
        return report_error(c, &err);
    struct plan *p = (struct plan *)plan;
    print_notes(c, p);
    const int code = c->dry_run ? pack_dry_run(c, p) : pack_now(c, p);
    plan_free(p);
    return code;
}

/* ---- unpack --------------------------------------------------------------------------------- */

static const char *output_of(const struct plan *p)
{
    return p->dir ? p->dir : p->files[0].path;
}

static uint64_t unpacked_bytes(const struct plan *p)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < p->nfiles; i++)
        total += p->files[i].nbytes;
    return total;
}

static void unpack_json(const struct plan *p, const struct quern_result *r)
{
    struct quern_unpacked file;
    struct json_writer j = {0};
    json_open(&j, '{');
    field_text(&j, "command", p->verb);
    field_text(&j, "output", output_of(p));
    field_u64(&j, "output_bytes", unpacked_bytes(p));
    field_u64(&j, "min_mem_bytes", plan_min_mem(p));
    json_key(&j, "files");
    json_open(&j, '[');
    for (size_t i = 0; quern_plan_unpacked((const struct quern_plan *)p, i, &file); i++) {
        json_open(&j, '{');
        field_text(&j, "name", file.name);
        field_u64(&j, "bytes", file.nbytes);
        field_text(&j, "sha256", file.sha256);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    if (r) {
        field_f64(&j, "seconds", r->seconds);
        field_u64(&j, "threads", r->threads);
        field_u64(&j, "peak_rss_bytes", r->peak_rss_bytes);
    }
    json_close(&j, '}');
    print_json(&j);
}

static int unpack_dry_run(const struct cli *c, const struct plan *p)
{
    struct quern_error err;
    struct quern_unpacked file;
    char size[16], mem[16];
    if (publish_check(p, &err) != QUERN_OK)
        return report_error(c, &err);
    if (c->json) {
        unpack_json(p, NULL);
        return 0;
    }
    for (size_t i = 0; quern_plan_unpacked((const struct quern_plan *)p, i, &file); i++)
        printf("%9s  %s\n", human_bytes(file.nbytes, size), quoted(str_from(file.name)).text);
    printf(
        "\n  writes %s in %u file%s, needs %s of memory or more\n  dry run: nothing was written\n",
        human_bytes(unpacked_bytes(p), size), p->nfiles, p->nfiles == 1 ? "" : "s",
        human_bytes(plan_min_mem(p), mem));
    return 0;
}

static void print_hashes(const struct plan *p)
{
    struct quern_unpacked file;
    for (size_t i = 0; quern_plan_unpacked((const struct quern_plan *)p, i, &file); i++)
        printf("%s  %s%s%s\n", file.sha256, quoted(str_from(output_of(p))).text, p->dir ? "/" : "",
               p->dir ? quoted(str_from(file.name)).text : "");
}

static int unpack_now(struct cli *c, struct plan *p)
{
    struct quern_result r;
    char size[16], rate[16], rss[16];
    const int code = run_with_result(c, p, &r);
    if (code != 0)
        return code;
    if (c->json)
        unpack_json(p, &r);
    else if (c->sha256)
        print_hashes(p);
    if (c->json || c->quiet)
        return 0;
    const uint64_t total = unpacked_bytes(p);
    const double seconds = r.seconds > 1e-9 ? r.seconds : 1e-9;
    say("%s%s%s", bold(stderr), quoted(str_from(output_of(p))).text, plain(stderr));
    say("  %u file%s, %s, each with the SHA-256 that was recorded", p->nfiles,
        p->nfiles == 1 ? "" : "s", human_bytes(total, size));
    say("  %.2f s, %s/s, %u thread%s, peak memory %s", r.seconds,
        human_bytes((uint64_t)((double)total / seconds), rate), r.threads,
        r.threads == 1 ? "" : "s", human_bytes(r.peak_rss_bytes, rss));
    return 0;
}

int cmd_unpack(struct cli *c)
{
    struct quern_error err;
    struct quern_plan *plan;
    const struct quern_unpack options = {.force = c->force};
    const struct values *a = &c->args;
    const char *output = c->output ? c->output : a->count > 1 ? a->items[1] : NULL;
    if (!output || a->count != (c->output ? 1 : 2))
        return usage_error(c, "expected NAME.qpk OUTPUT");
    if (quern_plan_unpack(a->items[0], output, &options, &plan, &err) != QUERN_OK)
        return report_error(c, &err);
    struct plan *p = (struct plan *)plan;
    print_notes(c, p);
    const int code = c->dry_run ? unpack_dry_run(c, p) : unpack_now(c, p);
    plan_free(p);
    return code;
}
