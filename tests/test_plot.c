/* Plots: what each kind draws, read back from the SVG and the PNG; texts and numbers that are meant to break it; and a
 * gnuplot that is missing, fails, lies or hangs. */
#include "folders.h"
#include "harness.h"

#include <mgn/image.h>

#include "core/core.h"
#include "plot/gnuplot.h"
#include "plot/plot.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- reading SVG ---- */

/* That tags close in the order they were opened, and that no stray '<' or '&' stands in a text. */
static void assert_well_formed(const char *svg) {
    enum { DEEPEST = 32 };
    const char *open[DEEPEST];
    size_t lengths[DEEPEST], depth = 0;
    for (const char *at = svg; *at;) {
        if (*at == '&') ck_assert_msg(strcspn(at, ";") < 8, "an ampersand that is no entity: %.40s", at);
        if (*at++ != '<') continue;
        const bool is_end = *at == '/';
        const char *name = at + is_end, *end = strchr(at, '>');
        ck_assert_msg(end != NULL, "a tag without end: %.40s", at);
        const size_t length = strcspn(name, " \t\n/>");
        if (*at != '?' && *at != '!' && is_end) {
            ck_assert_msg(depth > 0 && lengths[depth - 1] == length && strncmp(open[depth - 1], name, length) == 0,
                          "%.40s closes nothing", at);
            depth--;
        } else if (*at != '?' && *at != '!' && end[-1] != '/') {
            ck_assert_uint_lt(depth, DEEPEST);
            open[depth] = name;
            lengths[depth++] = length;
        }
        at = end + 1;
    }
    ck_assert_uint_eq(depth, 0);
}

static size_t count_of(const char *text, const char *part) {
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part)) count++;
    return count;
}

static const char point[] = "<use xlink:href='#gpPt6' transform"; /* one filled circle */

/* Undoes the entities of texts, so that what is drawn can be compared with what was asked for. */
static void unescape(char *svg) {
    static const char *const entities[][2] = {{"&lt;", "<"},   {"&gt;", ">"},  {"&quot;", "\""},
                                              {"&apos;", "'"}, {"&#39;", "'"}, {"&amp;", "&"}};
    char *to = svg;
    for (const char *at = svg; *at;) {
        size_t i = 0;
        while (i < MGN_COUNT(entities) && strncmp(at, entities[i][0], strlen(entities[i][0])) != 0) i++;
        const bool is_entity = i < MGN_COUNT(entities);
        *to++ = is_entity ? entities[i][1][0] : *at;
        at += is_entity ? strlen(entities[i][0]) : 1;
    }
    *to = 0;
}

/* Draws the page, frees it, and gives the SVG, checked, and with entities undone; free() it. The PNG is as large. */
static char *drawn(mgn_plot *plot, int width, int height) {
    char size[64];
    MGN_ASSERT_OK(mgn_plot_save(plot, mgn_test_path("."), "figure"));
    mgn_image *image = NULL;
    MGN_ASSERT_OK(mgn_image_read(mgn_test_path("figure.png"), &image));
    ck_assert_int_eq((int)image->width, width);
    ck_assert_int_eq((int)image->height, height);
    mgn_image_destroy(image);
    char *svg = mgn_test_read_file(mgn_test_path("figure.svg"), NULL);
    assert_well_formed(svg);
    snprintf(size, sizeof size, "width=\"%d\" height=\"%d\"", width, height);
    ck_assert_msg(strstr(svg, size) != NULL, "no %s in the SVG", size);
    unescape(svg);
    return svg;
}

static void assert_shows(const char *svg, const char *text) {
    ck_assert_msg(strstr(svg, text) != NULL, "'%s' is not in the picture", text);
}

/* ---- the kinds ---- */

START_TEST(curves_show_their_labels_and_every_point) {
    const double values[] = {8, 4, 2, NAN, 1, 0.001}, negative[] = {1, -1, 0, INFINITY, 3, 10};
    const mgn_plot_curve curves[] = {
        {.label = "training", .y = values, .n = 6, .style = MGN_PLOT_MARKED},
        {.label = "held out", .y = negative, .n = 6, .style = MGN_PLOT_DASHED},
    };
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_curves(
        plot, &(mgn_plot_axes){.title = "Loss", .x = {.label = "epoch"}, .y = {.label = "mse", .scale = MGN_PLOT_AUTO}},
        curves, 2);
    char *svg = drawn(plot, 800, 560);
    static const char *const texts[] = {">Loss<", "epoch<", "mse<", "training<", "held out<"};
    for (size_t i = 0; i < MGN_COUNT(texts); i++) assert_shows(svg, texts[i]);
    ck_assert_uint_eq(count_of(svg, point), 5 + 1); /* one in the legend */
    free(svg);

    plot = mgn_plot_begin(&(mgn_plot_page){.width = 640, .height = 400});
    mgn_plot_curves(plot, &(mgn_plot_axes){.y = {.scale = MGN_PLOT_LOG}}, curves, 2);
    svg = drawn(plot, 640, 400);
    assert_shows(svg, "held out (2 values <= 0 not shown)");
    assert_shows(svg, "0.001<");
    free(svg);
}
END_TEST

/* A spike of one epoch among many is drawn although there are fewer points than epochs. */
START_TEST(long_curves_keep_their_extremes) {
    enum { N = 100000 };
    double *values = calloc(N, sizeof *values);
    ck_assert_ptr_nonnull(values);
    values[777] = 1000;
    values[N - 778] = NAN;
    const mgn_plot_curve curve = {.label = "spike", .y = values, .n = N};
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_curves(plot, &(mgn_plot_axes){.y = {.low = -1, .high = 1001}}, &curve, 1);
    char *svg = drawn(plot, 800, 560);
    ck_assert_uint_lt(strlen(svg), 200000);
    /* The top of the picture is reached: a point at less than 40 pixels from above. */
    bool is_reached = false;
    for (const char *at = strstr(svg, "gnuplot_plot_1"); at && (at = strpbrk(at, "ML")) != NULL; at++) {
        double x, y;
        if (sscanf(at + 1, "%lf,%lf", &x, &y) == 2 && x > 60 && y < 40) is_reached = true;
    }
    ck_assert(is_reached);
    free(svg);
    free(values);
}
END_TEST

static float *random_rows(mgn_test_random *random, int64_t count) {
    float *rows = malloc((size_t)count * sizeof *rows);
    ck_assert_ptr_nonnull(rows);
    for (int64_t i = 0; i < count; i++) rows[i] = (float)mgn_test_uniform(random, 0, 1);
    return rows;
}

START_TEST(clouds_show_every_point_or_say_how_many) {
    mgn_test_random random = MGN_TEST_RANDOM();
    float *rows = random_rows(&random, 3 * 5000);
    double x[MGN_PLOT_ELLIPSE], y[MGN_PLOT_ELLIPSE];
    mgn_plot_ellipse((double[]){0.5, 0.5}, (double[]){0.04, 0.01, 0.01, 0.02}, 2, x, y);
    const mgn_plot_cloud clouds[] = {{.label = "few", .rows = rows, .n = 321, .d = 3},
                                     {.label = "many", .rows = rows, .n = 5000, .d = 3}};
    const mgn_plot_curve line = {.label = "2 sigma", .x = x, .y = y, .n = MGN_PLOT_ELLIPSE};
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_scatter2(plot, &(mgn_plot_axes){.is_equal = true}, clouds, 2, &line, 1);
    char *svg = drawn(plot, 800, 560);
    assert_shows(svg, "many (2000 of 5000)");
    assert_shows(svg, "2 sigma<");
    ck_assert_uint_eq(count_of(svg, point), 321 + 2000 + 2);
    free(svg);

    for (int i = 0; i < 3; i++) rows[i] = 1; /* white needs all eight digits of its number */
    const mgn_plot_cloud coloured = {.rows = rows, .n = 50, .d = 3, .colours = rows};
    plot = mgn_plot_begin(&(mgn_plot_page){.title = "palettes"});
    for (int i = 0; i < 3; i++)
        mgn_plot_scatter3(plot, &(mgn_plot_axes){.title = "panel", .z = {.label = "blue"}}, &coloured, 1);
    svg = drawn(plot, 1320, 480);
    ck_assert_uint_eq(count_of(svg, point), 3 * 50);
    ck_assert_uint_eq(count_of(svg, ">panel<"), 3);
    assert_shows(svg, "color='rgb(255, 255, 255)'");
    assert_shows(svg, ">palettes<");
    free(svg);
    free(rows);
}
END_TEST

/* For a point (c, s) of the circle, the point of the ellipse lies at Mahalanobis distance `sigmas` from the mean. */
START_TEST(ellipses_lie_where_they_should) {
    const double mean[] = {3, -1}, s[] = {2, 0.9, 0.9, 0.5}, det = s[0] * s[3] - s[1] * s[2];
    double x[MGN_PLOT_ELLIPSE], y[MGN_PLOT_ELLIPSE];
    mgn_plot_ellipse(mean, s, 1.5, x, y);
    for (int i = 0; i < MGN_PLOT_ELLIPSE; i++) {
        const double a = x[i] - mean[0], b = y[i] - mean[1];
        ck_assert_double_eq_tol((s[3] * a * a - 2 * s[1] * a * b + s[0] * b * b) / det, 2.25, 1e-9);
    }
    mgn_plot_ellipse(mean, (double[]){0, 0, 0, 0}, 1.5, x, y);
    for (int i = 0; i < MGN_PLOT_ELLIPSE; i++) ck_assert(x[i] >= 3 && x[i] <= 3 && y[i] >= -1 && y[i] <= -1);
}
END_TEST

START_TEST(histograms_count_and_say_what_is_outside) {
    enum { N = 1000 };
    float values[2 * N];
    for (int i = 0; i < N; i++) {
        values[2 * i] = (float)i / N;
        values[2 * i + 1] = i < 100 ? NAN : 1;
    }
    const mgn_plot_sample samples[] = {{.label = "even", .values = values, .n = N, .step = 2},
                                       {.label = "all in one", .values = values + 1, .n = N, .step = 2}};
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_histograms(plot, &(mgn_plot_axes){.x = {.low = 0, .high = 0.75}}, &samples[0], 1, 10);
    char *svg = drawn(plot, 800, 560);
    assert_shows(svg, "even (25 % outside)"); /* 0.75 itself is inside */
    free(svg);
    plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_histograms(plot, &(mgn_plot_axes){0}, samples, 2, 10);
    svg = drawn(plot, 800, 560);
    ck_assert_ptr_null(strstr(svg, "outside"));
    assert_shows(svg, ">0.9<"); /* 900 of 1000 in the last */
    free(svg);
}
END_TEST

START_TEST(grids_and_maps_of_values) {
    enum { ROWS = 5, COLUMNS = 7 };
    float points[2 * ROWS * COLUMNS];
    double values[ROWS * COLUMNS];
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        points[2 * i] = (float)(i % COLUMNS);
        points[2 * i + 1] = (float)(i / COLUMNS);
        values[i] = i - 10;
    }
    const mgn_plot_cloud cloud = {.label = "data", .rows = points, .n = 9, .d = 2};
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_grid(plot, &(mgn_plot_axes){.is_equal = true}, &(mgn_plot_mesh){points, ROWS, COLUMNS, 0}, &cloud);
    char *svg = drawn(plot, 800, 560);
    ck_assert_uint_eq(count_of(svg, point), 9 + 1);
    ck_assert(strstr(svg, "rgb(  0, 114, 178)") && strstr(svg, "rgb(213,  94,   0)"));
    free(svg);

    values[3] = NAN;
    for (int is_log = 0; is_log < 2; is_log++) {
        const mgn_plot_axes axes = {.title = "error",
                                    .z = {.label = "|T - truth|", .scale = is_log ? MGN_PLOT_LOG : MGN_PLOT_LINEAR}};
        plot = mgn_plot_begin(&(mgn_plot_page){0});
        mgn_plot_heat(plot, &axes, &(mgn_plot_field){values, ROWS, COLUMNS, 0, 1, 0, 2, !is_log});
        svg = drawn(plot, 800, 560);
        assert_shows(svg, is_log ? "|T - truth| (grey: none, or not positive)" : "|T - truth| (grey: none)");
        if (!is_log) assert_shows(svg, "-20<"); /* the scale is as wide on both sides */
        free(svg);
    }
}
END_TEST

/* ---- what is meant to break it ---- */

START_TEST(texts_are_drawn_and_never_run) {
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"it's \"quoted\" \\n \\\\ done", NULL},
        {"`touch mark`", NULL},
        {"$(touch mark) ${HOME} $d0 @macro", NULL},
        {"'", NULL},
        {"''\"\"", NULL},
        {"'; system('touch mark'); x='", NULL},
        {"' . system(\"touch mark\") . '", NULL},
        {"\"; system 'touch mark'; \"", NULL},
        {"{/Symbol a}_b^c @d &{x} ~a{.6-}", NULL},
        {"<b>&amp;</b> ]]> <!-- % %s %n %d", NULL},
        {"one\n!touch mark\nEOD\nset output 'mark'", "one !touch mark EOD set output 'mark'"},
        {"tab\tand\rreturn", "tab and return"},
        {"bell\a escape\033[2J", "bell? escape?[2J"},
        {"\xff\xfe \xc0\xaf \xed\xa0\x80 \xf5\x80\x80\x80 \xe2\x82", "?? ?? ??? ???? ??"},
        {"\xce\xbb \xe2\x82\xac \xf0\x9f\x8e\xa8 \xc2\x80", "\xce\xbb \xe2\x82\xac \xf0\x9f\x8e\xa8 ??"},
        {"# comment \\", NULL},
    };
    const double values[] = {1, 2};
    ck_assert_int_eq(mkdir(mgn_test_path("work"), 0777), 0);
    ck_assert_int_eq(chdir(mgn_test_path("work")), 0);
    for (size_t i = 0; i < MGN_COUNT(cases); i++) {
        const char *text = cases[i].text, *shown = cases[i].shown ? cases[i].shown : text;
        const mgn_plot_curve curve = {.label = text, .y = values, .n = 2};
        mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){.title = text});
        for (int panel = 0; panel < 2; panel++)
            mgn_plot_curves(plot, &(mgn_plot_axes){text, {.label = text}, {.label = text}, {0}, false}, &curve, 1);
        char *svg = drawn(plot, 880, 480), whole[200];
        snprintf(whole, sizeof whole, ">%s</text>", shown);
        ck_assert_msg(count_of(svg, whole) == 9, "'%s' is drawn %zu times", shown, count_of(svg, whole));
        ck_assert_msg(access("mark", F_OK) != 0, "'%s' was run", text);
        free(svg);
    }
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(long_texts_are_broken_and_cut) {
    char text[3000];
    for (size_t i = 0; i < sizeof text; i++) text[i] = i % 7 == 6 ? ' ' : 'a';
    text[sizeof text - 1] = 0;
    const double values[] = {1, 2};
    const mgn_plot_curve curve = {.label = text, .y = values, .n = 2};
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_curves(plot, &(mgn_plot_axes){.title = text}, &curve, 1);
    char *svg = drawn(plot, 800, 560);
    ck_assert_ptr_nonnull(strstr(svg, "a..</text>"));
    free(svg);
}
END_TEST

/* Empty, constant, huge, tiny and missing values all give a picture. */
START_TEST(any_numbers_give_a_picture) {
    static const double sets[][4] = {
        {NAN, NAN, INFINITY, -INFINITY}, {0, 0, 0, 0},          {5, 5, 5, 5},         {-1e308, 1e308, 1e307, 1},
        {5e-324, 1e-320, 0, 1e-310},     {1e300, 1e-300, 1, 1}, {1, 1 + 1e-15, 1, 1}, {-3, -2, -1, 0}};
    for (size_t s = 0; s < MGN_COUNT(sets); s++) {
        float rows[8], flat[4];
        for (int i = 0; i < 4; i++) {
            flat[i] = rows[2 * i] = (float)fmin(fmax(sets[s][i], -3e38), 3e38);
            rows[2 * i + 1] = isnan(sets[s][i]) ? NAN : (float)i;
        }
        const mgn_plot_curve curve = {.y = sets[s], .n = 4};
        const mgn_plot_sample sample = {.values = flat, .n = 4};
        const mgn_plot_cloud cloud = {.rows = rows, .n = 4, .d = 2};
        mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){.columns = 3});
        for (int scale = 0; scale < 3; scale++)
            mgn_plot_curves(plot, &(mgn_plot_axes){.y = {.scale = (mgn_plot_scale)scale}}, &curve, 1);
        mgn_plot_histograms(plot, &(mgn_plot_axes){.x = {.scale = MGN_PLOT_LOG}}, &sample, 1, 5);
        mgn_plot_histograms(plot, &(mgn_plot_axes){0}, &sample, 1, 5);
        mgn_plot_scatter2(plot, &(mgn_plot_axes){.is_equal = true}, &cloud, 1, NULL, 0);
        mgn_plot_heat(plot, &(mgn_plot_axes){0}, &(mgn_plot_field){sets[s], 2, 2, 0, 1, 0, 1, true});
        mgn_plot_heat(plot, &(mgn_plot_axes){.z = {.scale = MGN_PLOT_LOG}},
                      &(mgn_plot_field){sets[s], 2, 2, 0, 1, 0, 1, false});
        mgn_plot_grid(plot, &(mgn_plot_axes){0}, &(mgn_plot_mesh){rows, 2, 2, 0}, NULL);
        free(drawn(plot, 1320, 1320));
    }
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_curves(plot, &(mgn_plot_axes){.title = "none"}, NULL, 0);
    char *svg = drawn(plot, 800, 560);
    assert_shows(svg, "no finite values");
    free(svg);
}
END_TEST

/* ---- failures ---- */

static mgn_plot *small_plot(void) {
    static const double values[] = {1, 2};
    const mgn_plot_curve curve = {.y = values, .n = 2};
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_curves(plot, &(mgn_plot_axes){0}, &curve, 1);
    return plot;
}

START_TEST(failures_leave_nothing) {
    float row[2] = {0};
    ck_assert_int_eq(mkdir(mgn_test_path("out"), 0777), 0);
    const mgn_plot_cloud thin = {.rows = row, .n = 2, .d = 1};
    mgn_plot *plot = mgn_plot_begin(&(mgn_plot_page){0});
    mgn_plot_scatter2(plot, &(mgn_plot_axes){0}, &thin, 1, NULL, 0);
    mgn_plot_heat(plot, &(mgn_plot_axes){0}, &(mgn_plot_field){NULL, 0, 0, 0, 0, 0, 0, false});
    MGN_ASSERT_FAILS(mgn_plot_save(plot, mgn_test_path("out"), "a"), MGN_ERR_ARGUMENT, "two numbers or more");
    MGN_ASSERT_FAILS(mgn_plot_save(mgn_plot_begin(&(mgn_plot_page){0}), mgn_test_path("out"), "a"), MGN_ERR_ARGUMENT,
                     "needs a panel");
    MGN_ASSERT_FAILS(mgn_plot_save(NULL, mgn_test_path("out"), "a"), MGN_ERR_MEMORY, "out of memory");
    MGN_ASSERT_FAILS(mgn_plot_save(small_plot(), mgn_test_path("absent"), "a"), MGN_ERR_IO, "does not exist");
    /* The second of the two files cannot be written: the first does not appear either. */
    ck_assert_int_eq(mkdir(mgn_test_path("out/a.svg"), 0777), 0);
    MGN_ASSERT_FAILS(mgn_plot_save(small_plot(), mgn_test_path("out"), "a"), MGN_ERR_IO, "is a directory");
    ck_assert_uint_eq(entries_of(mgn_test_path("out")), 1);
    mgn_interrupt();
    MGN_ASSERT_FAILS(mgn_plot_save(small_plot(), mgn_test_path("out"), "b"), MGN_ERR_INTERRUPTED, "while gnuplot drew");
    mgn_resume();
    ck_assert_uint_eq(entries_of(mgn_test_path("out")), 1);
    mgn_plot_discard(NULL);
}
END_TEST

/* A program called gnuplot that is first in PATH. */
static void put_gnuplot(const char *script) {
    static char usual[4096];
    char path[8192];
    if (!*usual) snprintf(usual, sizeof usual, "%s", getenv("PATH"));
    mkdir(mgn_test_path("bin"), 0777);
    mgn_test_write_file(mgn_test_path("bin/gnuplot"), script, strlen(script));
    ck_assert_int_eq(chmod(mgn_test_path("bin/gnuplot"), 0755), 0);
    snprintf(path, sizeof path, "%s:%s", mgn_test_path("bin"), usual);
    setenv("PATH", path, 1);
}

static void assert_no_child_left(void) {
    errno = 0;
    ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
    ck_assert_int_eq(errno, ECHILD);
}

/* The script that is sent is larger than any buffer between two processes: who does not read it is noticed. */
static mgn_status run_fake(const char *script, double patience) {
    enum { LARGE = 4 << 20 };
    char *commands = malloc(LARGE);
    unsigned char *output = NULL;
    size_t size = 0;
    ck_assert_ptr_nonnull(commands);
    memset(commands, '\n', LARGE);
    put_gnuplot(script);
    const mgn_status status = mgn_gnuplot(&(mgn_gnuplot_run){commands, LARGE, patience}, &output, &size);
    assert_no_child_left();
    if (status == MGN_OK) mgn_free(output);
    free(commands);
    return status;
}

START_TEST(a_missing_gnuplot_is_one_sentence) {
    setenv("PATH", mgn_test_path("nowhere"), 1);
    MGN_ASSERT_FAILS(mgn_plot_check(mgn_test_path("figures")), MGN_ERR_UNSUPPORTED,
                     "no program of that name is in PATH");
    ck_assert_int_ne(access(mgn_test_path("figures"), F_OK), 0);
    MGN_ASSERT_FAILS(mgn_plot_save(small_plot(), mgn_test_path("."), "a"), MGN_ERR_UNSUPPORTED, "gnuplot-nox");
    assert_no_child_left();
}
END_TEST

START_TEST(a_failing_gnuplot_is_heard) {
    MGN_ASSERT_FAILS(run_fake("#!/bin/sh\nexit 1\n", 0), MGN_ERR_IO, "exit code 1 and said nothing");
    MGN_ASSERT_FAILS(run_fake("#!/bin/sh\nexec <&-\necho >&2\necho '  no licence ' >&2\necho more >&2\nexit 3\n", 0),
                     MGN_ERR_IO, "gnuplot failed: no licence");
    MGN_ASSERT_FAILS(
        run_fake("#!/bin/sh\necho 'plot x y' >&2\necho '    ^' >&2\necho '   line 7: bad' >&2\nexit 1\n", 0),
        MGN_ERR_IO, "gnuplot failed: line 7: bad");
    MGN_ASSERT_FAILS(run_fake("#!/bin/sh\nkill -SEGV $$\n", 0), MGN_ERR_IO, "signal 11");
    /* More complaints than are kept, while the script is being read. */
    MGN_ASSERT_FAILS(run_fake("#!/bin/sh\nyes complaint | head -c 300000 >&2\ncat >/dev/null\nexit 1\n", 0), MGN_ERR_IO,
                     "gnuplot failed: complaint");
    MGN_ASSERT_OK(run_fake("#!/bin/sh\ncat\n", 0)); /* both directions at once, more than fits between */
}
END_TEST

START_TEST(a_lying_gnuplot_is_found_out) {
    put_gnuplot("#!/bin/sh\ncat >/dev/null\n");
    MGN_ASSERT_FAILS(mgn_plot_save(small_plot(), mgn_test_path("."), "lie"), MGN_ERR_IO, "no whole picture (0 bytes)");
    put_gnuplot("#!/bin/sh\ncat >/dev/null\nprintf '\\211PNG\\r\\n\\032\\n half'\n");
    MGN_ASSERT_FAILS(mgn_plot_save(small_plot(), mgn_test_path("."), "lie"), MGN_ERR_IO, "no whole picture (13 bytes)");
    put_gnuplot("#!/bin/sh\ncat >/dev/null\necho 'unknown terminal' >&2\nexit 1\n");
    MGN_ASSERT_FAILS(mgn_plot_check(NULL), MGN_ERR_UNSUPPORTED, "unknown terminal");
    ck_assert_int_ne(access(mgn_test_path("lie.png"), F_OK), 0);
    assert_no_child_left();
}
END_TEST

/* Each of these would wait for ever. */
START_TEST(a_hanging_gnuplot_is_stopped) {
    static const char *const scripts[] = {
        "#!/bin/sh\nexec sleep 1000\n",
        "#!/bin/sh\nexec <&- >&- 2>&-\nexec sleep 1000\n",
        "#!/bin/sh\ncat >/dev/null\nsleep 1000\n",
        "#!/bin/sh\ntrap '' TERM INT PIPE\ncat >/dev/null\nsleep 1000 & exit 0\n",
    };
    for (size_t i = 0; i < MGN_COUNT(scripts); i++)
        MGN_ASSERT_FAILS(run_fake(scripts[i], 0.3), MGN_ERR_IO, "for 0.3 seconds, and was stopped");
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("plot");
    TCase *kinds = tcase_create("kinds"), *hostile = tcase_create("hostile"), *failing = tcase_create("failing");
    tcase_set_timeout(kinds, 120);
    tcase_set_timeout(hostile, 120);
    tcase_set_timeout(failing, 120);
    tcase_add_test(kinds, curves_show_their_labels_and_every_point);
    tcase_add_test(kinds, long_curves_keep_their_extremes);
    tcase_add_test(kinds, clouds_show_every_point_or_say_how_many);
    tcase_add_test(kinds, ellipses_lie_where_they_should);
    tcase_add_test(kinds, histograms_count_and_say_what_is_outside);
    tcase_add_test(kinds, grids_and_maps_of_values);
    tcase_add_test(hostile, texts_are_drawn_and_never_run);
    tcase_add_test(hostile, long_texts_are_broken_and_cut);
    tcase_add_test(hostile, any_numbers_give_a_picture);
    tcase_add_test(failing, failures_leave_nothing);
    tcase_add_test(failing, a_missing_gnuplot_is_one_sentence);
    tcase_add_test(failing, a_failing_gnuplot_is_heard);
    tcase_add_test(failing, a_lying_gnuplot_is_found_out);
    tcase_add_test(failing, a_hanging_gnuplot_is_stopped);
    suite_add_tcase(s, kinds);
    suite_add_tcase(s, hostile);
    suite_add_tcase(s, failing);
    return s;
}

int main(void) { return mgn_test_main(suite()); }
