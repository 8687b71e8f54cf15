#include "core/parse.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/core.h"

static bool starts_like_a_number(const char *text) {
    if (*text == '+' || *text == '-') text++;
    return isdigit((unsigned char)*text) || *text == '.';
}

mgn_status mgn_parse_integer(const char *what, const char *text, int64_t low, int64_t high, int64_t *value) {
    char *end = NULL;
    errno = 0;
    long long parsed = starts_like_a_number(text) ? strtoll(text, &end, 10) : 0;
    if (!end || end == text || *end || errno || parsed < low || parsed > high)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: '%.100s' is not a whole number from %" PRId64 " to %" PRId64, what, text,
                        low, high);
    *value = parsed;
    return MGN_OK;
}

mgn_status mgn_parse_real(const char *what, const char *text, double low, double high, double *value) {
    char *end = NULL;
    /* The library never calls setlocale, but a program that uses it may have: the point stays the decimal sign. */
    locale_t plain = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0), before = (locale_t)0;
    if (plain) before = uselocale(plain);
    bool hexadecimal = strpbrk(text, "xX") != NULL;
    double parsed = starts_like_a_number(text) && !hexadecimal ? strtod(text, &end) : NAN;
    if (plain) {
        uselocale(before);
        freelocale(plain);
    }
    if (!end || end == text || *end || !isfinite(parsed) || parsed < low || parsed > high)
        return mgn_fail(MGN_ERR_ARGUMENT, "%s: '%.100s' is not a number from %g to %g", what, text, low, high);
    *value = parsed;
    return MGN_OK;
}

enum { MAX_WORD = 40 };

/* Edits (insert, delete, replace, swap neighbours) between two words, letters' case aside. */
static size_t edits(const char *a, const char *b) {
    size_t m = strlen(a), n = strlen(b), rows[3][MAX_WORD + 1];
    if (m > MAX_WORD || n > MAX_WORD) return MAX_WORD;
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= n; j++) last[j] = before[j] = j;
    for (size_t i = 1; i <= m; i++) {
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
            size_t least = last[j - 1] + (x != y);
            least = MGN_MIN(least, MGN_MIN(last[j], row[j - 1]) + 1);
            bool swapped =
                i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) && y == tolower((unsigned char)a[i - 2]);
            if (swapped) least = MGN_MIN(least, before[j - 2] + 1);
            row[j] = least;
        }
        size_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[n];
}

void mgn_nearest(const char *word, const char *candidate, const char **best) {
    size_t limit = MGN_MAX(strlen(word) / 3, (size_t)1), distance = edits(word, candidate);
    if (distance > limit && strncmp(word, candidate, strlen(word)) != 0) return;
    if (!*best || distance < edits(word, *best)) *best = candidate;
}
