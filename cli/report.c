/* report.c - what people and scripts read: errors, sizes, tables, the summary. */
#include "cli.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/json.h"
#include "merge/made.h"
#include "pipeline/provenance.h"
#include "quant/codec.h"

void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

/* ---- terminals --------------------------------------------------------------------------------
 */

static bool colours(FILE *f)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fileno(f)) && !(no && *no) && !(term && strcmp(term, "dumb") == 0);
}

const char *bold(FILE *f)
{
    return colours(f) ? "\033[1m" : "";
}

const char *dim(FILE *f)
{
    return colours(f) ? "\033[2m" : "";
}

const char *plain(FILE *f)
{
    return colours(f) ? "\033[0m" : "";
}

unsigned terminal_width(FILE *f)
{
    struct winsize w;
    if (isatty(fileno(f)) && ioctl(fileno(f), TIOCGWINSZ, &w) == 0 && w.ws_col > 0)
        return w.ws_col;
    return 80;
}

static bool utf8_locale(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < 3; i++) {
        const char *v = getenv(names[i]);
        if (v && *v)
            return strcasestr(v, "utf-8") || strcasestr(v, "utf8");
    }
    return false;
}

void print_bar(FILE *f, double share, unsigned cells)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    const bool utf8 = utf8_locale();
    const unsigned filled = (unsigned)lround(share * cells * (utf8 ? 8 : 1));
    unsigned used = 0;
    for (; used < (utf8 ? filled / 8 : filled); used++)
        fputs(utf8 ? "█" : "#", f);
    if (utf8 && filled % 8) {
        fputs(eighths[filled % 8], f);
        used++;
    }
    fprintf(f, "%*s", (int)(cells - used), "");
}

/* ---- numbers ----------------------------------------------------------------------------------
 */

static const char *human(uint64_t n, char buf[16], const char *const units[], const char *zero)
{
    if (n < 1000) {
        snprintf(buf, 16, "%" PRIu64 "%s", n, zero);
        return buf;
    }
    double v = (double)n;
    unsigned unit = 0;
    /* 999.6 k would round to "1000 k". */
    while (v >= 999.5 && unit < 5) {
        v /= 1000.0;
        unit++;
    }
    snprintf(buf, 16, "%.*f %s", v < 9.995 ? 2 : v < 99.95 ? 1 : 0, v, units[unit]);
    return buf;
}

const char *human_bytes(uint64_t n, char buf[16])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    return human(n, buf, units, " B");
}

const char *human_count(uint64_t n, char buf[16])
{
    static const char *const units[] = {"", "k", "M", "G", "T", "P"};
    return human(n, buf, units, "");
}

double percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 100.0;
}

/* ---- errors -----------------------------------------------------------------------------------
 */

int usage_error(const struct cli *c, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct quern_error err;
    fail(&err, QUERN_EUSAGE, "usage", "%s", text);
    report_error(c, &err);
    if (c->command)
        say("'quern help %s' explains the command.", c->command->name);
    return 2;
}

void field_text(struct json_writer *w, const char *key, const char *value)
{
    json_key(w, key);
    json_put_text(w, value);
}

void field_u64(struct json_writer *w, const char *key, uint64_t value)
{
    json_key(w, key);
    json_put_u64(w, value);
}

void field_f64(struct json_writer *w, const char *key, double value)
{
    json_key(w, key);
    json_put_f64(w, value);
}

/* A character as JSON escapes it. */
static void put_escaped(FILE *f, uint32_t c)
{
    if (c < 0x10000)
        fprintf(f, "\\u%04x", c);
    else
        fprintf(f, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + (c & 0x3FF));
}

void write_json(FILE *f, struct json_writer *w)
{
    const struct str text = json_written(w);
    size_t plain = 0; /* up to here it is written */
    uint32_t acts;
    for (size_t at = 0, n; text.p && at < text.n; at += n) {
        n = next_character(text, at, &acts);
        if (acts == PLAIN_CHARACTER)
            continue;
        fwrite(text.p + plain, 1, at - plain, f); /* it can stand in a string only */
        put_escaped(f, acts);
        plain = at + n;
    }
    if (text.p) {
        fwrite(text.p + plain, 1, text.n - plain, f);
        fputc('\n', f);
    }
    json_writer_free(w);
}

void print_json(struct json_writer *w)
{
    write_json(stdout, w);
}

void error_fields(struct json_writer *j, const struct quern_error *e)
{
    static const char word[] =
        "expected "; /* of the sentence; here the name of the field says so */
    field_text(j, "error", e->kind);
    if (e->file[0])
        field_text(j, "file", e->file);
    if (e->tensor[0])
        field_text(j, "tensor", e->tensor);
    if (e->offset != UINT64_MAX)
        field_u64(j, "offset", e->offset);
    field_text(j, "found", e->found);
    if (e->expected[0])
        field_text(j, "expected",
                   e->expected +
                       (strncmp(e->expected, word, strlen(word)) == 0 ? strlen(word) : 0));
    field_u64(j, "status", (uint64_t)e->status);
}

/* more: how many other tensors have the same error. */
static void say_error(const struct quern_error *e, size_t more)
{
    if (more)
        say("%squern:%s %s (the same for %zu more %s)", bold(stderr), plain(stderr), e->text, more,
            more == 1 ? "tensor" : "tensors");
    else
        say("%squern:%s %s", bold(stderr), plain(stderr), e->text);
    if (e->status == QUERN_EINTERNAL)
        say("This is a bug in quern. Please report it with the command line and this message.");
}

static void print_error_object(const struct quern_error *e, bool resumable)
{
    struct json_writer j = {0};
    json_open(&j, '{');
    error_fields(&j, e);
    if (resumable) {
        json_key(&j, "resumable");
        json_put_bool(&j, true);
    }
    json_close(&j, '}');
    print_json(&j);
}

int report_error(const struct cli *c, const struct quern_error *e)
{
    say_error(e, 0);
    if (c->json)
        print_error_object(e, false);
    return (int)e->status;
}

/* What can be done about it stands in a line of its own. */
static const char *how_to_resume(const struct cli *c)
{
    return c->take_plan || c->see_plan ? "run the same command again to go on"
                                       : "run the same command with --resume to go on from here";
}

int report_failed_run(const struct cli *c, const struct quern_error *e, bool resumable)
{
    say_error(e, 0);
    if (resumable)
        say("What is finished has been kept: %s.", how_to_resume(c));
    if (c->json)
        print_error_object(e, resumable);
    return (int)e->status;
}

int report_stopped(const struct cli *c, const struct quern_error *e, int signal, bool resumable,
                   bool writes)
{
    struct quern_error stopped = *e;
    say("quern: stopped by signal %d%s%s", signal,
        resumable ? "; "
        : writes  ? "; no output was written"
                  : "",
        resumable ? how_to_resume(c) : "");
    stopped.status = (enum quern_status)(128 + signal); /* the exit code */
    if (c->json)
        print_error_object(&stopped, resumable);
    return 128 + signal;
}

int report_ended(const struct cli *c, const struct quern_error *e)
{
    return e->status == QUERN_ECANCELLED && stop_signal
               ? report_stopped(c, e, stop_signal, true, true)
               : report_error(c, e);
}

int report_errors(const struct cli *c, const struct listed_error *errors, size_t nerrors,
                  size_t total)
{
    struct json_writer j = {0};
    size_t told = nerrors;
    for (size_t i = 0; i < nerrors; i++) {
        say_error(&errors[i].error, errors[i].more);
        told += errors[i].more;
    }
    if (total > told)
        say("%squern:%s and %zu more mistakes", bold(stderr), plain(stderr), total - told);
    if (!c->json)
        return (int)errors[0].error.status;
    json_open(&j, '{');
    error_fields(&j, &errors[0].error);
    json_key(&j, "errors");
    json_open(&j, '[');
    for (size_t i = 0; i < nerrors; i++) {
        json_open(&j, '{');
        error_fields(&j, &errors[i].error);
        if (errors[i].more)
            field_u64(&j, "more_tensors", errors[i].more);
        json_close(&j, '}');
    }
    json_close(&j, ']');
    field_u64(&j, "nerrors", total);
    json_close(&j, '}');
    print_json(&j);
    return (int)errors[0].error.status;
}

/* ---- types ------------------------------------------------------------------------------------
 */

static int by_bytes(const void *a, const void *b)
{
    const struct type_share *x = a, *y = b;
    if (x->nbytes != y->nbytes)
        return x->nbytes < y->nbytes ? 1 : -1;
    return (int)x->dtype - (int)y->dtype;
}

static size_t compact(struct type_share shares[DTYPE_COUNT])
{
    size_t n = 0;
    for (size_t d = 0; d < DTYPE_COUNT; d++)
        if (shares[d].count)
            shares[n++] = shares[d];
    qsort(shares, n, sizeof *shares, by_bytes);
    return n;
}

static void add_share(struct type_share shares[DTYPE_COUNT], enum dtype d, uint64_t nelems,
                      uint64_t nbytes)
{
    shares[d].dtype = d;
    shares[d].count++;
    shares[d].nelems += nelems;
    shares[d].nbytes += nbytes;
}

size_t types_of_plan(const struct plan *p, struct type_share shares[DTYPE_COUNT])
{
    memset(shares, 0, DTYPE_COUNT * sizeof *shares);
    for (uint32_t i = 0; i < p->nsteps; i++)
        add_share(shares, p->steps[i].dtype, p->steps[i].nelems, p->steps[i].nbytes);
    return compact(shares);
}

size_t types_of_model(const struct model *m, struct type_share shares[DTYPE_COUNT])
{
    memset(shares, 0, DTYPE_COUNT * sizeof *shares);
    for (uint32_t i = 0; i < m->ntensors; i++)
        add_share(shares, m->tensors[i].dtype, m->tensors[i].nelems, m->tensors[i].nbytes);
    return compact(shares);
}

void print_types(FILE *f, const struct type_share *shares, size_t n)
{
    char weights[16], bytes[16];
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += shares[i].nbytes;
    fprintf(f, "  %stype      tensors   weights      size%s\n", dim(f), plain(f));
    for (size_t i = 0; i < n; i++) {
        const double share = total ? (double)shares[i].nbytes / (double)total : 0.0;
        fprintf(f, "  %-8s %8" PRIu64 " %9s %9s  ", dtype_traits[shares[i].dtype].name,
                shares[i].count, human_count(shares[i].nelems, weights),
                human_bytes(shares[i].nbytes, bytes));
        print_bar(f, share, 20);
        fprintf(f, " %5.1f %%\n", share * 100.0);
    }
}

/* ---- plans ------------------------------------------------------------------------------------
 */

static void summarize(const struct plan *p, struct quern_plan_summary *s)
{
    quern_plan_summarize((const struct quern_plan *)p, s);
}

void print_notes(const struct cli *c, const struct plan *p)
{
    for (uint32_t m = 0; !c->quiet && m < p->nmodels; m++)
        for (uint32_t i = 0; i < p->models[m]->nnotes; i++)
            say("note: %s: %s", quoted(str_from(p->models[m]->path)).text, p->models[m]->notes[i]);
    for (uint32_t i = 0; !c->quiet && i < p->nnotes; i++)
        say("note: %s", p->notes[i]);
}

void shape_text(const uint64_t *dims, unsigned ndims, char *buf, size_t n)
{
    size_t used = 0;
    snprintf(buf, n, "%s", ndims ? "" : "scalar");
    for (unsigned d = 0; d < ndims && used + 24 < n; d++)
        used += (size_t)snprintf(buf + used, n - used, "%s%" PRIu64, d ? "x" : "", dims[d]);
}

/* Of a copy, how its source is made: a merge that is laid out anew is a merge. */
const char *step_op(const struct step *s)
{
    const struct source *src = s->nsources > 0 ? &s->sources[0] : NULL;
    if (s->op != &op_copy || !src || !src->kind)
        return s->op->name;
    while (src && src->kind && !made_by(src))
        src = src->kind->inner ? src->kind->inner(src, 0) : NULL;
    return src && made_by(src) ? step_op(made_by(src)) : s->sources[0].kind->name;
}

static void print_step(FILE *f, const struct step *s)
{
    char shape[64], bytes[16], sources[64] = "";
    size_t used = 0;
    for (unsigned k = 0; k < s->nsources && used + 16 < sizeof sources; k++) {
        const char *name = dtype_traits[s->sources[k].tensor->dtype].name;
        if (k == 0 || s->sources[k].tensor->dtype != s->sources[k - 1].tensor->dtype)
            used +=
                (size_t)snprintf(sources + used, sizeof sources - used, "%s%s", k ? "," : "", name);
    }
    shape_text(s->dims, s->ndims, shape, sizeof shape);
    fprintf(f, "%-44s %-7s %-14s %-8s -> %-8s %9s", quoted(s->name).text, step_op(s), shape,
            sources, dtype_traits[s->dtype].name, human_bytes(s->nbytes, bytes));
    if (s->fallback)
        fprintf(f, "  (rows do not fit %s)", dtype_traits[s->wanted].name);
    fputc('\n', f);
    if (s->detail)
        fprintf(f, "    %s\n", s->detail);
}

void print_steps(FILE *f, const struct plan *p)
{
    for (uint32_t i = 0; i < p->nsteps; i++)
        print_step(f, &p->steps[i]);
}

static void print_fallbacks(FILE *f, const struct quern_plan_summary *s)
{
    if (s->nfallbacks)
        fprintf(f,
                "  %zu tensor%s (%.1f %% of the weights) got a fallback type: their rows do not "
                "fit the wanted one\n",
                s->nfallbacks, s->nfallbacks == 1 ? "" : "s",
                100.0 * (double)s->fallback_elems / (double)(s->nelems ? s->nelems : 1));
}

void print_plan(const struct cli *c, const struct plan *p)
{
    struct quern_plan_summary s;
    struct type_share shares[DTYPE_COUNT];
    char in[16], out[16], mem[16];
    if (c->json) {
        plan_json(c, p, NULL, NULL, 0);
        return;
    }
    summarize(p, &s);
    print_steps(stdout, p);
    printf("\n");
    print_types(stdout, shares, types_of_plan(p, shares));
    print_fallbacks(stdout, &s);
    for (uint32_t i = 0; i < p->ndropped; i++)
        printf("  left out: %s\n", p->dropped[i]);
    if (p->nonfinite == NONFINITE_KEEP)
        printf("  NaN and Inf are kept in tensors that are copied to a plain type\n");
    else if (p->nonfinite == NONFINITE_ZERO)
        printf("  NaN and Inf are taken for 0\n");
    printf(
        "\n  reads %s, writes %s in %zu file%s, %.4g bits per weight, needs %s of memory or more\n",
        human_bytes(s.input_bytes, in), human_bytes(s.output_bytes, out), s.nfiles,
        s.nfiles == 1 ? "" : "s", s.bits_per_weight, human_bytes(plan_min_mem(p), mem));
    printf("  dry run: nothing was written\n");
}

static void print_output_line(const struct plan *p)
{
    const char *name = p->dir ? p->dir : p->files[0].path;
    say("%s%s%s%s", bold(stderr), quoted(str_from(name)).text, plain(stderr),
        !p->dir && p->nfiles > 1 ? " ..." : "");
}

void print_summary(const struct cli *c, const struct plan *p, const struct quern_result *r,
                   const struct file_hash *hashes, size_t nhashes)
{
    struct quern_plan_summary s;
    struct type_share shares[DTYPE_COUNT];
    char in[16], out[16], rss[16], rate[16];
    if (c->json)
        plan_json(c, p, r, hashes, nhashes);
    for (size_t i = 0; !c->json && i < nhashes; i++)
        printf("%s  %s\n", hashes[i].hex, quoted(str_from(hashes[i].path)).text);
    if (c->quiet || c->json)
        return;
    summarize(p, &s);
    print_output_line(p);
    print_types(stderr, shares, types_of_plan(p, shares));
    print_fallbacks(stderr, &s);
    print_zeroed(p);
    if (s.input_bytes)
        say("  %s -> %s (%.1f %%), %.4g bits per weight", human_bytes(s.input_bytes, in),
            human_bytes(s.output_bytes, out),
            100.0 * (double)s.output_bytes / (double)s.input_bytes, s.bits_per_weight);
    else
        say("  %s, no tensors", human_bytes(s.output_bytes, out));
    if (r->relative_error >= 0)
        say("  quantization error: %.3g %% of the weights' root mean square",
            r->relative_error * 100);
    if (p->errors)
        print_errors(stderr, p, c->verbose, 3);
    if (p->provenance && p->provenance->path)
        say("  record in %s", quoted(str_from(p->provenance->path)).text);
    const double moved = (double)(r->read_bytes + r->written_bytes);
    say("  %.2f s, %s/s, %u thread%s (%s), peak memory %s", r->seconds,
        human_bytes((uint64_t)(moved / (r->seconds > 1e-9 ? r->seconds : 1e-9)), rate), r->threads,
        r->threads == 1 ? "" : "s", codec_kernels()->name, human_bytes(r->peak_rss_bytes, rss));
}
