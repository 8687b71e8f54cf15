/* Pairs to learn an optimal map from, where only samples of both sides are to be had: batches of them are matched by exact
 * assignments. The optimal map between two finite clouds is a noisy picture of that between their distributions; a network
 * of few parameters, fitted to many such pairs by least squares, has the noise averaged out. */
#include <mgn/data.h>

#include "experiments/experiments.h"
#include "ot/ot.h"

mgn_status mgn_matched_pairs(const mgn_target *source, const mgn_target *target, int64_t batch, int64_t batches,
                             uint64_t seed, mgn_matrix *x, mgn_matrix *y) {
    const int64_t d = mgn_target_dimension(source);
    MGN_TRY(mgn_matrix_create(batch * batches, d, x));
    MGN_TRY(mgn_matrix_create(batch * batches, d, y));
    MGN_TRY(mgn_target_sample(source, x->rows, mgn_candidate_seed(seed, 1), x->values));
    MGN_TRY(mgn_target_sample(target, y->rows, mgn_candidate_seed(seed, 2), y->values));
    for (int64_t at = 0; at < x->rows; at += batch)
        MGN_TRY(mgn_match_rows(x->values + d * at, y->values + d * at, batch, d));
    return MGN_OK;
}

mgn_status mgn_learn_matched(const mgn_run *run, const mgn_target *source, const mgn_target *target,
                             const mgn_model_config *config, int64_t rows, uint64_t seed, mgn_model **model,
                             int64_t *steps) {
    enum { BATCHES = 2, STARTS = 12 };
    const mgn_round rounds[] = {
        {STARTS, 512, 60, "gauss-newton"}, {4, 2048, 60, "gauss-newton"}, {1, BATCHES * rows, 30, "gauss-newton"}};
    mgn_matrix x = {0}, y = {0};
    mgn_model *starts[STARTS];
    mgn_status status = mgn_matched_pairs(source, target, rows, BATCHES, seed, &x, &y);
    if (status == MGN_OK) status = mgn_random_starts(config, STARTS, run->config->seed, starts);
    if (status == MGN_OK)
        status = mgn_search(run, starts, &(mgn_samples){x.values, y.values, x.rows}, &(mgn_loss_config){.kind = "mse"},
                            rounds, MGN_COUNT(rounds), model, steps);
    mgn_matrix_free(&x);
    mgn_matrix_free(&y);
    return status;
}
