/* Words from the command line and the environment: strict numbers, and the nearest known word to a mistyped one.
 * Strict: the whole text must be the number, inside the range that the sentence then names. */
#ifndef MGN_HOST_CORE_PARSE_H
#define MGN_HOST_CORE_PARSE_H

#include <mgn/core.h>

/* `what` begins the sentence: "--threads", "MGN_THREADS". Decimal digits with an optional sign. ARGUMENT. */
mgn_status mgn_parse_integer(const char *what, const char *text, int64_t low, int64_t high, int64_t *value);

/* Any finite decimal or exponent form. ARGUMENT. */
mgn_status mgn_parse_real(const char *what, const char *text, double low, double high, double *value);

/* Keeps the candidate that takes the fewest edits to become `word`, as long as that is at most a third of its letters
 * (at least one). Start with *best = NULL, then offer every candidate. */
void mgn_nearest(const char *word, const char *candidate, const char **best);

#endif
