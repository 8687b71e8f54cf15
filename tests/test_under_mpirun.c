/* Other test programs under mpirun -n 2, of which both processes have to pass. Some of them learn as a group there (group.h). The
 * others are programs on the library, which each work alone and are in no other's way: as anybody's would, in one cache of compiled
 * kernels, and with commands of their own, to which MGN_MPI=no says so. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"
#include "launcher.h"

static const struct {
    const char *program;
    bool is_group;
} rows[] = {
    {"train", true}, {"second_order", true}, {"stream", true}, {"target", false}, {"cli_eval", false},
};

static int count(const char *text, const char *words) {
    int found = 0;
    for (const char *at = text; (at = strstr(at, words)); at++) found++;
    return found;
}

START_TEST(both_pass) {
    mgn_test_process p =
        mgn_test_shell("timeout -s KILL 500 env MGN_MPI=%s MGN_THREADS=1 %s -n 2 \"$MGN_BUILD_ROOT/tests/test_%s\"",
                       rows[_i].is_group ? "yes" : "no", MGN_TEST_LAUNCHER, rows[_i].program);
    ck_assert_msg(p.code == 0 && count(p.out, ", 0 failed, ") == 2, "%s: exit code %d: %s%s", rows[_i].program, p.code,
                  p.out, p.err);
    ck_assert_msg(count(p.out, "mgn-test: rank ") == (rows[_i].is_group ? 2 : 0), "%s: %s", rows[_i].program, p.out);
    mgn_test_process_free(&p);
}
END_TEST

/* A script of two commands: MPI can be had once in a process of mpirun, and the second says so; or works alone. */
START_TEST(a_second_command_is_told) {
    static const struct {
        const char *setting, *words;
        int codes;
    } cases[] = {{"", "of this mpirun has run an mgn that took part", 1},
                 {"MGN_MPI=no ", "", 0},
                 {"MGN_MPI=maybe ", "mgn: MGN_MPI is yes, or no", 2}};
    for (size_t i = 0; i < MGN_COUNT(cases); i++) {
        mgn_test_process p = mgn_test_shell(
            "timeout -s KILL 60 env %s -n 2 sh -c '\"$MGN_BINARY\" devices -q >/dev/null && %s\"$MGN_BINARY\" "
            "devices >/dev/null; echo code $?'",
            MGN_TEST_LAUNCHER, cases[i].setting);
        char code[16];
        snprintf(code, sizeof code, "code %d\n", cases[i].codes);
        ck_assert_msg(count(p.out, code) == 2, "'%s': %s%s", cases[i].setting, p.out, p.err);
        if (*cases[i].words) ck_assert_msg(count(p.err, cases[i].words) == 2, "'%s': %s", cases[i].setting, p.err);
        mgn_test_process_free(&p);
    }
}
END_TEST

int main(void) {
    const char *why = mgn_test_no_launcher();
    if (why) return mgn_test_skip_program(why);
    Suite *suite = suite_create("under mpirun");
    TCase *all = tcase_create("all");
    tcase_add_loop_test(all, both_pass, 0, MGN_COUNT(rows));
    tcase_add_test(all, a_second_command_is_told);
    tcase_set_timeout(all, 550);
    suite_add_tcase(suite, all);
    return mgn_test_main(suite);
}
