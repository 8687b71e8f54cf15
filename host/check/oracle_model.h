/* The oracle of whole models and losses: their equations, row by row, in extended precision; Jacobians by differences. */
#ifndef MGN_HOST_CHECK_ORACLE_MODEL_H
#define MGN_HOST_CHECK_ORACLE_MODEL_H

#include <mgn/loss.h>
#include <mgn/model.h>

#include "check/oracle.h"

enum { MGN_ORACLE_MOST_D = 8, MGN_ORACLE_MOST_H = 16, MGN_ORACLE_MOST_COMPONENTS = 4 };

/* Rows to evaluate a loss on. */
typedef struct mgn_oracle_batch {
    int64_t n;
    const mgn_exact *x, *target; /* (n, d) */
} mgn_oracle_batch;

/* Whether there are equations here for this kind of model and of loss. */
bool mgn_oracle_knows(const char *model_kind, const char *loss_kind);
bool mgn_oracle_knows_model(const char *kind);

/* g(x) of one row. */
void mgn_oracle_map(const mgn_model *model, const mgn_exact *flat, const mgn_exact *x, mgn_exact *y);
mgn_exact mgn_oracle_loss(const mgn_loss_config *config, const mgn_model *model, const mgn_exact *flat,
                          const mgn_oracle_batch *batch);

#endif
