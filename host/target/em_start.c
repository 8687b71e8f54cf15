/* Where expectation maximisation starts: k-means++ seeds and a few of Lloyd's steps over a sample, in units of each
 * column's spread, then each cluster's own weight, mean and covariance. */
#include <math.h>
#include <string.h>

#include "core/random.h"
#include "target/em.h"

enum { LLOYD_STEPS = 8, STREAM = 0x6b6d6561 };

typedef struct clusters {
    int64_t n, d, k;
    const double *points; /* (n, d), scaled */
    double *centres;      /* (k, d) */
    double *nearest;      /* (n): squared distance to the nearest centre */
    int64_t *of;          /* (n): which one that is */
} clusters;

static double squared_distance(const double *a, const double *b, int64_t d) {
    double sum = 0;
    for (int64_t i = 0; i < d; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum;
}

/* ---- seeds ---- */

/* Each seed is a point drawn with a probability proportional to its squared distance from the seeds before it. */
static void choose_seeds(clusters *c, uint64_t seed, uint64_t start) {
    for (int64_t i = 0; i < c->n; i++) c->nearest[i] = 1;
    for (int64_t j = 0; j < c->k; j++) {
        double total = 0;
        for (int64_t i = 0; i < c->n; i++) total += c->nearest[i];
        double left = total * mgn_host_uniform(seed, STREAM, start * MGN_MOST_COMPONENTS + (uint64_t)j);
        int64_t chosen = 0;
        for (int64_t i = 0; i < c->n && left >= 0; i++) {
            if (c->nearest[i] > 0) chosen = i;
            left -= c->nearest[i];
        }
        double *centre = c->centres + j * c->d;
        memcpy(centre, c->points + chosen * c->d, (size_t)c->d * sizeof *centre);
        for (int64_t i = 0; i < c->n; i++) {
            const double distance = squared_distance(c->points + i * c->d, centre, c->d);
            if (j > 0 && distance >= c->nearest[i]) continue;
            c->nearest[i] = distance;
            c->of[i] = j;
        }
    }
}

/* ---- Lloyd's steps ---- */

static void assign(clusters *c) {
    for (int64_t i = 0; i < c->n; i++) {
        c->nearest[i] = INFINITY;
        for (int64_t j = 0; j < c->k; j++) {
            const double distance = squared_distance(c->points + i * c->d, c->centres + j * c->d, c->d);
            if (distance >= c->nearest[i]) continue;
            c->nearest[i] = distance;
            c->of[i] = j;
        }
    }
}

/* `counts` (k) to work in. Empty clusters stay where they are. */
static void move_centres(clusters *c, int64_t *counts) {
    memset(counts, 0, (size_t)c->k * sizeof *counts);
    for (int64_t i = 0; i < c->n; i++) {
        double *centre = c->centres + c->of[i] * c->d;
        if (counts[c->of[i]]++ == 0) memset(centre, 0, (size_t)c->d * sizeof *centre);
        for (int64_t a = 0; a < c->d; a++) centre[a] += c->points[i * c->d + a];
    }
    for (int64_t j = 0; j < c->k; j++)
        for (int64_t a = 0; a < c->d && counts[j] > 0; a++) c->centres[j * c->d + a] /= (double)counts[j];
}

/* ---- clusters as components ---- */

static void add_products(const float *row, const double *mean, int64_t d, double *covariance) {
    for (int64_t a = 0; a < d; a++)
        for (int64_t b = 0; b < d; b++)
            covariance[a * d + b] += ((double)row[a] - mean[a]) * ((double)row[b] - mean[b]);
}

/* Each cluster's moments. Clusters of few points get the covariance of all rows. */
static mgn_status to_mixture(const clusters *c, const mgn_em_data *data, const int64_t *counts, mgn_mixture *m) {
    const int64_t d = c->d, k = c->k;
    for (int64_t i = 0; i < c->n; i++)
        for (int64_t a = 0; a < d; a++) m->means[c->of[i] * d + a] += (double)data->sample[i * d + a];
    for (int64_t j = 0; j < k; j++)
        for (int64_t a = 0; a < d && counts[j] > 0; a++) m->means[j * d + a] /= (double)counts[j];
    for (int64_t i = 0; i < c->n; i++)
        add_products(data->sample + i * d, m->means + c->of[i] * d, d, m->covariances + c->of[i] * d * d);
    for (int64_t j = 0; j < k; j++) {
        double *covariance = m->covariances + j * d * d;
        m->weights[j] = ((double)counts[j] + 1) / (double)(c->n + k);
        for (int64_t a = 0; a < d * d; a++)
            covariance[a] = counts[j] > d ? covariance[a] / (double)counts[j] : data->covariance[a];
        for (int64_t a = 0; a < d && counts[j] == 0; a++) m->means[j * d + a] = data->mean[a];
        MGN_TRY(mgn_em_raise(covariance, d, data->units));
    }
    return MGN_OK;
}

/* ---- the whole ---- */

static void scale_points(const mgn_em_data *data, int64_t n, double *points) {
    const int64_t d = data->d;
    for (int64_t a = 0; a < d; a++) {
        const double spread = sqrt(data->covariance[a * d + a]), scale = spread > 0 ? 1 / spread : 0;
        for (int64_t i = 0; i < n; i++) points[i * d + a] = scale * ((double)data->sample[i * d + a] - data->mean[a]);
    }
}

mgn_status mgn_em_start(const mgn_em_data *data, int64_t n, int64_t k, int64_t start, mgn_mixture *mixture) {
    const int64_t d = data->d;
    double *work = mgn_alloc((size_t)(n * d + k * d + n), sizeof *work);
    int64_t *counts = mgn_alloc((size_t)(k + n), sizeof *counts);
    mgn_status status = work && counts ? mgn_mixture_create(k, d, mixture) : MGN_ERR_MEMORY;
    if (status == MGN_OK) {
        clusters c = {n, d, k, work, work + n * d, work + n * d + k * d, counts + k};
        scale_points(data, n, work);
        choose_seeds(&c, data->config->seed, (uint64_t)start);
        for (int step = 0; step < LLOYD_STEPS; step++) {
            move_centres(&c, counts);
            assign(&c);
        }
        move_centres(&c, counts);
        status = to_mixture(&c, data, counts, mixture);
        if (status != MGN_OK) mgn_mixture_free(mixture);
    }
    mgn_free(work);
    mgn_free(counts);
    return status;
}
