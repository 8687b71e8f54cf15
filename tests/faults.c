/* See faults.h. */
#define _GNU_SOURCE
#include "faults.h"

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/core.h"

#if defined(__SANITIZE_ADDRESS__)
#define INTERPOSES 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define INTERPOSES 0
#else
#define INTERPOSES 1
#endif
#else
#define INTERPOSES 1
#endif

/* ---- arming ---- */

static atomic_int armed = -1; /* a mgn_fault_kind */
static atomic_uint_fast64_t calls, strikes;
static uint64_t struck_at;
static bool strikes_all;
static int struck_error;
static const char *struck_in;
static void *place[24];
static int place_depth;

static bool strikes_now(mgn_fault_kind kind, const char *function) {
    if (atomic_load_explicit(&armed, memory_order_relaxed) != (int)kind) return false;
    const uint64_t number = atomic_fetch_add(&calls, 1) + 1;
    if (struck_at == 0 || number < struck_at || (number > struck_at && !strikes_all)) return false;
    if (atomic_fetch_add(&strikes, 1) == 0) {
        struck_in = function;
        place_depth = backtrace(place, MGN_COUNT(place));
    }
    errno = struck_error;
    return true;
}

void mgn_fault_arm(mgn_fault_kind kind, uint64_t n, bool all, int error) {
    atomic_store(&calls, 0);
    atomic_store(&strikes, 0);
    struck_at = n;
    strikes_all = all;
    struck_error = error;
    struck_in = "";
    atomic_store(&armed, (int)kind);
}

uint64_t mgn_fault_disarm(void) {
    atomic_store(&armed, -1);
    return atomic_load(&calls);
}

bool mgn_fault_has_struck(void) { return atomic_load(&strikes) > 0; }

const char *mgn_fault_struck_in(void) { return struck_in; }

void mgn_fault_print_place(void) {
    fflush(stdout);
    backtrace_symbols_fd(place, place_depth, STDOUT_FILENO);
}

static int mistakes;

void mgn_fault_mistaken(const char *what, const char *format, ...) {
    char sentence[1400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    printf("WRONG: %s: %s\n", what, sentence);
    if (++mistakes <= 20 && getenv("MGN_FAULT_TRACE")) mgn_fault_print_place();
}

int mgn_fault_mistakes(void) {
    const int counted = mistakes;
    mistakes = 0;
    return counted;
}

bool mgn_fault_possible(mgn_fault_kind kind) { return kind != MGN_FAULT_LIBRARY || INTERPOSES; }

/* ---- the library's own allocations ---- */

/* The blocks that are live, as an open hash table of addresses; what libraries allocate is not among them, even where the
 * library frees it. */
enum { SLOTS = 1 << 20 };
static void *slots[SLOTS];
static int64_t live;
static pthread_mutex_t slots_lock = PTHREAD_MUTEX_INITIALIZER;

static size_t slot_of(const void *block) {
    return (size_t)(((uintptr_t)block >> 4) * 0x9e3779b97f4a7c15u >> 44) % SLOTS;
}

static void *keep(void *block) {
    if (!block) return NULL;
    pthread_mutex_lock(&slots_lock);
    size_t i = slot_of(block);
    while (slots[i]) i = (i + 1) % SLOTS;
    slots[i] = block;
    live++;
    pthread_mutex_unlock(&slots_lock);
    return block;
}

static void forget(const void *block) {
    if (!block) return;
    pthread_mutex_lock(&slots_lock);
    size_t i = slot_of(block);
    while (slots[i] && slots[i] != block) i = (i + 1) % SLOTS;
    if (slots[i]) {
        live--;
        slots[i] = NULL;
        /* What probed past this slot moves up. */
        for (size_t next = (i + 1) % SLOTS; slots[next]; next = (next + 1) % SLOTS) {
            const size_t home = slot_of(slots[next]);
            if ((next - home + SLOTS) % SLOTS < (next - i + SLOTS) % SLOTS) continue;
            slots[i] = slots[next];
            slots[next] = NULL;
            i = next;
        }
    }
    pthread_mutex_unlock(&slots_lock);
}

int64_t mgn_fault_live_blocks(void) {
    pthread_mutex_lock(&slots_lock);
    const int64_t count = live;
    pthread_mutex_unlock(&slots_lock);
    return count;
}

int mgn_fault_open_files(void) {
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;
    while (folder && readdir(folder)) count++;
    if (folder) closedir(folder);
    return count;
}

/* The linker renames calls of f in the library to __wrap_f, and leaves the original as __real_f. It renames those of shared
 * libraries that are linked too (but they call what they did), and refuses a hidden function there. */
#define WRAPPED(type, function, parameters)                                   \
    extern type __real_##function parameters;                                 \
    __attribute__((visibility("default"))) type __wrap_##function parameters; \
    type __wrap_##function parameters

WRAPPED(void *, calloc, (size_t count, size_t size)) {
    return strikes_now(MGN_FAULT_ALLOCATION, __func__) ? NULL : keep(__real_calloc(count, size));
}

WRAPPED(void *, malloc, (size_t size)) {
    return strikes_now(MGN_FAULT_ALLOCATION, __func__) ? NULL : keep(__real_malloc(size));
}

WRAPPED(void *, aligned_alloc, (size_t alignment, size_t size)) {
    return strikes_now(MGN_FAULT_ALLOCATION, __func__) ? NULL : keep(__real_aligned_alloc(alignment, size));
}

WRAPPED(void *, realloc, (void *block, size_t size)) {
    if (strikes_now(MGN_FAULT_ALLOCATION, __func__)) return NULL;
    forget(block);
    void *grown = __real_realloc(block, size);
    keep(grown ? grown : block);
    return grown;
}

WRAPPED(void, free, (void *block)) {
    forget(block);
    __real_free(block);
}

/* ---- files ---- */

WRAPPED(int, open64, (const char *path, int flags, ...)) {
    va_list more;
    va_start(more, flags);
    const unsigned mode = va_arg(more, unsigned); /* passed or not: then not looked at */
    va_end(more);
    return strikes_now(MGN_FAULT_FILE, __func__) ? -1 : __real_open64(path, flags, mode);
}

WRAPPED(ssize_t, read, (int descriptor, void *bytes, size_t size)) {
    return strikes_now(MGN_FAULT_FILE, __func__) ? -1 : __real_read(descriptor, bytes, size);
}

WRAPPED(int, fstat64, (int descriptor, struct stat *about)) {
    return strikes_now(MGN_FAULT_FILE, __func__) ? -1 : __real_fstat64(descriptor, about);
}

WRAPPED(void *, mmap64, (void *at, size_t size, int protection, int flags, int descriptor, off_t offset)) {
    return strikes_now(MGN_FAULT_FILE, __func__) ? MAP_FAILED
                                                 : __real_mmap64(at, size, protection, flags, descriptor, offset);
}

WRAPPED(FILE *, fdopen, (int descriptor, const char *mode)) {
    return strikes_now(MGN_FAULT_FILE, __func__) ? NULL : __real_fdopen(descriptor, mode);
}

/* Half of it arrives. */
WRAPPED(size_t, fwrite, (const void *bytes, size_t size, size_t count, FILE *stream)) {
    if (!strikes_now(MGN_FAULT_FILE, __func__)) return __real_fwrite(bytes, size, count, stream);
    const int error = errno;
    const size_t half = __real_fwrite(bytes, size, count / 2, stream);
    errno = error;
    return half;
}

WRAPPED(int, fflush, (FILE * stream)) { return strikes_now(MGN_FAULT_FILE, __func__) ? EOF : __real_fflush(stream); }

WRAPPED(int, fsync, (int descriptor)) { return strikes_now(MGN_FAULT_FILE, __func__) ? -1 : __real_fsync(descriptor); }

/* As close: the descriptor is gone, and what was not written by then is lost. */
WRAPPED(int, fclose, (FILE * stream)) {
    const bool fails = strikes_now(MGN_FAULT_FILE, __func__);
    const int error = errno, code = __real_fclose(stream);
    if (!fails) return code;
    errno = error;
    return EOF;
}

WRAPPED(int, rename, (const char *from, const char *to)) {
    return strikes_now(MGN_FAULT_FILE, __func__) ? -1 : __real_rename(from, to);
}

/* ---- the allocations of other libraries ---- */

#if INTERPOSES

#define EXPORTED __attribute__((visibility("default")))

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);

static const char *const libraries[] = {"/libjpeg.", "/libspng.", "/libcjson.", "/libz."};
static struct { uintptr_t first, behind; } code[MGN_COUNT(libraries)];

static int find_code(struct dl_phdr_info *info, size_t size, void *context) {
    (void)size;
    (void)context;
    for (size_t i = 0; i < MGN_COUNT(libraries); i++) {
        if (!strstr(info->dlpi_name, libraries[i])) continue;
        for (int k = 0; k < info->dlpi_phnum; k++) {
            const ElfW(Phdr) *segment = &info->dlpi_phdr[k];
            if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X)) continue;
            code[i].first = info->dlpi_addr + segment->p_vaddr;
            code[i].behind = code[i].first + segment->p_memsz;
        }
    }
    return 0;
}

__attribute__((constructor)) static void find_libraries(void) { dl_iterate_phdr(find_code, NULL); }

static bool strikes_library(const void *caller, const char *function) {
    if (atomic_load_explicit(&armed, memory_order_relaxed) != MGN_FAULT_LIBRARY) return false;
    for (size_t i = 0; i < MGN_COUNT(code); i++)
        if ((uintptr_t)caller >= code[i].first && (uintptr_t)caller < code[i].behind)
            return strikes_now(MGN_FAULT_LIBRARY, function);
    return false;
}

EXPORTED void *malloc(size_t size) {
    return strikes_library(__builtin_return_address(0), __func__) ? NULL : __libc_malloc(size);
}

EXPORTED void *calloc(size_t count, size_t size) {
    return strikes_library(__builtin_return_address(0), __func__) ? NULL : __libc_calloc(count, size);
}

EXPORTED void *realloc(void *block, size_t size) {
    return strikes_library(__builtin_return_address(0), __func__) ? NULL : __libc_realloc(block, size);
}

#endif
