/* Benchmarks: how long things take, on one device, beside what the machine could do.
 *
 * A benchmark is an entry: a name that groups it ("op", "step", ...), a subject that tells it from the others of its
 * name ("tanh 4096", "cmgn l1 batch 32"), and a function that measures it and fills one row. Rows are JSON objects from
 * the start, so that the tables of `mgn bench` and its JSON can not say different things. Nothing here judges a figure:
 * they depend on the machine and on what else it does, so no test asserts one. */
#ifndef MGN_HOST_BENCH_H
#define MGN_HOST_BENCH_H

#include <cjson/cJSON.h>

#include <mgn/device.h>

#include "core/core.h"

typedef struct mgn_bench_options {
    const char *filter; /* part of "name subject"; NULL: everything */
    double seconds;     /* measuring time of one figure */
} mgn_bench_options;

/* Runs the entries that the filter takes, one after the other. `report` is {"device", "limits", "results": [...], ...},
 * also when the run was interrupted (then with the rows there are). An entry that fails leaves a row with its "error".
 * Errors: ARGUMENT (the filter takes nothing), MEMORY, INTERRUPTED. The caller deletes the report. */
mgn_status mgn_bench_run(mgn_device *device, const mgn_bench_options *options, cJSON **report);

/* ---- for the files that hold entries ---- */

/* What the machine can do; the shares of the rows are of these. 0: not measured. */
typedef struct mgn_bench_limits {
    double copy, copy_in_cache; /* bytes read and written a second, in memory and in the first cache */
    double multiply;            /* FLOP/s of a matrix product */
    const char *source;         /* what they were measured with */
    bool disturbed;
} mgn_bench_limits;

typedef struct mgn_bench {
    mgn_device *device;
    double seconds;
    mgn_bench_limits limits;
} mgn_bench;

typedef struct mgn_bench_entry mgn_bench_entry;
struct mgn_bench_entry {
    const char *name;
    char subject[88];
    int index; /* which one of its family, for `run` */
    bool needs_limits;
    mgn_status (*run)(mgn_bench *bench, const mgn_bench_entry *entry, cJSON *row);
};

enum { MGN_BENCH_MOST = 256 };

typedef struct mgn_bench_list {
    int count; /* of all; entries beyond the capacity are counted only */
    mgn_bench_entry entries[MGN_BENCH_MOST];
} mgn_bench_list;

/* A new entry; `name` is borrowed. */
mgn_bench_entry *mgn_bench_add(mgn_bench_list *list, const char *name, int index,
                               mgn_status (*run)(mgn_bench *, const mgn_bench_entry *, cJSON *), const char *subject,
                               ...) MGN_PRINTF(5, 6);

void mgn_bench_add_ops(mgn_bench_list *list);
void mgn_bench_add_steps(mgn_bench_list *list);
void mgn_bench_add_wide(mgn_bench_list *list);
void mgn_bench_add_maps(mgn_bench_list *list);
void mgn_bench_add_products(mgn_bench_list *list);
void mgn_bench_add_clouds(mgn_bench_list *list);
void mgn_bench_add_compiles(mgn_bench_list *list);

mgn_status mgn_bench_measure_limits(mgn_bench *bench);

/* Adds a number, rounded to six digits. */
void mgn_bench_number(cJSON *row, const char *key, double value);

/* A variable of the environment that the library reads when it compiles a plan (MGN_FUSE, MGN_CACHE), changed for a
 * while. Plans of both kinds stand in one process this way, without options that only a benchmark would use. */
typedef struct mgn_bench_setting {
    const char *variable;
    char *before; /* NULL: it was not set */
} mgn_bench_setting;
mgn_status mgn_bench_set(mgn_bench_setting *setting, const char *variable, const char *value);
void mgn_bench_restore(mgn_bench_setting *setting);

/* Uniform in [low, high); SplitMix64, which is fast enough to fill large inputs. */
double mgn_bench_uniform(uint64_t *state, double low, double high);

#endif
