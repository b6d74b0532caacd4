/* fuzz_adapter_config.c - any text as an adapter_config.json. */
#include <math.h>

#include "formats/adapter.h"
#include "fuzz.h"

static void run(char *text, size_t n)
{
    struct arena a = {0};
    struct adapter_config c;
    struct quern_error err;
    const char *path = fuzz_file("adapter_config.json", text, n);
    if (!fuzz_failed(adapter_config_read(path, &a, &c, &err), &err)) {
        static const char *const modules[] = {"q_proj", "model.layers.1.mlp.down_proj", ""};
        for (size_t i = 0; i < 3; i++) {
            uint64_t rank;
            double alpha;
            if (!fuzz_failed(adapter_config_of(&c, str_from(modules[i]), &rank, &alpha, &err),
                             &err))
                FUZZ_CHECK(rank >= 1 && rank <= MAX_RANK && isfinite(alpha));
        }
    }
    adapter_config_free(&c);
    arena_free(&a);
}

static const char *const words[] = {"\"peft_type\":\"LORA\"",
                                    "\"r\":8",
                                    "\"lora_alpha\":16",
                                    "\"use_rslora\":true",
                                    "\"use_dora\":true",
                                    "\"rank_pattern\":{\"q_proj\":4}",
                                    "\"alpha_pattern\":{\"^model.*\":2.5}",
                                    "\"target_modules\":[\"q_proj\"]",
                                    "\"target_modules\":\".*\"",
                                    "\"modules_to_save\":[\"lm_head\"]",
                                    "\"bias\":\"all\"",
                                    "\"fan_in_fan_out\":true",
                                    "\"base_model_name_or_path\":\"org/x\"",
                                    "\"alora_invocation_tokens\":[1,2]",
                                    "\"lora_bias\":true",
                                    "\"layers_to_transform\":[0]",
                                    "\"trainable_token_indices\":[1]",
                                    "\"exclude_modules\"",
                                    "(a+)+$",
                                    NULL};

const struct fuzz_target fuzz_adapter_config = {
    .name = "adapter_config",
    .max_len = 768,
    .run = run,
    .mutate = mutate_json,
    .bytes_per_byte = 64,
    .bytes_besides = 65536,
    .words = words,
    .memory_may_fail = true,
};
