/* analyzer.h - what clang's analyzer cannot know, because it sees one file at a time; read before
 * every file by scripts/lint.sh and by nothing else. */
#ifndef QUERN_ANALYZER_H
#define QUERN_ANALYZER_H

#include "core/error.h"

/* A failure is never QUERN_OK: what a failed function should have filled in is not used. */
#define fail(err, status, ...)         ((void)(fail)((err), (status), __VA_ARGS__), (status))
#define fail_memory(err, nbytes)       ((void)(fail_memory)((err), (nbytes)), QUERN_EMEMORY)
#define fail_errno(err, path, action)  ((void)(fail_errno)((err), (path), (action)), QUERN_EIO)
#define in_file(err, path, status)     ((void)(err), (void)(path), (status))
#define in_tensor(err, name, status)   ((void)(err), (void)(name), (status))
#define at_offset(err, offset, status) ((void)(err), (void)(offset), (status))

#endif
