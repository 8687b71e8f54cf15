#include "rows.h"

#include <string.h>
#include <strings.h>

#include "core/core.h"

mgn_status cli_target_rows(const mgn_target *target, int64_t n, uint64_t seed, mgn_matrix *rows) {
    mgn_matrix drawn;
    MGN_TRY(mgn_matrix_create(n, mgn_target_dimension(target), &drawn));
    const mgn_status status = mgn_target_sample(target, n, seed, drawn.values);
    if (status == MGN_OK)
        *rows = drawn;
    else
        mgn_matrix_free(&drawn);
    return status;
}

mgn_status cli_target_all(const mgn_target *target, int64_t n, uint64_t seed, mgn_matrix *rows) {
    const int64_t count = mgn_target_count(target);
    return cli_target_rows(target, count ? count : n, seed, rows);
}

mgn_status cli_check_dimension(const mgn_target *target, const char *other, int64_t d) {
    const int64_t found = mgn_target_dimension(target);
    if (found == d) return MGN_OK;
    return mgn_fail(MGN_ERR_ARGUMENT, "%s has %lld dimensions, but %s has %lld", mgn_target_label(target),
                    (long long)found, other, (long long)d);
}

static bool ends_in(const char *path, const char *ending) {
    const char *dot = strrchr(path, '.');
    return dot && dot > path && dot[-1] != '/' && strcasecmp(dot, ending) == 0;
}

bool cli_is_npy(const char *path) { return ends_in(path, ".npy"); }

bool cli_is_table(const char *path) { return cli_is_npy(path) || ends_in(path, ".csv"); }

mgn_status cli_check_table(const char *path) {
    if (cli_is_table(path)) return MGN_OK;
    return mgn_fail(MGN_ERR_ARGUMENT, "%s: a table is written as .npy or .csv; give the name one of these endings",
                    path);
}
