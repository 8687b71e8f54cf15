/* The report: small experiments on a page, whose HTML is read back by a strict little parser; what fails, what has no
 * data, what is interrupted, and folders that are not ours. */
#include "harness.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "refusals.h"
#include "report/report.h"

/* ---- a strict parser ---- */

typedef struct tags {
    char open[64][24];
    size_t depth, elements, images;
} tags;

static bool is_void(const char *label) {
    return strcmp(label, "meta") == 0 || strcmp(label, "img") == 0 || strcmp(label, "br") == 0;
}

/* Attributes are quoted; what they point to is within the page. Returns what follows the tag. */
static const char *read_attributes(const char *at, const char *label) {
    while (*at != '>') {
        ck_assert_msg(*at, "<%s is not closed", label);
        while (isspace((unsigned char)*at)) at++;
        if (*at == '>') break;
        const char *key = at;
        while (isalnum((unsigned char)*at) || *at == '-') at++;
        const size_t length = (size_t)(at - key);
        ck_assert_msg(length > 0, "<%s: an attribute was expected at %.40s", label, at);
        if (*at != '=') continue; /* as in <details open> */
        ck_assert_msg(at[1] == '"', "<%s %.*s is not quoted", label, (int)length, key);
        const char *value = at + 2, *end = strchr(value, '"');
        ck_assert_msg(end, "<%s %.*s has no end", label, (int)length, key);
        for (const char *c = value; c < end; c++) ck_assert_msg(*c != '<' && *c != '>', "<%s: %.60s", label, value);
        if (strncmp(key, "src", length) == 0 && length == 3)
            ck_assert_msg(strncmp(value, "data:image/", 11) == 0, "%.60s", value);
        if (strncmp(key, "href", length) == 0 && length == 4) ck_assert_msg(*value == '#', "%.60s", value);
        ck_assert_msg(strncmp(key, "on", 2) != 0, "<%s has a script", label);
        at = end + 1;
    }
    return at + 1;
}

static const char *read_tag(const char *at, tags *t) {
    const bool closing = *at == '/';
    char label[24] = "";
    size_t length = 0;
    at += closing;
    while (isalnum((unsigned char)*at) && length + 1 < sizeof label) label[length++] = *at++;
    ck_assert_msg(length > 0, "a stray <: %.60s", at);
    ck_assert_msg(strcmp(label, "script") != 0 && strcmp(label, "link") != 0 && strcmp(label, "iframe") != 0, "<%s>",
                  label);
    at = read_attributes(at, label);
    if (closing) {
        ck_assert_msg(t->depth > 0 && strcmp(t->open[t->depth - 1], label) == 0, "</%s> closes <%s>: %.60s", label,
                      t->depth ? t->open[t->depth - 1] : "", at);
        t->depth--;
    } else if (!is_void(label)) {
        ck_assert_uint_lt(t->depth, MGN_COUNT(t->open));
        memcpy(t->open[t->depth++], label, sizeof label);
    }
    t->elements += !closing;
    t->images += strcmp(label, "img") == 0;
    return at;
}

/* An entity that is one of ours. */
static void check_entity(const char *at) {
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (size_t i = 0; i < MGN_COUNT(entities); i++)
        if (strncmp(at, entities[i], strlen(entities[i])) == 0) return;
    ck_abort_msg("a bare &: %.40s", at);
}

static tags check_page(const char *page) {
    tags t = {0};
    ck_assert_msg(strncmp(page, "<!DOCTYPE html>", 15) == 0, "%.40s", page);
    for (const char *at = page + 15; *at;) {
        if (*at == '<') {
            at = read_tag(at + 1, &t);
            continue;
        }
        if (*at == '&') check_entity(at);
        const bool is_style = t.depth && strcmp(t.open[t.depth - 1], "style") == 0;
        ck_assert_msg(is_style || *at != '>', "a stray >: %.40s", at);
        at++;
    }
    ck_assert_uint_eq(t.depth, 0);
    ck_assert(strstr(page, "name=\"viewport\""));
    ck_assert(strstr(page, "prefers-color-scheme:dark"));
    ck_assert(!strstr(page, "http://") && !strstr(page, "https://") && !strstr(page, "url(") &&
              !strstr(page, "@import"));
    return t;
}

/* ---- small reports ---- */

static const mgn_report_entry gaussian = {.id = "gaussian",
                                          .title = "Gaussian <b>&amp;</b> \"quotes\" 'n' <script>",
                                          .about = "a < b && c > d",
                                          .experiment = "gaussian",
                                          .headline = "uvp",
                                          .quick = {.words = "less & less",
                                                    .model = "mmgn",
                                                    .recipe = "published",
                                                    .epochs = 1}},
                              field = {.id = "field",
                                       .title = "Field",
                                       .about = "About.",
                                       .experiment = "gradient-field",
                                       .field = "paper",
                                       .headline = "rmse",
                                       .quick = {.recipe = "published", .model = "mmgn", .epochs = 1}},
                              digits = {.id = "digits",
                                        .title = "Digits",
                                        .about = "About.",
                                        .experiment = "digits",
                                        .data = "digits",
                                        .needs = "digits/",
                                        .headline = "sinkhorn",
                                        .quick = {.recipe = "affine"}},
                              absent = {.id = "absent",
                                        .title = "Absent",
                                        .about = "About.",
                                        .experiment = "w2bench",
                                        .data = "no-such-folder",
                                        .needs = "tables & more",
                                        .headline = "uvp"},
                              broken = {.id = "broken",
                                        .title = "Broken",
                                        .about = "About.",
                                        .experiment = "cifar",
                                        .data = "digits", /* has no batch */
                                        .needs = "",
                                        .headline = "psnr"};

static const mgn_report_fact versions[] = {{"a <library>", "1 & 2"}};

static mgn_report_config make_config(const char *folder, const mgn_report_entry *const *entries, size_t count) {
    return (mgn_report_config){.folder = folder,
                               .data = mgn_test_source("assets"),
                               .entries = entries,
                               .count = count,
                               .versions = versions,
                               .version_count = MGN_COUNT(versions),
                               .command = "mgn experiment 'a & b'",
                               .seed = 3,
                               .quick = true};
}

static mgn_status make(const mgn_report_config *config, mgn_report **report) {
    mgn_device *device = NULL;
    mgn_set_quiet(true);
    MGN_ASSERT_OK(mgn_device_open("cpu", &device));
    const mgn_status status = mgn_report_create(device, config, report);
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s", mgn_last_error());
    mgn_device_close(device);
    return status == MGN_OK ? status : mgn_fail(status, "%s", sentence);
}

static char *read_file(const char *folder, const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return mgn_test_read_file(path, NULL);
}

/* As the page prints it. */
static char *number_text(double value) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    mgn_html_number(stream, value);
    fclose(stream);
    return text;
}

/* Every figure of every result, and each published one, stands in its section. */
static void check_figures(const char *page, const mgn_report *report) {
    for (size_t r = 0; r < report->config->count; r++) {
        const mgn_report_run *run = &report->runs[r];
        char anchor[64];
        snprintf(anchor, sizeof anchor, "<section id=\"%s\">", run->entry->id);
        const char *section = strstr(page, anchor);
        ck_assert_msg(section, "%s is not there", anchor);
        char *own = strndup(section, (size_t)(strstr(section, "</section>") - section));
        for (size_t i = 0; i < run->results.count; i++)
            for (size_t k = 0; k < run->results.results[i].count; k++) {
                const mgn_figure *figure = &run->results.results[i].figures[k];
                const double values[] = {figure->value, figure->published};
                for (size_t v = 0; v < 2; v++) {
                    char *text = isnan(values[v]) ? NULL : number_text(values[v]), cell[96];
                    snprintf(cell, sizeof cell, ">%s</td>", text ? text : "");
                    ck_assert_msg(!text || strstr(own, cell), "%s: %s is not there: %s", anchor, figure->key, cell);
                    free(text);
                }
            }
        free(own);
    }
}

/* One that runs and has published figures beside it, one with other settings, one that draws, one without its data. */
START_TEST(a_page_of_experiments) {
    static const mgn_report_entry *const entries[] = {&gaussian, &field, &digits, &absent};
    const char *folder = mgn_test_path("page");
    const mgn_report_config config = make_config(folder, entries, MGN_COUNT(entries));
    mgn_report *report = NULL;
    MGN_ASSERT_OK(make(&config, &report));
    ck_assert_uint_eq(mgn_report_count(report, MGN_REPORT_DONE), 3);
    ck_assert_uint_eq(mgn_report_count(report, MGN_REPORT_ABSENT), 1);
    char *page = read_file(folder, "index.html"), *results = read_file(folder, "results.json");
    const tags t = check_page(page);
    ck_assert_uint_gt(t.elements, 100);
    ck_assert_uint_eq(t.images, 4); /* of digits */
    check_figures(page, report);
    ck_assert(strstr(page, "Gaussian &lt;b&gt;&amp;amp;&lt;/b&gt; &quot;quotes&quot; &#39;n&#39; &lt;script&gt;"));
    ck_assert(strstr(page, "a &lt; b &amp;&amp; c &gt; d") && strstr(page, "less &amp; less"));
    ck_assert(strstr(page, "a &lt;library&gt;") && strstr(page, "tables &amp; more"));
    ck_assert(strstr(page, "mgn experiment gradient-field --field paper --recipe published --model mmgn --epochs 1 "
                           "--seed 3 --device cpu"));
    ck_assert(strstr(page, "worse</span>") || strstr(page, "better</span>"));

    cJSON *object = cJSON_Parse(results);
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(object, "format")), "mgn-report");
    const cJSON *runs = cJSON_GetObjectItem(object, "experiments");
    ck_assert_int_eq(cJSON_GetArraySize(runs), 4);
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetArrayItem(runs, 3), "state")), "no data");
    const cJSON *row = cJSON_GetArrayItem(cJSON_GetObjectItem(cJSON_GetArrayItem(runs, 0), "results"), 0);
    ck_assert_double_eq(cJSON_GetNumberValue(cJSON_GetObjectItem(row, "nll")),
                        report->runs[0].results.results[0].figures[0].value);
    cJSON_Delete(object);
    free(page);
    free(results);
    mgn_report_destroy(report);
}
END_TEST

/* The command line that the page shows gives the same figures. */
START_TEST(the_command_repeats_it) {
    static const mgn_report_entry *const entries[] = {&gaussian};
    const mgn_report_config config = make_config(mgn_test_path("repeat"), entries, 1);
    mgn_report *report = NULL;
    MGN_ASSERT_OK(make(&config, &report));
    ck_assert(strncmp(report->runs[0].command, "mgn ", 4) == 0);
    mgn_test_process process = mgn_test_command("%s --json -q", report->runs[0].command + 4);
    ck_assert_msg(process.code == 0, "%s", process.err);
    cJSON *object = cJSON_Parse(process.out);
    const mgn_experiment_result *ours = &report->runs[0].results.results[0];
    const cJSON *row = cJSON_GetArrayItem(cJSON_GetObjectItem(object, "results"), 0);
    for (size_t i = 0; i < ours->count; i++)
        ck_assert_double_eq(cJSON_GetNumberValue(cJSON_GetObjectItem(row, ours->figures[i].key)),
                            ours->figures[i].value);
    cJSON_Delete(object);
    mgn_test_process_free(&process);
    mgn_report_destroy(report);
}
END_TEST

START_TEST(one_failure_loses_nothing_else) {
    static const mgn_report_entry *const entries[] = {&broken, &gaussian};
    const char *folder = mgn_test_path("broken");
    const mgn_report_config config = make_config(folder, entries, MGN_COUNT(entries));
    mgn_report *report = NULL;
    MGN_ASSERT_FAILS(make(&config, &report), MGN_ERR_IO, "1 of 2 experiments failed");
    ck_assert_int_eq(report->runs[0].state, MGN_REPORT_FAILED);
    ck_assert_int_eq(report->runs[1].state, MGN_REPORT_DONE);
    char *page = read_file(folder, "index.html");
    check_page(page);
    check_figures(page, report);
    ck_assert(strstr(page, "It failed: ") && strstr(page, "data_batch_1.bin"));
    free(page);
    mgn_report_destroy(report);
}
END_TEST

static bool interrupt_after_one(void *context, const mgn_report *report) {
    (void)context;
    if (report->finished == 1) mgn_interrupt();
    return true;
}

/* An interruption within the second experiment: the page has the first, and the third was not begun. */
START_TEST(an_interruption_keeps_what_is_done) {
    static const mgn_report_entry *const entries[] = {&gaussian, &field, &digits};
    const char *folder = mgn_test_path("stopped");
    mgn_report_config config = make_config(folder, entries, MGN_COUNT(entries));
    config.report = interrupt_after_one;
    mgn_report *report = NULL;
    MGN_ASSERT_FAILS(make(&config, &report), MGN_ERR_INTERRUPTED, "1 of 3 experiments");
    mgn_resume();
    ck_assert_int_eq(report->runs[0].state, MGN_REPORT_DONE);
    ck_assert_int_eq(report->runs[1].state, MGN_REPORT_INTERRUPTED);
    ck_assert_int_eq(report->runs[2].state, MGN_REPORT_WAITING);
    char *page = read_file(folder, "index.html");
    check_page(page);
    check_figures(page, report);
    ck_assert(strstr(page, "stopped before it"));
    free(page);
    mgn_report_destroy(report);
}
END_TEST

/* A folder with other things is refused and stays as it is; an empty one, an own one and a forced one are taken. */
START_TEST(folders_that_are_not_ours) {
    static const mgn_report_entry *const entries[] = {&absent};
    const char *folder = mgn_test_path("theirs"), *letter = mgn_test_path("theirs/letter.txt"),
               *index = mgn_test_path("theirs/index.html"), *results = mgn_test_path("theirs/results.json");
    struct stat about;
    mgn_report_config config = make_config(folder, entries, 1);
    mgn_report *report = NULL;
    ck_assert_int_eq(mkdir(folder, 0777), 0);
    mgn_test_write_file(letter, "x", 1);
    MGN_ASSERT_FAILS(make(&config, &report), MGN_ERR_ARGUMENT, "--force");
    mgn_test_write_file(results, "{\"format\": \"other\"}", 19);
    MGN_ASSERT_FAILS(make(&config, &report), MGN_ERR_ARGUMENT, "--force");
    ck_assert_int_ne(stat(index, &about), 0);
    config.force = true;
    MGN_ASSERT_OK(make(&config, &report));
    mgn_report_destroy(report);
    ck_assert_int_eq(stat(index, &about), 0);
    config.force = false; /* it is ours now */
    MGN_ASSERT_OK(make(&config, &report));
    mgn_report_destroy(report);
    ck_assert_int_eq(stat(letter, &about), 0);
}
END_TEST

START_TEST(verdicts) {
    static const struct {
        const char *experiment;
        mgn_figure figure;
        mgn_verdict verdict;
    } rows[] = {{"gaussian", {"uvp", .003, .004, 0}, MGN_BETTER},
                {"gaussian", {"uvp", .0044, .004, 0}, MGN_SAME},
                {"gaussian", {"uvp", .0046, .004, 0}, MGN_WORSE},
                {"gaussian", {"uvp", NAN, .004, 0}, MGN_WORSE},
                {"gaussian", {"uvp", .003, NAN, 0}, MGN_NO_VERDICT},
                {"gaussian", {"cost", 5.40, 5.47, 5.4223}, MGN_BETTER},
                {"gaussian", {"cost", 5.30, 5.47, 5.4223}, MGN_WORSE}, /* less than any map that reaches the target */
                {"colour-gmm", {"cost", .2, .3, NAN}, MGN_BETTER},
                {"cifar", {"psnr", 22, 21, NAN}, MGN_BETTER},
                {"gradient-field", {"db", -52.37, -52.37, NAN}, MGN_SAME},
                {"gradient-field", {"mae", 1.04e-5, 1e-5, NAN}, MGN_SAME},
                {"gradient-field", {"mae", 9e-7, 1e-5, NAN}, MGN_BETTER},
                {"w2bench", {"uvp_affine", 13, 14, NAN}, MGN_NO_VERDICT}};
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        const mgn_figure_meaning meaning = mgn_explain_figure(rows[i].experiment, &rows[i].figure);
        ck_assert_msg(mgn_judge_figure(&meaning, &rows[i].figure) == rows[i].verdict, "row %zu: %s", i,
                      mgn_verdict_name(mgn_judge_figure(&meaning, &rows[i].figure)));
    }
}
END_TEST

/* Each entry names an experiment, and its settings are ones that the command takes. */
START_TEST(entries_are_well_formed) {
    size_t count;
    const mgn_report_entry *entries = mgn_report_entries(&count);
    for (size_t i = 0; i < count; i++) {
        const mgn_report_entry *e = &entries[i];
        MGN_ASSERT_OK(mgn_experiment_check(e->experiment));
        ck_assert_msg(e->title && e->about && e->headline && e->seconds > 0 && e->quick_seconds > 0, "%s", e->id);
        ck_assert_msg(!e->data == !e->needs, "%s", e->id);
        ck_assert_msg(strspn(e->id, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(e->id), "%s", e->id);
        const mgn_figure figure = {e->headline, 0, NAN, NAN};
        ck_assert_msg(*mgn_explain_figure(e->experiment, &figure).words, "%s", e->id);
        for (size_t k = 0; k < i; k++) ck_assert_str_ne(entries[k].id, e->id);
    }
    for (size_t k = 0; mgn_experiment_label(k); k++) {
        bool found = false;
        for (size_t i = 0; i < count; i++) found = found || strcmp(entries[i].experiment, mgn_experiment_label(k)) == 0;
        ck_assert_msg(found, "%s is not in the report", mgn_experiment_label(k));
    }
}
END_TEST

START_TEST(numbers) {
    static const struct {
        double value;
        const char *text;
    } rows[] = {{0, "0"},
                {-12.345, "\u221212.35"},
                {1e-5, "1\u00a0\u00d7\u00a010<sup>\u22125</sup>"},
                {2.5e120, "2.5\u00a0\u00d7\u00a010<sup>120</sup>"},
                {NAN, ""},
                {-INFINITY, "\u2212\u221e"}};
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        char *text = number_text(rows[i].value);
        ck_assert_str_eq(text, rows[i].text);
        free(text);
    }
}
END_TEST

START_TEST(base64) {
    static const struct {
        const char *bytes, *text;
    } rows[] = {{"", ""},        {"f", "Zg=="},        {"fo", "Zm8="},
                {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"\xff\xfe\xfd", "//79"}};
    for (size_t i = 0; i < MGN_COUNT(rows); i++) {
        char *text = NULL;
        size_t size = 0;
        FILE *stream = open_memstream(&text, &size);
        mgn_html_base64(stream, (const unsigned char *)rows[i].bytes, strlen(rows[i].bytes));
        fclose(stream);
        ck_assert_str_eq(text, rows[i].text);
        free(text);
    }
}
END_TEST

/* ---- the command ---- */

static const refusal refusals[] = {
    {"experiment all", 2, "--output DIR"},
    {"experiment gaussian banana", 2, "'banana'|--output DIR"},
    {"experiment gausian -o made", 2, "'gausian'|gaussian"},
    {"experiment gaussian --force", 2, "--force is an option of --output"},
    {"experiment mnist --data nowhere --checkpoint state", 2, "--checkpoint: |a directory was expected, as in state/"},
    {"experiment mnist --data nowhere --log curve.csv", 2, "--log: |a directory was expected, as in curve.csv/"},
    {"experiment mnist --data nowhere --checkpoint-every 5", 2, "--checkpoint is missing"},
    {"experiment all -o made --epochs 2", 2, "--data, --quick and --force"},
    {"experiment all -o made --model cmgn", 2, "--data, --quick and --force"},
    {"experiment all -o .", 2, "no report of mgn|--force"},
};

START_TEST(refused) {
    const char *folder = mgn_test_path("refused");
    mkdir(folder, 0777);
    mgn_test_write_file(mgn_test_path("refused/a.txt"), "x", 1);
    for (size_t i = 0; i < MGN_COUNT(refusals); i++) check_refusal(folder, &refusals[i]);
}
END_TEST

/* Names without data, so that nothing is computed: what is printed, and that the date is the one asked for. */
START_TEST(the_command) {
    mgn_test_process list = mgn_test_command("experiment");
    ck_assert_int_eq(list.code, 0);
    for (size_t i = 0; mgn_experiment_label(i); i++) ck_assert(strstr(list.out, mgn_experiment_label(i)));
    mgn_test_process_free(&list);
    const char *folder = mgn_test_path("command");
    mgn_test_process made = mgn_test_shell(
        "SOURCE_DATE_EPOCH=86400 \"$MGN_BINARY\" experiment aurora w2bench cifar --quick -o %s --device cpu -q --json",
        folder);
    ck_assert_msg(made.code == 0 && !*made.err, "%s", made.err);
    cJSON *object = cJSON_Parse(made.out);
    ck_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(object, "date")), "1970-01-02 00:00 UTC");
    ck_assert_int_eq(cJSON_GetArraySize(cJSON_GetObjectItem(object, "experiments")), 3);
    char *results = read_file(folder, "results.json");
    ck_assert_str_eq(results, made.out);
    cJSON_Delete(object);
    free(results);
    mgn_test_process_free(&made);
}
END_TEST

START_TEST(names_are_completed) {
    mgn_test_process bash = mgn_test_shell(
        "\"$MGN_BINARY\" --help bash >%s && bash -c '. %s; COMP_WORDS=(mgn experiment gra); COMP_CWORD=2; _mgn; "
        "echo \"${COMPREPLY[@]}\"; COMP_WORDS=(mgn experiment --qui); _mgn; echo \"${COMPREPLY[@]}\"; "
        "COMP_WORDS=(mgn experiment --data g); COMP_CWORD=3; _mgn; echo \"[${COMPREPLY[*]}]\"'",
        mgn_test_path("mgn.bash"), mgn_test_path("mgn.bash"));
    ck_assert_msg(bash.code == 0, "%s", bash.err);
    ck_assert_str_eq(bash.out, "gradient-field gradient-field-convex gradient-field-gravier\n--quick --quiet\n[]\n");
    mgn_test_process_free(&bash);
}
END_TEST

static Suite *suite(void) {
    Suite *suite = suite_create("report");
    TCase *pages = tcase_create("pages"), *parts = tcase_create("parts"), *command = tcase_create("command");
    tcase_set_timeout(pages, 120);
    tcase_add_test(pages, a_page_of_experiments);
    tcase_add_test(pages, the_command_repeats_it);
    tcase_add_test(pages, one_failure_loses_nothing_else);
    tcase_add_test(pages, an_interruption_keeps_what_is_done);
    tcase_add_test(pages, folders_that_are_not_ours);
    tcase_add_test(parts, verdicts);
    tcase_add_test(parts, entries_are_well_formed);
    tcase_add_test(parts, numbers);
    tcase_add_test(parts, base64);
    tcase_set_timeout(command, 120);
    tcase_add_test(command, refused);
    tcase_add_test(command, the_command);
    tcase_add_test(command, names_are_completed);
    suite_add_tcase(suite, pages);
    suite_add_tcase(suite, parts);
    suite_add_tcase(suite, command);
    return suite;
}

int main(void) { return mgn_test_main(suite()); }
