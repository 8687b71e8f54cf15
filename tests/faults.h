/* Failures on demand: the n-th allocation, or the n-th call that touches a file, made by the library from where it is armed.
 *
 * The library itself knows nothing of this. The test program is linked with -Wl,--wrap=calloc and so on, so that calls out of
 * the static library come here first; calls out of the libraries it stands on (libjpeg, libspng, cJSON, zlib) come here
 * because a program's own malloc goes before the C library's, except under the address sanitizer, which needs that place.
 * Blocks that the library holds are counted: what an undisturbed run gives back, a disturbed one has to give back too. */
#ifndef MGN_TESTS_FAULTS_H
#define MGN_TESTS_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mgn_fault_kind {
    MGN_FAULT_ALLOCATION, /**< of the library: NULL and ENOMEM */
    MGN_FAULT_LIBRARY,    /**< of a library it stands on */
    MGN_FAULT_FILE,       /**< open, read, write, sync, rename, map: `error` */
    MGN_FAULT_KINDS
} mgn_fault_kind;

/** From now on call number `n` (from 1) of this kind fails; with `all`, so do all after it. 0 only counts. */
void mgn_fault_arm(mgn_fault_kind kind, uint64_t n, bool all, int error);
/** Nothing fails any more. Returns how many calls of the armed kind there were. */
uint64_t mgn_fault_disarm(void);
/** Whether one failed since the last arming. */
bool mgn_fault_has_struck(void);
/** The function that failed first. */
const char *mgn_fault_struck_in(void);
/** Prints the calls that led there, innermost first, for addr2line -f. */
void mgn_fault_print_place(void);
/** Whether calls of this kind can be made to fail in this build. */
bool mgn_fault_possible(mgn_fault_kind kind);

/** Counts a mistake of the running test and prints its sentence: a test shows all of them before it fails. */
void mgn_fault_mistaken(const char *what, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** How many there were since the last call. */
int mgn_fault_mistakes(void);

/** Blocks that the library allocated and nobody freed. */
int64_t mgn_fault_live_blocks(void);
/** File descriptors that are open. */
int mgn_fault_open_files(void);

#endif
