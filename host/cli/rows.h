/* Rows that commands work on: drawn from what a specification of <mgn/target.h> names. */
#ifndef MGN_CLI_ROWS_H
#define MGN_CLI_ROWS_H

#include <mgn/data.h>
#include <mgn/target.h>

/* n samples of the target; the caller frees `rows`. */
mgn_status cli_target_rows(const mgn_target *target, int64_t n, uint64_t seed, mgn_matrix *rows);

/* As the above for all rows of a finite target, or `n` of a sampler. */
mgn_status cli_target_all(const mgn_target *target, int64_t n, uint64_t seed, mgn_matrix *rows);

/* Fails unless both are of the same dimension; the sentence calls them by their labels. */
mgn_status cli_check_dimension(const mgn_target *target, const char *other, int64_t d);

/* Whether the path ends in .npy or .csv, and in .npy. */
bool cli_is_table(const char *path);
bool cli_is_npy(const char *path);

/* Fails unless the path does. */
mgn_status cli_check_table(const char *path);

#endif
