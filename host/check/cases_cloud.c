/* Cases of sums over pairs of points: sizes round the tiles and chunks of the kernels, few and many coordinates, points
 * that are far apart, and heights that leave points out. */
#include "check/cases.h"

#include <math.h>

static mgn_node *build_cloud(mgn_graph *graph, const mgn_check_case *c, mgn_node *const *in) {
    (void)graph;
    if (c->op == MGN_OP_softmin) return mgn_softmin(in[0], in[1], in[2]);
    if (c->op == MGN_OP_softmin_dense) return mgn_softmin_dense(in[0], in[1], c->scale);
    if (c->op == MGN_OP_softmins) return mgn_softmins(in[0], in[1], in[2], in[3]);
    if (c->op == MGN_OP_softmins_dense) return mgn_softmins_dense(in[0], in[1], in[2], c->scale, false);
    return mgn_gibbs(in[0], in[1], in[2], in[3], in[4]);
}

/* Coordinates up to `reach`; columns: of the values, for gibbs. */
static mgn_check_case *cloud_case(mgn_case_list *list, int64_t n, int64_t m, int64_t d, int64_t columns, double reach,
                                  unsigned flags) {
    bool gibbs = list->op == MGN_OP_gibbs, both = list->op == MGN_OP_softmins;
    mgn_check_case *c =
        mgn_case_add(list, gibbs ? MGN_SHAPE(n, columns) : MGN_SHAPE(both ? n + m : n), flags,
                     "%d and %d points, d %d, e %d, to %g", (int)n, (int)m, (int)d, (int)(gibbs ? columns : 1), reach);
    mgn_case_real(list, c, MGN_SHAPE(n, d), -reach, reach);
    mgn_case_real(list, c, MGN_SHAPE(m, d), -reach, reach);
    if (gibbs || both) mgn_case_real(list, c, MGN_SHAPE(n), -1, 1);
    mgn_case_real(list, c, MGN_SHAPE(m), -2, 1);
    if (gibbs) mgn_case_real(list, c, MGN_SHAPE(m, columns), -1, 1);
    c->build = build_cloud;
    c->oracle = mgn_oracle_cloud;
    return c;
}

static void cloud_cases(mgn_case_list *list) {
    const unsigned small = MGN_CASE_DERIVATIVES | MGN_CASE_SECOND | MGN_CASE_BOUNDS,
                   medium = MGN_CASE_DERIVATIVES | MGN_CASE_BOUNDS;
    cloud_case(list, 1, 1, 1, 1, 1, small);
    cloud_case(list, 3, 4, 2, 1, 1, small);
    cloud_case(list, 5, 3, 3, 2, 1, small);
    cloud_case(list, 4, 5, 1, 3, 1, small);
    cloud_case(list, 7, 9, 4, 3, 1, medium); /* what compilers know the number of, last */
    cloud_case(list, 6, 7, 11, 2, 0.7, medium);
    cloud_case(list, 33, 17, 3, 4, 1, medium);
    cloud_case(list, 17, 93, 2, 17, 1, medium); /* more columns than a block */
    cloud_case(list, 93, 65, 16, 3, 0.5, medium);
    cloud_case(list, 5, 6, 17, 2, 0.5, medium); /* by products */
    cloud_case(list, 70, 93, 40, 20, 0.3, medium);
    cloud_case(list, 9, 600, 3, 2, 1, medium);  /* several tiles */
    cloud_case(list, 200, 31, 2, 1, 1, medium); /* several chunks */
    cloud_case(list, 150, 530, 3, 2, 4, MGN_CASE_BOUNDS);
    cloud_case(list, 150, 530, 19, 2, 1, MGN_CASE_BOUNDS);
    /* Sums over no points are -INFINITY, which has no differences. */
    cloud_case(list, 0, 5, 2, 2, 1, list->op == MGN_OP_softmins ? 0 : MGN_CASE_DERIVATIVES);
    if (list->op == MGN_OP_gibbs) cloud_case(list, 5, 7, 2, 0, 1, MGN_CASE_DERIVATIVES);
    cloud_case(list, 5, 0, 2, 2, 1, 0);
    cloud_case(list, 5, 0, 20, 2, 1, 0);
    mgn_check_case *c = cloud_case(list, 20, 45, 3, 2, 1, MGN_CASE_BOUNDS);
    if (list->failed) return;
    double *h = c->in[c->inputs - (list->op == MGN_OP_gibbs ? 2 : 1)].values;
    for (int j = 0; j < 45; j += 2) h[j] = -INFINITY;
}

static void log_sum_cases(mgn_case_list *list) {
    cloud_cases(list);
    /* Exponents of 10^4 and more: nothing underflows, whatever the distance. */
    cloud_case(list, 37, 41, 2, 1, 300, MGN_CASE_BOUNDS);
    cloud_case(list, 37, 600, 20, 1, 60, MGN_CASE_BOUNDS);
    mgn_check_case *c = cloud_case(list, 5, 7, 2, 1, 1, MGN_CASE_BOUNDS); /* nobody is left */
    for (int j = 0; j < 7 && !list->failed; j++) c->in[c->inputs - 1].values[j] = -INFINITY;
    c = cloud_case(list, 20, 45, 3, 1, 1, MGN_CASE_BOUNDS);
    if (!list->failed) c->in[0].values[4] = NAN; /* one row */
}

void mgn_cases_softmin(mgn_case_list *list) { log_sum_cases(list); }

/* Heights that only some rows and columns are near, or none: they are summed again. */
void mgn_cases_softmins(mgn_case_list *list) {
    log_sum_cases(list);
    cloud_case(list, 300, 290, 3, 1, 2, MGN_CASE_BOUNDS); /* several blocks */
    mgn_check_case *c = cloud_case(list, 300, 150, 2, 1, 2, MGN_CASE_BOUNDS);
    for (int i = 100; i < 250 && !list->failed; i++) c->in[2].values[i] = i % 2 ? -200 : 150;
    c = cloud_case(list, 40, 35, 6, 1, 2, MGN_CASE_BOUNDS);
    for (int i = 0; i < 40 && !list->failed; i += 3) c->in[2].values[i] = -INFINITY;
}

void mgn_cases_gibbs(mgn_case_list *list) { cloud_cases(list); }

static mgn_check_case *dense_case(mgn_case_list *list, int64_t n, int64_t m, double scale, unsigned flags) {
    bool both = list->op == MGN_OP_softmins_dense;
    mgn_check_case *c = mgn_case_add(list, MGN_SHAPE(both ? n + m : n), flags, "%d and %d points, costs times %g",
                                     (int)n, (int)m, scale);
    c->scale = scale;
    mgn_case_real(list, c, MGN_SHAPE(n, m), 0, 3);
    if (both) mgn_case_real(list, c, MGN_SHAPE(n), -1, 1);
    mgn_case_real(list, c, MGN_SHAPE(m), -2, 1);
    c->build = build_cloud;
    c->oracle = mgn_oracle_cloud;
    return c;
}

static void dense_cases(mgn_case_list *list) {
    const unsigned small = MGN_CASE_DERIVATIVES | MGN_CASE_SECOND | MGN_CASE_BOUNDS,
                   medium = MGN_CASE_DERIVATIVES | MGN_CASE_BOUNDS;
    dense_case(list, 1, 1, 1, small);
    dense_case(list, 5, 7, 2, small);
    dense_case(list, 33, 17, 0.5, medium);
    dense_case(list, 7, 600, 1, medium);
    dense_case(list, 93, 93, 3, MGN_CASE_BOUNDS);
    dense_case(list, 9, 40, 1e4, MGN_CASE_BOUNDS);
    dense_case(list, 0, 5, 1, list->op == MGN_OP_softmins_dense ? 0 : MGN_CASE_DERIVATIVES);
    dense_case(list, 5, 0, 1, 0);
    mgn_check_case *c = dense_case(list, 20, 45, 1, MGN_CASE_BOUNDS);
    for (int j = 0; j < 45 && !list->failed; j += 2) c->in[c->inputs - 1].values[j] = -INFINITY;
}

void mgn_cases_softmin_dense(mgn_case_list *list) { dense_cases(list); }

void mgn_cases_softmins_dense(mgn_case_list *list) {
    dense_cases(list);
    dense_case(list, 300, 290, 2, MGN_CASE_BOUNDS); /* several blocks */
    mgn_check_case *c = dense_case(list, 70, 150, 2, MGN_CASE_BOUNDS);
    for (int i = 0; i < 70 && !list->failed; i++) c->in[1].values[i] = i % 2 ? -200 : i % 4 ? 150 : 360;
    c = dense_case(list, 20, 45, 1, MGN_CASE_BOUNDS);
    if (!list->failed)
        c->in[0].values[4] = nan("0x20000000"); /* one whose low bits are not 0, in single precision too */
}
