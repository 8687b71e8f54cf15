/* Bad command lines: each ends in one sentence and its exit code, prints nothing, and leaves the folder as it was. */
#ifndef MGN_TESTS_REFUSALS_H
#define MGN_TESTS_REFUSALS_H

#include "harness.h"

#include <stdio.h>
#include <string.h>

typedef struct refusal {
    const char *arguments; /* of mgn; -q is added, and --device cpu where no device is named */
    int code;
    const char *words; /* parts of the sentence, with | between them */
} refusal;

static inline void check_refusal(const char *folder, const refusal *r) {
    mgn_test_process process =
        mgn_test_shell("cd %s && ls >../before && \"$MGN_BINARY\" %s -q %s; code=$?; ls >../after; exit $code", folder,
                       r->arguments, strstr(r->arguments, "--device") ? "" : "--device cpu");
    ck_assert_msg(process.code == r->code, "mgn %s: exit code %d instead of %d: %s", r->arguments, process.code,
                  r->code, process.err);
    char words[256];
    snprintf(words, sizeof words, "%s", r->words);
    for (char *rest = words, *word; (word = strsep(&rest, "|"));)
        ck_assert_msg(strstr(process.err, word), "mgn %s: '%s' is not in: %s", r->arguments, word, process.err);
    ck_assert_msg(!*process.out, "mgn %s printed: %s", r->arguments, process.out);
    const char *end = strchr(process.err, '\n');
    ck_assert_msg(end && !end[1], "mgn %s: one line was expected: %s", r->arguments, process.err);
    mgn_test_process same = mgn_test_shell("cmp %s/../before %s/../after", folder, folder);
    ck_assert_msg(same.code == 0, "mgn %s left something behind: %s", r->arguments, same.out);
    mgn_test_process_free(&same);
    mgn_test_process_free(&process);
}

#endif
