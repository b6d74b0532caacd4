/* test_manifest.c - manifests of jobs: what they mean, in which order, and every mistake. */
#include "cli/manifest.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/leaks.h"

#define HEAD "version: 1\njobs:\n"

static struct manifest m;

static void accepted(const char *text)
{
    struct quern_error err;
    cr_assert(manifest_parse(str_from(text), "m.yml", &m, NULL, &err) == QUERN_OK, "%s\n%s", text,
              err.text);
}

static void refused(const char *text, const char *words)
{
    struct quern_error err;
    struct manifest other;
    const enum quern_status s = manifest_parse(str_from(text), "m.yml", &other, NULL, &err);
    cr_assert(s == QUERN_EUSAGE, "%s\nstatus %d", text, s);
    cr_assert(strstr(err.text, words), "%s\n%s\nexpected: %s", text, err.text, words);
    cr_assert(strstr(err.text, "m.yml: line "), "%s", err.text);
    manifest_free(&other);
}

/* The command and its words, with blanks between them. */
static const char *words_of(uint32_t i)
{
    static char text[1000];
    size_t n = (size_t)snprintf(text, sizeof text, "%s", m.jobs[i].command->name);
    for (uint32_t k = 0; k < m.jobs[i].nwords; k++)
        n += (size_t)snprintf(text + n, sizeof text - n, " %s", m.jobs[i].words[k]);
    return text;
}

static void is_job(uint32_t i, const char *name, const char *words)
{
    cr_assert(i < m.njobs);
    cr_assert_str_eq(m.jobs[i].name, name);
    cr_assert_str_eq(words_of(i), words);
}

Test(manifest, every_command)
{
    accepted(HEAD "  - {quantize: /, type: Q8_0, output: a.gguf, options: {pure: true, "
                  "tensor-type: [a=f16, b=f32]}}\n"
                  "  - {convert: /, type: f16, output: b.gguf}\n"
                  "  - {convert: /, output: c.gguf, options: {learn: [/, /dev]}}\n"
                  "  - {merge: /, type: Q4_K, output: d.gguf}\n"
                  "  - {merge: [], output: e, options: {base: a, lora: 'b:0.5'}}\n"
                  "  - {lora extract: [/, /dev], output: f, options: {rank: 8}}\n"
                  "  - {imatrix combine: [/, /dev], output: g.gguf}\n"
                  "  - {pack: /, output: h.qpk}\n"
                  "  - {name: v, verify: [/, /dev], options: {mem: 1GiB}}\n"
                  "  - {name: k, check: /}\n");
    cr_assert_eq(m.njobs, 10);
    cr_assert_eq(m.nlevels, 1);
    is_job(0, "a.gguf",
           "quantize --pure --tensor-type=a=f16 --tensor-type=b=f32 --output=a.gguf -- / Q8_0");
    is_job(1, "b.gguf", "convert --outtype=f16 --output=b.gguf -- /");
    is_job(2, "c.gguf", "convert --learn=/ /dev --output=c.gguf -- /");
    is_job(3, "d.gguf", "merge --output=d.gguf -- / Q4_K");
    is_job(4, "e", "merge --base=a --lora=b:0.5 --output=e --");
    is_job(5, "f", "lora --rank=8 --output=f -- extract / /dev");
    is_job(6, "g.gguf", "imatrix --output=g.gguf -- combine / /dev");
    is_job(7, "h.qpk", "pack --output=h.qpk -- /");
    is_job(8, "v", "verify --mem=1GiB -- / /dev");
    is_job(9, "k", "check -- /");
    manifest_free(&m);
    CHECK_LEAKS();
}

Test(manifest, matrix)
{
    accepted(HEAD "  - name: '{m.name}-{t}'\n"
                  "    matrix: {m: [/dev/null, /dev/], t: [Q8_0, Q4_0, F16]}\n"
                  "    exclude: [{m: /dev/, t: Q4_0}, {t: F16}]\n"
                  "    include: [{t: BF16, m: /dev/zero}]\n"
                  "    quantize: '{m}'\n"
                  "    type: '{t}'\n"
                  "    output: 'x/{m.name}/{t}{{}}.gguf'\n");
    cr_assert_eq(m.njobs, 4);
    is_job(0, "null-Q8_0", "quantize --output=x/null/Q8_0{}.gguf -- /dev/null Q8_0");
    is_job(1, "null-Q4_0", "quantize --output=x/null/Q4_0{}.gguf -- /dev/null Q4_0");
    is_job(2, "dev-Q8_0", "quantize --output=x/dev/Q8_0{}.gguf -- /dev/ Q8_0");
    is_job(3, "zero-BF16", "quantize --output=x/zero/BF16{}.gguf -- /dev/zero BF16");
    manifest_free(&m);
    /* without a matrix, those that are included */
    accepted(HEAD "  - {name: '{a}', include: [{a: x}, {a: y}], check: /}\n");
    cr_assert_eq(m.njobs, 2);
    manifest_free(&m);
    CHECK_LEAKS();
}

Test(manifest, defaults)
{
    accepted("version: 1\n"
             "defaults: {threads: 2, pure: true, imatrix: /}\n"
             "jobs:\n"
             "  - {quantize: /, type: F16, output: a, options: {threads: 3, pure: false}}\n"
             "  - {name: b, check: /}\n"
             "  - {convert: /, output: c, options: {imatrix: null}}\n");
    is_job(0, "a", "quantize --imatrix=/ --threads=3 --output=a -- / F16");
    is_job(1, "b", "check --threads=2 -- /");
    is_job(2, "c", "convert --threads=2 --output=c -- /");
    manifest_free(&m);
    CHECK_LEAKS();
}

Test(manifest, order)
{
    accepted(
        HEAD
        "  - {name: last, verify: [/, ./x/../b.gguf], needs: [first]}\n"
        "  - {name: b, quantize: a/model.safetensors, type: F16, output: b.gguf}\n"
        "  - {name: a, merge: [], output: a/, options: {base: /, lora: /}}\n"
        "  - {name: first, check: /}\n"
        "  - {name: split, quantize: s-00001-of-00003.gguf, type: F16, output: t.gguf}\n"
        "  - {name: s, convert: /, output: s}\n"
        "  - {name: model, merge: [], output: u, options: {base: x=b.gguf, lora: 't.gguf:1'}}\n");
    const char *const names[] = {"a", "first", "s", "b", "split", "last", "model"};
    const uint32_t levels[] = {0, 0, 0, 1, 1, 2, 2}, nneeds[] = {0, 0, 0, 1, 1, 2, 1};
    cr_assert_eq(m.nlevels, 3);
    for (uint32_t i = 0; i < 7; i++) {
        cr_assert_str_eq(m.jobs[i].name, names[i]);
        cr_assert_eq(m.jobs[i].level, levels[i], "%s", names[i]);
        cr_assert_eq(m.jobs[i].nneeds, nneeds[i], "%s", names[i]);
    }
    cr_assert_eq(m.jobs[5].needs[0], 1);
    cr_assert_eq(m.jobs[5].needs[1], 3);
    cr_assert_eq(m.jobs[6].needs[0], 4);
    manifest_free(&m);
    CHECK_LEAKS();
}

Test(manifest, mistakes_of_keys)
{
    refused("jobs: [{name: a, check: /}]\n", "there is no 'version'");
    refused("version: 2\njobs: [{name: a, check: /}]\n", "another version");
    refused("version: 1\n", "there are no jobs");
    refused("version: 1\njobs: []\n", "there are no jobs");
    refused("[]", "this is no map");
    refused("version: 1\njob: [a]\njobs: [{name: a, check: /}]\n", "did you mean 'jobs'?");
    refused("version: 1\ndefaults: 1\njobs: [{name: a, check: /}]\n", "'defaults' is no map");
    refused("version: 1\ndefaults: {imatrx: a}\njobs: [{name: a, check: /}]\n",
            "did you mean 'imatrix'?");
    refused(HEAD "  - a\n", "a job is no map");
    refused(HEAD "  - {name: a}\n", "a job has no command");
    refused(HEAD "  - {name: a, check: /, pack: /}\n", "several commands");
    refused(HEAD "  - {name: a, chek: /}\n", "did you mean 'check'?");
    refused(HEAD "  - {check: /}\n", "'name' is missing");
    refused(HEAD "  - {name: a, check: /, output: b}\n", "writes nothing");
    refused(HEAD "  - {name: a, quantize: /, type: F16}\n", "'output' is missing");
    refused(HEAD "  - {name: a, quantize: /, output: b}\n", "'type' is missing");
    refused(HEAD "  - {name: a, pack: /, type: F16, output: b}\n", "takes no 'type'");
    refused(HEAD "  - {name: a, compare: /}\n", "'compare' has 1 inputs, expected 2");
    refused(HEAD "  - {name: a, merge: [/, /], output: b}\n", "expected 0 to 1");
    refused(HEAD "  - {name: a, check: ''}\n", "an input is nothing");
    refused(HEAD "  - {name: a, check: {b}}\n", "stands in quotes");
    refused(HEAD "  - {name: [a], check: /}\n", "name is a list");
    refused(HEAD "  - {name: a, check: /, options: [b]}\n", "'options' is no map");
    CHECK_LEAKS();
}

static void option_refused(const char *option, const char *words)
{
    char text[400];
    snprintf(text, sizeof text, HEAD "  - {convert: /, output: a, options: {%s}}\n", option);
    refused(text, words);
}

Test(manifest, mistakes_of_options)
{
    option_refused("vocab-onl: true", "did you mean 'vocab-only'?");
    option_refused("t: f16", "no option 't'");
    option_refused("vocab-only: 1", "expected true or false");
    option_refused("shard-size: x", "expected a size such as");
    option_refused("split-max-tensors: 0", "expected a number from 1");
    option_refused("learn: x", "is no list of two");
    option_refused("learn: [x, y, z]", "is no list of two");
    option_refused("model-name: [x, y]", "model-name is a list");
    option_refused("mmproj: true", "has no effect here");
    option_refused("resume: true", "no option of a job");
    option_refused("outfile: b", "no option of a job");
    option_refused("map: no-such-file", "is not there, and no job makes it");
    CHECK_LEAKS();
}

Test(manifest, mistakes_of_the_matrix)
{
    refused(HEAD "  - {name: '{a}', matrix: [x], check: /}\n", "no map of variables");
    refused(HEAD "  - {name: '{a}', matrix: {a: []}, check: /}\n", "has no values");
    refused(HEAD "  - {name: '{a}', matrix: {a-b: [c]}, check: /}\n", "no name of a variable");
    refused(HEAD "  - {name: '{a}', matrix: {a: [[c]]}, check: /}\n", "a value of the matrix");
    refused(HEAD "  - {name: '{b}', matrix: {a: [c]}, check: /}\n", "known: a;");
    refused(HEAD "  - {name: '{a.path}', matrix: {a: [c]}, check: /}\n",
            "'{a.path}' is no variable");
    refused(HEAD "  - {name: '{a', matrix: {a: [c]}, check: /}\n", "'{a}' is no variable");
    refused(HEAD "  - {name: '{a}', matrix: {a: [c]}, exclude: [{a: d}], check: /}\n",
            "nothing is excluded");
    refused(HEAD "  - {name: '{a}', matrix: {a: [c]}, exclude: {a: d}, check: /}\n",
            "no list of maps");
    refused(HEAD "  - {name: '{a}', matrix: {a: [c], b: [d]}, include: [{a: d}], check: /}\n",
            "expected values of all variables");
    refused(HEAD "  - {name: '{a}', matrix: {a: [c]}, include: [{b: d}], check: /}\n",
            "'b' is no variable");
    refused(HEAD "  - {name: a, matrix: {a: [c, d]}, check: /}\n",
            "two jobs are called 'a', expected the variables of the matrix in the name");
    refused(HEAD "  - {name: 'x{a}', matrix: {a: &v [1,2,3,4,5,6,7,8,9,10], b: *v, c: *v, d: *v, "
                 "e: *v, f: *v, g: *v}, check: /}\n",
            "more than 10000 jobs");
    CHECK_LEAKS();
}

Test(manifest, mistakes_of_order)
{
    refused(HEAD "  - {name: a, check: /}\n  - {name: a, check: /}\n", "two jobs are called 'a'");
    refused(HEAD "  - {name: a, pack: /, output: x}\n  - {name: b, pack: /, output: y/../x/}\n",
            "'a' and 'b' have the same output");
    refused(HEAD "  - {name: a, check: /, needs: b}\n", "there is no job 'b'");
    refused(HEAD "  - {quantize: /, type: Q8_9, output: a}\n", "line 3: 'Q8_9' is no type");
    refused(HEAD "  - {quantize: /, type: none of these, output: a}\n", "of 'quern types'");
    refused(HEAD "  - {name: a, check: no-such-file}\n", "is not there, and no job makes it");
    refused(HEAD "  - {name: a, check: /, needs: a}\n", "it is the same job");
    refused(HEAD "  - {name: a, check: /, needs: b}\n  - {name: c, check: /, needs: a}\n"
                 "  - {name: b, check: /, needs: c}\n  - {name: d, check: /, needs: a}\n",
            "needs it in turn");
    CHECK_LEAKS();
}

static void count(const struct quern_error *e, void *n)
{
    (void)e;
    ++*(uint32_t *)n;
}

/* What is wrong in each of a thousand combinations is one mistake. */
Test(manifest, mistakes_are_told_once)
{
    struct quern_error err;
    uint32_t n = 0;
    const struct mistake_sink sink = {count, &n};
    const char *text = HEAD "  - name: '{a}{b}{c}'\n"
                            "    matrix: {a: &v [1,2,3,4,5,6,7,8,9,10], b: *v, c: *v}\n"
                            "    quantize: /\n"
                            "    typ: F16\n"
                            "    output: '{d}'\n"
                            "  - {name: x, check: /, outptu: 1}\n";
    cr_assert(manifest_parse(str_from(text), "m.yml", &m, &sink, &err) == QUERN_EUSAGE);
    cr_assert_eq(n, 4, "%u: %s", n, err.text); /* typ, type, {d}, outptu */
    cr_assert(strstr(err.text, "(and 3 more mistakes)"), "%s", err.text);
    manifest_free(&m);
    CHECK_LEAKS();
}

/* Whoever wrote it: memory stays within what is allowed. */
Test(manifest, limits)
{
    char *text = malloc(1u << 20);
    cr_assert_not_null(text);
    size_t n = (size_t)sprintf(text, HEAD "  - name: '{a}{b}'\n    matrix: {a: [");
    for (int i = 0; i < 99; i++)
        n += (size_t)sprintf(text + n, "%d,", i);
    n += (size_t)sprintf(text + n, "x], b: [");
    for (int i = 0; i < 99; i++)
        n += (size_t)sprintf(text + n, "%d,", i);
    n += (size_t)sprintf(text + n, "y]}\n    check: [");
    for (int i = 0; i < 100; i++)
        n += (size_t)sprintf(text + n, "'/////////////////////////////////////////////////////////'"
                                       ",");
    sprintf(text + n, "/]\n");
    refused(text, "the jobs take more than 64 MiB");
    n = (size_t)sprintf(text, HEAD "  - {name: x, check: [");
    for (int i = 0; i < 300; i++)
        n += (size_t)sprintf(text + n, "/,");
    sprintf(text + n, "/]}\n");
    refused(text, "a job has more than");
    free(text);
    CHECK_LEAKS();
}
