/* The choices there are. Tiles are all right wherever they lie in their ranges; CLBlast's kernels compute only where
 * certain parameters divide others, so its sets are drawn until one fits. */
#include "tune/tune.h"

#include <string.h>

#include "core/random.h"

enum { MOST_DRAWS = 10000 };

static size_t below(mgn_tune_random *random, size_t count) {
    const double u = mgn_host_uniform(random->seed, 0x74756e65, random->drawn++);
    return MGN_MIN((size_t)(u * (double)count), count - 1);
}

/* ---- tiles ---- */

#define VALUES(...) \
    { (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t) }
typedef struct value_list {
    const uint32_t *values;
    size_t count;
} value_list;

static uint32_t draw(mgn_tune_random *random, value_list list) { return list.values[below(random, list.count)]; }

/* Rows and vectors are drawn together: few pairs fill the registers of a CPU, and each pair has to be compiled. */
static void draw_registers(mgn_tune_random *random, mgn_cl_tile *tile) {
    static const uint32_t pairs[][2] = {{4, 1},  {6, 1},  {8, 1},  {12, 1}, {4, 2}, {6, 2}, {8, 2},
                                        {10, 2}, {12, 2}, {14, 2}, {4, 3},  {8, 3}, {9, 3}, {6, 4}};
    const size_t i = below(random, MGN_COUNT(pairs));
    tile->rows = pairs[i][0];
    tile->vectors = pairs[i][1];
}

static void draw_one(mgn_tune_random *random, mgn_cl_tile *tile, size_t which) {
    switch (which) {
    case 0: draw_registers(random, tile); break;
    case 1: tile->depth = draw(random, (value_list)VALUES(96, 128, 192, 256, 320, 384, 512, 768, 1024)); break;
    case 2: tile->block = draw(random, (value_list)VALUES(2, 4, 6, 8, 12, 16, 24, 32)); break;
    case 3: tile->span = draw(random, (value_list)VALUES(1, 2, 4, 8, 16, 32, 64)); break;
    default: tile->spread = draw(random, (value_list)VALUES(1, 2, 4, 8, 16, 32));
    }
}

mgn_cl_tile mgn_tune_draw_tile(mgn_tune_random *random, const mgn_cl_tile *from) {
    enum { PARTS = 5 };
    mgn_cl_tile tile = *from;
    /* Three in four are neighbours: the compiler has mostly seen them, and good tiles lie near to good tiles. */
    if (below(random, 4) == 0)
        for (size_t i = 0; i < PARTS; i++) draw_one(random, &tile, i);
    else
        for (size_t changes = 1 + below(random, 2); changes > 0; changes--)
            draw_one(random, &tile, below(random, PARTS));
    return tile;
}

/* ---- CLBlast ---- */

enum { XGEMM, DIRECT, ROUTINE, COPY, PAD, TRANSPOSE, PADTRANSPOSE };

/* Positions in mgn_cl_blast_families. */
enum { GEMMK, KREG, KWG, KWI, MDIMA, MDIMC, MWG, NDIMB, NDIMC, NWG, SA, SB, STRM, STRN, VWM, VWN };
enum { KWID, MDIMAD, MDIMCD, NDIMBD, NDIMCD, PADA, PADB, VWMD, VWND, WGD };

mgn_cl_blast mgn_tune_blast_start(void) {
    return (mgn_cl_blast){{
        [XGEMM] = {[GEMMK] = 0,
                   [KREG] = 1,
                   [KWG] = 16,
                   [KWI] = 2,
                   [MDIMA] = 8,
                   [MDIMC] = 8,
                   [MWG] = 32,
                   [NDIMB] = 8,
                   [NDIMC] = 8,
                   [NWG] = 32,
                   [SA] = 0,
                   [SB] = 0,
                   [STRM] = 0,
                   [STRN] = 0,
                   [VWM] = 2,
                   [VWN] = 2},
        [DIRECT] = {[KWID] = 2,
                    [MDIMAD] = 8,
                    [MDIMCD] = 8,
                    [NDIMBD] = 8,
                    [NDIMCD] = 8,
                    [PADA] = 1,
                    [PADB] = 1,
                    [VWMD] = 1,
                    [VWND] = 1,
                    [WGD] = 16},
        [ROUTINE] = {448},
        [COPY] = {8, 8, 1, 1},
        [PAD] = {8, 8, 1, 1},
        [TRANSPOSE] = {8, 0, 0, 1},
        [PADTRANSPOSE] = {0, 8, 1},
    }};
}

void mgn_tune_blast_switch(mgn_cl_blast *blast, uint32_t size) { blast->values[ROUTINE][0] = size; }

static bool divides(uint32_t part, uint32_t whole) { return part > 0 && whole % part == 0; }

/* What the device can run: work-groups, and floats of local memory. */
typedef struct limits {
    size_t group, local;
    bool one_thread; /* work-groups run on a core: few work-items each, and no copies in local memory */
} limits;

static limits limits_of(const mgn_cl_device *device) {
    limits most = {.group = 1, .one_thread = device->vectors};
    cl_ulong local = 0;
    clGetDeviceInfo(device->id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof most.group, &most.group, NULL);
    clGetDeviceInfo(device->id, CL_DEVICE_LOCAL_MEM_SIZE, sizeof local, &local, NULL);
    most.local = (size_t)(local / sizeof(float));
    return most;
}

/* The conditions under which the indirect kernel computes a product; its work-items share the loads of a and b. */
static bool indirect_fits(const uint32_t *v, const limits *most) {
    const uint32_t items = v[MDIMC] * v[NDIMC];
    return divides(v[KWI], v[KWG]) && divides(v[MDIMC] * v[VWM], v[MWG]) && divides(v[NDIMC] * v[VWN], v[NWG]) &&
           divides(v[MDIMA] * v[VWM], v[MWG]) && divides(v[NDIMB] * v[VWN], v[NWG]) && divides(v[MDIMA], items) &&
           divides(v[NDIMB], items) && divides(items / v[MDIMA], v[KWG]) && divides(items / v[NDIMB], v[KWG]) &&
           items <= most->group && v[SA] * v[KWG] * v[MWG] + v[SB] * v[KWG] * v[NWG] <= most->local &&
           (uint64_t)v[MWG] * v[NWG] / items <= 256;
}

static void draw_indirect(mgn_tune_random *random, const limits *most, uint32_t *v) {
    v[MWG] = draw(random, (value_list)VALUES(16, 32, 64, 128));
    v[VWM] = draw(random, (value_list)VALUES(1, 2, 4, 8));
    if (most->one_thread) {
        v[NWG] = draw(random, (value_list)VALUES(4, 8, 16));
        v[VWN] = draw(random, (value_list)VALUES(1, 2, 4));
        v[KWG] = draw(random, (value_list)VALUES(16, 32, 64));
        v[MDIMC] = v[MDIMA] = draw(random, (value_list)VALUES(1, 2));
        v[NDIMC] = v[NDIMB] = 1;
        v[SA] = v[SB] = v[STRM] = v[STRN] = 0;
        return;
    }
    v[NWG] = draw(random, (value_list)VALUES(16, 32, 64, 128));
    v[VWN] = draw(random, (value_list)VALUES(1, 2, 4, 8));
    v[KWG] = draw(random, (value_list)VALUES(16, 32));
    v[MDIMC] = draw(random, (value_list)VALUES(8, 16, 32));
    v[NDIMC] = draw(random, (value_list)VALUES(8, 16, 32));
    v[MDIMA] = draw(random, (value_list)VALUES(8, 16, 32));
    v[NDIMB] = draw(random, (value_list)VALUES(8, 16, 32));
    v[SA] = (uint32_t)below(random, 2);
    v[SB] = (uint32_t)below(random, 2);
    v[STRM] = (uint32_t)below(random, 2);
    v[STRN] = (uint32_t)below(random, 2);
}

/* Copies, which pad and transpose as well; any of these values will do. */
static void draw_copies(mgn_tune_random *random, const limits *most, mgn_cl_blast *blast) {
    const uint32_t x = draw(random, (value_list)VALUES(8, 16, 32)), y = draw(random, (value_list)VALUES(4, 8));
    if (x * y > most->group) return;
    memcpy(blast->values[COPY], (uint32_t[]){x, y, draw(random, (value_list)VALUES(1, 2, 4)), 1}, 4 * sizeof x);
    memcpy(blast->values[PAD], (uint32_t[]){x, y, draw(random, (value_list)VALUES(1, 2)), 1}, 4 * sizeof x);
    const uint32_t side = draw(random, (value_list)VALUES(8, 16));
    if (side * side > most->group) return;
    memcpy(blast->values[TRANSPOSE], (uint32_t[]){side, (uint32_t)below(random, 2), 0, 1}, 4 * sizeof side);
    memcpy(blast->values[PADTRANSPOSE], (uint32_t[]){(uint32_t)below(random, 2), side, 1}, 3 * sizeof side);
}

/* The conditions of the direct kernel. */
static bool direct_fits(const uint32_t *v, const limits *most) {
    const uint32_t items = v[MDIMCD] * v[NDIMCD];
    return divides(v[KWID], v[WGD]) && divides(v[MDIMCD] * v[VWMD], v[WGD]) && divides(v[NDIMCD] * v[VWND], v[WGD]) &&
           divides(v[MDIMAD] * v[VWMD], v[WGD]) && divides(v[NDIMBD] * v[VWND], v[WGD]) && divides(v[MDIMAD], items) &&
           divides(v[NDIMBD], items) && divides(items / v[MDIMAD], v[WGD]) && divides(items / v[NDIMBD], v[WGD]) &&
           items <= most->group && v[WGD] * (2 * v[WGD] + v[PADA] + v[PADB]) <= most->local;
}

static void draw_direct(mgn_tune_random *random, const limits *most, uint32_t *v) {
    const value_list sides = most->one_thread ? (value_list)VALUES(1, 2, 4) : (value_list)VALUES(8, 16, 32);
    v[WGD] = draw(random, (value_list)VALUES(8, 16, 32));
    v[MDIMCD] = draw(random, sides);
    v[NDIMCD] = draw(random, sides);
    v[MDIMAD] = draw(random, sides);
    v[NDIMBD] = draw(random, sides);
    v[KWID] = draw(random, (value_list)VALUES(2, 8));
    v[VWMD] = draw(random, (value_list)VALUES(1, 2, 4, 8));
    v[VWND] = draw(random, (value_list)VALUES(1, 2, 4, 8));
    v[PADA] = (uint32_t)below(random, 2);
    v[PADB] = (uint32_t)below(random, 2);
}

void mgn_tune_draw_blast(mgn_tune_random *random, const mgn_cl_device *device, bool indirect, mgn_cl_blast *blast) {
    const limits most = limits_of(device);
    for (int i = 0; i < MOST_DRAWS; i++) {
        mgn_cl_blast drawn = *blast;
        if (indirect)
            draw_indirect(random, &most, drawn.values[XGEMM]);
        else
            draw_direct(random, &most, drawn.values[DIRECT]);
        if (!(indirect ? indirect_fits(drawn.values[XGEMM], &most) : direct_fits(drawn.values[DIRECT], &most)))
            continue;
        if (indirect && below(random, 2)) draw_copies(random, &most, &drawn);
        *blast = drawn;
        return;
    }
}
