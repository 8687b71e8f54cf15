/* Command lines and the figures that they print: a table of these is a test of the numbers. */
#ifndef MGN_TESTS_FIGURES_H
#define MGN_TESTS_FIGURES_H

#include "harness.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

typedef struct figure {
    const char *arguments; /* of mgn; --json -q are added, and --device cpu where no device is named */
    const char
        *key; /* in the JSON object; with a dot: of the first object of the list before it; with a slash: ratio */
    double low, high;
} figure;

/* The number under `key`, or NaN. */
static inline double find_figure(const cJSON *object, const char *key) {
    char list[64];
    const char *dot = strchr(key, '.'), *slash = strchr(key, '/');
    if (slash) {
        snprintf(list, sizeof list, "%.*s", (int)(slash - key), key);
        return find_figure(object, list) / find_figure(object, slash + 1);
    }
    if (!dot) return cJSON_GetNumberValue(cJSON_GetObjectItem(object, key));
    snprintf(list, sizeof list, "%.*s", (int)(dot - key), key);
    return find_figure(cJSON_GetArrayItem(cJSON_GetObjectItem(object, list), 0), dot + 1);
}

/* The object that `mgn ARGUMENTS` prints, run in `folder`; it must succeed and say nothing else. */
static inline cJSON *run_figures(const char *folder, const char *arguments) {
    mgn_test_process p = mgn_test_shell("cd %s && \"$MGN_BINARY\" %s --json -q %s", folder, arguments,
                                        strstr(arguments, "--device") ? "" : "--device cpu");
    ck_assert_msg(p.code == 0, "mgn %s: exit code %d: %s", arguments, p.code, p.err);
    ck_assert_msg(!*p.err, "mgn %s -q says: %s", arguments, p.err);
    cJSON *object = cJSON_Parse(p.out);
    ck_assert_msg(object != NULL, "mgn %s prints no JSON: %s", arguments, p.out);
    mgn_test_process_free(&p);
    return object;
}

static inline void check_figure(const char *folder, const char *arguments, const figure *f) {
    cJSON *object = run_figures(folder, arguments);
    const double found = find_figure(object, f->key);
    ck_assert_msg(found >= f->low && found <= f->high, "mgn %s: %s is %.12g, not in %.12g..%.12g", arguments, f->key,
                  found, f->low, f->high);
    cJSON_Delete(object);
}

#endif
