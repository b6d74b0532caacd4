/* test_job_record.c - a command line becomes data and a command line again, with every option. */
#include <criterion/criterion.h>

#include "cli/job_record.h"
#include "leaks.h"

#define MOST_TEXT 65536u

static const char *sample_of(const struct option *o)
{
    switch (o->kind) {
    case OPTION_SIZE:
        return "5GiB";
    case OPTION_SHARD:
        return "0";
    case OPTION_NUMBER:
        return "18446744073709551615";
    case OPTION_COUNT:
        return "100000";
    default:
        return "-x=\"y\"\\ \xC3\xA4\n";
    }
}

static bool can_be_given(const struct option *o)
{
    return o->kind != OPTION_IGNORED && o->kind != OPTION_IGNORED_TEXT &&
           o->kind != OPTION_REFUSED && strcmp(o->name, "help") != 0;
}

/* Words that give the option; lists twice. Their number. */
static int words_for(const struct option *o, char (*room)[128], const char **argv)
{
    const bool list = o->kind == OPTION_LIST || o->kind == OPTION_LIST_FILE;
    int n = 0;
    for (int i = 0; i < (list ? 2 : 1); i++) {
        snprintf(room[n], sizeof room[n], "--%s", o->name);
        argv[n] = room[n];
        n++;
        for (int k = 0; k < (o->kind == OPTION_FLAG ? 0 : o->kind == OPTION_PAIR ? 2 : 1); k++) {
            snprintf(room[n], sizeof room[n], "%s", sample_of(o));
            argv[n] = room[n];
            n++;
        }
    }
    return n;
}

static struct cli *new_cli(const struct command *command)
{
    struct cli *c = calloc(1, sizeof *c);
    cr_assert_not_null(c);
    c->command = command;
    return c;
}

static int parse(struct cli *c, int n, const char **words)
{
    return parse_options(c, n, (char **)words);
}

static void text_of(const struct cli *c, enum job_scope scope, char text[MOST_TEXT])
{
    struct json_writer w = {0};
    job_write(c, scope, &w);
    const struct str s = json_written(&w);
    cr_assert(s.p && s.n < MOST_TEXT);
    memcpy(text, s.p, s.n + 1);
    json_writer_free(&w);
}

static enum quern_status read_job(char *text, enum job_scope scope, struct cli *c,
                                  struct quern_error *e)
{
    struct pull p;
    pull_start(&p, text, strlen(text));
    const enum quern_status s = job_read(&p, scope, c, e);
    if (s == QUERN_OK)
        cr_assert_eq(pull_next(&p), PULL_END);
    return s;
}

static void same_texts(const struct values *a, const struct values *b)
{
    cr_assert_eq(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        cr_assert_str_eq(a->items[i], b->items[i]);
        cr_assert_eq(a->is_file[i], b->is_file[i]);
    }
}

static void same_field(const struct option *o, const struct cli *a, const struct cli *b)
{
    const void *x = (const char *)a + o->field, *y = (const char *)b + o->field;
    const char *const *s = x, *const *t = y;
    switch (o->kind) {
    case OPTION_FLAG:
        cr_assert(*(const bool *)x == *(const bool *)y && *(const bool *)x, "--%s", o->name);
        break;
    case OPTION_TEXT:
    case OPTION_FILE:
        cr_assert_str_eq(*s, *t, "--%s", o->name);
        break;
    case OPTION_PAIR:
        cr_assert_str_eq(s[0], t[0]);
        cr_assert_str_eq(s[1], t[1]);
        break;
    case OPTION_LIST:
    case OPTION_LIST_FILE:
        same_texts(x, y);
        break;
    case OPTION_COUNT:
        cr_assert_eq(*(const unsigned *)x, *(const unsigned *)y, "--%s", o->name);
        break;
    default:
        cr_assert_eq(*(const uint64_t *)x, *(const uint64_t *)y, "--%s", o->name);
    }
}

static bool is_job(const struct command *c)
{
    return (c->common & COMMON_JOB) != 0;
}

/* One option goes there and back. */
static void try_option(const struct command *command, const struct option *o)
{
    static char room[8][128], text[MOST_TEXT], again[MOST_TEXT];
    const char *argv[10];
    struct quern_error e;
    struct cli *a = new_cli(command), *b = new_cli(command);
    int n = words_for(o, room, argv);
    argv[n++] = "--";
    argv[n++] = "-word";
    cr_assert_eq(parse(a, n, argv), 0, "%s --%s", command->name, o->name);
    text_of(a, JOB_ALL, text);
    strcpy(again, text);
    cr_assert_eq(read_job(again, JOB_ALL, b, &e), QUERN_OK, "%s --%s: %s: %s", command->name,
                 o->name, text, e.text);
    same_field(o, a, b);
    same_texts(&a->args, &b->args);
    /* What changes no byte is neither written nor taken when only bytes count. */
    cr_assert_eq(read_job(text, JOB_BYTES, b, &e), option_is_free(o) ? QUERN_EFORMAT : QUERN_OK,
                 "%s --%s", command->name, o->name);
    text_of(a, JOB_BYTES, text);
    cr_assert_eq(strstr(text, "\"options\":{}") != NULL, option_is_free(o), "%s", text);
    free(a);
    free(b);
}

Test(job_record, every_option_of_every_command_goes_there_and_back)
{
    unsigned ncommands = 0, noptions = 0;
    for (const struct command *c = commands; c->name; c++) {
        const struct option *t;
        for (unsigned i = 0; is_job(c) && (t = command_options(c, i)); i++)
            for (; t->name; t++)
                if (can_be_given(t)) {
                    try_option(c, t);
                    noptions++;
                }
        ncommands += is_job(c);
    }
    cr_assert_eq(ncommands, 5);
    cr_assert_gt(noptions, 100);
    CHECK_LEAKS();
}

/* All options of a command at once: the text is the same after a second journey. */
Test(job_record, all_options_together_go_there_and_back)
{
    static char room[512][128], text[MOST_TEXT], again[MOST_TEXT], twice[MOST_TEXT];
    for (const struct command *c = commands; c->name; c++) {
        const char *argv[512];
        const struct option *t;
        struct quern_error e;
        int n = 0;
        for (unsigned i = 0; is_job(c) && (t = command_options(c, i)); i++)
            for (; t->name; t++)
                if (can_be_given(t))
                    n += words_for(t, room + n, argv + n);
        if (!is_job(c))
            continue;
        struct cli *a = new_cli(c), *b = new_cli(c);
        cr_assert_eq(parse(a, n, argv), 0);
        text_of(a, JOB_ALL, text);
        strcpy(again, text);
        cr_assert_eq(read_job(again, JOB_ALL, b, &e), QUERN_OK, "%s: %s", c->name, e.text);
        text_of(b, JOB_ALL, twice);
        cr_assert_str_eq(text, twice);
        free(a);
        free(b);
    }
    CHECK_LEAKS();
}

Test(job_record, files_keep_their_place_among_patterns)
{
    static char text[MOST_TEXT];
    struct quern_error e;
    const char *argv[] = {"--tensor-type", "a=q8_0", "--tensor-type-file", "f",
                          "--tensor-type", "b=q4_0"};
    struct cli *a = new_cli(find_command("quantize")), *b = new_cli(NULL);
    cr_assert_eq(parse(a, 6, argv), 0);
    text_of(a, JOB_BYTES, text);
    cr_assert_str_eq(text, "{\"command\":\"quantize\",\"words\":[],\"options\":"
                           "{\"tensor-type\":[\"a=q8_0\",{\"file\":\"f\"},\"b=q4_0\"]}}");
    cr_assert_eq(read_job(text, JOB_BYTES, b, &e), QUERN_OK, "%s", e.text);
    same_texts(&a->tensor_types, &b->tensor_types);
    free(a);
    free(b);
}

Test(job_record, the_output_is_left_out_where_only_bytes_count)
{
    static char text[MOST_TEXT];
    const char *argv[] = {"in.gguf", "out.gguf", "Q8_0"};
    struct cli *a = new_cli(find_command("quantize"));
    cr_assert_eq(parse(a, 3, argv), 0);
    a->output_at = 2;
    text_of(a, JOB_BYTES, text);
    cr_assert_str_eq(text,
                     "{\"command\":\"quantize\",\"words\":[\"in.gguf\",\"Q8_0\"],\"options\":{}}");
    text_of(a, JOB_ALL, text);
    cr_assert(strstr(text, "out.gguf"));
    free(a);
}

Test(job_record, what_no_command_line_gives_is_refused)
{
    static const char *const bad[] = {
        "[]",
        "{}",
        "{\"words\":[],\"command\":\"quantize\"}",
        "{\"command\":1,\"words\":[]}",
        "{\"command\":\"format-disk\",\"words\":[]}",
        "{\"command\":\"inspect\",\"words\":[]}", /* makes nothing */
        "{\"command\":\"rebuild\",\"words\":[]}", /* nor is it a job */
        "{\"command\":\"quantize\"}",
        "{\"command\":\"quantize\",\"words\":\"a\"}",
        "{\"command\":\"quantize\",\"words\":[1]}",
        "{\"command\":\"quantize\",\"words\":[\"a\\u0000b\"]}",
        "{\"command\":\"quantize\",\"words\":[],\"words\":[]}",
        "{\"command\":\"quantize\",\"words\":[],\"more\":1}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":[]}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"pure\":false}}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"pure\":1}}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"pure\":true,\"pure\":true}}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"dtype\":\"f16\"}}", /* merge's */
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"force\":true}}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"output\":\"/etc/passwd\"}}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"threads\":4}}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"provenance\":true}}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"help\":true}}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"imatrix\":[\"a\"]}}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"imatrix\":\"a\\u0000\"}}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"tensor-type\":\"a=b\"}}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"tensor-type\":[{\"path\":\"a\"}]}}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"tensor-type-file\":[\"a\"]}}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"override-kv\":[{\"file\":\"a\"}]}}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"shard-size\":-1}}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"shard-size\":1.5}}",
        "{\"command\":\"quantize\",\"words\":[],\"options\":{\"shard-size\":\"5G\"}}",
        "{\"command\":\"merge\",\"words\":[],\"options\":{\"cuda\":true}}",
        "{\"command\":\"merge\",\"words\":[],\"options\":{\"shard-size\":5}}", /* second name */
        "{\"command\":\"merge\",\"words\":[],\"options\":{\"random-seed\":18446744073709551616}}",
        "{\"command\":\"convert\",\"words\":[],\"options\":{\"learn\":[\"a\"]}}",
        "{\"command\":\"convert\",\"words\":[],\"options\":{\"learn\":[\"a\",\"b\",\"c\"]}}",
        "{\"command\":\"convert\",\"words\":[],\"options\":{\"split-max-tensors\":0}}",
        "{\"command\":\"convert\",\"words\":[],\"options\":{\"split-max-tensors\":100001}}",
        "{\"command\":\"convert\",\"words\":[],\"options\":{\"arch\":\"a\"}",
    };
    struct cli *c = new_cli(NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct quern_error e;
        char *text = strdup(bad[i]);
        cr_assert_eq(read_job(text, JOB_BYTES, c, &e), QUERN_EFORMAT, "%s", bad[i]);
        free(text);
    }
    free(c);
    CHECK_LEAKS();
}

Test(job_record, more_words_than_can_be_given_are_refused)
{
    struct json_writer w = {0};
    struct quern_error e;
    struct cli *c = new_cli(NULL);
    json_raw(&w, STR("{\"command\":\"imatrix\",\"words\":["));
    for (unsigned i = 0; i <= MAX_ARGS; i++)
        json_put_text(&w, "a");
    json_raw(&w, STR("]}"));
    struct str text = json_written(&w);
    cr_assert_eq(read_job((char *)text.p, JOB_BYTES, c, &e), QUERN_EFORMAT);
    json_writer_free(&w);
    free(c);
    CHECK_LEAKS();
}
