/* tables.c - every command and option: what they are called, take and mean. Parser, --help, man
 * pages and shell completion all read these tables. */
#include "cli.h"

#define FIELD(member) offsetof(struct cli, member)

/* Aligned columns would tear the texts apart. */
/* clang-format off */

#define FILE_TYPES "Q1_0 Q2_0 Q4_0 Q4_1 MXFP4_MOE Q5_0 Q5_1 IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ1_S IQ1_M TQ1_0 TQ2_0 " \
    "Q2_K Q2_K_S IQ3_XXS IQ3_S IQ3_M Q3_K IQ3_XS Q3_K_S Q3_K_M Q3_K_L IQ4_NL IQ4_XS Q4_K Q4_K_S Q4_K_M " \
    "Q5_K Q5_K_S Q5_K_M Q6_K Q8_0 F16 BF16 F32 COPY"

const struct option help_options[] = {
    {"help", 'h', OPTION_FLAG, FIELD(help), NULL, "print this text and exit", NULL},
    {.name = NULL},
};

const struct option json_options[] = {
    {"json", 0, OPTION_FLAG, FIELD(json), NULL,
     "print the result, or the error, as one JSON object on standard output", NULL},
    {.name = NULL},
};

const struct option run_options[] = {
    {"output", 'o', OPTION_TEXT, FIELD(output), "OUTPUT",
     "where to write, instead of the OUTPUT argument", NULL},
    {"threads", 'j', OPTION_COUNT, FIELD(threads), "N", "worker threads (default: all cores)",
     NULL},
    {"mem", 0, OPTION_SIZE, FIELD(mem), "SIZE",
     "ceiling on working memory, checked before the start (default: 256MiB)", NULL},
    {"dry-run", 0, OPTION_FLAG, FIELD(dry_run), NULL,
     "print what would be done (tensors, types, sizes, memory) and write nothing", NULL},
    {"force", 'f', OPTION_FLAG, FIELD(force), NULL,
     "replace an existing output; it stays as it is until the new one is complete", NULL},
    {"resume", 0, OPTION_FLAG, FIELD(resume), NULL,
     "go on with what an interrupted run of the same command has left; --threads and --mem may differ",
     NULL},
    {"sha256", 0, OPTION_FLAG, FIELD(sha256), NULL,
     "print the SHA-256 of every file that was written, as sha256sum does", NULL},
    {"progress", 0, OPTION_TEXT, FIELD(progress), "auto|json|none",
     "progress on standard error: a line on a terminal (auto), JSON lines, or none", "auto json none"},
    {"quiet", 'q', OPTION_FLAG, FIELD(quiet), NULL, "print errors only", NULL},
    {"verbose", 'v', OPTION_FLAG, FIELD(verbose), NULL, "also list every tensor", NULL},
    {.name = NULL},
};

const struct option record_options[] = {
    {"provenance", 0, OPTION_FLAG, FIELD(provenance), NULL,
     "write into the output, and into OUTPUT.quern.json, what it is made of and how: hashes of all "
     "inputs and their tensors, recipe, options, version; see quern help rebuild", NULL},
    {.name = NULL},
};

const struct option pack_options[] = {
    {"pack-base", 0, OPTION_LIST, FIELD(pack_bases), "MODEL",
     "where the base of a pack (.qpk) is, when it is not where the pack says; repeatable", NULL},
    {.name = NULL},
};

static const struct option pack_own_options[] = {
    {"base", 0, OPTION_TEXT, FIELD(base), "MODEL",
     "store tensors as their difference from those of the same name, type and shape in this model, which "
     "unpacking will need", NULL},
    {"level", 0, OPTION_TEXT, FIELD(level), "huf|1|3|9|19",
     "what is tried beside entropy coding: nothing (huf), or zstd's level; the smaller result is kept "
     "(default: 1, where a sample says that it pays)", "huf 1 3 9 19"},
    {.name = NULL},
};

static const struct option unpack_options[] = {
    {"base", 0, OPTION_LIST, FIELD(pack_bases), "MODEL",
     "where the model is that the pack was made against, when it is not where the pack says; repeatable", NULL},
    {"pack-base", 0, OPTION_LIST, FIELD(pack_bases), "MODEL", "the same as --base: what all commands call it", NULL},
    {.name = NULL},
};

static const struct option quantize_options[] = {
    {"imatrix", 0, OPTION_FILE, FIELD(quantize.imatrix), "FILE",
     "importance matrix (.gguf or .dat): which columns matter; the types of about two bits and less need one", NULL},
    {"include-weights", 0, OPTION_LIST, FIELD(include_weights), "TEXT",
     "use only the entries of the matrix whose name contains TEXT; repeatable", NULL},
    {"exclude-weights", 0, OPTION_LIST, FIELD(exclude_weights), "TEXT",
     "use all but the entries whose name contains TEXT; repeatable", NULL},
    {"pure", 0, OPTION_FLAG, FIELD(quantize.pure), NULL,
     "give every quantizable tensor the base type; fallbacks for odd rows still apply", NULL},
    {"leave-output-tensor", 0, OPTION_FLAG, FIELD(quantize.leave_output_tensor), NULL,
     "keep output.weight as it is", NULL},
    {"output-tensor-type", 0, OPTION_TEXT, FIELD(quantize.output_tensor_type), "TYPE",
     "element type of output.weight", NULL},
    {"token-embedding-type", 0, OPTION_TEXT, FIELD(quantize.token_embedding_type), "TYPE",
     "element type of token_embd.weight", NULL},
    {"tensor-type", 0, OPTION_LIST, FIELD(tensor_types), "REGEX=TYPE",
     "element type of the tensors whose name matches; repeatable, the first match wins", NULL},
    {"tensor-type-file", 0, OPTION_LIST_FILE, FIELD(tensor_types), "FILE",
     "the same, from a file with many REGEX=TYPE separated by white space", NULL},
    {"prune-layers", 0, OPTION_LIST, FIELD(prune_layers), "L,L...",
     "leave out these layers; later ones move up", NULL},
    {"allow-requantize", 0, OPTION_FLAG, FIELD(quantize.allow_requantize), NULL,
     "permit quantizing tensors that are quantized already (loses quality)", NULL},
    {"no-fallback", 0, OPTION_FLAG, FIELD(quantize.no_fallback), NULL,
     "fail when a row does not fit its type, instead of taking another type", NULL},
    {"override-kv", 0, OPTION_LIST, FIELD(override_kvs), "KEY=TYPE:VALUE",
     "set a metadata key of the output; TYPE is int, float, bool or str; repeatable", NULL},
    {"reference-bugs", 0, OPTION_FLAG, FIELD(quantize.reference_bugs), NULL,
     "write llama-quantize's bytes even where they are wrong (pruned layers, IQ3_S with zeros)", NULL},
    {"keep-split", 0, OPTION_FLAG, FIELD(quantize.keep_split), NULL,
     "write as many files as the input has; OUTPUT is then a prefix", NULL},
    {"keep-names", 0, OPTION_FLAG, FIELD(quantize.keep_names), NULL,
     "safetensors to GGUF as a plain container: names and layout stay (needs --arch)", NULL},
    {"arch", 0, OPTION_TEXT, FIELD(quantize.arch), "NAME",
     "general.architecture of a --keep-names output", NULL},
    {"pre", 0, OPTION_TEXT, FIELD(pre), "NAME",
     "from a Hugging Face directory: tokenizer.ggml.pre, when it is not recognised", NULL},
    {"text-only", 0, OPTION_FLAG, FIELD(text_only), NULL,
     "from a Hugging Face directory: leave out what is for pictures and sound", NULL},
    {"shard-size", 0, OPTION_SIZE, FIELD(shard_bytes), "SIZE",
     "largest file of a safetensors directory output (default: one file)", NULL},
    {"stats", 0, OPTION_FLAG, FIELD(stats), NULL,
     "measure what every tensor loses and add the worst ones and totals to the summary, as quern "
     "compare would show them; -v lists all", NULL},
    {"nonfinite", 0, OPTION_TEXT, FIELD(nonfinite), "error|keep|zero",
     "weights that are NaN or Inf: refuse them (error, the default), pass them on in tensors that are "
     "only copied to a plain type (keep), or take them for 0 and tell where they were (zero)",
     "error keep zero"},
    {.name = NULL},
};

static const struct option merge_options[] = {
    {"method", 0, OPTION_TEXT, FIELD(method), "NAME",
     "merge without a recipe file, by a method of mergekit: slerp, ties, dare_ties ...",
     "linear slerp nuslerp multislerp karcher task_arithmetic "
     "ties dare_linear dare_ties della della_linear breadcrumbs "
     "breadcrumbs_ties model_stock sce ram ramplus_tl nearswap arcee_fusion passthrough"},
    {"base", 0, OPTION_TEXT, FIELD(base), "MODEL", "base model (with --method or --lora)", NULL},
    {"model", 0, OPTION_LIST, FIELD(models), "MODEL",
     "a model to merge (with --method), or ID=PATH: where a model named in the recipe lies; "
     "repeatable", NULL},
    {"lora", 0, OPTION_LIST, FIELD(loras), "PATH[:WEIGHT]",
     "a LoRA adapter to add to the --base, nothing else being merged; repeatable", NULL},
    {"param", 0, OPTION_LIST, FIELD(params), "NAME=VALUE",
     "a parameter (with --method): t=0.4, or weight=0.3,0.7 with one value per model; repeatable", NULL},
    {"dtype", 0, OPTION_TEXT, FIELD(dtype), "TYPE",
     "type of the merged weights (with --method or --lora): float32, float16 or bfloat16", "float32 float16 bfloat16"},
    {"out-dtype", 0, OPTION_TEXT, FIELD(out_dtype), "TYPE",
     "type they are stored as (with --method or --lora)", "float32 float16 bfloat16"},
    {"out-shard-size", 0, OPTION_SHARD, FIELD(shard_bytes), "SIZE",
     "largest file of a directory output (default: 5B, mergekit's way to say 5 GB; 0: no limit)",
     NULL},
    {"shard-size", 0, OPTION_SHARD, FIELD(shard_bytes), "SIZE", "the same", NULL},
    {"random-seed", 0, OPTION_NUMBER, FIELD(seed), "N",
     "of methods that draw random numbers (default: 0)", NULL},
    {"allow-requantize", 0, OPTION_FLAG, FIELD(quantize.allow_requantize), NULL,
     "permit TYPE for block-quantized tensors that are only passed on", NULL},
    {"imatrix", 0, OPTION_FILE, FIELD(quantize.imatrix), "FILE",
     "with TYPE: importance matrix, as quern quantize takes it", NULL},
    {"tensor-type", 0, OPTION_LIST, FIELD(tensor_types), "REGEX=TYPE",
     "with TYPE: element type of the tensors of the GGUF whose name matches; repeatable", NULL},
    {"tensor-type-file", 0, OPTION_LIST_FILE, FIELD(tensor_types), "FILE",
     "the same, from a file with many REGEX=TYPE separated by white space", NULL},
    {"output-tensor-type", 0, OPTION_TEXT, FIELD(quantize.output_tensor_type), "TYPE",
     "with TYPE: element type of output.weight", NULL},
    {"token-embedding-type", 0, OPTION_TEXT, FIELD(quantize.token_embedding_type), "TYPE",
     "with TYPE: element type of token_embd.weight", NULL},
    {"pure", 0, OPTION_FLAG, FIELD(quantize.pure), NULL,
     "with TYPE: give every quantizable tensor the base type", NULL},
    {"leave-output-tensor", 0, OPTION_FLAG, FIELD(quantize.leave_output_tensor), NULL,
     "with TYPE: keep output.weight as it is", NULL},
    {"no-fallback", 0, OPTION_FLAG, FIELD(quantize.no_fallback), NULL,
     "with TYPE: fail when a row does not fit its type, instead of taking another type", NULL},
    {"model-name", 0, OPTION_TEXT, FIELD(model_name), "NAME", "general.name of a GGUF", NULL},
    {"metadata", 0, OPTION_FILE, FIELD(metadata), "FILE",
     "for a GGUF: a JSON object with general.* keys: author, description, tags ...", NULL},
    {"pre", 0, OPTION_TEXT, FIELD(pre), "NAME",
     "for a GGUF of Hugging Face models: tokenizer.ggml.pre, when it is not recognised", NULL},
    {"like", 0, OPTION_FILE, FIELD(like), "TEMPLATE.gguf",
     "for a GGUF of Hugging Face models: hyper-parameters, tokenizer and keys as in a GGUF of the same "
     "family, see quern convert", NULL},
    {"map", 0, OPTION_FILE, FIELD(map), "FILE",
     "with --like: rules in YAML for what becomes of tensors, see quern convert", NULL},
    {"text-only", 0, OPTION_FLAG, FIELD(text_only), NULL,
     "for a GGUF of Hugging Face models: leave out what is for pictures and sound", NULL},
    {"override-kv", 0, OPTION_LIST, FIELD(override_kvs), "KEY=TYPE:VALUE",
     "for a GGUF: set a metadata key; TYPE is int, float, bool or str; repeatable", NULL},
    {"mergekit-exact", 0, OPTION_FLAG, FIELD(mergekit_exact), NULL,
     "compute in the recipe's dtype and round after every operation, as mergekit does", NULL},
    {"allow-crimes", 0, OPTION_FLAG, FIELD(allow_crimes), NULL,
     "merge models of other architectures, or with embeddings of other sizes, as far as names and "
     "shapes permit", NULL},
    {"no-write-model-card", 0, OPTION_FLAG, FIELD(no_model_card), NULL,
     "write no README.md and mergekit_config.yml", NULL},
    {"no-copy-tokenizer", 0, OPTION_FLAG, FIELD(no_tokenizer), NULL,
     "leave the tokenizer's files out of a directory output", NULL},
    {"transformers-cache", 0, OPTION_TEXT, FIELD(hub_cache), "DIR",
     "the Hugging Face cache to look up ids in (default: HF_HUB_CACHE, HF_HOME or ~/.cache)", NULL},
    {"num-threads", 0, OPTION_COUNT, FIELD(threads), "N", "the same as --threads", NULL},
    /* What mergekit scripts carry and quern does anyway or has no use for. */
    {"write-model-card", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"copy-tokenizer", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"safe-serialization", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"cuda", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"no-cuda", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"low-cpu-memory", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"no-low-cpu-memory", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"lazy-unpickle", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"no-lazy-unpickle", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"gpu-rich", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"no-gpu-rich", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"read-to-gpu", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"no-read-to-gpu", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"multi-gpu", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"no-multi-gpu", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"trust-remote-code", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"no-trust-remote-code", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"clone-tensors", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"no-clone-tensors", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"async-write", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"no-async-write", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"no-allow-crimes", 0, OPTION_IGNORED, 0, NULL, NULL, NULL},
    {"device", 0, OPTION_IGNORED_TEXT, 0, NULL, NULL, NULL},
    {"write-threads", 0, OPTION_IGNORED_TEXT, 0, NULL, NULL, NULL},
    {"lora-merge-cache", 0, OPTION_IGNORED_TEXT, 0, NULL, NULL, NULL},
    {"lora-merge-dtype", 0, OPTION_IGNORED_TEXT, 0, NULL, NULL, NULL},
    {"no-safe-serialization", 0, OPTION_REFUSED, 0,
     "a pickle can run code when it is read; quern writes safetensors", NULL, NULL},
    {"stats", 0, OPTION_FLAG, FIELD(stats), NULL,
     "measure what every tensor loses and add the worst ones and totals to the summary, as quern "
     "compare would show them; -v lists all", NULL},
    {"nonfinite", 0, OPTION_TEXT, FIELD(nonfinite), "error|keep|zero",
     "weights that are NaN or Inf: refuse them (error, the default), pass them on in tensors that are "
     "only copied to a plain type (keep), or take them for 0 and tell where they were (zero)",
     "error keep zero"},
    {.name = NULL},
};

static const struct option convert_options[] = {
    {"outtype", 't', OPTION_TEXT, FIELD(outtype), "TYPE",
     "auto (the default: the 16-bit type the weights have), f32, f16, bf16, q8_0, or a file type of "
     "quern quantize, made in the same pass; with --like, like: each tensor as the template has it",
     "auto f32 f16 bf16 q8_0 like"},
    {"outfile", 0, OPTION_TEXT, FIELD(output), "OUTPUT",
     "where to write, as -o; {ftype} in the name becomes the type", NULL},
    {"allow-requantize", 0, OPTION_FLAG, FIELD(quantize.allow_requantize), NULL,
     "permit making a block type from tensors that are quantized already", NULL},
    {"imatrix", 0, OPTION_FILE, FIELD(quantize.imatrix), "FILE",
     "importance matrix, for file types of quern quantize", NULL},
    {"model-name", 0, OPTION_TEXT, FIELD(model_name), "NAME", "general.name of the output", NULL},
    {"metadata", 0, OPTION_FILE, FIELD(metadata), "FILE",
     "a JSON object with general.* keys: author, description, tags ...", NULL},
    {"pre", 0, OPTION_TEXT, FIELD(pre), "NAME",
     "tokenizer.ggml.pre: how text is split before tokens are looked up, when it is not recognised",
     NULL},
    {"override-kv", 0, OPTION_LIST, FIELD(override_kvs), "KEY=TYPE:VALUE",
     "set a metadata key of the output; TYPE is int, float, bool or str; repeatable", NULL},
    {"base", 0, OPTION_FILE, FIELD(base), "DIR",
     "of an adapter: the model it was trained on, or its config.json (default: the one that "
     "adapter_config.json names, a path or in the Hugging Face cache)", NULL},
    {"transformers-cache", 0, OPTION_TEXT, FIELD(hub_cache), "DIR",
     "of an adapter: where to look for its base instead of the Hugging Face cache", NULL},
    {"keep-names", 0, OPTION_FLAG, FIELD(quantize.keep_names), NULL,
     "the tensors under the names they have: safetensors as a plain GGUF container (needs --arch), "
     "a GGUF as safetensors without config.json and tokenizer", NULL},
    {"arch", 0, OPTION_TEXT, FIELD(quantize.arch), "NAME",
     "with --keep-names: general.architecture of the output", NULL},
    {"like", 0, OPTION_FILE, FIELD(like), "TEMPLATE.gguf",
     "take hyper-parameters, tokenizer, keys and the order of tensors from a GGUF of the same family, "
     "whatever class config.json names; shapes are checked, differences told", NULL},
    {"map", 0, OPTION_FILE, FIELD(map), "FILE",
     "with --like: rules in YAML for what becomes of tensors, for architectures that are not listed",
     NULL},
    {"learn", 0, OPTION_PAIR, FIELD(learn), "BASE_HF BASE.gguf",
     "find such rules out from a model and the GGUF made of it, whose tensors are matched by their "
     "values; BASE.gguf is the template too, unless --like names another", NULL},
    {"write-map", 0, OPTION_TEXT, FIELD(write_map), "FILE",
     "with --learn: write the rules as a file for --map, - for standard output; without HFDIR "
     "nothing else is done", NULL},
    {"text-only", 0, OPTION_FLAG, FIELD(text_only), NULL,
     "convert the text model of a checkpoint that also sees or hears, and leave out the rest", NULL},
    {"vocab-only", 0, OPTION_FLAG, FIELD(vocab_only), NULL, "write the tokenizer and no tensors",
     NULL},
    {"split-max-tensors", 0, OPTION_COUNT, FIELD(split_max_tensors), "N",
     "write several files with at most N tensors each; OUTPUT is then their prefix", NULL},
    {"split-max-size", 0, OPTION_SIZE, FIELD(split_max_bytes), "SIZE",
     "write several files with at most SIZE of tensors each; OUTPUT is then their prefix", NULL},
    {"no-tensor-first-split", 0, OPTION_FLAG, FIELD(no_tensor_first_split), NULL,
     "with several files: keys only in the first", NULL},
    {"shard-size", 0, OPTION_SIZE, FIELD(shard_bytes), "SIZE",
     "largest file of a directory output (default: one file)", NULL},
    {"print-supported-models", 0, OPTION_FLAG, FIELD(print_supported), NULL,
     "list the architectures and their classes in config.json, and exit", NULL},
    {"mmproj", 0, OPTION_REFUSED, 0,
     "quern converts text models only; --text-only leaves out what is for pictures and sound", NULL, NULL},
    {"bigendian", 0, OPTION_REFUSED, 0,
     "quern writes little-endian GGUF only, which is what all its platforms read", NULL, NULL},
    {"nonfinite", 0, OPTION_TEXT, FIELD(nonfinite), "error|keep|zero",
     "weights that are NaN or Inf: refuse them (error, the default), pass them on in tensors that are "
     "only copied to a plain type (keep), or take them for 0 and tell where they were (zero)",
     "error keep zero"},
    {.name = NULL},
};

static const struct option lora_options[] = {
    {"rank", 'r', OPTION_COUNT, FIELD(rank), "N", "extract: rank of the products (default: 32)", NULL},
    {"include", 0, OPTION_LIST, FIELD(includes), "REGEX",
     "extract: only tensors whose name matches; repeatable", NULL},
    {"exclude", 0, OPTION_LIST, FIELD(excludes), "REGEX",
     "extract: no tensors whose name matches; repeatable", NULL},
    {"no-save-modules", 0, OPTION_FLAG, FIELD(no_save_modules), NULL,
     "extract: leave out what is no matrix of a layer (embeddings, norms, biases) instead of keeping "
     "it whole", NULL},
    {"out-dtype", 0, OPTION_TEXT, FIELD(out_dtype), "TYPE",
     "extract: type of the products: f32 (default), f16 or bf16", "f32 f16 bf16"},
    {"nonfinite", 0, OPTION_TEXT, FIELD(nonfinite), "error|keep|zero",
     "extract: weights that are NaN or Inf: refuse them (error, the default), pass them on in tensors "
     "that are kept whole (keep), or take them for 0 and tell where they were (zero)",
     "error keep zero"},
    {.name = NULL},
};

static const struct option imatrix_options[] = {
    {"model", 0, OPTION_TEXT, FIELD(model), "M.gguf",
     "lint: the model the matrix is for; its weights are compared with the entries", NULL},
    {"chunk-size", 0, OPTION_COUNT, FIELD(chunk_size), "N",
     "tokens of a chunk (default: as the first input says, else 512)", NULL},
    {"output-format", 0, OPTION_TEXT, FIELD(output_format), "gguf|dat",
     "format of OUTPUT, whatever its name ends in", "gguf dat"},
    {.name = NULL},
};

static const struct option rebuild_options[] = {
    {"input", 0, OPTION_LIST, FIELD(inputs), "OLD=NEW",
     "what the record calls OLD, a path or the directories one begins with, is at NEW now; repeatable", NULL},
    {"transformers-cache", 0, OPTION_TEXT, FIELD(hub_cache), "DIR",
     "the Hugging Face cache to look models up in", NULL},
    {.name = NULL},
};

static const struct option inspect_options[] = {
    {"tensors", 0, OPTION_FLAG, FIELD(tensors), NULL, "list every tensor", NULL},
    {"kv", 0, OPTION_TEXT, FIELD(kv), "KEY", "print the value of one metadata key, nothing else",
     NULL},
    {.name = NULL},
};

static const struct option check_options[] = {
    {"sha256", 0, OPTION_FLAG, FIELD(sha256), NULL, "print the SHA-256 of every file", NULL},
    {"threads", 'j', OPTION_COUNT, FIELD(threads), "N", "worker threads (default: all cores)",
     NULL},
    {"mem", 0, OPTION_SIZE, FIELD(mem), "SIZE", "ceiling on working memory (default: 256MiB)",
     NULL},
    {"quiet", 'q', OPTION_FLAG, FIELD(quiet), NULL, "print findings only", NULL},
    {.name = NULL},
};

static const struct option compare_options[] = {
    {"imatrix", 0, OPTION_TEXT, FIELD(imatrix), "FILE",
     "importance matrix (GGUF or .dat): show errors weighted by it as well", NULL},
    {"threads", 'j', OPTION_COUNT, FIELD(threads), "N", "worker threads (default: all cores)",
     NULL},
    {"mem", 0, OPTION_SIZE, FIELD(mem), "SIZE", "ceiling on working memory (default: 256MiB)",
     NULL},
    {"progress", 0, OPTION_TEXT, FIELD(progress), "auto|json|none",
     "progress on standard error: a line on a terminal (auto), JSON lines, or none", "auto json none"},
    {"quiet", 'q', OPTION_FLAG, FIELD(quiet), NULL, "print findings that are no numbers only", NULL},
    {"verbose", 'v', OPTION_FLAG, FIELD(verbose), NULL, "list every tensor", NULL},
    {.name = NULL},
};

static const struct option plan_options[] = {
    {"output", 'o', OPTION_TEXT, FIELD(output), "PLAN", "file to write (default: job.plan)", NULL},
    {"parts", 0, OPTION_COUNT, FIELD(parts), "N", "into how many parts (default: 1)", NULL},
    {"part-size", 0, OPTION_SIZE, FIELD(part_bytes), "SIZE",
     "into as many as it takes for a part to write about SIZE", NULL},
    {"layout", 0, OPTION_TEXT, FIELD(layout), "files|joined|ranges",
     "files (default): each part makes one file of the output, a GGUF split set or shards of a "
     "directory; joined: the files that the command makes when it is not divided, bit for bit, put "
     "together at the end; ranges: the same, but all parts write to them, on a file system they share, "
     "each its own places of whole MiB, and nothing is copied", "files joined ranges"},
    {"stages", 0, OPTION_FLAG, FIELD(stages), NULL,
     "what a method must know of whole tensors is measured in a stage of its own, quern run --stage stats, "
     "before the parts are run: then tensors are cut between parts whatever the method", NULL},
    {"emit", 0, OPTION_TEXT, FIELD(emit), "SCHEDULER",
     "also write what runs the parts and joins them: slurm, ninja, k8s or parallel", "slurm ninja k8s parallel"},
    {"threads", 'j', OPTION_COUNT, FIELD(threads), "N", "with --emit: threads of a part (default: 1)", NULL},
    {"mem", 0, OPTION_SIZE, FIELD(mem), "SIZE", "with --emit: --mem of a part (default: 256MiB)", NULL},
    {"force", 'f', OPTION_FLAG, FIELD(force), NULL,
     "replace PLAN, and let the command replace its output", NULL},
    {"quiet", 'q', OPTION_FLAG, FIELD(quiet), NULL, "print errors only", NULL},
    {.name = NULL},
};

static const struct option part_options[] = {
    {"part", 0, OPTION_TEXT, FIELD(part), "I|I/N|auto",
     "which one, counted from 1; auto (default): SLURM_ARRAY_TASK_ID, or JOB_COMPLETION_INDEX + 1, of "
     "the environment", NULL},
    {"stage", 0, OPTION_TEXT, FIELD(stage), "stats|run",
     "of a plan with stages: stats measures, before any part is run; run (default) makes the output", "stats run"},
    {"threads", 'j', OPTION_COUNT, FIELD(threads), "N", "worker threads (default: all cores)", NULL},
    {"mem", 0, OPTION_SIZE, FIELD(mem), "SIZE",
     "ceiling on working memory, checked before the start (default: 256MiB)", NULL},
    {"force", 'f', OPTION_FLAG, FIELD(force), NULL, "make the part again although it is done", NULL},
    {"progress", 0, OPTION_TEXT, FIELD(progress), "auto|json|none",
     "progress on standard error: a line on a terminal (auto), JSON lines, or none", "auto json none"},
    {"quiet", 'q', OPTION_FLAG, FIELD(quiet), NULL, "print errors only", NULL},
    {.name = NULL},
};

static const struct option join_options[] = {
    {"threads", 'j', OPTION_COUNT, FIELD(threads), "N", "worker threads (default: all cores)", NULL},
    {"mem", 0, OPTION_SIZE, FIELD(mem), "SIZE",
     "ceiling on working memory, checked before the start (default: 256MiB)", NULL},
    {"force", 'f', OPTION_FLAG, FIELD(force), NULL, "replace an existing output", NULL},
    {"sha256", 0, OPTION_FLAG, FIELD(sha256), NULL,
     "print the SHA-256 of every file that was written, as sha256sum does", NULL},
    {"keep-records", 0, OPTION_FLAG, FIELD(keep_records), NULL,
     "leave the records of what is done, for build tools that look at them", NULL},
    {"progress", 0, OPTION_TEXT, FIELD(progress), "auto|json|none",
     "progress on standard error: a line on a terminal (auto), JSON lines, or none", "auto json none"},
    {"quiet", 'q', OPTION_FLAG, FIELD(quiet), NULL, "print errors only", NULL},
    {.name = NULL},
};

static const struct option batch_options[] = {
    {"jobs", 0, OPTION_COUNT, FIELD(jobs), "N",
     "so many at the same time (default: 1); they share --threads and --mem", NULL},
    {"threads", 'j', OPTION_COUNT, FIELD(threads), "N", "worker threads (default: all cores)", NULL},
    {"mem", 0, OPTION_SIZE, FIELD(mem), "SIZE",
     "ceiling on working memory, of all together (default: 256MiB for each job)", NULL},
    {"dry-run", 0, OPTION_FLAG, FIELD(dry_run), NULL,
     "tell which jobs would run, and why, and run none", NULL},
    {"only", 0, OPTION_LIST, FIELD(only), "PATTERN",
     "only jobs whose name matches (* and ? as in a shell), and those that they need; repeatable", NULL},
    {"force", 'f', OPTION_FLAG, FIELD(force), NULL,
     "run jobs that are up to date, and replace outputs that are not known to be of this manifest", NULL},
    {"check-hashes", 0, OPTION_FLAG, FIELD(check_hashes), NULL,
     "compare files by SHA-256, not by size and time; inputs that were not hashed yet are now", NULL},
    {"fail-fast", 0, OPTION_FLAG, FIELD(fail_fast), NULL,
     "start nothing more once a job has failed", NULL},
    {"job", 0, OPTION_TEXT, FIELD(job), "I|I/N|NAME|auto",
     "run one job in this process, for schedulers; auto: SLURM_ARRAY_TASK_ID, or "
     "JOB_COMPLETION_INDEX + 1, of the environment", NULL},
    {"emit", 0, OPTION_TEXT, FIELD(emit), "SCHEDULER",
     "write what runs the jobs instead of running them: slurm, ninja, k8s or parallel", "slurm ninja k8s parallel"},
    {"quiet", 'q', OPTION_FLAG, FIELD(quiet), NULL, "print failures only", NULL},
    {.name = NULL},
};

static const struct option verify_options[] = {
    {"imatrix", 0, OPTION_TEXT, FIELD(quantize.imatrix), "FILE",
     "the importance matrix that QUANTIZED was made with", NULL},
    {"include-weights", 0, OPTION_LIST, FIELD(include_weights), "TEXT",
     "as it was made: only the entries of the matrix whose name contains TEXT; repeatable", NULL},
    {"exclude-weights", 0, OPTION_LIST, FIELD(exclude_weights), "TEXT",
     "as it was made: all but the entries whose name contains TEXT; repeatable", NULL},
    {"prune-layers", 0, OPTION_LIST, FIELD(prune_layers), "L,L...",
     "as it was made: without these layers", NULL},
    {"override-kv", 0, OPTION_LIST, FIELD(override_kvs), "KEY=TYPE:VALUE",
     "as it was made: a metadata key that was set; repeatable", NULL},
    {"reference-bugs", 0, OPTION_FLAG, FIELD(quantize.reference_bugs), NULL,
     "expect llama-quantize's bytes even where they are wrong (IQ3_S with zeros)", NULL},
    {"nonfinite", 0, OPTION_TEXT, FIELD(nonfinite), "error|keep|zero",
     "as it was made: what became of weights that are NaN or Inf", "error keep zero"},
    {"tensors-only", 0, OPTION_FLAG, FIELD(tensors_only), NULL,
     "compare no keys and no files beside the weights", NULL},
    {"via", 0, OPTION_TEXT, FIELD(via), "auto|f32|f16|bf16",
     "from Hugging Face: the type it was converted to before it was quantized (default: auto, the 16-bit "
     "type of the weights, or f16)", "auto f32 f16 bf16"},
    {"pre", 0, OPTION_TEXT, FIELD(pre), "NAME",
     "from Hugging Face: tokenizer.ggml.pre, when it is not recognised", NULL},
    {"like", 0, OPTION_TEXT, FIELD(like), "FILE.gguf", "from Hugging Face: the template it was made by", NULL},
    {"map", 0, OPTION_TEXT, FIELD(map), "FILE", "with --like: the rules for tensors", NULL},
    {"model-name", 0, OPTION_TEXT, FIELD(model_name), "NAME", "from Hugging Face: general.name", NULL},
    {"metadata", 0, OPTION_TEXT, FIELD(metadata), "FILE",
     "from Hugging Face: JSON file with general.* keys", NULL},
    {"text-only", 0, OPTION_FLAG, FIELD(text_only), NULL,
     "from Hugging Face: without what is for pictures and sound", NULL},
    {"keep-names", 0, OPTION_FLAG, FIELD(quantize.keep_names), NULL,
     "QUANTIZED is a plain container of safetensors (recognised by its names)", NULL},
    {"arch", 0, OPTION_TEXT, FIELD(quantize.arch), "NAME", "of such a container: general.architecture", NULL},
    {"method", 0, OPTION_TEXT, FIELD(method), "NAME",
     "a merge without a recipe: its method (as quern merge takes it, with the options below)", NULL},
    {"base", 0, OPTION_TEXT, FIELD(base), "MODEL", "base model (with --method, --lora, or of an adapter)", NULL},
    {"model", 0, OPTION_LIST, FIELD(models), "MODEL",
     "a merged model (with --method), or ID=PATH: where a model named in the recipe lies; repeatable", NULL},
    {"lora", 0, OPTION_LIST, FIELD(loras), "PATH[:WEIGHT]", "an adapter added to the --base; repeatable", NULL},
    {"param", 0, OPTION_LIST, FIELD(params), "NAME=VALUE", "a parameter (with --method); repeatable", NULL},
    {"dtype", 0, OPTION_TEXT, FIELD(dtype), "TYPE",
     "type of the merged weights (with --method or --lora)", "float32 float16 bfloat16"},
    {"out-dtype", 0, OPTION_TEXT, FIELD(out_dtype), "TYPE",
     "type they are stored as (with --method or --lora)", "float32 float16 bfloat16"},
    {"random-seed", 0, OPTION_NUMBER, FIELD(seed), "N",
     "of methods that draw random numbers (default: 0)", NULL},
    {"mergekit-exact", 0, OPTION_FLAG, FIELD(mergekit_exact), NULL,
     "the merge rounded after every operation, as mergekit does", NULL},
    {"allow-crimes", 0, OPTION_FLAG, FIELD(allow_crimes), NULL,
     "the models of the merge do not quite fit together", NULL},
    {"transformers-cache", 0, OPTION_TEXT, FIELD(hub_cache), "DIR",
     "where hub ids are looked up", NULL},
    {"threads", 'j', OPTION_COUNT, FIELD(threads), "N", "worker threads (default: all cores)",
     NULL},
    {"mem", 0, OPTION_SIZE, FIELD(mem), "SIZE", "ceiling on working memory (default: 256MiB)",
     NULL},
    {"progress", 0, OPTION_TEXT, FIELD(progress), "auto|json|none",
     "progress on standard error: a line on a terminal (auto), JSON lines, or none", "auto json none"},
    {"quiet", 'q', OPTION_FLAG, FIELD(quiet), NULL, "print errors only: the exit code tells", NULL},
    {"verbose", 'v', OPTION_FLAG, FIELD(verbose), NULL,
     "list all that differs, also keys that only describe the model, and notes of planning", NULL},
    {.name = NULL},
};

const struct command commands[] = {
    {"quantize", "[options] INPUT [OUTPUT] TYPE [THREADS]",
     "store a model's weights in another type", "INPUT is a .gguf file or the first of a split set, a .safetensors file, a "
     "model.safetensors.index.json or a Hugging Face directory. TYPE is one of " FILE_TYPES
     " in any case, or llama.cpp's number of it. For the same arguments a GGUF output has the same "
     "bytes as llama-quantize's, whatever the architecture is called.\n"
     "A Hugging Face directory becomes GGUF on the way when OUTPUT ends in .gguf, as by quern "
     "convert; with --keep-names --arch NAME it is a plain container instead. From safetensors, an "
     "OUTPUT that ends in .safetensors is a single file; any other is a directory with config.json "
     "and tokenizer files carried over. There TYPE is F32, F16, BF16, F8_E4M3, F8_E5M2 or COPY. "
     "Without OUTPUT a GGUF goes to ggml-model-TYPE.gguf beside INPUT.\n"
     "A row that does not fit a type's blocks gets llama-quantize's fallback type; the summary "
     "counts them. IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ3_XXS IQ3_XS and Q2_K_S need an importance "
     "matrix.", quantize_options, COMMON_RUN | COMMON_JSON | COMMON_JOB | COMMON_PACK,
     "quern quantize model-f16.gguf model-q8_0.gguf Q8_0\n"
     "  quantize a GGUF\n"
     "quern quantize --tensor-type 'ffn_down=q8_0' model-f16.gguf model.gguf Q4_0\n"
     "  keep some tensors finer\n"
     "quern quantize --imatrix imatrix.gguf model-f16.gguf model.gguf IQ2_M\n"
     "  about 2.7 bits a weight, with an importance matrix of llama-imatrix\n"
     "quern quantize HFDIR model-q4_k_m.gguf Q4_K_M\n"
     "  from a Hugging Face directory, in one pass\n"
     "quern quantize --shard-size 2G HFDIR OUTDIR BF16\n"
     "  change the type of a Hugging Face model and shard it anew\n", cmd_quantize},
    {"merge",
     "[options] RECIPE.yml OUTPUT [TYPE]\n"
     "[options] --method NAME --base MODEL --model MODEL... OUTPUT [TYPE]\n"
     "[options] --base MODEL --lora ADAPTER[:WEIGHT]... OUTPUT [TYPE]", "fuse models into one",
     "RECIPE.yml is a recipe of mergekit, mergekit-multi or mergekit-moe (docs/merging.md). MODEL is "
     "a path or a hub id; an id is looked up in the local Hugging Face cache or given by "
     "--model ID=PATH. "
     "Models may be safetensors or GGUF of any readable type, mixed as well: a GGUF takes part in the "
     "layout of Hugging Face when it meets such models or the OUTPUT is no .gguf.\n"
     "OUTPUT is a Hugging Face directory, one .safetensors file or a .gguf file. For that, Hugging "
     "Face models are converted in the same pass, and TYPE quantizes in the same pass: the bytes are "
     "those of merging, converting and quantizing one after the other.\n"
     "An ADAPTER is a LoRA of PEFT (a directory) or GGUF; WEIGHT multiplies what it adds. In recipes "
     "adapters stand behind a '+' or under 'lora'.\n"
     "Arithmetic is in 32-bit floats, dot products in 64-bit, with one rounding to the output type "
     "at the end. Unknown keys in a recipe and filters that match no tensor are errors. Options of "
     "mergekit-yaml that mean nothing here (--cuda, --lazy-unpickle ...) get a note.", merge_options, COMMON_RUN | COMMON_JSON | COMMON_JOB | COMMON_PACK,
     "quern merge --base MODEL --lora ADAPTER:0.8 merged/\n"
     "  a model with a LoRA adapter in it\n"
     "quern merge recipe.yml merged/\n"
     "  run a mergekit recipe\n"
     "quern merge --method slerp --base A --model B --param t=0.4 merged/\n"
     "  SLERP of two models without a recipe\n"
     "quern merge recipe.yml merged-q4_k_m.gguf Q4_K_M\n"
     "  merge, convert and quantize in one pass\n", cmd_merge},
    {"convert",
     "[options] HFDIR [OUTPUT.gguf] [-t TYPE]\n"
     "[options] INPUT.gguf OUTPUT.gguf [-t TYPE]\n"
     "[options] INPUT OUTDIR|OUTPUT.safetensors [-t TYPE]\n"
     "[options] ADAPTER [OUTPUT.gguf] [-t TYPE]",
     "make a GGUF of a Hugging Face model and back, split and join GGUF",
     "HFDIR has config.json, safetensors and a tokenizer. The output has the keys and tensors that "
     "llama.cpp's convert_hf_to_gguf.py writes. TYPE q4_k_m, iq4_xs ... are what converting with auto "
     "and then quantizing would give, in one pass and without a file between. Without OUTPUT it is "
     "named after the model, like the script's, and lies in HFDIR.\n"
     "INPUT.gguf is any file of a set. GGUF becomes one file, or with --split-max-size or "
     "--split-max-tensors several, as llama.cpp's gguf-split would write them; -t TYPE before that "
     "gives what quern quantize would, and needs no --allow-requantize for F32, F16 and BF16.\n"
     "An OUTPUT that ends otherwise is a directory, or a .safetensors file of the weights alone. A "
     "GGUF goes back there: decoded, under the names of Hugging Face models, with config.json and "
     "tokenizer (--keep-names: under its own names, without them). Safetensors change type and files. "
     "TYPE is auto, f32, f16 or bf16.\n"
     "ADAPTER is a LoRA of PEFT; it becomes a GGUF adapter, in F32 unless -t says f16, bf16, q8_0 or "
     "auto. Of its base only config.json is needed.", convert_options,
     COMMON_RUN | COMMON_JSON | COMMON_JOB | COMMON_PACK,
     "quern convert HFDIR model.gguf\n"
     "  16 bits a weight, as in the checkpoint\n"
     "quern convert HFDIR model-q4_k_m.gguf -t Q4_K_M\n"
     "  converted and quantized\n"
     "quern convert MERGED out.gguf --like base.gguf\n"
     "  keys and tokenizer of a GGUF that is known to be good, weights of MERGED\n"
     "quern convert TUNED out.gguf --learn BASE_HF base.gguf\n"
     "  of an architecture that quern does not know, by the example of its base\n"
     "quern convert HFDIR model -t q8_0 --split-max-size 4G\n"
     "  model-00001-of-0000N.gguf\n"
     "quern convert model-q8_0.gguf OUTDIR\n"
     "  a Hugging Face directory again\n"
     "quern convert model-00001-of-00007.gguf model.gguf\n"
     "  one file again\n", cmd_convert},
    {"lora",
     "info [--json] ADAPTER\n"
     "extract [options] BASE TUNED OUTPUT", "show LoRA adapters, take them out of tuned models",
     "info shows what an adapter changes: its kind, the base it was trained on, ranks, factors, the "
     "modules and the tensors it has whole. ADAPTER is a PEFT directory (adapter_model.safetensors "
     "and adapter_config.json) or that file, or a GGUF adapter.\n"
     "extract writes a PEFT adapter of what TUNED is away from BASE (both safetensors): for every "
     "matrix the product of rank N closest to the difference, found by a randomized singular value "
     "decomposition that reads the models tile by tile. Embeddings, heads, norms and biases that "
     "differ are kept whole. The summary tells how much of the differences is lost. --dry-run reads "
     "both models, too: it looks for what differs.\n"
     "quern merge --base MODEL --lora ADAPTER adds adapters to their base.", lora_options,
     COMMON_RUN | COMMON_JSON | COMMON_JOB | COMMON_PACK,
     "quern lora info adapter/\n"
     "  what does it change?\n"
     "quern lora extract base/ tuned/ adapter/ --rank 64\n"
     "  a small file instead of a second model\n", cmd_lora},
    {"imatrix",
     "combine [options] INPUT INPUT... -o OUTPUT\n"
     "convert [options] INPUT OUTPUT\n"
     "lint [options] INPUT [--model M.gguf]\n"
     "show [--json] INPUT", "combine, convert and check importance matrices",
     "An importance matrix says how much each column of each weight counts; llama-imatrix makes it. "
     "INPUT is its GGUF or the older .dat; OUTPUT is what its name ends in.\n"
     "combine adds up sums and counts in the order of the inputs; the file has the same bytes as "
     "that of llama-imatrix --in-file A,B. convert writes one in the other format; a .dat keeps "
     "the last data set and no counts of experts.\n"
     "lint reads every value: NaN, Inf and negative values, weights and experts that nothing was "
     "counted for; with --model also entries that match no weight of it or have another length, and "
     "weights of its layers without entry. Exit code 0: clean; 1: something was found; 3: "
     "malformed.", imatrix_options, COMMON_RUN | COMMON_JSON | COMMON_JOB | COMMON_PACK,
     "quern imatrix combine a.gguf b.gguf -o both.gguf\n"
     "  add up what two runs of llama-imatrix collected\n"
     "quern imatrix lint imatrix.gguf --model model-f16.gguf\n"
     "  does it cover the model?\n"
     "quern imatrix convert old.dat new.gguf\n"
     "  the older format in, the newer out\n", cmd_imatrix},
    {"inspect", "[options] INPUT", "show what is in a model",
     "Reads headers only: format, metadata, tensors, and bytes by element type.", inspect_options,
     COMMON_JSON | COMMON_PACK, "quern inspect model.gguf\n"
     "  an overview\n"
     "quern inspect --kv general.architecture model.gguf\n"
     "  one value, for scripts\n", cmd_inspect},
    {"check", "[options] INPUT...", "check that models are sound",
     "Checks every rule of the file formats and reads all weights to look for NaN, Inf and block "
     "scales that are not finite. Exit code 0: sound; 1: bad values; 3: malformed.", check_options, COMMON_JSON | COMMON_PACK, "quern check *.gguf\n  before publishing\n", cmd_check},
    {"compare", "[options] A B", "measure how far model B is from model A",
     "A is the original, B what stands for it: a quantized, converted or merged form. Both are "
     "anything quern reads, of any types; tensors are matched by name and shape. For every tensor: "
     "the root mean square error (rmse), the same relative to A's root mean square, the "
     "signal-to-noise ratio (SQNR) in decibels, the cosine between A and B, the largest error and "
     "the element it is at, and the rmse and index of the worst block: one of B's type, or 256 "
     "elements of a plain type. Elements and blocks are counted from 0 along the whole tensor. "
     "With --imatrix also the relative error with every square weighted by its column's "
     "importance.\n"
     "The table shows the worst tensors, then a line for each type of B and one for all. Tensors "
     "that are no weights are compared byte by byte. The numbers do not depend on --threads, --mem "
     "or the CPU, and are those of quantize --stats.\n"
     "Exit code 0: all values are equal; 1: they are not, a tensor is in one model only or of "
     "another shape, or a value is NaN or Inf.", compare_options, COMMON_JSON | COMMON_PACK,
     "quern compare model-f16.gguf model-q4_0.gguf\n"
     "  what quantizing cost\n"
     "quern compare --json --imatrix imatrix.gguf model-f16.gguf model-q4_k_m.gguf\n"
     "  for a script, errors weighted by importance\n", cmd_compare},
    {"verify",
     "[options] SOURCE QUANTIZED\n"
     "[options] --method NAME --base MODEL --model MODEL... MERGED\n"
     "[options] --base MODEL --lora ADAPTER[:WEIGHT]... MERGED",
     "check that a file is exactly what its source gives",
     "Makes every block of QUANTIZED anew from SOURCE, in the same way and as fast as it was made, and "
     "compares the bytes instead of writing them. SOURCE is a GGUF, a Hugging Face directory, a "
     ".safetensors file, an adapter of PEFT or a recipe (.yml) of quern merge; QUANTIZED is a GGUF, a "
     "directory or a .safetensors file, made by quern, llama-quantize, convert_hf_to_gguf.py or mergekit. "
     "The type of every tensor is read from QUANTIZED; of the options those that it was made with and that "
     "no file can tell must be given again, --imatrix above all.\n"
     "Tensors are matched by name: their order and files do not matter. Of each that differs: how many "
     "blocks, the first by row, block in the row and element, the largest difference of values, and the "
     "root mean square error over the blocks that differ relative to what they should hold. The worst are "
     "shown first. A guess at the reason follows where there is one.\n"
     "Keys and, of a directory, config.json and tokenizer files are compared as well. Keys that only "
     "describe the model (general.* but general.architecture, quantize.*, split.*) and files for "
     "people do not count.\n"
     "Exit code 0: exact; 1: something differs, is missing or does not come from the source.",
     verify_options, COMMON_JSON | COMMON_PACK,
     "quern verify model-f16.gguf model-q8_0.gguf\n"
     "  is it what it says it is?\n"
     "quern verify --imatrix imatrix.gguf HFDIR model-iq4_xs.gguf\n"
     "  converted and quantized anew, nothing written\n"
     "quern verify recipe.yml merged.gguf\n"
     "  a merge, its conversion and its quantization\n", cmd_verify},
    {"rebuild", "[options] RECORD [-o OUTPUT]", "make an output again from its record",
     "RECORD is the OUTPUT.quern.json that --provenance has written beside OUTPUT. The inputs it names "
     "are compared with it by size and SHA-256; then the recorded command runs with the recorded recipe "
     "and options, and every file of its output must have the recorded SHA-256 before it gets its name: "
     "the same bytes or nothing.\n"
     "Paths are those of the first run, seen from the directory where this one runs; --input tells what "
     "has moved. Without -o the output goes beside RECORD, under its name without .quern.json. No shell "
     "is run, and nothing is written but OUTPUT.\n"
     "Exit code 1: an output came out different; 3: RECORD is no record; 5: an input is missing or not "
     "what it was, with the tensor that differs.", rebuild_options, COMMON_RUN | COMMON_JSON | COMMON_PACK,
     "quern quantize --provenance model-f16.gguf model.gguf Q4_K_M\n"
     "  write model.gguf.quern.json as well\n"
     "quern rebuild model.gguf.quern.json -o again.gguf\n"
     "  the same bytes, or an error\n"
     "quern rebuild --input models=/mnt/models model.gguf.quern.json -o again.gguf\n"
     "  inputs have moved\n", cmd_rebuild},
    {"pack", "[options] INPUT... -o NAME.qpk", "store models in one compressed file",
     "INPUT is a directory of a model or a file; everything goes in, tokenizer and README too, and comes "
     "back byte for byte. Weights are cut into chunks of 1 MiB whose bytes are sorted into planes before "
     "zstd sees them: BF16 takes about 67 %, F32 84 %, F32 that holds 16-bit values 34 %. Block types "
     "hardly shrink.\n"
     "With --base, tensors are stored as their difference from the base's: 5 to 55 %, depending on how "
     "far the weights have moved. Equal ones cost nothing. The base may be a pack itself.\n"
     "Every command reads packs as if they were the directory: quantize, merge, convert and the others "
     "decode what they need while they work. NAME.qpk/FILE names one file of a pack.",
     pack_own_options, COMMON_RUN | COMMON_JSON | COMMON_PACK,
     "quern pack base/ -o base.qpk\n"
     "  a model in one file\n"
     "quern pack tuned/ -o tuned.qpk --base base.qpk\n"
     "  a fine-tune as its difference from that\n"
     "quern quantize tuned.qpk tuned-q4_k_m.gguf Q4_K_M\n"
     "  without unpacking it\n", cmd_pack},
    {"unpack", "[options] NAME.qpk OUTPUT", "restore the files of a pack",
     "OUTPUT is a directory; for a pack that was made of one file it is that file. A file gets its name "
     "only when its SHA-256 is the one that was recorded.", unpack_options, COMMON_RUN | COMMON_JSON,
     "quern unpack tuned.qpk tuned/ --base base.qpk\n"
     "  with a base that is not where it was\n", cmd_unpack},
    {"plan", "[options] COMMAND ARGUMENT...", "divide a job into parts for any scheduler",
     "COMMAND and its arguments are those of quern quantize, merge or convert. Nothing but headers is "
     "read. PLAN is JSON: the command, what its inputs look like, and for every part what it makes. "
     "quern run makes one part, quern join the output; parts need nothing of each other, may run "
     "anywhere where the files have the same names, in any order, more than once.\n"
     "--emit writes the job file of a scheduler as well, named like PLAN. Work in progress lies in "
     ".OUTPUT.quern-parts beside the output.\n"
     "The output does not depend on the number of parts, but with --layout files for the number of its "
     "files.", plan_options, COMMON_JSON | COMMON_WORDS,
     "quern plan --parts 8 --emit slurm quantize model-f16.gguf model-q4_k_m.gguf Q4_K_M\n"
     "  job.plan and job.sh; then: sbatch job.sh\n"
     "quern plan --part-size 4G --layout joined -o m.plan merge recipe.yml merged.gguf Q4_K_M\n"
     "  parts of about 4 GB, one file in the end\n", cmd_plan},
    {"run", "[options] PLAN --part I", "run one part of a plan",
     "Makes the part unless it is done. What an interrupted run of it has left on the same machine is "
     "gone on with. Exit code 5 is worth another try, 143 means that it was told to stop, the others "
     "will be the same the next time.", part_options, COMMON_JSON,
     "quern run job.plan --part 3/8\n"
     "  the third of eight\n", cmd_run},
    {"join", "[options] PLAN", "put together the parts of a plan",
     "Looks whether all parts are done and have the bytes that were made, puts the output together and "
     "gives it its name. A file that one part has made whole, or all of them with --layout ranges, is "
     "not copied where the file system can give it a second name. A join that was interrupted is run "
     "again and goes on.", join_options, COMMON_JSON,
     "quern join job.plan\n"
     "  when all parts are done\n", cmd_join},
    {"batch", "[options] JOBS.yml", "run many jobs from one file",
     "JOBS.yml lists jobs: a command, its inputs, output and options, for every combination of a "
     "matrix of models, types and recipes (docs/batch.md). All mistakes in it are told before anything "
     "runs. A job whose output is an input of another comes before it.\n"
     "Each job runs in a process of its own and has a record and a log in .JOBS.yml.quern-batch; one "
     "failure does not stop the others. A job is up to date, and left out, when its command, quern's "
     "version, all files it has read and all it has written are as recorded. After an interruption the "
     "same command goes on.\n"
     "Exit code: 0 when all jobs are done or up to date, else that of the first in the table that failed.",
     batch_options, COMMON_JSON,
     "quern batch jobs.yml --dry-run\n"
     "  what would run, and why\n"
     "quern batch jobs.yml --jobs 2 --json\n"
     "  two at a time; the result for a script\n"
     "quern batch jobs.yml --emit slurm\n"
     "  jobs.slurm.sh, with an array of the jobs\n", cmd_batch},
    {"types", "", "list the element types",
     "For every type: bits per weight, block, which formats can store it, whether quern reads "
     "and writes its values, and what an importance matrix is to it.", NULL, COMMON_JSON, NULL, cmd_types},
    {"help", "[COMMAND]", "explain a command", NULL, NULL, 0, NULL, cmd_help},
    {.name = NULL},
};
