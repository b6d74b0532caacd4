/* frame.h - zstd frames that stand alone: the only thing that knows zstd is frame.c.
 *
 * Every frame written here tells the size of its content and ends with a checksum of it, and only
 * such frames are read: no dictionaries, no windows, no memory but what the caller gives. */
#ifndef QUERN_FRAME_H
#define QUERN_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Level 0: entropy coding only. Others: as zstd counts them, 1 to 19. */
#define FRAME_ENTROPY_ONLY 0

/* Most bytes of a frame with n bytes of content. */
size_t frame_bound(size_t n);

/* ---- writing -------------------------------------------------------------------------------- */

struct frame_writer;

/* Memory of a writer for contents of up to n bytes. */
size_t frame_writer_bytes(int level, size_t n);
/* NULL when memory ran out. */
struct frame_writer *frame_writer_new(void);
void frame_writer_free(struct frame_writer *w);
/* to has room for frame_bound(n). Bytes written, or 0 when memory ran out. The same bytes in every
 * run of one version of libzstd. */
size_t frame_write(struct frame_writer *w, int level, const void *content, size_t n, uint8_t *to);

/* ---- reading -------------------------------------------------------------------------------- */

struct frame_reader;

size_t frame_reader_bytes(void);
struct frame_reader *frame_reader_new(void);
void frame_reader_free(struct frame_reader *r);
/* Bytes of content that a frame claims to have. False when it is none of ours. */
bool frame_content_bytes(const uint8_t *frame, size_t nbytes, uint64_t *n);
/* The frame takes exactly nbytes and has exactly n bytes of content. NULL, or what is wrong. */
const char *frame_read(struct frame_reader *r, const uint8_t *frame, size_t nbytes, void *content,
                       size_t n);

/* What cannot be compressed stands in its frame as it is, cut into blocks (only the last may be
 * shorter) with some bytes between them: it may be used where it lies. */
#define FRAME_BLOCK 131072u
#define FRAME_GAP   3u
/* Bytes of such a frame as frame_write() makes it, and of what comes before the content. */
size_t frame_stored_bytes(size_t n);
size_t frame_stored_head(size_t n);
/* It is one, and its checksum is right. Where it is not one, or damaged, frame_read() knows. */
bool frame_is_stored(const uint8_t *frame, size_t nbytes, size_t n);

#endif
