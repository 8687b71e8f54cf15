/* Graphs whose ops run together: as one row program (backend/row_program.h) or one wide program. Models are such graphs
 * too, but they need few of the instructions that programs have. Here each instruction is met: random rows, rows by
 * index, shuffles worked out ahead and as they come, bytes, sums that depend on sums, values that change places from one
 * step to the next; in one work-group and in several. Three runs in one go are judged against the oracle, all
 * inputs and results lying between values that must survive. */
#include "check/programs.h"

#include <stdio.h>
#include <string.h>

#include "check/guards.h"
#include "check/op_check.h"
#include "check/oracle_graph.h"
#include "core/core.h"
#include "core/random.h"

enum { TIMES = 3, MOST_INPUTS = 16, MOST_RESULTS = 32 };

/* A graph, the data of its inputs, and what is looked at after the runs. */
typedef struct scene {
    mgn_arena *arena;
    mgn_graph *graph;
    uint64_t seed;
    int64_t rows;
    mgn_node *inputs[MOST_INPUTS], *results[MOST_RESULTS];
    double *data[MOST_INPUTS];
    int input_count, result_count;
    mgn_exact **values; /* by node: the oracle's */
} scene;

/* ---- making graphs ---- */

/* An input, with numbers of float precision in [low, high); those of an index are whole. */
static mgn_node *input(scene *s, mgn_kind kind, mgn_shape shape, double low, double high) {
    const int64_t count = mgn_shape_count(shape);
    const int number = s->input_count++;
    char label[16];
    snprintf(label, sizeof label, "%d", number);
    double *data = s->data[number] = mgn_arena_alloc(s->arena, (size_t)count, sizeof *data);
    for (int64_t i = 0; data && i < count; i++) {
        const double value = low + (high - low) * mgn_host_uniform(s->seed, (uint32_t)number, (uint64_t)i);
        data[i] = kind == MGN_INDEX ? (double)(int64_t)value : (double)(float)value;
    }
    return s->inputs[number] = mgn_input(s->graph, label, kind, shape);
}

static mgn_node *real(scene *s, mgn_shape shape) { return input(s, MGN_REAL, shape, -1, 1); }

/* A random state: two words of seed, a step soon after the beginning, a stream. */
static mgn_node *state(scene *s) {
    mgn_node *node = input(s, MGN_INDEX, MGN_SHAPE(4), 0, 4294967296.0);
    double *data = s->data[s->input_count - 1];
    if (data) data[2] = (double)((int64_t)data[2] % 100);
    return node;
}

static void look_at(scene *s, mgn_node *node) { s->results[s->result_count++] = node; }

static void give(scene *s, mgn_node *node) {
    mgn_output(node);
    look_at(s, node);
}

static void assign(scene *s, mgn_node *target, mgn_node *value) {
    mgn_assign(target, value);
    look_at(s, target);
}

/* ---- the programs ---- */

/* The mean over the rows of e^x, x around its own mean: what x is made of is kept from one section of rows for the next. */
static mgn_node *spread(mgn_node *x) { return mgn_mean(mgn_exp(mgn_sub(x, mgn_mean(x, 1))), 1); }

static void random_rows(scene *s) {
    mgn_node *one = state(s), *other = state(s);
    mgn_node *five = mgn_normal(one, MGN_SHAPE(s->rows, 5), 3), *three = mgn_uniform(other, MGN_SHAPE(s->rows, 3), 4);
    mgn_node *z[] = {mgn_normal(one, MGN_SHAPE(s->rows, 1), 1), mgn_normal(other, MGN_SHAPE(s->rows, 2), 2), five,
                     three, mgn_uniform(one, MGN_SHAPE(s->rows, 4), 5)};
    give(s, mgn_concat(z, 5, 1));
    give(s, spread(five));
    give(s, spread(three));
    assign(s, one, mgn_advance(one, 3));
}

/* Rows by index, some of which are not there; shuffles whose states stand still, move, and change places. */
static void indices(scene *s) {
    const int64_t population = s->rows + 3;
    mgn_node *index = input(s, MGN_INDEX, MGN_SHAPE(s->rows), 0, (double)population + 2);
    mgn_node *three = real(s, MGN_SHAPE(population, 3)), *five = real(s, MGN_SHAPE(population, 5));
    mgn_node *still = state(s), *moving = state(s), *left = state(s), *right = state(s);
    mgn_node *parts[] = {mgn_gather_rows(five, index),
                         mgn_gather_rows(three, mgn_shuffle(still, population, s->rows, 2, 1)),
                         mgn_gather_rows(five, mgn_shuffle(moving, population, s->rows, 3, s->rows)),
                         mgn_gather_rows(three, mgn_shuffle(left, population, s->rows, 5, s->rows))};
    give(s, mgn_concat(parts, 4, 1));
    give(s, mgn_mean(parts[2], 1));
    assign(s, moving, mgn_advance(moving, 2));
    assign(s, left, mgn_advance(right, 1));
    assign(s, right, mgn_advance(left, 0));
}

/* Bytes come in fours: a multiple of 4 rows. The scale keeps off the middle between two bytes, which rounding decides. */
static void bytes(scene *s) {
    mgn_node *pixels =
        mgn_from_unorm8(input(s, MGN_INDEX, MGN_SHAPE(s->rows * 3 / 4), 0, 4294967296.0), MGN_SHAPE(s->rows, 3));
    mgn_node *grey =
        mgn_from_unorm8(input(s, MGN_INDEX, MGN_SHAPE(s->rows / 4), 0, 4294967296.0), MGN_SHAPE(s->rows, 1));
    mgn_node *pairs = mgn_mul(mgn_slice(pixels, 1, 1, 2), grey);
    give(s, pairs);
    give(s, mgn_to_unorm8(mgn_shift(pixels, 10.25 / 255)));
    give(s, mgn_to_unorm8(mgn_sub(mgn_slice(pixels, 1, 1, 2), mgn_constant(s->graph, 20.25 / 255))));
    mgn_node *memory = real(s, MGN_SHAPE(3)), *sums = mgn_sum(pixels, 1);
    give(s, sums);
    assign(s, memory, mgn_add(mgn_scale(memory, 0.5), sums));
}

/* Sums that depend on sums, products of columns, reductions and matrices of a row, and layout on the way. */
static void sums(scene *s) {
    mgn_node *x = real(s, MGN_SHAPE(s->rows, 3)), *y = real(s, MGN_SHAPE(s->rows, 2, 3));
    mgn_node *centred = mgn_sub(x, mgn_mean(x, 1)), *variance = mgn_mean(mgn_square(centred), 1);
    mgn_node *scaled = mgn_div(centred, mgn_sqrt(mgn_shift(variance, 0.1)));
    mgn_node *product = mgn_matmul(scaled, mgn_scale(mgn_matmul_t(scaled, true, x, false), 1 / (double)s->rows));
    mgn_node *parts[] = {product, mgn_logsumexp(mgn_scale(y, 20), 4), mgn_max(y, 2), mgn_slice(scaled, 1, 1, 1)};
    mgn_node *square = mgn_add(mgn_matmul_t(y, false, y, true), mgn_identity(s->graph, 2));
    parts[3] = mgn_reshape(mgn_mul(parts[3], mgn_reshape(mgn_spd_logdet(square), MGN_SHAPE(s->rows, 1))),
                           MGN_SHAPE(s->rows, 1));
    give(s, mgn_concat(parts, 4, 1));
    give(s, mgn_mean(mgn_mul(product, mgn_square(scaled)), 1));
    give(s, mgn_max(mgn_mean(x, 1), 1));
    mgn_node *memory = real(s, MGN_SHAPE(3));
    assign(s, memory, mgn_add(mgn_scale(memory, 0.5), variance));
}

/* Vectors that all rows share, short and long, and what becomes of them from one step to the next. */
static void shared(scene *s) {
    mgn_node *mean = mgn_mean(real(s, MGN_SHAPE(s->rows, 3)), 1), *one = mgn_slice(mean, 0, 1, 1);
    mgn_node *a = real(s, MGN_SHAPE(3)), *b = real(s, MGN_SHAPE(3)), *c = real(s, MGN_SHAPE(3));
    mgn_node *long_a = real(s, MGN_SHAPE(300)), *long_b = real(s, MGN_SHAPE(300)), *matrix = real(s, MGN_SHAPE(4, 5));
    give(s, mgn_mul(mgn_exp(mean), mgn_sub(a, one)));
    give(s, mgn_logcosh(mgn_add(mgn_slice(long_a, 0, 5, 190), mgn_slice(long_b, 0, 20, 190))));
    give(s, mgn_matmul(mgn_slice(matrix, 0, 1, 2), mgn_transpose(matrix)));
    give(s, mgn_max(matrix, 1));
    give(s, mgn_add(mgn_sum(matrix, 2), mgn_sum(mgn_mul(mean, c), -1)));
    assign(s, a, b);
    assign(s, b, mgn_concat((mgn_node *[]){mgn_slice(c, 0, 1, 2), mgn_slice(a, 0, 0, 1)}, 2, 0));
    assign(s, c, mgn_add(c, mean));
    assign(s, long_a, mgn_scale(long_b, 0.5));
    assign(s, long_b, mgn_mul(long_a, one));
}

/* More rows than a work-group is trusted with: partial sums meet between kernels. */
static void split(scene *s) {
    mgn_node *x = real(s, MGN_SHAPE(s->rows, 3)), *step = state(s), *mean = mgn_mean(x, 1);
    mgn_node *z = mgn_normal(step, MGN_SHAPE(s->rows, 3), 6);
    mgn_node *moved = mgn_add(mgn_sub(x, mean), mgn_scale(z, 0.25));
    enum { POPULATION = 90007 }; /* a table too large for caches, whose rows are asked for ahead */
    mgn_node *table = real(s, MGN_SHAPE(POPULATION, 3));
    mgn_node *picked = mgn_gather_rows(table, mgn_shuffle(step, POPULATION, s->rows, 2, 1));
    give(s, mgn_scale(mgn_matmul_t(moved, true, picked, false), 1 / (double)s->rows));
    give(s, mgn_mean(mgn_tanh(moved), 1));
    give(s, mgn_sub(moved, picked));
    mgn_node *long_one = real(s, MGN_SHAPE(300)), *middle = real(s, MGN_SHAPE(40)), *flat = real(s, MGN_SHAPE(5));
    assign(s, long_one, mgn_mul(long_one, mgn_shift(mgn_slice(mean, 0, 0, 1), 1)));
    assign(s, middle, mgn_sub(middle, mgn_slice(mean, 0, 2, 1)));
    assign(s, flat, mgn_broadcast(mgn_constant(s->graph, 0.25), MGN_SHAPE(5)));
    assign(s, step, mgn_advance(step, 1));
}

/* Elementwise work on matrices: operands of every kind, part of a larger matrix among them, and sums of every kind. */
static void wide(scene *s) {
    enum { COLUMNS = 1101, LONG = 1300, FROM = 57 };
    mgn_node *a = real(s, MGN_SHAPE(s->rows, COLUMNS)), *b = real(s, MGN_SHAPE(COLUMNS));
    mgn_node *c = real(s, MGN_SHAPE(s->rows)), *scalar = real(s, MGN_SCALAR);
    mgn_node *part = mgn_slice(real(s, MGN_SHAPE(s->rows, LONG)), 1, FROM, COLUMNS);
    mgn_node *value = mgn_add(mgn_mul(a, b), mgn_mul(part, mgn_reshape(c, MGN_SHAPE(s->rows, 1))));
    mgn_node *shifted = mgn_sub(mgn_logistic(value), mgn_mul(scalar, mgn_maximum(a, part)));
    give(s, shifted);
    give(s, mgn_sum(shifted, 1));
    give(s, mgn_sum(mgn_square(shifted), 2));
    give(s, mgn_sum(mgn_exp(value), 2));
    give(s, mgn_sum(shifted, -1));
    give(s, mgn_sum(mgn_square(value), -1));
    give(s, mgn_sum(part, 1));
}

/* Tables too large for caches, and orders of which a few steps at a time are worked out. */
static void epochs(scene *s) {
    enum { POPULATION = 90007 };
    mgn_node *large = real(s, MGN_SHAPE(POPULATION, 3)), *small = real(s, MGN_SHAPE(s->rows, 2));
    mgn_node *moving = state(s), *other = state(s);
    mgn_node *parts[] = {mgn_gather_rows(large, mgn_shuffle(moving, POPULATION, s->rows, 128, s->rows)),
                         mgn_gather_rows(small, mgn_shuffle(other, s->rows, s->rows, 2, 1)),
                         mgn_gather_rows(large, mgn_shuffle(other, POPULATION, s->rows, 3, 7))};
    give(s, mgn_concat(parts, 3, 1));
    give(s, mgn_mean(parts[0], 1));
    assign(s, moving, mgn_advance(moving, 1));
    assign(s, other, mgn_advance(other, 3));
}

/* Row programs between large products: what crosses lies in one block of memory, so that places in it are seen. */
static void between(scene *s) {
    enum { MANY = 70 };
    mgn_node *x = real(s, MGN_SHAPE(s->rows, MANY)), *step = state(s);
    mgn_node *index = input(s, MGN_INDEX, MGN_SHAPE(s->rows), 0, (double)s->rows + 2);
    mgn_node *three = mgn_matmul(x, real(s, MGN_SHAPE(MANY, 3))), *five = mgn_matmul(x, real(s, MGN_SHAPE(MANY, 5)));
    mgn_node *one = mgn_matmul(real(s, MGN_SHAPE(1, MANY)), real(s, MGN_SHAPE(MANY, 5)));
    mgn_node *centred = mgn_sub(mgn_tanh(five), mgn_mean(five, 1)), *shift = mgn_exp(mgn_reshape(one, MGN_SHAPE(5)));
    mgn_node *parts[] = {mgn_gather_rows(three, mgn_shuffle(step, s->rows, s->rows, 2, 1)),
                         mgn_gather_rows(three, index), mgn_logistic(five), mgn_mul(centred, shift)};
    mgn_node *all = mgn_concat(parts, 4, 1), *wide = mgn_matmul(mgn_softplus(all), real(s, MGN_SHAPE(16, MANY)));
    mgn_node *memory = real(s, MGN_SHAPE(16));
    give(s, mgn_mean(mgn_logcosh(all), 1));
    give(s, mgn_matmul(wide, real(s, MGN_SHAPE(MANY, 2))));
    assign(s, memory, mgn_sub(mgn_mean(all, 1), mgn_scale(memory, 0.5)));
    assign(s, step, mgn_advance(step, 1));
}

/* Elementwise layers, whose instructions repeat at constant distances but for a number, what all of them make, and their
 * derivative, which goes back through them: parameters and gradients are parts of long vectors, results and sums of a kind
 * lie side by side. */
static void layers(scene *s) {
    enum { COLUMNS = 70, COUNT = 8 };
    mgn_node *x = real(s, MGN_SHAPE(s->rows, COLUMNS)), *flat[2], *gradient[2], *z = x, *side = x, *power = x,
             *parts[COUNT];
    for (int k = 0; k < 2; k++) flat[k] = real(s, MGN_SHAPE(COUNT * COLUMNS));
    for (int l = 0; l < COUNT; l++) {
        mgn_node *scale = mgn_slice(flat[0], 0, l * COLUMNS, COLUMNS);
        side = mgn_add(x, mgn_slice(flat[1], 0, l * COLUMNS, COLUMNS));
        z = mgn_add(mgn_mul(scale, mgn_scale(mgn_logistic(z), l == COUNT - 2 ? 0.5 : 0.75)), side);
        give(s, z);
        give(s, mgn_sum(z, 2));
        parts[l] = mgn_mul(z, x);
        give(s, mgn_sum(parts[l], -1));
    }
    for (int l = COUNT - 1; l >= 0; l--)
        power = mgn_add(mgn_scale(power, 0.5 + l / 16.0), parts[l]); /* no repetition */
    give(s, power);
    mgn_node *loss = mgn_sum(mgn_square(z), -1);
    if (mgn_grad(loss, flat, 2, gradient) != MGN_OK) return;
    give(s, mgn_sum(mgn_square(side), 1));
    give(s, loss);
    for (int k = 0; k < 2; k++) {
        give(s, gradient[k]);
        assign(s, flat[k], mgn_sub(flat[k], mgn_scale(gradient[k], 1e-3)));
    }
}

/* A single sum over rows. */
static void column(scene *s) {
    enum { COLUMNS = 1101 }; /* too many for a row program */
    give(s, mgn_sum(mgn_square(mgn_add(real(s, MGN_SHAPE(s->rows, COLUMNS)), real(s, MGN_SHAPE(COLUMNS)))), 1));
}

/* Long vectors that are assigned to: an optimizer's. */
static void vectors(scene *s) {
    mgn_node *p = real(s, MGN_SHAPE(s->rows)), *m = real(s, MGN_SHAPE(s->rows)), *slope = real(s, MGN_SHAPE(s->rows));
    mgn_node *mean = mgn_add(mgn_scale(m, 0.75), mgn_scale(mgn_mul(slope, p), 0.25));
    give(s, mgn_sum(mgn_square(p), -1));
    assign(s, m, mean);
    assign(s, p, mgn_sub(p, mgn_scale(mean, 0.5)));
}

/* Sums of products, of factors that are stored either way; some of them next to each other. */
static void products(scene *s) {
    const int64_t m = s->rows, n = s->rows + 15, terms[] = {300, 70};
    for (int t = 0; t < 4; t++) {
        mgn_node *sum = NULL;
        for (int k = 0; k < 2; k++) {
            const bool a = (t >> k & 1) != 0, b = (t >> (1 - k) & 1) != 0;
            mgn_node *left = real(s, a ? MGN_SHAPE(terms[k], m) : MGN_SHAPE(m, terms[k]));
            mgn_node *right = real(s, b ? MGN_SHAPE(n, terms[k]) : MGN_SHAPE(terms[k], n));
            mgn_node *product = mgn_matmul_t(left, a, right, b);
            sum = sum ? mgn_add(sum, product) : product;
        }
        give(s, sum);
    }
}

/* Tolerances: of float and of double, relative to the largest entry. A normal whose radius is nearly 0 comes from the
 * logarithm of a uniform nearly 1, which float does not resolve any finer. */
static const struct {
    const char *label;
    void (*build)(scene *s);
    int64_t rows;
    double single, twice;
    size_t parts; /* programs that it becomes */
} programs[] = {
    {"rows/random", random_rows, 37, 2e-4, 1e-11, 1},
    {"rows/indices", indices, 37, 1e-6, 1e-13, 1},
    {"rows/bytes", bytes, 36, 1e-6, 1e-13, 1},
    {"rows/sums", sums, 531, 2e-5, 1e-12, 1},
    {"rows/shared", shared, 5, 1e-5, 1e-13, 1},
    {"rows/split", split, 2395, 2e-4, 1e-11, 1},
    {"rows/epochs", epochs, 700, 1e-6, 1e-13, 1},
    {"rows/between", between, 600, 2e-5, 1e-12, 1},
    {"wide", wide, 75, 1e-5, 1e-12, 1},
    {"wide/layers", layers, 130, 1e-5, 1e-12, 1},
    {"wide/column", column, 9, 1e-5, 1e-12, 1},
    {"wide/vectors", vectors, 8501, 1e-5, 1e-12, 1},
    {"products", products, 130, 1e-5, 1e-12, 1},
};

bool mgn_program_check_label(size_t index, char label[48]) {
    if (index >= MGN_COUNT(programs)) return false;
    snprintf(label, 48, "%s", programs[index].label);
    return true;
}

/* ---- running and judging ---- */

static mgn_status make_reference(scene *s) {
    s->values = mgn_arena_alloc(s->arena, (size_t)MGN_MAX(s->graph->count, 1), sizeof *s->values);
    if (!s->values) return MGN_ERR_MEMORY;
    for (int i = 0; i < s->input_count; i++) {
        const int64_t count = mgn_shape_count(s->inputs[i]->shape);
        mgn_exact *values = mgn_arena_alloc(s->arena, (size_t)count, sizeof *values);
        if (!values || !s->data[i]) return MGN_ERR_MEMORY;
        for (int64_t k = 0; k < count; k++) values[k] = s->data[i][k];
        s->values[s->inputs[i]->id] = values;
    }
    return mgn_oracle_graph(s->graph, TIMES, s->arena, s->values);
}

static mgn_status judge(const scene *s, const mgn_plan *plan, mgn_dtype dtype, double allowed, double fault,
                        mgn_worst *worst) {
    for (int i = 0; i < s->result_count; i++) {
        const mgn_node *node = s->results[i];
        const int64_t count = mgn_shape_count(node->shape);
        double *found = NULL;
        char what[32];
        snprintf(what, sizeof what, "result %d", i);
        MGN_TRY(mgn_check_fetch(s->arena, plan, node, &found));
        mgn_exact *expected = mgn_arena_alloc(s->arena, (size_t)count, sizeof *expected);
        if (!expected) return MGN_ERR_MEMORY;
        for (int64_t k = 0; k < count; k++) expected[k] = s->values[node->id][k] * (1 + (mgn_exact)fault);
        mgn_judge_tensor(worst, dtype, what, found, expected, count, 1, allowed);
    }
    return MGN_OK;
}

enum { MOST_TENSORS = MOST_INPUTS + MOST_RESULTS };

/* The inputs and results of one type, all in one block of a device's memory with guards between them. */
typedef struct block {
    mgn_guarded guarded;
    mgn_node *nodes[MOST_TENSORS];
    const double *values[MOST_TENSORS];
    mgn_operand operands[MOST_TENSORS];
    mgn_tensor *tensors[MOST_TENSORS];
    size_t count, elements;
} block;

static void add_to(block *b, mgn_node *node, const double *values) {
    b->nodes[b->count] = node;
    b->values[b->count++] = values;
    b->elements += (size_t)mgn_shape_count(node->shape) + MGN_GUARD;
}

static mgn_status place(block *b, mgn_device *device, mgn_dtype dtype, mgn_binding *bindings) {
    int64_t offset = MGN_GUARD;
    MGN_TRY(mgn_guarded_make(&b->guarded, dtype, b->elements, false));
    for (size_t i = 0; i < b->count; i++) {
        const mgn_shape shape = b->nodes[i]->shape;
        MGN_TRY(mgn_tensor_window(device, dtype, shape, NULL, offset, &b->tensors[i]));
        b->operands[i] = mgn_operand_of(b->tensors[i]);
        bindings[i] = (mgn_binding){b->nodes[i], b->tensors[i]};
        if (b->values[i]) mgn_guarded_put(&b->guarded, &b->operands[i], b->values[i]);
        offset += mgn_shape_count(shape) + MGN_GUARD;
    }
    MGN_TRY(mgn_guarded_send(device, &b->guarded));
    for (size_t i = 0; i < b->count; i++) b->tensors[i]->memory = b->guarded.memory;
    return MGN_OK;
}

/* Both blocks: of real numbers and of words. */
static mgn_status place_all(const scene *s, mgn_device *device, mgn_dtype real, block blocks[2],
                            mgn_binding *bindings) {
    for (int i = 0; i < s->input_count; i++) add_to(&blocks[s->inputs[i]->kind == MGN_INDEX], s->inputs[i], s->data[i]);
    for (int i = 0; i < s->result_count; i++)
        if (s->results[i]->op != MGN_OP_input) add_to(&blocks[s->results[i]->kind == MGN_INDEX], s->results[i], NULL);
    MGN_TRY(place(&blocks[0], device, real, bindings));
    return place(&blocks[1], device, MGN_U32, bindings + blocks[0].count);
}

static void release_all(mgn_device *device, block blocks[2]) {
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < blocks[k].count; i++) mgn_tensor_destroy(blocks[k].tensors[i]);
        mgn_guarded_release(device, &blocks[k].guarded);
    }
}

static mgn_status check_on(const scene *s, size_t index, double fault, mgn_device *device, mgn_dtype dtype,
                           mgn_check_sink *sink) {
    const char *fuse = mgn_environment("MGN_FUSE");
    const double allowed = dtype == MGN_F64 ? programs[index].twice : programs[index].single;
    mgn_worst forward = {0}, property = {0}, bounds = {0}, broken = {0};
    block blocks[2] = {{.count = 0}, {.count = 0}};
    mgn_binding bindings[MOST_TENSORS];
    mgn_plan *plan = NULL;
    mgn_status status = place_all(s, device, dtype, blocks, bindings);
    if (status == MGN_OK)
        status = mgn_plan_compile(s->graph, device, dtype, bindings, blocks[0].count + blocks[1].count, &plan);
    if (status == MGN_OK && !(fuse && strcmp(fuse, "0") == 0))
        mgn_judge_fact(&property, mgn_plan_get_info(plan).regions == programs[index].parts,
                       "the graph does not become as many programs as it should");
    if (status == MGN_OK) status = mgn_plan_run(plan, TIMES);
    if (status == MGN_OK) status = mgn_device_finish(device);
    if (status == MGN_OK) status = judge(s, plan, dtype, allowed, fault, &forward);
    for (int k = 0; status == MGN_OK && k < 2; k++)
        status = mgn_guarded_judge(device, &blocks[k].guarded, blocks[k].operands, blocks[k].count,
                                   programs[index].label, &bounds);
    mgn_plan_destroy(plan);
    release_all(device, blocks);
    if (status == MGN_ERR_MEMORY) return status;
    if (status != MGN_OK) mgn_judge_fact(&broken, false, mgn_last_error());
    mgn_sink_result(sink, "forward", &forward);
    mgn_sink_result(sink, "property", &property);
    mgn_sink_result(sink, "bounds", &bounds);
    mgn_sink_result(sink, "build", &broken);
    return MGN_OK;
}

mgn_status mgn_program_check_run(size_t index, const mgn_check_options *options, mgn_device *const *devices,
                                 size_t count, mgn_check_sink *sink) {
    scene s = {.arena = mgn_arena_create(), .seed = options->seed, .rows = programs[index].rows};
    if (!s.arena) return MGN_ERR_MEMORY;
    mgn_status status = mgn_graph_create(&s.graph);
    if (status == MGN_OK) {
        programs[index].build(&s);
        status = mgn_graph_status(s.graph);
    }
    if (status == MGN_OK) status = make_reference(&s);
    sink->op = programs[index].label;
    for (size_t i = 0; status == MGN_OK && i < count; i++) {
        const mgn_device_info *info = mgn_device_get_info(devices[i]);
        sink->device = info->spec;
        for (int twice = 0; status == MGN_OK && twice <= (info->has_f64 ? 1 : 0); twice++) {
            sink->dtype = mgn_dtype_name(twice ? MGN_F64 : MGN_F32);
            status = check_on(&s, index, options->fault, devices[i], twice ? MGN_F64 : MGN_F32, sink);
        }
    }
    mgn_graph_destroy(s.graph);
    mgn_arena_destroy(s.arena);
    return status;
}
