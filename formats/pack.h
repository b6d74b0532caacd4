/* pack.h - packs: files of models in one archive, compressed without loss, read at any place.
 *
 * A pack is a row of zstd frames with a table of where each lies and a directory of files. A file
 * is cut into runs (a tensor, or bytes between tensors), a run into chunks of 1 MiB, and a chunk is
 * stored in one of a few forms, each one or several frames. docs/pack-format.md has the details.
 *
 * pack_open() mounts the pack under its path (core/archive.h): model_open() and whoever reads small
 * files find its files there. Chunks are decoded when something of them is read, a few are kept. */
#ifndef QUERN_PACK_H
#define QUERN_PACK_H

#include "core/archive.h"
#include "core/dtype.h"

#define PACK_CHUNK     (1u << 20) /* bytes of a file */
#define PACK_SUFFIX    ".qpk"
#define PACK_VERSION   1u
#define PACK_MAX_FILES 100000u
#define PACK_MAX_NAME  4096u
#define PACK_SUM_BYTES 8u /* of a checksum in a frame */

/* How a chunk is stored, as the letter in the directory. */
enum chunk_form {
    CHUNK_RAW = 'r',   /* its bytes */
    CHUNK_FLOAT = 'f', /* planes of its numbers */
    CHUNK_DELTA = 'd', /* planes of their distance from the base, with a checksum of the chunk */
    CHUNK_BASE = 'b',  /* the base's bytes: the checksum alone */
    CHUNK_SAME = 's'   /* nothing: it is as in an earlier run */
};

/* A few bytes at the start say what the file is; the directory and the table are at its end. */
#define PACK_HEAD_BYTES   16u
#define PACK_HEAD         "\x50\x2A\x4D\x18\x08\x00\x00\x00QUERNPK1"
#define PACK_DIRECTORY    UINT32_C(0x184D2A51) /* skippable frames of zstd */
#define PACK_TABLE        UINT32_C(0x184D2A5E)
#define PACK_TABLE_END    UINT32_C(0x8F92EAB1)
#define PACK_FOOTER_BYTES 9u
#define PACK_ENTRY_BYTES  8u

struct pack;
struct model;
struct tensor;

/* Frames of a chunk of numbers of this width; the content of frame k of a chunk of n bytes. */
unsigned chunk_frames(enum chunk_form form, unsigned width);
size_t chunk_content(enum chunk_form form, unsigned width, size_t n, unsigned frame);
/* Most bytes that the frames of a chunk take together. */
size_t chunk_bound(void);
/* Bytes of a number for CHUNK_FLOAT and CHUNK_DELTA; 0 for types that have no such form. */
unsigned chunk_width(enum dtype d);

/* What is needed of a pack: its files alone, or the base as well where it has one. A pack whose
 * base is not there may still be looked at. */
enum pack_use { PACK_FILES, PACK_DATA };

/* Is this a file that begins like a pack? */
bool pack_is_one(const char *path);
/* The path of a pack may go on with that of a file or directory in it. Its length without that, or
 * 0 when no part of it is a pack. */
size_t pack_part(const char *path);
/* *out is a user's hold of it: archive_leave() it. EFORMAT, EIO, EMEMORY; EUSAGE "base": the base
 * is not there or is another. */
enum quern_status pack_open(const char *path, enum pack_use use, struct archive **out,
                            struct quern_error *err);

/* What a path given by a user leads to may lie in a pack: *held is a hold of that pack, for as long
 * as files in it are looked at, or NULL when the path leads to none. As pack_open() fails. */
enum quern_status pack_enter(const char *path, struct archive **held, struct quern_error *err);
/* Is there something at such a path? */
bool named_path_exists(const char *path);
/* read_small_file() of such a path. */
enum quern_status read_named_file(const char *path, uint64_t max, struct arena *arena,
                                  struct str *out, struct quern_error *err);

/* A model that packs opened from now on may have as base: for those that do not find theirs where
 * it was. The path is copied; for the whole process. */
enum quern_status pack_add_base(const char *path, struct quern_error *err);

/* SHA-256 of the beginnings of some of n tensors of the base, the same ones for the same n: tells
 * most bases apart without reading them. Memory for the bytes is taken for a moment. */
enum quern_status pack_probe(struct model *base, const struct tensor *const *tensors, uint32_t n,
                             uint8_t digest[32], struct quern_error *err);

/* The model that is needed to read the archive; NULL when there is none, or no archive. */
const struct model *pack_base(struct archive *a);

/* ---- for whoever unpacks -------------------------------------------------------------------- */

/* A pack's archive is one of these. */
struct pack *pack_of(struct archive *a); /* NULL: another kind */

struct pack_file {
    const char *name;
    uint64_t nbytes;
    uint8_t sha256[32];
    uint32_t first_run, nruns;
};

struct pack_run {
    struct str tensor;      /* NUL-terminated; empty: bytes between tensors */
    uint64_t first, nbytes; /* in its file */
    uint32_t file;
    uint32_t same;      /* a run before it with as many bytes, that has CHUNK_SAME; or itself */
    const char *chunks; /* a letter each */
    uint32_t first_chunk, nchunks;
    enum dtype dtype;
    struct str base; /* name of a tensor of the base; empty: none */
    const struct tensor *base_tensor;
};

uint32_t pack_files(const struct pack *p, const struct pack_file **files);
uint32_t pack_runs(const struct pack *p, const struct pack_run **runs);
/* It was made of a directory. */
bool pack_is_directory(const struct pack *p);
/* The base's path as it was found, or as recorded; NULL when the pack has none. */
const char *pack_base_path(const struct pack *p);
/* QUERN_OK: there is none, or it was found; else why it was not, in *why. */
enum quern_status pack_base_status(const struct pack *p, const struct quern_error **why);
/* Is that because nothing is there? */
bool pack_base_is_absent(const struct pack *p);
/* Bytes of frames a run takes. */
uint64_t pack_run_stored(const struct pack *p, const struct pack_run *run);

#endif
