/* libfuzzer.c - one target as libFuzzer wants it: compiled once for each, with TARGET its name. */
#include <string.h>

#include "fuzz.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b)  JOIN_(a, b)
#define SUBJECT     JOIN(fuzz_, TARGET)

size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t room);
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t room, unsigned seed);

/* FUZZ_KINDS: at the end the kinds of errors that were met, and how often, go into this file. */
#define MAX_KINDS 128
static struct {
    char kind[sizeof(((struct quern_error *)NULL)->kind)];
    unsigned long count;
} kinds[MAX_KINDS];

static void count_kind(const struct quern_error *err)
{
    for (unsigned i = 0; i < MAX_KINDS; i++) {
        if (!kinds[i].kind[0])
            memcpy(kinds[i].kind, err->kind, sizeof kinds[i].kind);
        if (strcmp(kinds[i].kind, err->kind) == 0) {
            kinds[i].count++;
            return;
        }
    }
}

static void write_kinds(void)
{
    FILE *f = fopen(getenv("FUZZ_KINDS"), "w");
    for (unsigned i = 0; f && i < MAX_KINDS && kinds[i].kind[0]; i++)
        fprintf(f, "%s\t%lu\n", kinds[i].kind, kinds[i].count);
    if (f)
        fclose(f);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    atexit(fuzz_end);
    if (getenv("FUZZ_KINDS")) {
        fuzz_on_error = count_kind;
        atexit(write_kinds);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_one(&SUBJECT, data, n);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t room, unsigned seed)
{
    struct mutation m = {
        .p = data, .n = n, .room = room, .chance = seed + 1, .any_change = LLVMFuzzerMutate};
    /* Words of the target come with byte changes, and by hand where there are no dictionaries. */
    if (!SUBJECT.mutate || chance_below(&m, 6) == 0)
        mutate_bytes(&m);
    else
        SUBJECT.mutate(&m);
    const char *const *words = SUBJECT.words;
    if (words && chance_below(&m, 8) == 0) {
        uint32_t nwords = 0;
        while (words[nwords])
            nwords++;
        const char *word = words[chance_below(&m, nwords)];
        const size_t at = chance_below(&m, (uint32_t)m.n + 1);
        const size_t over =
            chance_below(&m, 2) ? 0 : chance_below(&m, (uint32_t)(m.n - at) + 1) % 16;
        mutation_splice(&m, at, over, word, strlen(word));
    }
    return m.n;
}
