/* The built command, as a user meets it: exit codes, one sentence on standard error, help, JSON, broken outputs.
 *
 * A bad input is one row of `refusals`: the command line, its exit code, and what the sentence must say. */
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"

/* ---- bad inputs: a row each ---- */

typedef struct refusal {
    const char *arguments; /* as typed in a shell after `mgn` */
    int code;              /* 2: the user's mistake; 1: any other failure */
    const char *sentence;  /* found in standard error */
} refusal;

static const refusal refusals[] = {
    /* no command, or none of that name */
    {"", 2, "a command is missing"},
    {"''", 2, "there is no command ''"},
    {"recolr", 2, "did you mean 'recolor'?"},
    {"devcies", 2, "did you mean 'devices'?"},
    {"frobnicate", 2, "there is no command 'frobnicate'; usage: mgn COMMAND"},
    {"--bogus", 2, "there is no command '--bogus'"},
    {"help frobnicate", 2, "there is no command 'frobnicate'"},
    /* options that every command has */
    {"devices --treads 2", 2, "there is no option --treads; did you mean --threads?"},
    {"devices --treads=2", 2, "there is no option --treads; did you mean --threads?"},
    {"devices --zzzzzz", 2, "there is no option --zzzzzz; `mgn devices --help` lists them"},
    {"devices -z", 2, "there is no option -z"},
    {"devices -qz", 2, "there is no option -z"},
    {"devices --quiet -zq", 2, "there is no option -z"},
    {"devices --s 1 --=1", 2, "--"},
    {"devices --threads", 2, "--threads needs a value: --threads N"},
    {"devices -d", 2, "--device needs a value: --device SPEC"},
    {"devices --threads 0", 2, "--threads: '0' is not a whole number from 1 to 256"},
    {"devices --threads 257", 2, "from 1 to 256"},
    {"devices --threads two", 2, "--threads: 'two' is not a whole number"},
    {"devices --threads 2x", 2, "--threads: '2x' is not a whole number"},
    {"devices --threads 1.5", 2, "--threads: '1.5' is not a whole number"},
    {"devices --threads ''", 2, "--threads: '' is not a whole number"},
    {"devices --threads 99999999999999999999", 2, "is not a whole number"},
    {"devices --seed -1", 2, "--seed: '-1' is not a whole number from 0"},
    {"devices --seed nan", 2, "--seed: 'nan' is not a whole number"},
    {"devices --json=yes", 2, "--json takes no value"},
    {"devices --device ''", 2, "--device needs SPEC"},
    {"devices --device gpu", 2, "'gpu'"},
    {"devices --device opencl:99:0", 2, "opencl:99:0"},
    {"devices extra", 2, "'extra' is one argument too many: mgn devices"},
    {"devices -- --json", 2, "'--json' is one argument too many"},
};

/* One line, "mgn: ...", without control characters; nothing on standard output. */
static void check_sentence(const char *arguments, const mgn_test_process *process) {
    const char *end = strchr(process->err, '\n');
    ck_assert_msg(strncmp(process->err, "mgn: ", 5) == 0, "mgn %s: standard error is '%s'", arguments, process->err);
    ck_assert_msg(end && !end[1], "mgn %s: more or less than one line: '%s'", arguments, process->err);
    ck_assert_msg(strlen(process->err) < 600, "mgn %s: a sentence of %zu characters", arguments, strlen(process->err));
    ck_assert_msg(!*process->out, "mgn %s: standard output is '%s'", arguments, process->out);
}

START_TEST(refuses) {
    const refusal *row = &refusals[_i];
    mgn_test_process process = mgn_test_command("%s", row->arguments);
    ck_assert_msg(process.code == row->code, "mgn %s: exit code %d, not %d; it said: %s", row->arguments, process.code,
                  row->code, process.err);
    ck_assert_msg(strstr(process.err, row->sentence), "mgn %s: '%s' is not in: %s", row->arguments, row->sentence,
                  process.err);
    check_sentence(row->arguments, &process);
    mgn_test_process_free(&process);
}
END_TEST

/* ---- environment ---- */

START_TEST(refuses_wrong_environment) {
    static const struct {
        const char *setting, *sentence;
    } rows[] = {
        {"MGN_THREADS=many", "MGN_THREADS: 'many' is not a whole number from 1 to 256"},
        {"MGN_THREADS=0", "MGN_THREADS: '0'"},
        {"MGN_DEVICE=gpu", "MGN_DEVICE"},
    };
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        mgn_test_process process = mgn_test_shell("%s \"$MGN_BINARY\" devices", rows[i].setting);
        ck_assert_msg(process.code == 2, "%s: exit code %d", rows[i].setting, process.code);
        ck_assert_msg(strstr(process.err, rows[i].sentence), "%s: %s", rows[i].setting, process.err);
        check_sentence(rows[i].setting, &process);
        mgn_test_process_free(&process);
    }
    /* An option beats the environment. */
    mgn_test_process process = mgn_test_shell("MGN_THREADS=many \"$MGN_BINARY\" devices --threads 1 --device cpu -q");
    ck_assert_msg(process.code == 0, "%s", process.err);
    mgn_test_process_free(&process);
}
END_TEST

/* ---- help ---- */

/* The commands' names, read from `mgn --help`: "  name   summary". */
static size_t command_names(char names[][32], size_t capacity) {
    mgn_test_process process = mgn_test_command("--help");
    ck_assert_msg(process.code == 0 && !*process.err, "mgn --help: %s", process.err);
    const char *line = strstr(process.out, "Commands:\n");
    ck_assert_msg(line, "mgn --help lists no commands: %s", process.out);
    size_t count = 0;
    for (line += strlen("Commands:\n"); strncmp(line, "  ", 2) == 0 && count < capacity; line = strchr(line, '\n') + 1)
        snprintf(names[count++], 32, "%.*s", (int)strcspn(line + 2, " \n"), line + 2);
    mgn_test_process_free(&process);
    return count;
}

START_TEST(every_command_explains_itself) {
    char names[64][32];
    size_t count = command_names(names, 64);
    ck_assert_uint_ge(count, 1);
    for (size_t i = 0; i < count; i++) {
        char usage[80], example[80];
        snprintf(usage, sizeof usage, "usage: mgn %.31s", names[i]);
        snprintf(example, sizeof example, "\nExamples:\n  mgn %.31s", names[i]);
        mgn_test_process process = mgn_test_command("%s --help", names[i]);
        ck_assert_msg(process.code == 0 && !*process.err, "mgn %s --help: %s", names[i], process.err);
        ck_assert_msg(strncmp(process.out, usage, strlen(usage)) == 0, "mgn %s --help: %s", names[i], process.out);
        ck_assert_msg(strstr(process.out, example), "mgn %s --help shows no example: %s", names[i], process.out);
        ck_assert_msg(strstr(process.out, "--device SPEC"), "mgn %s --help lacks the common options", names[i]);
        for (const char *line = process.out; *line;) {
            size_t length = strcspn(line, "\n");
            ck_assert_msg(length <= 120, "mgn %s --help: %zu characters: %.*s", names[i], length, (int)length, line);
            line += length + (line[length] == '\n');
        }
        mgn_test_process swapped = mgn_test_command("help %s", names[i]);
        ck_assert_str_eq(swapped.out, process.out);
        mgn_test_process_free(&swapped);
        mgn_test_process_free(&process);
    }
}
END_TEST

START_TEST(version_names_the_libraries) {
    static const char *const libraries[] = {
        ("mgn " MGN_VERSION), "OpenCL", "CLBlast", "OpenBLAS", "libspng", "zlib", "cJSON"};
    mgn_test_process process = mgn_test_command("--version");
    ck_assert_int_eq(process.code, 0);
    for (size_t i = 0; i < MGN_COUNT(libraries); i++)
        ck_assert_msg(strstr(process.out, libraries[i]), "'%s' is not in: %s", libraries[i], process.out);
    mgn_test_process_free(&process);
}
END_TEST

/* ---- JSON and broken outputs ---- */

START_TEST(devices_gives_json) {
    cJSON *object = json_of(mgn_test_command("devices --json --threads 3")),
          *list = cJSON_GetObjectItem(object, "devices");
    ck_assert_int_ge(cJSON_GetArraySize(list), 1);
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetArrayItem(list, 0), "spec")), "cpu");
    ck_assert_double_eq(cJSON_GetNumberValue(cJSON_GetObjectItem(object, "threads")), 3);
    int defaults = 0;
    for (cJSON *row = list->child; row; row = row->next) {
        defaults += cJSON_IsTrue(cJSON_GetObjectItem(row, "default"));
        ck_assert(cJSON_GetNumberValue(cJSON_GetObjectItem(row, "memory_bytes")) > 0);
        ck_assert(strlen(cJSON_GetStringValue(cJSON_GetObjectItem(row, "name"))) > 0);
    }
    ck_assert_int_eq(defaults, 1);
    cJSON_Delete(object);
}
END_TEST

START_TEST(devices_prints_a_table) {
    mgn_test_process process = mgn_test_command("devices");
    ck_assert_int_eq(process.code, 0);
    ck_assert_msg(strstr(process.out, "\ncpu "), "%s", process.out);
    ck_assert_msg(strstr(process.out, "default"), "%s", process.out);
    mgn_test_process_free(&process);
}
END_TEST

START_TEST(unwritable_output_is_noticed) {
    static const char *const commands[] = {
        "\"$MGN_BINARY\" --help >/dev/full",
        "\"$MGN_BINARY\" devices --device cpu >/dev/full",
        "\"$MGN_BINARY\" devices --device cpu --json >/dev/full",
        "\"$MGN_BINARY\" --version >&-",
        /* a reader that is gone; the left side of a pipe leaves its exit code in a file */
        ("{ sleep 0.2; \"$MGN_BINARY\" --help; echo $? >\"$MGN_TEST_CODE\"; } | true; "
         "while ! [ -s \"$MGN_TEST_CODE\" ]; do sleep 0.1; done; exit $(cat \"$MGN_TEST_CODE\")"),
    };
    setenv("MGN_TEST_CODE", mgn_test_path("code"), 1);
    for (size_t i = 0; i < MGN_COUNT(commands); i++) {
        mgn_test_process process = mgn_test_shell("%s", commands[i]);
        ck_assert_msg(process.code == 1, "%s: exit code %d", commands[i], process.code);
        ck_assert_msg(strstr(process.err, "standard output could not be written"), "%s: %s", commands[i], process.err);
        mgn_test_process_free(&process);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("cli");
    TCase *bad = tcase_create("bad input"), *good = tcase_create("good input");
    tcase_add_loop_test(bad, refuses, 0, (int)MGN_COUNT(refusals));
    tcase_add_test(bad, refuses_wrong_environment);
    tcase_add_test(bad, unwritable_output_is_noticed);
    tcase_add_test(good, every_command_explains_itself);
    tcase_add_test(good, version_names_the_libraries);
    tcase_add_test(good, devices_gives_json);
    tcase_add_test(good, devices_prints_a_table);
    suite_add_tcase(suite, bad);
    suite_add_tcase(suite, good);
    return mgn_test_main(suite);
}
