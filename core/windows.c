/* windows.c - mapped parts of files, moved from place to place. */
#include "core/windows.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* Where a window may begin: as large as the largest pages, which then need no more than one entry
 * of a page table. */
#define STEP            (WINDOW_BYTES / 2)
#define LEAST_ADDRESSES (UINT64_C(1) << 30)

static bool allowed;
static _Thread_local struct windows *mine;

/* Zeros take the place of what is lost, so that the thread can go on to where it asks. */
static void on_lost(int number, siginfo_t *info, void *context)
{
    struct windows *w = mine;
    const uintptr_t at = (uintptr_t)info->si_addr, first = w ? (uintptr_t)w->area : 0;
    (void)context;
    if (w && info->si_code > 0 && at >= first && at - first < w->count * WINDOW_BYTES) {
        const uint64_t k = (at - first) / WINDOW_BYTES;
        w->lost = (int)k + 1;
        if (mmap(w->area + k * WINDOW_BYTES, WINDOW_BYTES, PROT_READ,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED)
            return;
    }
    signal(number, SIG_DFL);
    raise(number);
}

void windows_allow(void)
{
    struct sigaction ours;
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = on_lost;
    ours.sa_flags = SA_SIGINFO;
    allowed = sigaction(SIGBUS, &ours, NULL) == 0;
}

bool windows_allowed(void)
{
    return allowed;
}

/* Places take addresses, and where these are few others cannot do without them. */
static bool has_addresses(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_AS, &limit) == 0 &&
           (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= LEAST_ADDRESSES);
}

void windows_open(struct windows *w, unsigned count)
{
    count = count < MOST_WINDOWS ? count : MOST_WINDOWS;
    const size_t nbytes = count * WINDOW_BYTES + STEP;
    memset(w, 0, sizeof *w);
    if (!allowed || count == 0 || !has_addresses())
        return;
    void *area = mmap(NULL, nbytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (area == MAP_FAILED)
        return;
    /* Only whole steps are used; the rest before and behind is given back. */
    const size_t before = (size_t)(-(uintptr_t)area & (STEP - 1));
    w->area = (uint8_t *)area + before;
    if (before > 0)
        munmap(area, before);
    if (STEP - before > 0)
        munmap(w->area + count * WINDOW_BYTES, STEP - before);
    w->count = count;
    mine = w;
}

void windows_close(struct windows *w)
{
    if (w->area)
        munmap(w->area, w->count * WINDOW_BYTES);
    if (mine == w)
        mine = NULL;
    memset(w, 0, sizeof *w);
}

/* Offset and length are from the file, so they may be anything. */
static bool reaches(uint64_t from, uint64_t at, size_t n)
{
    return at >= from && at - from <= WINDOW_BYTES && n <= WINDOW_BYTES - (at - from);
}

static bool shows(const struct windows *w, unsigned k, const void *file, uint64_t at, size_t n)
{
    return w->seen[k].file == file && reaches(w->seen[k].from, at, n);
}

/* What is not in memory yet is better read: then the system reads on ahead of us. And what cannot
 * be had is known now, not when it is looked at. */
static const uint8_t *look(const struct windows *w, unsigned k, uint64_t at, size_t n)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uint8_t *p = w->area + k * WINDOW_BYTES + (at - w->seen[k].from);
    const size_t first = (uintptr_t)p & (page - 1), last = (uintptr_t)(p + n - 1) & (page - 1);
    unsigned char resident = 0;
    if (mincore(p + n - 1 - last, 1, &resident) != 0 || !(resident & 1))
        return NULL;
    return madvise(p - first, n + first, MADV_POPULATE_READ) == 0 ? p : NULL;
}

const uint8_t *window_look(const struct windows *w, unsigned k, const void *file, uint64_t at,
                           size_t n)
{
    if (k >= w->count || w->lost || n == 0 || !shows(w, k, file, at, n))
        return NULL;
    return look(w, k, at, n);
}

const uint8_t *window_move(struct windows *w, unsigned k, const void *file, int fd, uint64_t at,
                           size_t n)
{
    const uint64_t from = at / STEP * STEP;
    if (k >= w->count || w->lost || n == 0 || !reaches(from, at, n))
        return NULL;
    void *place = w->area + k * WINDOW_BYTES;
    if (!shows(w, k, file, at, n)) {
        w->seen[k].file = NULL;
        if (mmap(place, WINDOW_BYTES, PROT_READ, MAP_SHARED | MAP_FIXED, fd, (off_t)from) ==
            MAP_FAILED)
            return NULL;
        w->seen[k].file = file;
        w->seen[k].from = from;
    }
    return look(w, k, at, n);
}
