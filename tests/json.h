/* What `mgn ... --json` prints, for tests of the command. */
#ifndef MGN_TESTS_JSON_H
#define MGN_TESTS_JSON_H

#include "harness.h"

#include <cjson/cJSON.h>

/* The one object that a command printed before it ended well. Frees the process; the caller deletes the object. */
static inline cJSON *json_of(mgn_test_process process) {
    ck_assert_msg(process.code == 0, "exit code %d: %s", process.code, process.err);
    const char *end = NULL;
    cJSON *object = cJSON_ParseWithOpts(process.out, &end, false);
    ck_assert_msg(cJSON_IsObject(object), "not a JSON object: %s", process.out);
    while (*end == '\n') end++;
    ck_assert_msg(!*end, "more than one JSON object: %s", process.out);
    mgn_test_process_free(&process);
    return object;
}

/* The same of `mgn ARGUMENTS --json -q` on the CPU in a folder, where -q leaves nothing to say. */
static inline cJSON *json_within(const char *folder, const char *arguments) {
    mgn_test_process process = mgn_test_shell("cd %s && \"$MGN_BINARY\" %s --json -q --device cpu", folder, arguments);
    ck_assert_msg(!*process.err, "mgn %s -q says: %s", arguments, process.err);
    return json_of(process);
}

static inline double number(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItem(object, key);
    ck_assert_msg(cJSON_IsNumber(item), "no number '%s'", key);
    return item->valuedouble;
}

static inline const char *text(const cJSON *object, const char *key) {
    const char *value = cJSON_GetStringValue(cJSON_GetObjectItem(object, key));
    ck_assert_msg(value, "no text '%s'", key);
    return value;
}

#endif
