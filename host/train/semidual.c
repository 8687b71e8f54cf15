/* The semi-dual solver: epochs of rounds on a part of the rows, and a judge that sees rows which training does not.
 *
 * Conjugate points are kept between steps (train/semidual_step.c): parameters move little from one visit of a row to the
 * next, so one Newton step from where a point was is nearly exact, and costs no more than the gradient by the parameters
 * does. How old a point gets is what bounds the learning rate; so training goes in rounds on a part of the rows, whose points
 * are solved for first. Then rows of x are paired with neighbouring conjugate points, and batches are batches of pairs.
 *
 * J on the training rows keeps falling while the map gets worse, and where conjugate points run off it is no longer J. So
 * after each epoch a mean of its parameters, and of epochs before, which is quieter than the last of them, is judged by J on
 * rows held out, with every conjugate solved for; the best one is what is kept, and where J rises for good training goes
 * back to it and on in smaller steps. */
#include <mgn/semidual.h>

#include <math.h>
#include <string.h>

#include "core/core.h"
#include "core/random.h"
#include "model/model.h"
#include "train/semidual.h"
#include "train/semidual_step.h"
#include "train/session.h"

/* Batches of a round at most: its rows' points are never older than it. */
enum { ROUND = 48 };
/* Rows of either cloud held out: one of HELD_PART, from FEWEST_HELD to MOST_HELD; none where that would be a larger part. */
enum { HELD_PART = 20, FEWEST_HELD = 32, MOST_HELD = 8192 };
/* Ways back after which training stops. */
enum { MOST_RETURNS = 6 };
/* Residuals, in units of the target's spread: above the first a pair is left out of a step, above the second a point is
 * solved for before a round, and the third is what the judge asks for. */
static const double useless = 0.1, stale = 0.05, judged = 1e-3;
/* The rise of J on the rows held out, in units of both spreads and a dimension, that is no chance: 2 % of L2-UVP. */
static const double rise = 0.01;
/* In the second half of the epochs, which settle, the share of an epoch's mean parameters in their running mean. */
static const double share = 0.25;
/* The part of the pairs left out that is worth a word. */
static const double noteworthy = 1e-3;
/* Numbers of a checkpoint: see pack. */
enum { NUMBERS = 7 };

typedef struct solver {
    mgn_model *model;
    mgn_device *device;
    const mgn_train_config *config;
    mgn_frame frame;
    mgn_semidual_step step;
    mgn_conjugates *conjugates;
    int64_t n, m, d, count;            /* rows to train on, dimension, parameters */
    int64_t held_n, held_m;            /* rows held out; they follow the others in `clouds` */
    int64_t rounds;                    /* of an epoch */
    double residual;                   /* mean |g(z) - y| in the last round, before Newton steps */
    mgn_clouds clouds;                 /* in the frame; the solver's own rows */
    float *conjugate;                  /* a point for each row of y */
    int64_t *x_order, *y_order, *held; /* row numbers: those of an epoch first; those held out */
    float *staged;                     /* (pairs, d) */
    double *work;                      /* a number for each row of the larger cloud */
    double *values, *mean, *best;      /* (count) each: as read; running mean of the epochs; the best of those */
    double *parts, *lowest_parts;      /* J row by row, on those held out: of the epoch, and where it was lowest */
    double best_value, lowest;         /* J of the best, and the lowest seen, in the frame */
    double factor;                     /* of the learning rate */
    double numbers[NUMBERS];           /* of the above and of the result, for checkpoints */
    mgn_semidual_result *result;
    mgn_session session;
} solver;

/* ---- checkpoints ---- */

static bool all_finite(const double *values, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(values[i])) return false;
    return true;
}

static void pack(solver *s) {
    const mgn_semidual_result *r = s->result;
    const double numbers[NUMBERS] = {s->factor,   s->residual,        s->best_value,        s->lowest,
                                     r->left_out, (double)r->returns, (double)r->best_epoch};
    memcpy(s->numbers, numbers, sizeof numbers);
}

static void unpack(solver *s) {
    const double *n = s->numbers;
    s->factor = n[0];
    s->residual = n[1];
    s->best_value = n[2];
    s->lowest = n[3];
    s->result->left_out = n[4];
    s->result->returns = (int)n[5];
    s->result->best_epoch = (int64_t)n[6];
}

/* What the next epoch depends on. Row numbers, and what may be infinite or NaN, which files of real numbers must not have, are
 * copied as bits. */
static void list_state(solver *s) {
    mgn_train_state *state = &s->session.state;
    const mgn_semidual_step *step = &s->step;
    static const char *const labels[MGN_MOST_OPTIMIZER_VECTORS] = {"optimizer.vector0", "optimizer.vector1"};
    mgn_state_add_tensor(state, "parameters", step->parameters);
    for (int i = 0; i < step->shape.vectors && i < MGN_MOST_OPTIMIZER_VECTORS; i++)
        mgn_state_add_tensor(state, labels[i], step->vectors[i]);
    mgn_state_add_tensor(state, "optimizer.scalars", step->scalars);
    mgn_state_add_tensor(state, "random", step->state);
    mgn_state_add_array(state, "conjugate", MGN_U32, (s->m + s->held_m) * s->d, s->conjugate);
    mgn_state_add_array(state, "x.order", MGN_U32, 2 * s->n, s->x_order);
    mgn_state_add_array(state, "y.order", MGN_U32, 2 * s->m, s->y_order);
    mgn_state_add_array(state, "mean", MGN_F64, s->count, s->mean);
    mgn_state_add_array(state, "best", MGN_F64, s->count, s->best);
    mgn_state_add_array(state, "lowest.parts", MGN_U32, 2 * (s->held_n + s->held_m), s->lowest_parts);
    mgn_state_add_array(state, "numbers", MGN_U32, 2 * NUMBERS, s->numbers);
}

static bool are_rows(const int64_t *order, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (order[i] < 0 || order[i] >= n) return false;
    return true;
}

/* Of a file that may hold anything. */
static mgn_status check_state(solver *s) {
    const double *n = s->numbers;
    const bool is_sane = n[0] > 0 && n[0] <= 1 && n[5] >= 0 && n[5] <= MOST_RETURNS && n[6] >= 0 &&
                         n[6] <= (double)s->config->epochs && are_rows(s->x_order, s->n) &&
                         are_rows(s->y_order, s->m) && all_finite(s->best, s->count) && all_finite(s->mean, s->count);
    for (int64_t i = 0; i < (s->m + s->held_m) * s->d; i++)
        if (!isfinite(s->conjugate[i])) s->conjugate[i] = 0;
    if (is_sane) return MGN_OK;
    return mgn_fail(MGN_ERR_FORMAT, "%s: no checkpoint of this training: its rows and numbers make no sense",
                    s->config->control.resume);
}

/* ---- rounds ---- */

/* Brings the rows of a round to the front where there are more. */
static void draw_rows(const solver *s, int64_t epoch, int64_t round, int64_t *order, int64_t n) {
    const int64_t pairs = s->step.pairs;
    if (n == pairs) return;
    const int64_t first = round * (n - pairs) / MGN_MAX(s->rounds - 1, 1);
    const mgn_host_shuffle shuffle = mgn_host_shuffle_start(s->config->seed, (uint32_t)epoch, (uint32_t)n);
    for (int64_t i = 0; i < pairs; i++) order[i] = mgn_host_shuffle_at(&shuffle, (uint32_t)(first + i));
}

static mgn_status write_rows(solver *s, const float *rows, const int64_t *order, mgn_tensor *tensor) {
    for (int64_t i = 0; i < s->step.pairs; i++)
        memcpy(s->staged + i * s->d, rows + order[i] * s->d, (size_t)s->d * sizeof *rows);
    return mgn_tensor_write(tensor, MGN_F32, s->staged);
}

/* Takes the conjugate points over; one that is not a number starts again. */
static mgn_status keep_points(solver *s) {
    MGN_TRY(mgn_tensor_read(s->step.points, MGN_F32, s->staged));
    for (int64_t i = 0; i < s->step.pairs; i++) {
        float *point = s->conjugate + s->y_order[i] * s->d;
        memcpy(point, s->staged + i * s->d, (size_t)s->d * sizeof *point);
        bool finite = true;
        for (int64_t j = 0; j < s->d; j++) finite = finite && isfinite(point[j]);
        if (!finite) memset(point, 0, (size_t)s->d * sizeof *point);
    }
    return MGN_OK;
}

/* The points of a round's rows are solved for. */
static mgn_status renew(solver *s) {
    int64_t unsolved;
    MGN_TRY(mgn_tensor_read(s->step.parameters, MGN_F64, s->values));
    MGN_TRY(mgn_conjugates_set(s->conjugates, s->values));
    return mgn_conjugates_solve(s->conjugates, s->clouds.y, s->conjugate, s->y_order, s->step.pairs,
                                stale * s->frame.y_unit, s->work, &unsolved);
}

/* The rows of a round, as pairs of neighbours. */
static mgn_status begin_round(solver *s, int64_t epoch, int64_t round) {
    mgn_semidual_step *step = &s->step;
    if (s->rounds > 1) s->residual = INFINITY; /* other rows, of unknown age */
    draw_rows(s, epoch, round, s->x_order, s->n);
    draw_rows(s, epoch, round, s->y_order, s->m);
    if (!(s->residual <= stale * s->frame.y_unit)) MGN_TRY(renew(s));
    mgn_pair_rows(s->clouds.x, s->x_order, s->conjugate, s->y_order, step->pairs, s->d);
    MGN_TRY(write_rows(s, s->clouds.x, s->x_order, step->x));
    MGN_TRY(write_rows(s, s->clouds.y, s->y_order, step->y));
    return write_rows(s, s->conjugate, s->y_order, step->points);
}

/* ---- epochs ---- */

/* One epoch; its mean J, which may be anything where training diverges, and the mean of its parameters. */
static mgn_status run_epoch(solver *s, int64_t epoch, double lr, double *value) {
    mgn_semidual_step *step = &s->step;
    double sums[MGN_STEP_SUMS], left_out = 0;
    memset(s->values, 0, (size_t)s->count * sizeof *s->values);
    *value = 0;
    MGN_TRY(mgn_tensor_write(step->average, MGN_F64, s->values));
    MGN_TRY(mgn_tensor_write(step->lr, MGN_F64, &lr));
    for (int64_t round = 0; round < s->rounds && !mgn_interrupted(); round++) {
        MGN_TRY(begin_round(s, epoch, round));
        MGN_TRY(mgn_tensor_write(step->sums, MGN_F64, (double[MGN_STEP_SUMS]){0}));
        MGN_TRY(mgn_plan_run(step->plan, (uint64_t)step->steps));
        MGN_TRY(mgn_tensor_read(step->sums, MGN_F64, sums));
        MGN_TRY(keep_points(s));
        s->residual = sums[MGN_SUM_RESIDUAL] / (double)step->steps;
        *value += sums[MGN_SUM_VALUE] / (double)(step->steps * s->rounds);
        left_out += sums[MGN_SUM_LEFT_OUT];
        if (!isfinite(s->residual)) break;
    }
    MGN_TRY(mgn_tensor_read(step->average, MGN_F64, s->values));
    const double part = epoch < MGN_MAX(s->config->epochs / 2, 1) ? 1 : share;
    for (int64_t i = 0; i < s->count; i++)
        s->mean[i] += part * (s->values[i] / (double)(step->steps * s->rounds) - s->mean[i]);
    s->result->left_out = left_out / (double)(step->steps * s->rounds * step->batch);
    return MGN_OK;
}

static double mean_of(const double *values, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += values[i];
    return sum / (double)count;
}

/* J of `parameters` on the rows held out, and what each of them gives to it: those of x, then those of y. A row whose
 * conjugate is not found counts with the most that phi*(y) can be if the point is within ten spreads of where it was looked
 * for: phi is convex. NaN, or infinite: they are no good. */
static mgn_status judge(solver *s, const double *parameters, double *parts, double *value) {
    const float *x = s->clouds.x + s->n * s->d, *y = s->clouds.y, *z = s->conjugate;
    const double far = 10 * s->frame.x_unit * sqrt((double)s->d), most = judged * s->frame.y_unit;
    double *residual = s->work, *to = parts + s->held_n;
    int64_t unsolved;
    MGN_TRY(mgn_conjugates_set(s->conjugates, parameters));
    MGN_TRY(mgn_conjugates_potential(s->conjugates, x, s->held_n, parts));
    MGN_TRY(mgn_conjugates_solve(s->conjugates, y, s->conjugate, s->held, s->held_m, most, residual, &unsolved));
    MGN_TRY(mgn_conjugates_potential(s->conjugates, z + s->m * s->d, s->held_m, to));
    for (int64_t i = 0; i < s->held_m; i++) {
        const int64_t row = s->m + i;
        to[i] = -to[i];
        for (int64_t j = 0; j < s->d; j++) to[i] += (double)z[row * s->d + j] * (double)y[row * s->d + j];
        if (!(residual[i] <= most)) to[i] += far * residual[i];
    }
    *value = mean_of(parts, s->held_n) + mean_of(to, s->held_m);
    return MGN_OK;
}

/* The standard error of the difference of two J's, by what each row held out gives to either. */
static double doubt(const solver *s, const double *a, const double *b) {
    const int64_t rows[2] = {s->held_n, s->held_m};
    double sum = 0;
    for (int which = 0; which < 2; which++) {
        const double n = (double)rows[which];
        double first = 0, second = 0;
        for (int64_t i = 0; i < rows[which]; i++) {
            first += a[i] - b[i];
            second += (a[i] - b[i]) * (a[i] - b[i]);
        }
        sum += fmax(second / n - first / n * (first / n), 0) / n;
        a += rows[which];
        b += rows[which];
    }
    return sqrt(sum);
}

/* Training goes on from the best parameters, with an optimizer that remembers nothing, in steps of half the size. */
static mgn_status go_back(solver *s) {
    mgn_semidual_step *step = &s->step;
    s->factor /= 2;
    s->result->returns++;
    s->residual = INFINITY;
    memcpy(s->mean, s->best, (size_t)s->count * sizeof *s->mean);
    memset(s->values, 0, (size_t)s->count * sizeof *s->values);
    MGN_TRY(mgn_tensor_write(step->scalars, MGN_F64, s->values));
    for (int i = 0; i < step->shape.vectors; i++) MGN_TRY(mgn_tensor_write(step->vectors[i], MGN_F64, s->values));
    return mgn_tensor_write(step->parameters, MGN_F64, s->best);
}

/* The epoch's parameters are kept unless J is higher than the lowest seen by more than chance may do, two standard errors: noise would otherwise
 * choose among epochs that differ by less than it, while later ones have learned more. Without rows held out J of the
 * epoch tells. */
static mgn_status judge_epoch(solver *s, int64_t epoch, double value) {
    const bool finite = isfinite(value) && all_finite(s->mean, s->count);
    const double margin = rise * (double)s->d * s->frame.x_unit * s->frame.y_unit;
    double found = finite ? value : NAN, chance = 0;
    if (finite && s->held_m) {
        MGN_TRY(judge(s, s->mean, s->parts, &found));
        chance = 2 * doubt(s, s->parts, s->lowest_parts);
    }
    if (!(found < s->lowest + margin)) return go_back(s);
    if (!(found < s->lowest + chance)) return MGN_OK;
    memcpy(s->best, s->mean, (size_t)s->count * sizeof *s->best);
    s->best_value = found;
    s->result->best_epoch = epoch + 1;
    if (!(found < s->lowest)) return MGN_OK;
    s->lowest = found;
    memcpy(s->lowest_parts, s->parts, (size_t)(s->held_n + s->held_m) * sizeof *s->parts);
    return MGN_OK;
}

static mgn_status run_epochs(solver *s) {
    const mgn_train_config *config = s->config;
    mgn_session *session = &s->session;
    double value;
    while (mgn_session_goes_on(session) && s->result->returns < MOST_RETURNS) {
        const int64_t epoch = (int64_t)session->state.point.epoch;
        const double lr = s->factor * mgn_session_lr(session);
        MGN_TRY(run_epoch(s, epoch, lr, &value));
        if (!mgn_interrupted()) MGN_TRY(judge_epoch(s, epoch, value));
        if (mgn_interrupted()) /* no whole epoch, or no whole judgement: a checkpoint has what was before it */
            return mgn_fail(MGN_ERR_INTERRUPTED, "stopped in epoch %lld of %lld", (long long)epoch + 1,
                            (long long)config->epochs);
        pack(s);
        MGN_TRY(mgn_session_epoch(session, mgn_frame_value(&s->frame, value), lr));
    }
    if (s->result->best_epoch == 0 && s->result->returns)
        return mgn_fail(MGN_ERR_NUMERIC,
                        "training diverged: in %lld epochs J on rows held out never fell below that of the start; a "
                        "lower learning rate than %g may help",
                        (long long)config->epochs, config->optimizer.lr);
    return MGN_OK;
}

/* The epochs between checkpoints, from the one that is resumed. */
static mgn_status run_session(solver *s, const mgn_clouds *clouds) {
    const mgn_samples samples = {clouds->x, NULL, clouds->n};
    mgn_session *session = &s->session;
    mgn_train_config config = *s->config, recipe = *s->config;
    mgn_target *target = NULL;
    config.control.retries = 0; /* it goes back by itself */
    if (!recipe.loss.target) MGN_TRY(mgn_target_create_rows(clouds->y, clouds->m, s->d, &target));
    if (target) recipe.loss.target = target;
    mgn_session_open(session, s->model, s->device, &samples, &config, &s->result->train);
    session->recipe = &recipe;
    session->batches = s->rounds * s->step.steps;
    session->measure = mgn_session_no_figures;
    session->state.is_judged = true;
    list_state(s);
    pack(s);
    mgn_status status = mgn_session_begin(session, NULL, NULL);
    if (status == MGN_OK && config.control.resume) status = check_state(s);
    if (status == MGN_OK) unpack(s);
    if (status == MGN_OK) status = run_epochs(s);
    status = mgn_session_close(session, status, s->values);
    s->result->train.loss = mgn_frame_value(&s->frame, s->best_value);
    mgn_target_destroy(target);
    return status;
}

/* ---- life ---- */

static int64_t rows_held(int64_t rows) {
    const int64_t held = MGN_MIN(rows / HELD_PART, MOST_HELD);
    return held < FEWEST_HELD ? 0 : held;
}

static mgn_status check(solver *s, const mgn_clouds *clouds) {
    const mgn_train_config *config = s->config;
    if (!clouds->x || !clouds->y || clouds->n < 2 || clouds->m < 2)
        return mgn_fail(MGN_ERR_ARGUMENT, "the semi-dual needs at least 2 rows of either cloud; %lld and %lld found",
                        (long long)clouds->n, (long long)clouds->m);
    if (config->epochs < 1 || config->batch < 0)
        return mgn_fail(MGN_ERR_ARGUMENT, "at least 1 epoch and a batch from 0 were expected; %lld and %lld found",
                        (long long)config->epochs, (long long)config->batch);
    if (mgn_optimizer_is_second_order(config->optimizer.kind) || config->accumulate > 1)
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "the semi-dual takes an optimizer of first order, whose steps are not accumulated");
    if (!mgn_model_has_potential(s->model) || !mgn_model_is_monotone(s->model))
        return mgn_fail(MGN_ERR_ARGUMENT,
                        "the semi-dual needs a convex potential in closed form; %s of %lld layers has none",
                        mgn_model_get_config(s->model)->kind, (long long)mgn_model_get_config(s->model)->layers);
    return mgn_optimizer_check(&config->optimizer, &s->step.shape);
}

/* How many rows are held out, make a round, and a step. */
static void divide(solver *s, const mgn_clouds *clouds) {
    const int64_t held = MGN_MIN(rows_held(clouds->n), rows_held(clouds->m));
    s->held_n = held ? rows_held(clouds->n) : 0;
    s->held_m = held ? rows_held(clouds->m) : 0;
    s->n = clouds->n - s->held_n;
    s->m = clouds->m - s->held_m;
    const int64_t least = MGN_MIN(s->n, s->m), batch = s->config->batch ? MGN_MIN(s->config->batch, least) : least;
    s->step.batch = batch;
    s->step.pairs = least / batch > ROUND ? ROUND * batch : least;
    s->step.steps = s->step.pairs / batch;
    s->rounds = (least + s->step.pairs - 1) / s->step.pairs;
    s->residual = INFINITY; /* before the first round nothing is known */
    s->result->held = s->held_m;
}

static mgn_status allocate(solver *s) {
    const size_t count = (size_t)s->count;
    const int64_t held = MGN_MAX(s->held_n + s->held_m, 1);
    s->values = mgn_alloc(count, sizeof *s->values);
    s->mean = mgn_alloc(count, sizeof *s->mean);
    s->best = mgn_alloc(count, sizeof *s->best);
    s->x_order = mgn_alloc((size_t)s->n, sizeof *s->x_order);
    s->y_order = mgn_alloc((size_t)s->m, sizeof *s->y_order);
    s->held = mgn_alloc((size_t)MGN_MAX(s->held_m, 1), sizeof *s->held);
    s->work = mgn_alloc((size_t)MGN_MAX(s->step.pairs, s->held_m), sizeof *s->work);
    s->parts = mgn_alloc((size_t)held, sizeof *s->parts);
    s->lowest_parts = mgn_alloc((size_t)held, sizeof *s->lowest_parts);
    s->staged = mgn_alloc_aligned((size_t)s->step.pairs, (size_t)s->d * sizeof *s->staged);
    if (!s->values || !s->mean || !s->best || !s->x_order || !s->y_order || !s->held || !s->work || !s->staged ||
        !s->parts || !s->lowest_parts)
        return MGN_ERR_MEMORY;
    for (int64_t i = 0; i < s->n; i++) s->x_order[i] = i;
    for (int64_t i = 0; i < s->m; i++) s->y_order[i] = i;
    for (int64_t i = 0; i < s->held_m; i++) s->held[i] = s->m + i;
    return MGN_OK;
}

/* Plans, the state that training starts from, and what the start is worth. */
static mgn_status prepare(solver *s) {
    const uint64_t seed = s->config->seed;
    const uint32_t state[4] = {(uint32_t)seed, (uint32_t)(seed >> 32), 0, 0};
    mgn_semidual_step *step = &s->step;
    step->model = s->model;
    step->config = s->config;
    step->d = s->d;
    step->count = s->count;
    step->x_unit = s->frame.x_unit;
    step->y_unit = s->frame.y_unit;
    step->tolerance = useless * s->frame.y_unit;
    MGN_TRY(mgn_semidual_step_compile(step, s->device));
    MGN_TRY(mgn_conjugates_create(step, s->device, MGN_MAX(step->pairs, s->held_m), &s->conjugates));
    MGN_TRY(mgn_tensor_write(step->parameters, MGN_F64, s->best));
    MGN_TRY(mgn_tensor_write(step->state, MGN_U32, state));
    s->factor = 1;
    s->best_value = s->lowest = INFINITY;
    if (s->held_m == 0) return MGN_OK;
    MGN_TRY(judge(s, s->best, s->lowest_parts, &s->best_value));
    if (isfinite(s->best_value)) s->lowest = s->best_value;
    return MGN_OK;
}

static mgn_status train(solver *s, const mgn_clouds *clouds) {
    const double start = mgn_now();
    MGN_TRY(check(s, clouds));
    divide(s, clouds);
    MGN_TRY(mgn_frame_find(s->model, clouds, &s->frame));
    MGN_TRY(mgn_frame_rows(&s->frame, clouds, s->config->seed, &s->clouds, &s->conjugate));
    MGN_TRY(allocate(s));
    mgn_frame_enter(&s->frame, s->model);
    memcpy(s->best, mgn_model_values(s->model), (size_t)s->count * sizeof *s->best);
    mgn_status status = prepare(s);
    s->result->train.compile_seconds = mgn_now() - start;
    if (status == MGN_OK) status = run_session(s, clouds);
    memcpy(mgn_model_values(s->model), s->best, (size_t)s->count * sizeof *s->best);
    mgn_frame_leave(&s->frame, s->model);
    return status;
}

mgn_status mgn_semidual(mgn_model *model, mgn_device *device, const mgn_clouds *clouds, const mgn_train_config *config,
                        mgn_semidual_result *result) {
    mgn_semidual_result own = {0};
    solver s = {.model = model,
                .device = device,
                .config = config,
                .d = mgn_model_get_config(model)->d,
                .count = mgn_model_parameter_count(model),
                .result = &own};
    const mgn_status status = train(&s, clouds);
    if (result) *result = own;
    mgn_conjugates_destroy(s.conjugates);
    mgn_plan_destroy(s.step.plan);
    void *const blocks[] = {
        (float *)s.clouds.x, (float *)s.clouds.y, s.conjugate, s.frame.block, s.values, s.mean,  s.best,
        s.x_order,           s.y_order,           s.held,      s.work,        s.staged, s.parts, s.lowest_parts};
    for (size_t i = 0; i < MGN_COUNT(blocks); i++) mgn_free(blocks[i]);
    return status;
}

mgn_status mgn_semidual_clouds(const mgn_samples *samples, const mgn_target *target, int64_t d, uint64_t seed,
                               mgn_clouds *clouds, float **drawn) {
    if (!target || mgn_target_dimension(target) != d)
        return mgn_fail(MGN_ERR_ARGUMENT, "the loss semidual needs a target of %lld dimensions; %s found", (long long)d,
                        target ? mgn_target_label(target) : "none was");
    *clouds = (mgn_clouds){.x = samples->x, .n = samples->n};
    *drawn = NULL;
    clouds->y = mgn_target_rows(target, &clouds->m);
    if (clouds->y) return MGN_OK;
    clouds->m = samples->n;
    clouds->y = *drawn = mgn_alloc((size_t)clouds->m, (size_t)d * sizeof **drawn);
    return *drawn ? mgn_target_sample(target, clouds->m, seed, *drawn) : MGN_ERR_MEMORY;
}

mgn_status mgn_train_semidual(mgn_model *model, mgn_device *device, const mgn_samples *samples,
                              const mgn_train_config *config, mgn_train_result *result) {
    mgn_clouds clouds;
    mgn_semidual_result own = {0};
    float *drawn = NULL;
    if (config->loss.cost_weight != 0)
        return mgn_fail(MGN_ERR_UNSUPPORTED,
                        "the loss semidual finds the map of least cost; no cost can be added to it");
    mgn_status status = mgn_semidual_clouds(samples, config->loss.target, mgn_model_get_config(model)->d, config->seed,
                                            &clouds, &drawn);
    if (status == MGN_OK) status = mgn_semidual(model, device, &clouds, config, &own);
    mgn_free(drawn);
    *result = own.train;
    if (own.left_out > noteworthy)
        mgn_note(
            "semidual: conjugate points of %.2g %% of the pairs were not found in the last epoch; they were left out",
            100 * own.left_out);
    if (own.returns)
        mgn_note(
            "semidual: J on rows held out rose %d times, from where training went back; a lower learning rate than "
            "%g may help",
            own.returns, config->optimizer.lr);
    return status;
}

/* ---- the value ---- */

static mgn_status mean_potential(mgn_map *map, const float *x, int64_t n, double *work, double *mean) {
    double sum = 0;
    MGN_TRY(mgn_map_potential(map, x, n, work));
    for (int64_t i = 0; i < n; i++) sum += work[i];
    *mean = sum / (double)n;
    return MGN_OK;
}

static mgn_status measure(mgn_map *map, const mgn_clouds *clouds, double tolerance, float *z, double *work,
                          double *value) {
    const int64_t d = mgn_map_dimension(map);
    double from, to, products = 0;
    MGN_TRY(mgn_map_inverse(map, clouds->y, clouds->m, tolerance, z, NULL));
    MGN_TRY(mean_potential(map, clouds->x, clouds->n, work, &from));
    MGN_TRY(mean_potential(map, z, clouds->m, work, &to));
    for (int64_t i = 0; i < clouds->m * d; i++) products += (double)z[i] * (double)clouds->y[i];
    *value = from - to + products / (double)clouds->m;
    return MGN_OK;
}

mgn_status mgn_semidual_value(const mgn_model *model, mgn_device *device, const mgn_clouds *clouds, double tolerance,
                              double *value) {
    const mgn_dtype real = mgn_device_get_info(device)->has_f64 ? MGN_F64 : MGN_F32;
    const int64_t d = mgn_model_get_config(model)->d;
    mgn_map *map = NULL;
    MGN_TRY(mgn_map_create(model, device, real, &map));
    float *z = mgn_alloc((size_t)clouds->m, (size_t)d * sizeof *z);
    double *work = mgn_alloc((size_t)MGN_MAX(clouds->n, clouds->m), sizeof *work);
    const mgn_status status = z && work ? measure(map, clouds, tolerance, z, work, value) : MGN_ERR_MEMORY;
    mgn_free(z);
    mgn_free(work);
    mgn_map_destroy(map);
    return status;
}
