/* count_memory.c - count the bytes that are asked of malloc: with clang's sanitizer through its
 * hooks, in the fuzzers' quick builds by standing in front of the C library, where it can also be
 * refused. */
#include "fuzz.h"

#include <errno.h>

static _Thread_local size_t taken;
static _Thread_local size_t ncalls, refused_call, reader_calls;

void fuzz_memory_start(size_t refused)
{
    ncalls = reader_calls = 0;
    refused_call = refused;
}

bool fuzz_memory_reader_ends(void)
{
    const bool refused = refused_call > 0 && ncalls >= refused_call;
    if (reader_calls == 0)
        reader_calls = ncalls;
    refused_call = 0;
    return refused;
}

size_t fuzz_memory_reader_calls(void)
{
    return reader_calls;
}

size_t fuzz_memory_taken(void)
{
    const size_t n = taken;
    taken = 0;
    return n;
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_HOOKS 1
#endif
#endif

#if defined(HAVE_HOOKS)
#include <sanitizer/allocator_interface.h>

static void on_malloc(const volatile void *p, size_t n)
{
    (void)p;
    taken += n;
}

static void on_free(const volatile void *p)
{
    (void)p;
}

__attribute__((constructor)) static void install(void)
{
    __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
}

#elif defined(FUZZ_COUNTS_MALLOC)
static bool is_refused(void)
{
    if (++ncalls != refused_call)
        return false;
    errno = ENOMEM;
    return true;
}

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *p, size_t n);

void *malloc(size_t n)
{
    taken += n;
    return is_refused() ? NULL : __libc_malloc(n);
}

void *calloc(size_t count, size_t n)
{
    taken += count * n;
    return is_refused() ? NULL : __libc_calloc(count, n);
}

void *realloc(void *p, size_t n)
{
    taken += n;
    return is_refused() ? NULL : __libc_realloc(p, n);
}
#endif
