/* Rows that stay on the host, because the device has no memory for all of them: before each run, those that it takes are
 * gathered here, in the order in which the device would have gathered them, and written to a page that is as long as the
 * longest run's. The numbers that a step sees are the same, and so are its bits. */
#include "train/pages.h"

#include <string.h>

#include "backend/backend.h"
#include "core/core.h"
#include "train/second_order.h"

enum { MOST_LENGTHS = 6 }; /* rows of runs that differ: whole, last and tail, of blocks whole ones and the rest */

typedef struct page {
    mgn_memory *memory;
    mgn_tensor *windows[MOST_LENGTHS]; /* its first rows */
    const float *rows;                 /* what it is filled from */
    float *own;                        /* where these are kept, if they are: a window that is read anew */
} page;

struct mgn_pages {
    mgn_device *device;
    mgn_dtype real;
    int64_t d;
    int64_t lengths[MOST_LENGTHS];
    int count;
    page x, y; /* y.rows: NULL where there are no targets */
    float *gathered;
};

/* ---- life ---- */

static mgn_status create_page(mgn_pages *p, const float *rows, int64_t n, int64_t window, int64_t most, page *to) {
    const size_t row = (size_t)p->d * sizeof *rows;
    if (!rows) return MGN_OK;
    to->rows = rows;
    if (window > 0) {
        to->rows = to->own = mgn_alloc_aligned((size_t)window, row);
        if (!to->own) return MGN_ERR_MEMORY;
        memcpy(to->own, rows, (size_t)n * row);
    }
    const size_t bytes = (size_t)(most * p->d) * mgn_dtype_size(p->real);
    return p->device->backend->memory_create(p->device, bytes, &to->memory);
}

static mgn_status create(mgn_pages *p, const mgn_samples *rows, int64_t window, int64_t most) {
    p->gathered = mgn_alloc_aligned((size_t)most, (size_t)p->d * sizeof *p->gathered);
    if (!p->gathered) return MGN_ERR_MEMORY;
    MGN_TRY(mgn_check_samples(rows, p->d));
    MGN_TRY(create_page(p, rows->x, rows->n, window, most, &p->x));
    return create_page(p, rows->y, rows->n, window, most, &p->y);
}

mgn_status mgn_pages_create(mgn_device *device, mgn_dtype real, const mgn_samples *rows, int64_t d, int64_t window,
                            int64_t most, mgn_pages **pages) {
    mgn_pages *p = mgn_alloc(1, sizeof *p);
    if (!p) return MGN_ERR_MEMORY;
    *p = (mgn_pages){.device = device, .real = real, .d = d};
    const mgn_status status = create(p, rows, window, most);
    if (status == MGN_OK)
        *pages = p;
    else
        mgn_pages_destroy(p);
    return status;
}

static void destroy_page(mgn_device *device, page *p) {
    for (int i = 0; i < MOST_LENGTHS; i++) mgn_tensor_destroy(p->windows[i]);
    device->backend->memory_destroy(device, p->memory);
    mgn_free(p->own);
}

void mgn_pages_destroy(mgn_pages *p) {
    if (!p) return;
    destroy_page(p->device, &p->x);
    destroy_page(p->device, &p->y);
    mgn_free(p->gathered);
    mgn_free(p);
}

static mgn_status make_window(mgn_pages *p, page *to, int64_t rows, int at) {
    if (!to->rows) return MGN_OK;
    return mgn_tensor_window(p->device, p->real, MGN_SHAPE(rows, p->d), to->memory, 0, &to->windows[at]);
}

mgn_status mgn_pages_open(mgn_pages *p, int64_t rows, mgn_tensor **x, mgn_tensor **y) {
    int at = 0;
    while (at < p->count && p->lengths[at] != rows) at++;
    if (at == MOST_LENGTHS) return mgn_fail(MGN_ERR_ARGUMENT, "a page of more than %d lengths", MOST_LENGTHS);
    if (at == p->count) {
        p->lengths[p->count++] = rows;
        MGN_TRY(make_window(p, &p->x, rows, at));
        MGN_TRY(make_window(p, &p->y, rows, at));
    }
    *x = p->x.windows[at];
    *y = p->y.windows[at];
    return MGN_OK;
}

/* ---- filling ---- */

void mgn_pages_take(mgn_pages *p, const mgn_samples *rows) {
    memcpy(p->x.own, rows->x, (size_t)(rows->n * p->d) * sizeof *p->x.own);
    if (p->y.own) memcpy(p->y.own, rows->y, (size_t)(rows->n * p->d) * sizeof *p->y.own);
}

static mgn_status fill(mgn_pages *p, page *to, const mgn_host_shuffle *order, int64_t first, int64_t rows, int at) {
    if (!to->rows) return MGN_OK;
    const float *from = to->rows + first * p->d;
    if (order) {
        for (int64_t i = 0; i < rows; i++)
            memcpy(p->gathered + i * p->d, to->rows + mgn_host_shuffle_at(order, (uint32_t)(first + i)) * p->d,
                   (size_t)p->d * sizeof *p->gathered);
        from = p->gathered;
    }
    return mgn_tensor_write(to->windows[at], MGN_F32, from);
}

mgn_status mgn_pages_fill(mgn_pages *p, const mgn_host_shuffle *order, int64_t first, int64_t rows) {
    int at = 0;
    while (at < p->count && p->lengths[at] != rows) at++;
    MGN_TRY(fill(p, &p->x, order, first, rows, at));
    return fill(p, &p->y, order, first, rows, at);
}
