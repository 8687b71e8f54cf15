/* Learning-rate schedules, one factor an epoch. */
#include <math.h>
#include <string.h>

#include <mgn/optim.h>

#include "core/core.h"

static const char *const names[] = {
    [MGN_SCHEDULE_CONSTANT] = "constant",       [MGN_SCHEDULE_STEP] = "step",
    [MGN_SCHEDULE_EXPONENTIAL] = "exponential", [MGN_SCHEDULE_COSINE] = "cosine",
    [MGN_SCHEDULE_PLATEAU] = "plateau",
};

mgn_status mgn_schedule_parse(const char *text, mgn_schedule_kind *kind) {
    for (size_t i = 0; i < MGN_COUNT(names); i++)
        if (strcmp(names[i], text) == 0) {
            *kind = (mgn_schedule_kind)i;
            return MGN_OK;
        }
    return mgn_fail(MGN_ERR_ARGUMENT, "the schedule is constant, step, exponential, cosine or plateau; '%s' was found",
                    text);
}

/* Counts epochs without improvement; the factor falls when there were `every` of them. */
static double plateau(const mgn_schedule_config *config, mgn_schedule_state *state, int64_t epoch, double gamma,
                      int64_t every, double loss) {
    if (epoch == 0) {
        *state = (mgn_schedule_state){.factor = 1, .best = INFINITY};
        return 1;
    }
    if (loss < state->best - 1e-4 * fabs(state->best) || !isfinite(state->best)) {
        state->best = loss;
        state->waited = 0;
    } else if (++state->waited > every) {
        state->factor = fmax(state->factor * gamma, config->floor);
        state->waited = 0;
    }
    return state->factor;
}

double mgn_schedule_factor(const mgn_schedule_config *config, mgn_schedule_state *state, int64_t epoch, int64_t epochs,
                           double loss) {
    double gamma = config->gamma != 0 ? config->gamma : 0.1;
    int64_t every = config->every > 0 ? config->every : 10;
    switch (config->kind) {
    case MGN_SCHEDULE_STEP: return fmax(pow(gamma, (double)(epoch / every)), config->floor);
    case MGN_SCHEDULE_EXPONENTIAL: return fmax(pow(gamma, (double)epoch), config->floor);
    case MGN_SCHEDULE_COSINE:
        return config->floor + (1 - config->floor) * 0.5 * (1 + cos(M_PI * (double)epoch / (double)MGN_MAX(epochs, 1)));
    case MGN_SCHEDULE_PLATEAU: return plateau(config, state, epoch, gamma, every, loss);
    default: return 1;
    }
}
