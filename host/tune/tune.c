/* The search within a budget of time.
 *
 * Every shape is measured the usual way first, then every other way that can make it, then tiles drawn at random: the
 * shape with the least time spent on it has its turn. CLBlast's parameters are one set for all shapes and take a
 * compiler seconds, so they get a share of the budget: a third where the device has own kernels for everything, else
 * what is left. CLBlast cannot be asked for the parameters it has, hence its untouched state is measured before it is
 * given others, and its two kernels are searched apart. At the end the winners meet the usual way once more, side by
 * side: only what stays ahead is kept, so luck in a single measurement does not count. */
#include "tune/tune.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/progress.h"

enum { MOST_SHAPES = MGN_CL_TUNED_MOST, MOST_PLAIN_WORK = 1 << 28, MOST_DRAWS = 16 };

/* A challenger has to be faster by this factor. */
static const double margin = 1.02, blast_margin = 1.05;
/* Other tiles may still win where the best one so far takes less than so many times as long as another way. */
static const double tile_chance = 2;
/* Shares of the budget: for the comparison at the end, and for CLBlast on CPU devices. */
static const double final_share = 0.1, blast_share = 1.0 / 3;
/* Seconds that the first compilation of CLBlast's kernels is taken to last. */
static const double blast_build_cpu = 12, blast_build_gpu = 3;

/* One of CLBlast's kernels, or CLBlast as it comes. */
typedef struct blast_search {
    bool measured;
    mgn_cl_blast set;
    double seconds[MOST_SHAPES];
} blast_search;

enum { UNTOUCHED, INDIRECT, DIRECT, BLAST_KINDS };
static const uint32_t always_direct = 1 << 16;

typedef struct shape_search {
    mgn_tune_product product;
    mgn_cl_choice usual, best; /* `best` is an own way, or CLBlast untouched */
    double usual_seconds, best_seconds, spent;
    mgn_cl_choice tile; /* the best one so far, whether it is the best way or not */
    double tile_seconds;
} shape_search;

typedef struct search {
    mgn_cl_device *device;
    const mgn_tune_options *options;
    mgn_tune_random random;
    mgn_progress progress;
    double begin, end; /* of the search, without the comparison at the end */
    size_t count;
    shape_search shapes[MOST_SHAPES];
    blast_search blast[BLAST_KINDS];
    double blast_spent, blast_step; /* seconds on CLBlast so far; of its slowest step */
    int tried, wrong, failed;
} search;

/* The products of the models here, (m, k) x (k, n) as m, n, k: batches through layers, gradients of the weights, two
 * squares that tell how a device does at all. */
static const mgn_tune_shape usual_shapes[] = {{256, 512, 784}, {512, 512, 512},  {2048, 2048, 2048},
                                              {10000, 16, 16}, {10000, 64, 784}, {10000, 256, 256},
                                              {256, 784, 512}, {784, 64, 10000}};

static bool over(const search *s) { return mgn_interrupted() || mgn_now() >= s->end; }

static double gflops(const shape_search *shape, double seconds) {
    const mgn_tune_shape p = shape->product.shape;
    return 2e-9 * (double)p.m * (double)p.n * (double)p.k / seconds;
}

static void describe(const mgn_cl_choice *choice, char *text, size_t size) {
    const mgn_cl_tile *t = &choice->tile;
    if (choice->route == MGN_CL_tile)
        snprintf(text, size, "tile %ux%u depth %u block %u span %u spread %u", t->rows, t->vectors, t->depth, t->block,
                 t->span, t->spread);
    else
        snprintf(text, size, "%s", mgn_cl_route_labels[choice->route]);
}

static void tell(search *s, const shape_search *shape, const char *what, double seconds) {
    const mgn_tune_shape p = shape->product.shape;
    const double total = s->end - s->begin, now = MGN_MIN(mgn_now() - s->begin, total);
    mgn_progress_update(&s->progress, (uint64_t)now, "%d tried; %lldx%lldx%lld best %.1f GFLOP/s (%.1f): %s", s->tried,
                        (long long)p.m, (long long)p.n, (long long)p.k, gflops(shape, seconds),
                        gflops(shape, shape->usual_seconds), what);
}

/* One trial, counted. Infinite seconds: it does not count. */
static double attempt(search *s, shape_search *shape, const mgn_cl_choice *choice, double bound) {
    const double begin = mgn_now();
    double seconds = INFINITY;
    const mgn_tune_verdict verdict = mgn_tune_trial(&shape->product, choice, bound, &seconds);
    shape->spent += mgn_now() - begin;
    s->tried++;
    s->wrong += verdict == MGN_TUNE_WRONG;
    s->failed += verdict == MGN_TUNE_FAILED;
    return verdict == MGN_TUNE_RIGHT ? seconds : INFINITY;
}

static void try_choice(search *s, shape_search *shape, const mgn_cl_choice *choice) {
    const bool tile = choice->route == MGN_CL_tile;
    const double seconds = attempt(s, shape, choice, tile ? shape->tile_seconds : shape->best_seconds);
    if (tile && seconds < shape->tile_seconds) {
        shape->tile = *choice;
        shape->tile_seconds = seconds;
    }
    if (seconds < shape->best_seconds) {
        shape->best = *choice;
        shape->best_seconds = seconds;
    }
    char text[96];
    describe(&shape->best, text, sizeof text);
    tell(s, shape, text, shape->best_seconds);
}

/* ---- the ways, and tiles ---- */

static bool same_choice(const mgn_cl_choice *a, const mgn_cl_choice *b) {
    return a->route == b->route && (a->route != MGN_CL_tile || memcmp(&a->tile, &b->tile, sizeof a->tile) == 0);
}

static mgn_status measure_usual(search *s, shape_search *shape) {
    const mgn_tune_shape p = shape->product.shape;
    shape->usual = shape->best = mgn_cl_usual_choice(s->device, &shape->product.call);
    shape->usual_seconds = shape->best_seconds = attempt(s, shape, &shape->usual, INFINITY);
    shape->tile = shape->usual;
    shape->tile_seconds = shape->usual.route == MGN_CL_tile ? shape->usual_seconds : INFINITY;
    if (isfinite(shape->usual_seconds)) {
        tell(s, shape, "untuned", shape->usual_seconds);
        return MGN_OK;
    }
    if (s->failed) return MGN_ERR_DEVICE; /* whose sentence stands */
    return mgn_fail(MGN_ERR_NUMERIC,
                    "%s makes a wrong product of %lld x %lld x %lld before anything is tuned; see `mgn check`",
                    s->device->base.info.name, (long long)p.m, (long long)p.n, (long long)p.k);
}

/* Every other way with the usual tile. Those that are not made for large products would take the time of all others. */
static void try_ways(search *s, shape_search *shape) {
    const mgn_tune_shape p = shape->product.shape;
    for (size_t i = 0; i < s->options->first_count && !over(s); i++) try_choice(s, shape, &s->options->first[i]);
    for (int route = 0; route < MGN_CL_ROUTE_COUNT && !over(s); route++) {
        mgn_cl_choice choice = {.route = (mgn_cl_route)route, .tile = shape->usual.tile};
        if (choice.route == shape->usual.route || choice.route == MGN_CL_clblast ||
            !mgn_cl_route_possible(s->device, &shape->product.call, choice.route))
            continue;
        if (choice.route != MGN_CL_tile && (double)p.m * (double)p.n * (double)p.k > MOST_PLAIN_WORK) continue;
        try_choice(s, shape, &choice);
    }
}

/* A tile for the shape on which the least time was spent. Where tiles are far behind another way they are left alone. */
static bool try_tile(search *s) {
    shape_search *next = NULL;
    for (size_t i = 0; i < s->count; i++) {
        shape_search *shape = &s->shapes[i];
        if (shape->tile_seconds < tile_chance * shape->best_seconds && (!next || shape->spent < next->spent))
            next = shape;
    }
    if (!next) return false;
    mgn_cl_choice choice = next->tile;
    for (int i = 0; i < MOST_DRAWS && same_choice(&choice, &next->tile); i++)
        choice.tile = mgn_tune_draw_tile(&s->random, &next->tile.tile);
    try_choice(s, next, &choice);
    return true;
}

/* ---- CLBlast ---- */

static const mgn_cl_choice to_blast = {.route = MGN_CL_clblast};

/* All shapes through CLBlast as it is now. False: it fell behind `rival` too far to win, or did not compute. */
static bool measure_blast(search *s, const blast_search *rival, double seconds[MOST_SHAPES]) {
    double behind = 0;
    for (size_t i = 0; i < s->count; i++) {
        const double bound = rival ? 2 * rival->seconds[i] : INFINITY;
        seconds[i] = mgn_interrupted() ? INFINITY : attempt(s, &s->shapes[i], &to_blast, bound);
        if (!isfinite(seconds[i])) return false;
        if (rival) behind += log(seconds[i] / rival->seconds[i]);
        if (behind > 1) return false;
    }
    return !rival || behind < 0;
}

static void step_blast(search *s, int kind) {
    const double begin = mgn_now();
    blast_search *best = &s->blast[kind];
    blast_search candidate = {.measured = true, .set = best->measured ? best->set : mgn_tune_blast_start()};
    bool given = kind == UNTOUCHED;
    if (!given) {
        if (best->measured) mgn_tune_draw_blast(&s->random, s->device, kind == INDIRECT, &candidate.set);
        mgn_tune_blast_switch(&candidate.set, kind == INDIRECT ? 0 : always_direct);
        given = mgn_cl_blast_give(s->device, &candidate.set) == MGN_OK;
    }
    if (given && measure_blast(s, best->measured ? best : NULL, candidate.seconds)) *best = candidate;
    if (best->measured) tell(s, &s->shapes[0], "CLBlast", best->seconds[0]);
    const double spent = mgn_now() - begin;
    s->blast_spent += spent;
    s->blast_step = MGN_MAX(s->blast_step, spent);
    /* The first start of each kernel has to work: without, there is nothing to improve. */
    if (!best->measured) s->blast_spent = INFINITY;
}

static bool has_time_for_blast(const search *s) {
    const double step = s->blast_step > 0 ? s->blast_step : s->device->vectors ? blast_build_cpu : blast_build_gpu;
    const double share = s->device->vectors ? (s->end - s->begin) * blast_share : s->end - s->begin;
    return mgn_now() + step < s->end && s->blast_spent + step / 2 < share;
}

static bool try_blast(search *s) {
    if (!has_time_for_blast(s)) return false;
    int kind = UNTOUCHED;
    if (s->blast[UNTOUCHED].measured) {
        kind = s->blast[DIRECT].measured && s->random.drawn % 2 ? DIRECT : INDIRECT;
        if (s->blast[INDIRECT].measured && !s->blast[DIRECT].measured) kind = DIRECT;
    }
    step_blast(s, kind);
    return true;
}

/* The cube root of a shape's work, by which CLBlast takes one kernel or the other. */
static double side(const shape_search *shape) {
    const mgn_tune_shape p = shape->product.shape;
    return cbrt((double)p.m * (double)p.n * (double)p.k);
}

/* Puts both kernels' best parameters together with the switch between them that is best over all shapes. Whether that
 * beats CLBlast as it comes. */
static bool join_blast(const search *s, mgn_cl_blast *set, double seconds[MOST_SHAPES]) {
    const blast_search *plain = &s->blast[UNTOUCHED], *indirect = &s->blast[INDIRECT], *direct = &s->blast[DIRECT];
    double least = INFINITY, before = 0;
    if (!plain->measured || !indirect->measured || !direct->measured) return false;
    *set = indirect->set;
    memcpy(set->values[1], direct->set.values[1], sizeof set->values[1]);
    for (size_t i = 0; i < s->count; i++) before += log(plain->seconds[i]);
    for (size_t border = 0; border <= s->count; border++) {
        const double size = border < s->count ? ceil(side(&s->shapes[border])) : always_direct;
        double sum = 0, joined[MOST_SHAPES];
        for (size_t i = 0; i < s->count; i++) {
            joined[i] = side(&s->shapes[i]) < size ? direct->seconds[i] : indirect->seconds[i];
            sum += log(joined[i]);
        }
        if (sum >= least) continue;
        least = sum;
        mgn_tune_blast_switch(set, (uint32_t)MGN_MIN(size, always_direct));
        memcpy(seconds, joined, sizeof joined);
    }
    return least + (double)s->count * log(blast_margin) < before;
}

/* ---- the end ---- */

/* Decides for a shape: CLBlast where it was faster, then the usual way unless the winner beats it side by side. Where
 * one of the two is CLBlast, which may have other parameters by now, the figures there are have to do. */
static mgn_status settle(search *s, shape_search *shape, const double *tuned_blast, size_t at) {
    const double *blast = tuned_blast ? tuned_blast : s->blast[UNTOUCHED].measured ? s->blast[UNTOUCHED].seconds : NULL;
    if (tuned_blast && shape->best.route == MGN_CL_clblast) shape->best_seconds = tuned_blast[at];
    if (blast && blast[at] < shape->best_seconds) {
        shape->best = to_blast;
        shape->best_seconds = blast[at];
    }
    if (same_choice(&shape->best, &shape->usual)) {
        if (shape->usual.route != MGN_CL_clblast) shape->usual_seconds = shape->best_seconds;
        return MGN_OK;
    }
    double seconds[2] = {shape->usual_seconds, shape->best_seconds};
    if (shape->best.route != MGN_CL_clblast && shape->usual.route != MGN_CL_clblast && !mgn_interrupted())
        MGN_TRY(mgn_tune_duel(&shape->product, (mgn_cl_choice[]){shape->usual, shape->best}, seconds));
    shape->usual_seconds = seconds[0];
    shape->best_seconds = seconds[1];
    if (seconds[1] * margin < seconds[0]) return MGN_OK;
    shape->best = shape->usual;
    shape->best_seconds = seconds[0];
    return MGN_OK;
}

static cJSON *row_of(const shape_search *shape) {
    const mgn_tune_shape p = shape->product.shape;
    cJSON *row = cJSON_CreateObject();
    cJSON_AddNumberToObject(row, "m", (double)p.m);
    cJSON_AddNumberToObject(row, "n", (double)p.n);
    cJSON_AddNumberToObject(row, "k", (double)p.k);
    cJSON_AddItemToObject(row, "usual", mgn_cl_choice_json(&shape->usual));
    cJSON_AddNumberToObject(row, "usual_us", shape->usual_seconds * 1e6);
    cJSON_AddItemToObject(row, "choice", mgn_cl_choice_json(&shape->best));
    cJSON_AddNumberToObject(row, "us", shape->best_seconds * 1e6);
    cJSON_AddNumberToObject(row, "gflops", gflops(shape, shape->best_seconds));
    cJSON_AddNumberToObject(row, "ratio", shape->usual_seconds / shape->best_seconds);
    return row;
}

static cJSON *report_of(const search *s, const mgn_cl_blast *set) {
    const mgn_device_info *info = &s->device->base.info;
    cJSON *report = cJSON_CreateObject();
    cJSON_AddStringToObject(report, "device", info->name);
    cJSON_AddStringToObject(report, "driver", info->version);
    cJSON *shapes = cJSON_AddArrayToObject(report, "shapes");
    for (size_t i = 0; i < s->count; i++) cJSON_AddItemToArray(shapes, row_of(&s->shapes[i]));
    cJSON_AddItemToObject(report, "clblast", set ? mgn_cl_blast_json(set) : cJSON_CreateNull());
    cJSON_AddNumberToObject(report, "tried", s->tried);
    cJSON_AddNumberToObject(report, "wrong", s->wrong);
    cJSON_AddNumberToObject(report, "failed", s->failed);
    cJSON_AddNumberToObject(report, "seconds", mgn_now() - s->begin);
    cJSON_AddBoolToObject(report, "interrupted", mgn_interrupted());
    return report;
}

static mgn_status finish(search *s, cJSON **report) {
    mgn_cl_blast set;
    double seconds[MOST_SHAPES] = {0};
    const bool joined = join_blast(s, &set, seconds) && mgn_cl_blast_give(s->device, &set) == MGN_OK;
    for (size_t i = 0; i < s->count; i++) MGN_TRY(settle(s, &s->shapes[i], joined ? seconds : NULL, i));
    cJSON *made = report_of(s, joined ? &set : NULL);
    if (!made) return mgn_fail(MGN_ERR_MEMORY, "out of memory for the report");
    const mgn_status status = mgn_cl_tuning_store(&s->device->base.info, made);
    mgn_cl_tuning_forget(s->device);
    if (status == MGN_OK)
        *report = made;
    else
        cJSON_Delete(made);
    return status;
}

static mgn_status search_all(search *s) {
    for (size_t i = 0; i < s->count; i++) {
        MGN_TRY(measure_usual(s, &s->shapes[i]));
        if (mgn_interrupted()) return mgn_fail(MGN_ERR_INTERRUPTED, "stopped before every shape was measured once");
    }
    for (size_t i = 0; i < s->count && !over(s); i++) try_ways(s, &s->shapes[i]);
    bool more = true;
    while (more && !over(s)) {
        const bool blast = try_blast(s);
        const bool tile = !over(s) && try_tile(s);
        more = blast || tile;
    }
    return MGN_OK;
}

mgn_status mgn_tune_run(mgn_device *device, const mgn_tune_options *options, cJSON **report) {
    const mgn_device_info *info = mgn_device_get_info(device);
    const size_t count = options->shapes ? options->shape_count : MGN_COUNT(usual_shapes);
    const mgn_tune_shape *shapes = options->shapes ? options->shapes : usual_shapes;
    char path[PATH_MAX];
    if (device->backend != &mgn_opencl_backend)
        return mgn_fail(MGN_ERR_UNSUPPORTED, "%s (%s) has nothing to tune: an OpenCL device was expected", info->spec,
                        info->name);
    if (count > MOST_SHAPES)
        return mgn_fail(MGN_ERR_ARGUMENT, "%zu shapes: at most %d can be tuned for", count, MOST_SHAPES);
    MGN_TRY(mgn_cl_tuning_path(info, path, sizeof path)); /* before any time is spent */
    search *s = mgn_alloc(1, sizeof *s);
    if (!s) return MGN_ERR_MEMORY;
    s->device = mgn_cl_of(device);
    s->options = options;
    s->random.seed = options->seed;
    s->begin = mgn_now();
    s->end = s->begin + options->seconds * (1 - final_share);
    mgn_progress_begin(&s->progress, "tuning", (uint64_t)ceil(options->seconds));
    mgn_status status = MGN_OK;
    for (; s->count < count && status == MGN_OK; s->count += status == MGN_OK)
        status =
            mgn_tune_product_create(device, shapes[s->count], options->seed + s->count, &s->shapes[s->count].product);
    if (status == MGN_OK) status = search_all(s);
    mgn_progress_end(&s->progress);
    if (status == MGN_OK) status = finish(s, report);
    for (size_t i = 0; i < s->count; i++) mgn_tune_product_destroy(&s->shapes[i].product);
    mgn_free(s);
    return status;
}
