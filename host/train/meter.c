/* Uncut, the rows lie on the device and a measurement is one run. Cut, they stay here, and each chunk's mean counts by its
 * rows, added up in double in their order: which chunks there are depends on the device's memory alone. */
#include "train/meter.h"

#include <math.h>
#include <string.h>

#include "core/core.h"
#include "model/model.h"

enum { LOSS, COST, FIGURES };
enum { WHOLE, REST, LENGTHS };

/* A plan over `rows` rows. */
typedef struct piece {
    int64_t rows;
    mgn_plan *plan;
    mgn_tensor *x, *y, *figures[FIGURES];
} piece;

struct mgn_meter {
    mgn_device *device;
    int64_t n, d;
    piece pieces[LENGTHS];
    bool has[FIGURES];
    float *x, *y; /* the rows, where they are cut */
};

/* ---- plans ---- */

static mgn_status compile(const mgn_meter_config *config, bool has_targets, int64_t rows, piece *p) {
    const int64_t d = mgn_model_get_config(config->model)->d;
    mgn_graph *graph;
    MGN_TRY(mgn_graph_create(&graph));
    mgn_node *flat = mgn_input(graph, "parameters", MGN_REAL, MGN_SHAPE(mgn_model_parameter_count(config->model))),
             *x = mgn_input(graph, "x", MGN_REAL, MGN_SHAPE(rows, d)),
             *y = has_targets ? mgn_input(graph, "y", MGN_REAL, MGN_SHAPE(rows, d)) : NULL;
    mgn_node *image = mgn_model_forward(config->model, flat, x),
             *figures[] = {config->losses ? mgn_loss(config->losses, x, image, y) : NULL,
                           config->has_cost ? mgn_loss_transport_cost(x, image) : NULL};
    for (int i = 0; i < FIGURES; i++) mgn_output(figures[i]);
    const mgn_binding binding = {flat, config->parameters};
    mgn_status status = mgn_graph_status(graph);
    if (status == MGN_OK)
        status = mgn_plan_compile(graph, config->device, config->real, &binding, config->parameters ? 1 : 0, &p->plan);
    if (status == MGN_OK) {
        p->rows = rows;
        p->x = mgn_plan_tensor(p->plan, x);
        p->y = y ? mgn_plan_tensor(p->plan, y) : NULL;
        for (int i = 0; i < FIGURES; i++) p->figures[i] = figures[i] ? mgn_plan_tensor(p->plan, figures[i]) : NULL;
        if (!config->parameters)
            status = mgn_tensor_write(mgn_plan_tensor(p->plan, flat), MGN_F64, config->model->values);
    }
    mgn_graph_destroy(graph);
    return status;
}

static void drop_pieces(mgn_meter *m) {
    for (int i = 0; i < LENGTHS; i++) {
        mgn_plan_destroy(m->pieces[i].plan);
        m->pieces[i] = (piece){0};
    }
}

static mgn_status write_piece(const piece *p, const float *x, const float *y) {
    MGN_TRY(mgn_tensor_write(p->x, MGN_F32, x));
    return p->y ? mgn_tensor_write(p->y, MGN_F32, y) : MGN_OK;
}

/* Plans for chunks of `rows` rows; of all rows, with these in place. */
static mgn_status make_pieces(mgn_meter *m, const mgn_meter_config *config, const mgn_samples *samples, int64_t rows) {
    drop_pieces(m);
    MGN_TRY(compile(config, samples->y != NULL, rows, &m->pieces[WHOLE]));
    if (rows == m->n) return write_piece(&m->pieces[WHOLE], samples->x, samples->y);
    return m->n % rows ? compile(config, samples->y != NULL, m->n % rows, &m->pieces[REST]) : MGN_OK;
}

static mgn_status copy_rows(const mgn_meter *m, const float *from, float **to) {
    const size_t count = (size_t)(m->n * m->d);
    if (!from) return MGN_OK;
    *to = mgn_alloc_aligned(count, sizeof **to);
    if (!*to) return MGN_ERR_MEMORY;
    memcpy(*to, from, count * sizeof **to);
    return MGN_OK;
}

static mgn_status prepare(mgn_meter *m, const mgn_meter_config *config, const mgn_samples *samples) {
    const bool is_mean = !config->losses || mgn_loss_is_mean(config->losses->kind);
    int64_t rows = m->n;
    mgn_device_was_short(m->device);
    mgn_status status = make_pieces(m, config, samples, rows);
    while (status != MGN_OK && is_mean && rows > 1 && mgn_device_was_short(m->device)) {
        rows = (rows + 1) / 2;
        status = make_pieces(m, config, samples, rows);
    }
    if (status != MGN_OK || rows == m->n) return status;
    MGN_TRY(copy_rows(m, samples->x, &m->x));
    MGN_TRY(copy_rows(m, samples->y, &m->y));
    mgn_note("%lld rows are measured in %lld chunks, which is what the memory of %s has room for", (long long)m->n,
             (long long)((m->n + rows - 1) / rows), mgn_device_get_info(m->device)->spec);
    return MGN_OK;
}

mgn_status mgn_meter_create(const mgn_meter_config *config, const mgn_samples *rows, mgn_meter **meter) {
    mgn_meter *m = mgn_alloc(1, sizeof *m);
    if (!m) return MGN_ERR_MEMORY;
    m->device = config->device;
    m->n = rows->n;
    m->d = mgn_model_get_config(config->model)->d;
    m->has[LOSS] = config->losses;
    m->has[COST] = config->has_cost;
    const mgn_status status = prepare(m, config, rows);
    if (status == MGN_OK)
        *meter = m;
    else
        mgn_meter_destroy(m);
    return status;
}

void mgn_meter_destroy(mgn_meter *meter) {
    if (!meter) return;
    drop_pieces(meter);
    mgn_free(meter->x);
    mgn_free(meter->y);
    mgn_free(meter);
}

/* ---- measuring ---- */

static mgn_status run_piece(const mgn_meter *m, const piece *p, double figures[FIGURES]) {
    MGN_TRY(mgn_plan_run(p->plan, 1));
    for (int i = 0; i < FIGURES; i++)
        if (m->has[i]) MGN_TRY(mgn_tensor_read(p->figures[i], MGN_F64, &figures[i]));
    return MGN_OK;
}

static mgn_status run_chunks(const mgn_meter *m, double means[FIGURES]) {
    for (int64_t at = 0, rows; at < m->n; at += rows) {
        const piece *p = &m->pieces[m->n - at < m->pieces[WHOLE].rows ? REST : WHOLE];
        double figures[FIGURES] = {0};
        rows = p->rows;
        MGN_TRY(write_piece(p, m->x + at * m->d, m->y ? m->y + at * m->d : NULL));
        MGN_TRY(run_piece(m, p, figures));
        for (int i = 0; i < FIGURES; i++) means[i] += figures[i] * ((double)rows / (double)m->n);
    }
    return MGN_OK;
}

mgn_status mgn_meter_read(mgn_meter *meter, double *loss, double *cost) {
    double means[FIGURES] = {0};
    MGN_TRY(meter->x ? run_chunks(meter, means) : run_piece(meter, &meter->pieces[WHOLE], means));
    *loss = meter->has[LOSS] ? means[LOSS] : NAN;
    if (cost) *cost = meter->has[COST] ? means[COST] : NAN;
    return MGN_OK;
}
