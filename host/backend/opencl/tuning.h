/* What `mgn tune` measured on a device, and how products of matrices go by it.
 *
 * A product goes one of several ways (gemm.c). Which one is fastest, and with which tile, depends on the device and on
 * the product's shape, so the tuner keeps a choice for each shape that it measured. A product whose m, n and k all lie
 * within a factor of two of a measured shape's goes as that shape does; all others go by the rules in gemm.c. CLBlast's
 * own parameters are one set for a device. Only real products of float32 that are no batches are tuned. */
#ifndef MGN_HOST_OPENCL_TUNING_H
#define MGN_HOST_OPENCL_TUNING_H

#include <cjson/cJSON.h>

#include <mgn/device.h>

/* The ways, under the names that files and tables call them by. */
#define MGN_CL_ROUTES(ROUTE) \
    ROUTE(item)              \
    ROUTE(batch_small)       \
    ROUTE(shared_rows)       \
    ROUTE(shared_columns)    \
    ROUTE(dot_rows)          \
    ROUTE(dot_columns)       \
    ROUTE(tall)              \
    ROUTE(tile)              \
    ROUTE(clblast)

typedef enum mgn_cl_route {
#define MGN_CL_ROUTE_OF(label) MGN_CL_##label,
    MGN_CL_ROUTES(MGN_CL_ROUTE_OF)
#undef MGN_CL_ROUTE_OF
        MGN_CL_ROUTE_COUNT
} mgn_cl_route;
extern const char *const mgn_cl_route_labels[MGN_CL_ROUTE_COUNT];

/* Of the way `tile`. The first two make the kernel, the others are arguments. */
enum { MGN_CL_TILE_VALUES = 6 };
typedef struct mgn_cl_tile {
    uint32_t rows, vectors; /* of results in registers */
    uint32_t depth;         /* entries of k multiplied at a time */
    uint32_t block;         /* tiles of a work-item under each other */
    uint32_t span;          /* and at most so many of those columns beside each other, */
    uint32_t spread;        /* fewer while there are not so many work-items per compute unit */
} mgn_cl_tile;

typedef struct mgn_cl_choice {
    mgn_cl_route route;
    mgn_cl_tile tile; /* used by the way `tile` */
} mgn_cl_choice;

/* CLBlast's parameters: those of the kernel families that a GEMM uses, all of them given or none. */
enum { MGN_CL_BLAST_FAMILIES = 7, MGN_CL_BLAST_MOST = 16 };
typedef struct mgn_cl_blast_family {
    const char *label;
    size_t count;
    const char *parameters[MGN_CL_BLAST_MOST];
} mgn_cl_blast_family;
extern const mgn_cl_blast_family mgn_cl_blast_families[MGN_CL_BLAST_FAMILIES];
typedef struct mgn_cl_blast {
    uint32_t values[MGN_CL_BLAST_FAMILIES][MGN_CL_BLAST_MOST];
} mgn_cl_blast;

typedef struct mgn_cl_tuned_shape {
    uint64_t m, n, k;
    mgn_cl_choice choice;
} mgn_cl_tuned_shape;

enum { MGN_CL_TUNED_MOST = 32 };
typedef struct mgn_cl_tuning {
    size_t count;
    mgn_cl_tuned_shape shapes[MGN_CL_TUNED_MOST];
    bool has_blast;
    mgn_cl_blast blast;
} mgn_cl_tuning;

/* The same as the order of the struct's members; for files and tables. */
extern const char *const mgn_cl_tile_labels[MGN_CL_TILE_VALUES];
/* Whether the values lie in the ranges for which there are kernels. */
bool mgn_cl_tile_valid(const mgn_cl_tile *tile);

/* The shape whose choice a product (m, k) x (k, n) goes by, or NULL. */
const mgn_cl_tuned_shape *mgn_cl_tuned_nearest(const mgn_cl_tuning *tuning, uint64_t m, uint64_t n, uint64_t k);

/* ---- in the cache folder, by device, driver and CLBlast's version ---- */

/* The name of the file, whether it is there or not. Errors: UNSUPPORTED (MGN_CACHE=off, no folder). */
mgn_status mgn_cl_tuning_path(const mgn_device_info *info, char *path, size_t size);
/* Reads a report of `mgn tune`; NULL where something in it is missing or out of range. `tuning` may be NULL. */
cJSON *mgn_cl_tuning_parse(const char *text, size_t bytes, mgn_cl_tuning *tuning);
/* What is kept, as JSON and, unless NULL, read into `tuning`. NULL without a file; the same, with a note that says so,
 * with one that is damaged or belongs to another device. The caller deletes it. */
cJSON *mgn_cl_tuning_load(const mgn_device_info *info, mgn_cl_tuning *tuning);
/* Replaces what is kept. Errors: IO, MEMORY, UNSUPPORTED. */
mgn_status mgn_cl_tuning_store(const mgn_device_info *info, const cJSON *json);

/* JSON of a choice ({"route", "tile": {...}}) and of CLBlast's parameters ({"Xgemm": {"MWG": 32, ...}, ...}). NULL
 * when memory runs out. */
cJSON *mgn_cl_choice_json(const mgn_cl_choice *choice);
cJSON *mgn_cl_blast_json(const mgn_cl_blast *blast);

#endif
