/* Fuzzing: every reader of foreign bytes as a function of bytes, listed in targets.def.
 *
 * Two programs run them. fuzz_readers is libFuzzer's (./run fuzz; clang): coverage finds inputs that nobody thought of. The test
 * program test_fuzz_seeds has no libFuzzer: it runs every seed and a fixed number of mutants of it, so that what was once
 * found stays found. An input that broke something becomes a file in seeds/.
 *
 * A target reads its input and does with it what a command would do; failing with a sentence is what most inputs should
 * come to. Each checks what must hold besides: a failure has a sentence, what was read can be written and read again. */
#ifndef MGN_TESTS_FUZZ_H
#define MGN_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include <mgn/core.h>

typedef struct fuzz_target {
    const char *label, *what;
    void (*run)(const uint8_t *bytes, size_t size);
    size_t longest; /* input */
    int megabytes;  /* that one allocation may take */
} fuzz_target;

extern const fuzz_target fuzz_targets[];
extern const size_t fuzz_target_count;

#define FUZZ(name, longest, megabytes, what) void fuzz_##name(const uint8_t *bytes, size_t size);
#include "targets.def"
#undef FUZZ

/* Aborts with the sentence unless `holds`: how a target says that something is wrong. */
void fuzz_check(bool holds, const char *sentence);
/* A failure must have left a sentence of one line. Returns whether the call succeeded. */
bool fuzz_succeeded(mgn_status status);

/* A file of these bytes, in memory; valid until the next call. */
const char *fuzz_file(const uint8_t *bytes, size_t size);
/* A real file of these bytes in a folder of this process, for who needs a name with an ending. */
const char *fuzz_named_file(const char *name, const uint8_t *bytes, size_t size);
/* That folder, which goes when the process that asked first ends. */
const char *fuzz_folder(void);
/* The bytes as a text that mgn_free releases, cut at a zero byte. Slashes become underscores, so that it names no file
 * outside of the current folder. */
char *fuzz_text(const uint8_t *bytes, size_t size);

/* Writes seeds that are made and not kept, as folder/<target>/<name>; folders that are missing are made. */
void fuzz_make_seeds(const char *folder);

#endif
