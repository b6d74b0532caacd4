/* count_memory.c - count the bytes that are asked of malloc: with clang's sanitizer through its
 * hooks, in the fuzzers' quick builds by standing in front of the C library. */
#include "fuzz.h"

static _Thread_local size_t taken;

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
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *p, size_t n);

void *malloc(size_t n)
{
    taken += n;
    return __libc_malloc(n);
}

void *calloc(size_t count, size_t n)
{
    taken += count * n;
    return __libc_calloc(count, n);
}

void *realloc(void *p, size_t n)
{
    taken += n;
    return __libc_realloc(p, n);
}
#endif
