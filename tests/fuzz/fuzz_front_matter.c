/* fuzz_front_matter.c - any text as a README.md: its front matter is used or noted, never an error.
 */
#include "convert/front_matter.h"
#include "fuzz.h"

static void run(char *text, size_t n)
{
    const struct side_file sides[] = {
        {.name = "README.md", .text = {text, n}}
    };
    const struct folder f = {.path = "model", .made = true, .sides = sides, .nsides = 1};
    struct quern_error err;
    struct plan *p = plan_new("convert", &err);
    const struct yaml_node *card;
    FUZZ_CHECK(p && read_model_card(&f, p, &card, &err) == QUERN_OK);
    FUZZ_CHECK(!card || card->kind == YAML_IS_MAP);
    FUZZ_CHECK(p->nnotes == 0 || (!card && utf8_valid(str_from(p->notes[0]), NULL)));
    plan_free(p);
}

static const char *const words[] = {
    "---\n",          "---\r\n", "\n---",          "language:\n- no\n",
    "- no\n",         "\t",      "tags: [a, b]\n", "base_model: org/x\n",
    "license: mit\n", NULL};

const struct fuzz_target fuzz_front_matter = {
    .name = "front_matter",
    .max_len = 512,
    .run = run,
    .bytes_per_byte = 256,
    .bytes_besides = 131072,
    .words = words,
};
