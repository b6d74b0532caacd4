/* sniff.c - tell what a file is from its first bytes, to say so in a message. */
#include "formats/model.h"

struct signature {
    const char *kind;
    const char *sentence;
    const char *bytes;
    size_t nbytes;
};

#define SIGNATURE(kind, sentence, bytes)         \
    {                                            \
        kind, sentence, bytes, sizeof(bytes) - 1 \
    }

static const struct signature signatures[] = {
    SIGNATURE("is-gguf", "this is a GGUF file", "GGUF"),
    SIGNATURE("lfs-pointer",
              "this is a Git LFS pointer, not the file it stands for; run: git lfs pull",
              "version https://git-lfs"),
    SIGNATURE("html", "this is an HTML page, probably an error message of a web server",
              "<!DOCTYPE html"),
    SIGNATURE("html", "this is an HTML page, probably an error message of a web server",
              "<!doctype html"),
    SIGNATURE("html", "this is an HTML page, probably an error message of a web server", "<html"),
    SIGNATURE("is-pickle",
              "this is a PyTorch archive with pickled Python objects, which quern never reads; "
              "convert it to safetensors first",
              "PK\3\4"),
    SIGNATURE("is-pickle",
              "this is a Python pickle, which quern never reads; convert it to safetensors first",
              "\x80\x02"),
    SIGNATURE("is-pickle",
              "this is a Python pickle, which quern never reads; convert it to safetensors first",
              "\x80\x04"),
    SIGNATURE("is-archive", "this is a gzip archive; unpack it first", "\x1f\x8b"),
    SIGNATURE("is-archive", "this is a zstd archive; unpack it first", "\x28\xb5\x2f\xfd"),
    SIGNATURE("is-hdf5", "this is an HDF5 file; convert it to safetensors first", "\x89HDF\r\n"),
};

/* Eight bytes of a little-endian length that a header may have, then a JSON object. */
static bool looks_like_safetensors(const uint8_t *head, size_t n)
{
    if (n < 10 || head[4] || head[5] || head[6] || head[7])
        return false;
    size_t at = 8;
    while (at < n && (head[at] == ' ' || head[at] == '\t' || head[at] == '\n' || head[at] == '\r'))
        at++;
    return at < n && head[at] == '{';
}

const char *sniff(const uint8_t *head, size_t n, const char **sentence)
{
    if (looks_like_safetensors(head, n)) {
        *sentence = "this is a safetensors file";
        return "is-safetensors";
    }
    for (size_t i = 0; i < sizeof signatures / sizeof signatures[0]; i++) {
        const struct signature *s = &signatures[i];
        if (n >= s->nbytes && memcmp(head, s->bytes, s->nbytes) == 0) {
            *sentence = s->sentence;
            return s->kind;
        }
    }
    return NULL;
}
