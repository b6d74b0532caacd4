/* fuzz_manifest.c - any text as a manifest: jobs whose words are understood, in an order in which
 * none needs a later one; or mistakes. */
#include <string.h>

#include "cli/manifest.h"
#include "fuzz.h"

static void check_job(const struct manifest *m, uint32_t i)
{
    const struct batch_job *job = &m->jobs[i];
    static struct cli c; /* large */
    char *argv[MAX_ARGS];
    FUZZ_CHECK(job->name && job->name[0] && job->nwords <= MANIFEST_MAX_WORDS);
    FUZZ_CHECK(job->level < m->nlevels && (job->level == 0) == (job->nneeds == 0));
    FUZZ_CHECK(i == 0 || m->jobs[i - 1].level <= job->level);
    for (uint32_t k = 0; k < job->nneeds; k++)
        FUZZ_CHECK(job->needs[k] < i && m->jobs[job->needs[k]].level < job->level);
    for (uint32_t k = 0; k < job->nwords; k++)
        argv[k] = (char *)job->words[k];
    memset(&c, 0, sizeof c);
    c.command = job->command;
    FUZZ_CHECK(parse_options(&c, (int)job->nwords, argv) == 0);
    FUZZ_CHECK((c.output != NULL) == (job->output != NULL));
    FUZZ_CHECK(!c.force && !c.resume && !c.dry_run && !c.help && !c.json);
}

static void tell(const struct quern_error *e, void *user)
{
    ++*(uint32_t *)user;
    FUZZ_CHECK(e->kind[0] && strncmp(e->found, "line ", 5) == 0);
}

static void run(char *text, size_t n)
{
    struct manifest m;
    struct quern_error err;
    uint32_t nmistakes = 0;
    const struct mistake_sink sink = {tell, &nmistakes};
    const enum quern_status s = manifest_parse((struct str){text, n}, "m.yml", &m, &sink, &err);
    if (fuzz_failed(s, &err))
        FUZZ_CHECK(s == QUERN_EUSAGE || s == QUERN_EMEMORY);
    else
        FUZZ_CHECK(nmistakes == 0 && m.njobs <= MANIFEST_MAX_JOBS);
    for (uint32_t i = 0; s == QUERN_OK && i < m.njobs; i += 1 + m.njobs / 64)
        check_job(&m, i);
    manifest_free(&m);
}

static const char *const words[] = {"version: 1\n",
                                    "defaults: {threads: 1}\n",
                                    "jobs:\n",
                                    "  - name: a\n",
                                    "  - name: \"{m}-{t}\"\n",
                                    "    matrix: {m: [/dev/null, /], t: [Q8_0]}\n",
                                    "    exclude: [{m: /}]\n",
                                    "    include: [{m: x, t: F16}]\n",
                                    "    quantize: /dev/null\n",
                                    "    quantize: \"{m}\"\n",
                                    "    type: \"{t}\"\n",
                                    "    type: Q4_K\n",
                                    "    output: b\n",
                                    "    output: \"{m.name}\"\n",
                                    "    convert: b\n",
                                    "    merge: []\n",
                                    "    merge: r.yml\n",
                                    "    lora extract: [a, b]\n",
                                    "    check: [/, b/c]\n",
                                    "    verify: [/dev/null, ../x/b]\n",
                                    "    needs: [a]\n",
                                    "    options: {pure: true, imatrix: b}\n",
                                    "    options: {model: [A=b, c], lora: b:1}\n",
                                    "    options: {learn: [/, b]}\n",
                                    "shard-size: 2G",
                                    "{{",
                                    "}}",
                                    NULL};

const struct fuzz_target fuzz_manifest = {
    .name = "manifest",
    .max_len = 768,
    .run = run,
    .bytes_per_byte = 4096,
    .bytes_besides = 160u << 20,
    .words = words,
};
