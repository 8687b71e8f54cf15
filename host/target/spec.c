/* Specifications of targets on the command line: NAME, NAME:OPTIONS, or a file. Every error is one sentence that names
 * the offending part. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/parse.h"
#include "target/target.h"

enum { MOST_DIMENSIONS = 4096 };

/* ---- lists of numbers ---- */

char *mgn_spec_part(const char **text, const char *stops) {
    const size_t length = strcspn(*text, stops);
    char *part = mgn_alloc(length + 1, 1);
    if (part) memcpy(part, *text, length);
    *text += length + ((*text)[length] != 0);
    return part;
}

static int64_t count_numbers(const char *text) {
    int64_t count = 1;
    for (; *text; text++) count += *text == ',';
    return count;
}

/* `count` numbers separated by commas. */
static mgn_status parse_numbers(const char *what, const char *text, int64_t count, double *values) {
    for (int64_t i = 0; i < count; i++) {
        char *part = mgn_spec_part(&text, ",");
        if (!part) return MGN_ERR_MEMORY;
        const mgn_status status = mgn_parse_real(what, part, -1e30, 1e30, &values[i]);
        mgn_free(part);
        MGN_TRY(status);
    }
    return MGN_OK;
}

/* ---- options: key=value;key=value ---- */

/* One option of a shape. */
typedef struct shape_option {
    const char *key;
    double *value, low, high;
} shape_option;

static mgn_status set_option(const char *spec, const char *item, const shape_option *options, size_t count) {
    const char *value = strchr(item, '=');
    const size_t length = value ? (size_t)(value - item) : strlen(item);
    for (size_t i = 0; i < count; i++) {
        if (strlen(options[i].key) != length || strncmp(options[i].key, item, length) != 0) continue;
        if (!value) return mgn_fail(MGN_ERR_ARGUMENT, "%s: '%s' needs a value: %s=NUMBER", spec, item, item);
        return mgn_parse_real(spec, value + 1, options[i].low, options[i].high, options[i].value);
    }
    return mgn_fail(MGN_ERR_ARGUMENT, "%s: '%.100s' was found where %s%s%s was expected", spec, item,
                    count ? options[0].key : "no option",
                    count > 1 ? "=NUMBER or "
                    : count   ? "=NUMBER"
                              : "",
                    count > 1 ? options[1].key : "");
}

static mgn_status parse_shape(const char *spec, const char *text, mgn_target_kind kind, mgn_target **target) {
    mgn_target *made = NULL;
    MGN_TRY(mgn_target_new(kind, spec, 2, &made));
    made->bend = made->spread = 0.5;
    made->noise = 0.1;
    const shape_option bends[] = {{"bend", &made->bend, -100, 100}, {"spread", &made->spread, 1e-3, 100}};
    const shape_option noises[] = {{"noise", &made->noise, 0, 100}};
    const shape_option *options = kind == MGN_TARGET_BANANA ? bends : noises;
    const size_t count = kind == MGN_TARGET_BANANA ? 2 : kind == MGN_TARGET_CHECKERBOARD ? 0 : 1;
    mgn_status status = MGN_OK;
    while (status == MGN_OK && *text) {
        char *item = mgn_spec_part(&text, ";");
        status = item ? set_option(spec, item, options, count) : MGN_ERR_MEMORY;
        mgn_free(item);
    }
    if (status == MGN_OK)
        *target = made;
    else
        mgn_target_destroy(made);
    return status;
}

/* ---- Gaussians ---- */

static mgn_status parse_normal(const char *spec, const char *text, mgn_target_kind kind, mgn_target **target) {
    int64_t d = 0;
    (void)kind;
    if (!*text) return mgn_fail(MGN_ERR_ARGUMENT, "%s: the number of dimensions is missing: normal:2", spec);
    MGN_TRY(mgn_parse_integer(spec, text, 1, MOST_DIMENSIONS, &d));
    return mgn_target_create_gaussian(d, NULL, NULL, target);
}

/* Texts of mean and covariance, owned; NULL where not given. */
typedef struct gaussian_texts {
    char *mean, *covariance;
} gaussian_texts;

static mgn_status split_gaussian(const char *spec, const char *text, gaussian_texts *texts) {
    while (*text) {
        char *item = mgn_spec_part(&text, ";");
        if (!item) return MGN_ERR_MEMORY;
        char **place = strncmp(item, "mean=", 5) == 0  ? &texts->mean
                       : strncmp(item, "cov=", 4) == 0 ? &texts->covariance
                                                       : NULL;
        const char *value = strchr(item, '=');
        mgn_status status = MGN_OK;
        if (!place)
            status = mgn_fail(MGN_ERR_ARGUMENT, "%s: '%.100s' was found where mean=NUMBERS or cov=NUMBERS was expected",
                              spec, item);
        else if (*place)
            status = mgn_fail(MGN_ERR_ARGUMENT, "%s: %.4s is given twice", spec, item);
        else if (!(*place = mgn_strdup(value + 1)))
            status = MGN_ERR_MEMORY;
        mgn_free(item);
        MGN_TRY(status);
    }
    if (texts->mean || texts->covariance) return MGN_OK;
    return mgn_fail(MGN_ERR_ARGUMENT,
                    "%s: a mean, a covariance or both were expected: gaussian:mean=2,1;cov=1,-.8,-.8,1", spec);
}

static mgn_status check_symmetric(const char *spec, const double *covariance, int64_t d) {
    for (int64_t i = 0; i < d; i++)
        for (int64_t j = 0; j < i; j++)
            if (covariance[i * d + j] != covariance[j * d + i])
                return mgn_fail(MGN_ERR_ARGUMENT,
                                "%s: the covariance is not symmetric: entries (%lld, %lld) and (%lld, %lld), counted "
                                "from 0, are %g and %g",
                                spec, (long long)i, (long long)j, (long long)j, (long long)i, covariance[i * d + j],
                                covariance[j * d + i]);
    return MGN_OK;
}

static mgn_status make_gaussian(const char *spec, const gaussian_texts *texts, double *mean, double *covariance,
                                int64_t d, mgn_target **target) {
    if (texts->mean) MGN_TRY(parse_numbers(spec, texts->mean, d, mean));
    if (texts->covariance) {
        MGN_TRY(parse_numbers(spec, texts->covariance, d * d, covariance));
        MGN_TRY(check_symmetric(spec, covariance, d));
    }
    const mgn_status status =
        mgn_target_create_gaussian(d, texts->mean ? mean : NULL, texts->covariance ? covariance : NULL, target);
    if (status == MGN_ERR_NUMERIC)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: the covariance is not positive definite, so it has no density", spec);
    return status;
}

static mgn_status gaussian_of_texts(const char *spec, const gaussian_texts *texts, mgn_target **target) {
    const int64_t numbers = texts->covariance ? count_numbers(texts->covariance) : 0;
    int64_t d = texts->mean ? count_numbers(texts->mean) : (int64_t)(sqrt((double)numbers) + 0.5);
    if (d > MOST_DIMENSIONS || (texts->covariance && d * d != numbers))
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: cov has %lld numbers; the %lld of a square matrix%s were expected", spec,
                        (long long)numbers, (long long)(d * d), texts->mean ? " that fits the mean" : "");
    double *work = mgn_alloc((size_t)(d + d * d), sizeof *work);
    if (!work) return MGN_ERR_MEMORY;
    const mgn_status status = make_gaussian(spec, texts, work, work + d, d, target);
    mgn_free(work);
    return status;
}

static mgn_status parse_gaussian(const char *spec, const char *text, mgn_target_kind kind, mgn_target **target) {
    gaussian_texts texts = {0};
    (void)kind;
    mgn_status status = split_gaussian(spec, text, &texts);
    if (status == MGN_OK) status = gaussian_of_texts(spec, &texts, target);
    mgn_free(texts.mean);
    mgn_free(texts.covariance);
    return status;
}

static mgn_status parse_mixture(const char *spec, const char *path, mgn_target_kind kind, mgn_target **target) {
    mgn_mixture mixture = {0};
    (void)kind;
    if (!*path) return mgn_fail(MGN_ERR_ARGUMENT, "%s: the file is missing: gmm:FILE", spec);
    MGN_TRY(mgn_mixture_load(path, &mixture));
    const mgn_status status = mgn_target_create_mixture(&mixture, target);
    mgn_mixture_free(&mixture);
    return status;
}

/* ---- the whole ---- */

typedef mgn_status parser(const char *spec, const char *text, mgn_target_kind kind, mgn_target **target);

static const struct {
    const char *label;
    parser *parse;
    mgn_target_kind kind;
} names[] = {
    {"normal", parse_normal, MGN_TARGET_MIXTURE},
    {"gaussian", parse_gaussian, MGN_TARGET_MIXTURE},
    {"gmm", parse_mixture, MGN_TARGET_MIXTURE},
    {"banana", parse_shape, MGN_TARGET_BANANA},
    {"checkerboard", parse_shape, MGN_TARGET_CHECKERBOARD},
    {"moons", parse_shape, MGN_TARGET_MOONS},
    {"spirals", parse_shape, MGN_TARGET_SPIRALS},
    {"cifar", mgn_target_parse_cifar, MGN_TARGET_ROWS},
    {"images", mgn_target_parse_images, MGN_TARGET_ROWS},
};

/* A word that is neither a name nor a file. */
static mgn_status refuse(const char *spec, size_t length, mgn_status of_file) {
    char word[64], found[400];
    const char *best = NULL;
    snprintf(word, sizeof word, "%.*s", (int)MGN_MIN(length, sizeof word - 1), spec);
    for (size_t i = 0; i < MGN_COUNT(names) && !strchr(spec, '/'); i++) mgn_nearest(word, names[i].label, &best);
    if (best)
        return mgn_fail(MGN_ERR_ARGUMENT, "'%.200s' is neither a file nor a target; did you mean '%s'?", spec, best);
    if (strpbrk(spec, "./")) return of_file;
    snprintf(found, sizeof found, "%s", mgn_last_error());
    return mgn_fail(
        MGN_ERR_ARGUMENT,
        "'%.200s' is not a target: normal:D, gaussian:mean=..;cov=.., gmm:FILE, banana, checkerboard, moons, "
        "spirals, cifar:FILE, images:DIR or a file was expected (%s)",
        spec, found);
}

mgn_status mgn_target_parse(const char *spec, mgn_target **target) {
    if (!spec || !*spec || !target)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "a target was expected, such as normal:2, banana or points.npy; nothing was given");
    const size_t length = strcspn(spec, ":");
    for (size_t i = 0; i < MGN_COUNT(names); i++) {
        if (strlen(names[i].label) != length || strncmp(names[i].label, spec, length) != 0) continue;
        mgn_target *made = NULL;
        MGN_TRY(names[i].parse(spec, spec + length + (spec[length] == ':'), names[i].kind, &made));
        char *label = mgn_strdup(spec);
        if (!label) {
            mgn_target_destroy(made);
            return MGN_ERR_MEMORY;
        }
        mgn_free(made->label);
        made->label = label;
        *target = made;
        return MGN_OK;
    }
    const mgn_status status = mgn_target_parse_rows(spec, target);
    return status == MGN_ERR_IO ? refuse(spec, length, status) : status;
}
