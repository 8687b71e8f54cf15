/* The figures of short runs stay what they were: each row of tests/golden/results.csv is run again and compared. A change of a
 * figure beyond its tolerance is a change of the mathematics, wanted or not; tests/golden/update measures them all anew. */
#include "harness.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct row {
    char *task, *model, *backend, *figure;
    double value, tolerance;
} row;

enum { MOST_ROWS = 256 };

static const char *opencl_spec;
static char *text;
static row rows[MOST_ROWS];
static int row_count;

/* The next cell of a line, which is cut there; quoted where it has commas. */
static char *next_cell(char **line) {
    char *cell = *line, *end;
    if (*cell == '"') {
        cell++;
        end = strchr(cell, '"');
        ck_assert_ptr_nonnull(end);
        *end++ = 0;
    } else {
        end = cell + strcspn(cell, ",");
    }
    *line = *end ? end + 1 : end;
    *end = 0;
    return cell;
}

static void read_rows(void) {
    text = mgn_test_read_file(mgn_test_source("tests/golden/results.csv"), NULL);
    char *line = strchr(text, '\n');
    ck_assert_ptr_nonnull(line);
    for (line++; *line;) {
        char *end = line + strcspn(line, "\n"), *next = *end ? end + 1 : end;
        *end = 0;
        ck_assert_int_lt(row_count, MOST_ROWS);
        row *r = &rows[row_count++];
        r->task = next_cell(&line);
        r->model = next_cell(&line);
        r->backend = next_cell(&line);
        r->figure = next_cell(&line);
        r->value = strtod(next_cell(&line), NULL);
        r->tolerance = strtod(next_cell(&line), NULL);
        ck_assert_msg(*r->figure && r->tolerance > 0, "row %d of the table has no figure or no tolerance", row_count);
        line = next;
    }
    ck_assert_int_gt(row_count, 10);
}

static void forget_rows(void) { free(text); }

/* The first number of this name anywhere in `json`; NaN where there is none. */
static double find(const cJSON *json, const char *name) {
    for (const cJSON *inner = json ? json->child : NULL; inner; inner = inner->next) {
        if (inner->string && strcmp(inner->string, name) == 0 && cJSON_IsNumber(inner)) return inner->valuedouble;
        const double found = find(inner, name);
        if (!isnan(found)) return found;
    }
    return NAN;
}

/* What the command of a row says; MAP stands for a file, and what the shell would take apart is quoted. */
static cJSON *run(const row *r) {
    char command[2048] = "";
    char *task = strdup(r->task), *rest = NULL;
    for (char *word = strtok_r(task, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        const size_t used = strlen(command);
        snprintf(command + used, sizeof command - used, "'%s' ",
                 strcmp(word, "MAP") == 0 ? mgn_test_path("map") : word);
    }
    free(task);
    mgn_test_process process = mgn_test_command("%s %s %s --device %s --json -q", command, *r->model ? "--model" : "",
                                                r->model, strcmp(r->backend, "opencl") == 0 ? opencl_spec : r->backend);
    ck_assert_msg(process.code == 0, "%s: %s", r->task, process.err);
    cJSON *json = cJSON_Parse(process.out);
    ck_assert_msg(json != NULL, "%s: no JSON object: %s", r->task, process.out);
    mgn_test_process_free(&process);
    return json;
}

static bool is_same_run(const row *a, const row *b) {
    return strcmp(a->task, b->task) == 0 && strcmp(a->model, b->model) == 0 && strcmp(a->backend, b->backend) == 0;
}

static void check_backend(const char *backend) {
    int wrong = 0, compared = 0;
    cJSON *json = NULL;
    const row *last = NULL;
    for (int i = 0; i < row_count; i++) {
        const row *r = &rows[i];
        if (strcmp(r->backend, backend) != 0) continue;
        if (!last || !is_same_run(last, r)) {
            cJSON_Delete(json);
            json = run(r);
        }
        last = r;
        const double found = find(json, r->figure);
        compared++;
        if (fabs(found - r->value) <= r->tolerance) continue; /* not a NaN */
        printf("WRONG: %s (%s, %s): %s is %.9g, not %.9g +- %.2g\n", r->task, r->model, backend, r->figure, found,
               r->value, r->tolerance);
        wrong++;
    }
    cJSON_Delete(json);
    ck_assert_int_gt(compared, 0);
    ck_assert_msg(wrong == 0, "%d of %d figures have changed; if they were meant to: tests/golden/update", wrong,
                  compared);
}

START_TEST(figures_on_the_cpu) { check_backend("cpu"); }
END_TEST

START_TEST(figures_on_opencl) {
    if (!opencl_spec) MGN_TEST_SKIP("no OpenCL device");
    check_backend("opencl");
}
END_TEST

int main(void) {
    opencl_spec = mgn_test_opencl_spec();
    Suite *suite = suite_create("golden");
    TCase *all = tcase_create("figures");
    tcase_set_timeout(all, 240);
    tcase_add_unchecked_fixture(all, read_rows, forget_rows);
    tcase_add_test(all, figures_on_the_cpu);
    tcase_add_test(all, figures_on_opencl);
    suite_add_tcase(suite, all);
    return mgn_test_main(suite);
}
